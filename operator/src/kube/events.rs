//! Events: one per object and reason, updated when it has something new to say, never repeated in a
//! row.
//!
//! They are written as `core/v1` Events: those of `events.k8s.io/v1` can't be changed once written,
//! and the numbers in our messages change.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};

use crate::kube::error::ApiError;
use crate::kube::names;

/// The same words about the same object are not written again before this time has passed. Servers
/// drop Events after an hour; somebody who waits longer must still find one.
const REPEAT: SignedDuration = SignedDuration::from_mins(10);

/// Other words about the same object wait for so long: numbers may change with every volume of a
/// crowd that waits.
const PACE: Duration = Duration::from_secs(5);

/// After this time an object's Event is forgotten here.
const FORGET: SignedDuration = SignedDuration::from_hours(1);

/// Longest message that the API takes, in bytes.
const LONGEST: usize = 1024;

/// Something to tell the people who look at an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Which object.
    pub about: ObjectReference,
    /// True for a `Warning`, false for `Normal`.
    pub warning: bool,
    /// One of [`names::event`].
    pub reason: &'static str,
    /// One sentence: what, why, with which numbers, what to do.
    pub message: String,
}

/// What was last said about one object for one reason.
#[derive(Clone, Debug, PartialEq)]
struct PublishedEvent {
    message: String,
    count: i32,
    first: Timestamp,
    last: Timestamp,
}

/// What is to be done with a notice.
#[derive(Debug, PartialEq)]
enum EventUpdate {
    Write(PublishedEvent),
    /// The same was said a while ago.
    PublishedEvent,
    /// Something else was said a moment ago.
    Later(Duration),
}

fn decide(old: Option<&PublishedEvent>, message: &str, now: Timestamp) -> EventUpdate {
    let Some(old) = old else {
        return EventUpdate::Write(PublishedEvent {
            message: message.to_owned(),
            count: 1,
            first: now,
            last: now,
        });
    };
    let age = now.duration_since(old.last);
    if old.message == message && age < REPEAT {
        return EventUpdate::PublishedEvent;
    }
    let age = Duration::try_from(age).unwrap_or_default();
    if age < PACE {
        return EventUpdate::Later(PACE.saturating_sub(age));
    }
    EventUpdate::Write(PublishedEvent {
        message: message.to_owned(),
        count: old.count.saturating_add(1),
        first: old.first,
        last: now,
    })
}

/// Writes Events, and remembers what it wrote.
pub struct Recorder {
    client: Client,
    instance: String,
    said: Mutex<HashMap<String, PublishedEvent>>,
}

impl Recorder {
    /// A recorder; `instance` names this process (a pod's name).
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        Self {
            client,
            instance: instance.to_owned(),
            said: Mutex::default(),
        }
    }

    /// Writes the notice, unless the same words stand there already. When others were written a
    /// moment ago, nothing is written, and what is returned is when to come again.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn publish(&self, notice: &Notice) -> Result<Option<Duration>, ApiError> {
        let name = event_name(notice);
        let said = match self.note(&name, &notice.message, Timestamp::now()) {
            EventUpdate::Write(said) => said,
            EventUpdate::PublishedEvent => return Ok(None),
            EventUpdate::Later(rest) => return Ok(Some(rest)),
        };
        let event = self.build(&name, notice, &said);
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let written = events
            .patch(
                &name,
                &PatchParams::apply(names::CONTROLLER).force(),
                &Patch::Apply(&event),
            )
            .await;
        if written.is_err() {
            self.said
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&name);
        }
        written.map(|_| None).map_err(ApiError::of(
            "write",
            "Event",
            &format!("{namespace}/{name}"),
        ))
    }

    fn note(&self, name: &str, message: &str, now: Timestamp) -> EventUpdate {
        let mut all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, said| now.duration_since(said.last) < FORGET);
        let note = decide(all.get(name), message, now);
        if let EventUpdate::Write(said) = &note {
            all.insert(name.to_owned(), said.clone());
        }
        note
    }

    fn build(&self, name: &str, notice: &Notice, said: &PublishedEvent) -> Event {
        let namespace = notice
            .about
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let mut message = said.message.clone();
        message.truncate(message.floor_char_boundary(LONGEST));
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object: notice.about.clone(),
            type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(notice.reason.to_owned()),
            message: Some(message),
            count: Some(said.count),
            first_timestamp: Some(Time(said.first)),
            last_timestamp: Some(Time(said.last)),
            source: Some(EventSource {
                component: Some(crds::GROUP.to_owned()),
                host: None,
            }),
            reporting_component: Some(crds::GROUP.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

/// The name of the Event about this object for this reason: the same after a restart.
fn event_name(notice: &Notice) -> String {
    let object = notice.about.name.as_deref().unwrap_or_default();
    let uid = notice.about.uid.as_deref().unwrap_or_default();
    let head: String = object.chars().take(200).collect();
    format!(
        "{}.{:016x}",
        head.trim_end_matches(['.', '-']),
        crds::hash(&format!("{uid}/{}", notice.reason))
    )
}

#[cfg(test)]
mod tests {
    use super::{EventUpdate, Notice, decide, event_name};
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn notice(uid: &str, reason: &'static str) -> Notice {
        let about = ObjectReference {
            name: Some("data".into()),
            uid: Some(uid.into()),
            ..ObjectReference::default()
        };
        Notice {
            about,
            warning: true,
            reason,
            message: String::new(),
        }
    }

    #[test]
    fn one_object_and_reason_have_one_event() {
        assert_eq!(event_name(&notice("1", "A")), event_name(&notice("1", "A")));
        assert_ne!(event_name(&notice("1", "A")), event_name(&notice("1", "B")));
        assert_ne!(event_name(&notice("1", "A")), event_name(&notice("2", "A")));
    }

    #[test]
    fn an_event_is_updated_when_there_is_news_and_not_too_often() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let EventUpdate::Write(said) = decide(None, "full", at(0)) else {
            panic!("not written")
        };
        assert_eq!(
            decide(Some(&said), "full", at(60)),
            EventUpdate::PublishedEvent
        );
        assert!(
            matches!(decide(Some(&said), "fuller", at(2)), EventUpdate::Later(rest) if rest.as_secs() == 3)
        );
        let EventUpdate::Write(said) = decide(Some(&said), "fuller", at(60)) else {
            panic!("not written")
        };
        assert_eq!((said.count, said.first), (2, at(0)));
        assert!(
            matches!(decide(Some(&said), "fuller", at(1000)), EventUpdate::Write(said) if said.count == 3)
        );
    }
}
