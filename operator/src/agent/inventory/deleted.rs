//! Reports the deletion of this node's NodeStorage, so that the agent writes it again at once.

use std::pin::pin;

use crds::NodeStorage;
use futures::StreamExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client};
use tokio::sync::Notify;

/// Watches whether the NodeStorage of this name exists.
pub async fn run(client: &Client, node: &str, deleted: &Notify) {
    let this = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let api: Api<PartialObjectMeta<NodeStorage>> = Api::all(client.clone());
    let mut events = pin!(watch(api, this).default_backoff());
    let mut presence = PresenceWatch::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) if presence.ends_with(&event) => deleted.notify_one(),
            Ok(_) => {}
            Err(error) => {
                let error = host::error::chain(&error);
                tracing::warn!(
                    error,
                    "the watch of this node's NodeStorage was interrupted; restarting it"
                );
            }
        }
    }
}

/// Whether the object exists according to the watch; `listed` applies to the initial list under
/// way.
#[derive(Debug, Default)]
struct PresenceWatch {
    exists: bool,
    listed: bool,
}

impl PresenceWatch {
    /// Applies an event; returns true if the event ended the object's existence.
    fn ends_with<K>(&mut self, event: &Event<K>) -> bool {
        let before = self.exists;
        match event {
            Event::Init => self.listed = false,
            Event::InitApply(_) => self.listed = true,
            Event::InitDone => self.exists = self.listed,
            Event::Apply(_) => self.exists = true,
            Event::Delete(_) => self.exists = false,
        }
        before && !self.exists
    }
}

#[cfg(test)]
mod tests {
    use super::PresenceWatch;
    use kube::runtime::watcher::Event::{self, Apply, Delete, Init, InitApply, InitDone};

    #[test]
    fn deletion_is_reported_only_for_an_existing_object() {
        for (events, deleted) in [
            (&[Init, InitDone][..], 0),
            (&[Init, InitDone, Apply(()), Apply(()), Delete(())], 1),
            (
                &[
                    Init,
                    InitApply(()),
                    InitDone,
                    Delete(()),
                    Apply(()),
                    Delete(()),
                ],
                2,
            ),
            (
                &[Init, InitApply(()), InitDone, Init, InitApply(()), InitDone],
                0,
            ),
            (
                &[
                    Init,
                    InitApply(()),
                    InitDone,
                    Init,
                    InitDone,
                    Init,
                    InitDone,
                ],
                1,
            ),
        ] {
            let mut presence = PresenceWatch::default();
            let count = events
                .iter()
                .filter(|event: &&Event<()>| presence.ends_with(event))
                .count();
            assert_eq!(count, deleted, "{events:?}");
        }
    }
}
