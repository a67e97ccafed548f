//! Events: one per object and reason, updated when the message changes, never repeated in quick
//! succession.
//!
//! They are `core/v1` Events: those of `events.k8s.io/v1` are immutable, and the numbers in the
//! messages change.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::kube::error::ApiError;
use crate::kube::names;
use crate::metrics::Metrics;

/// Minimum time between two writes of the same message.
///
/// API servers delete Events after an hour; a user who looks later must still find one.
const REPEAT_INTERVAL: SignedDuration = SignedDuration::from_mins(10);

/// Minimum time between two writes of different messages about the same object.
const CHANGE_INTERVAL: Duration = Duration::from_secs(5);

/// Minimum time between two writes of messages that differ in numbers only: they may change with
/// every volume, for each of thousands of claims that wait for space.
const NUMBERS_INTERVAL: Duration = Duration::from_mins(1);

/// Time after which the recorder drops its record of an Event.
const RECORD_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// Maximum length of a message, in bytes; the API server rejects longer ones.
const MAX_MESSAGE: usize = 1024;

/// An Event to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The object that the Event is about.
    pub about: ObjectReference,
    /// True for a `Warning`, false for `Normal`.
    pub warning: bool,
    /// One of [`names::event`].
    pub reason: &'static str,
    /// One sentence: what, why, with which numbers, what to do.
    pub message: String,
}

/// The last written Event about one object for one reason.
#[derive(Clone, Debug, PartialEq)]
struct PublishedEvent {
    message: String,
    count: i32,
    first: Timestamp,
    last: Timestamp,
}

/// What to do with a notice.
#[derive(Debug, PartialEq)]
enum EventUpdate {
    Write(PublishedEvent),
    /// The same message was written recently.
    Unchanged,
    /// Another message was written recently: try again after this time.
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
    if old.message == message && age < REPEAT_INTERVAL {
        return EventUpdate::Unchanged;
    }
    let age = Duration::try_from(age).unwrap_or_default();
    let interval = if without_numbers(&old.message).eq(without_numbers(message)) {
        NUMBERS_INTERVAL
    } else {
        CHANGE_INTERVAL
    };
    if age < interval {
        return EventUpdate::Later(interval.saturating_sub(age));
    }
    EventUpdate::Write(PublishedEvent {
        message: message.to_owned(),
        count: old.count.saturating_add(1),
        first: old.first,
        last: now,
    })
}

/// Returns the parts of a message that are neither numbers nor units of sizes.
fn without_numbers(message: &str) -> impl Iterator<Item = &str> {
    message.split_whitespace().filter(|word| {
        let word = word.trim_end_matches([',', ';', ':', ')']);
        !word.starts_with(|first: char| first.is_ascii_digit())
            && !["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].contains(&word)
    })
}

/// Writes Events, and records what it wrote.
pub struct Recorder {
    client: Client,
    instance: String,
    published: Mutex<HashMap<String, PublishedEvent>>,
    counts: EventCounts,
}

/// The number of written Events by type and reason. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct EventCounts(Family<[(&'static str, &'static str); 2], Counter>);

impl EventCounts {
    /// Registers the number as a metric.
    pub fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register(
                "flexlvm_events",
                "Events that the controller wrote",
                self.0.clone(),
            );
        });
    }

    /// Counts the Event of a notice.
    pub(crate) fn count(&self, notice: &Notice) {
        let labels = [("type", type_of(notice)), ("reason", notice.reason)];
        self.0.get_or_create(&labels).inc();
    }
}

impl Recorder {
    /// Creates a recorder; `instance` names this process (its pod's name).
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        Self {
            client,
            instance: instance.to_owned(),
            published: Mutex::default(),
            counts: EventCounts::default(),
        }
    }

    /// Returns the number of written Events.
    #[must_use]
    pub fn counts(&self) -> EventCounts {
        self.counts.clone()
    }

    /// Writes the notice as an Event, unless the same message was written recently.
    ///
    /// Returns the time until the next attempt if another message was written recently; then
    /// nothing is written.
    ///
    /// # Errors
    /// If the API server rejects the Event.
    pub async fn publish(&self, notice: &Notice) -> Result<Option<Duration>, ApiError> {
        let name = event_name(notice);
        let published = match self.record(&name, &notice.message, Timestamp::now()) {
            EventUpdate::Write(published) => published,
            EventUpdate::Unchanged => return Ok(None),
            EventUpdate::Later(rest) => return Ok(Some(rest)),
        };
        let event = self.build(&name, notice, &published);
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
            self.published
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&name);
        } else {
            self.counts.count(notice);
        }
        written.map(|_| None).map_err(ApiError::of(
            "write",
            "Event",
            &format!("{namespace}/{name}"),
        ))
    }

    fn record(&self, name: &str, message: &str, now: Timestamp) -> EventUpdate {
        let mut all = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, published| now.duration_since(published.last) < RECORD_LIFETIME);
        let update = decide(all.get(name), message, now);
        if let EventUpdate::Write(published) = &update {
            all.insert(name.to_owned(), published.clone());
        }
        update
    }

    fn build(&self, name: &str, notice: &Notice, published: &PublishedEvent) -> Event {
        let namespace = notice
            .about
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let mut message = published.message.clone();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object: notice.about.clone(),
            type_: Some(type_of(notice).to_owned()),
            reason: Some(notice.reason.to_owned()),
            message: Some(message),
            count: Some(published.count),
            first_timestamp: Some(Time(published.first)),
            last_timestamp: Some(Time(published.last)),
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

fn type_of(notice: &Notice) -> &'static str {
    if notice.warning { "Warning" } else { "Normal" }
}

/// Returns the name of the Event about this object for this reason: the same after a restart.
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
    use std::time::Duration;

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
    fn event_name_depends_on_object_and_reason() {
        assert_eq!(event_name(&notice("1", "A")), event_name(&notice("1", "A")));
        assert_ne!(event_name(&notice("1", "A")), event_name(&notice("1", "B")));
        assert_ne!(event_name(&notice("1", "A")), event_name(&notice("2", "A")));
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn event_is_updated_after_a_change_but_not_too_often() {
        let EventUpdate::Write(published) = decide(None, "full", at(0)) else {
            panic!("not written")
        };
        assert_eq!(
            decide(Some(&published), "full", at(60)),
            EventUpdate::Unchanged
        );
        assert!(
            matches!(decide(Some(&published), "fuller", at(2)), EventUpdate::Later(rest) if rest.as_secs() == 3)
        );
        let EventUpdate::Write(published) = decide(Some(&published), "fuller", at(60)) else {
            panic!("not written")
        };
        assert_eq!((published.count, published.first), (2, at(0)));
        assert!(
            matches!(decide(Some(&published), "fuller", at(1000)), EventUpdate::Write(published) if published.count == 3)
        );
    }

    #[test]
    fn message_with_other_numbers_is_written_once_a_minute() {
        let message = "n1 has 1.5 GiB free of 4 GiB, n2 is cordoned";
        let EventUpdate::Write(published) = decide(None, message, at(0)) else {
            panic!("not written")
        };
        let numbers = "n1 has 0 bytes free of 4 GiB, n2 is cordoned";
        assert_eq!(
            decide(Some(&published), numbers, at(20)),
            EventUpdate::Later(Duration::from_secs(40))
        );
        assert!(matches!(
            decide(Some(&published), numbers, at(60)),
            EventUpdate::Write(_)
        ));
        let words = "n1 is cordoned, n2 is cordoned";
        assert!(matches!(
            decide(Some(&published), words, at(20)),
            EventUpdate::Write(_)
        ));
    }
}
