//! Says when this node's report was deleted, so that it is written again at once.

use std::pin::pin;

use crds::NodeStorage;
use futures::StreamExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client};
use tokio::sync::Notify;

/// Watches the NodeStorage of this name, of which only its being there is of interest.
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
                    "the watch of this node's report was cut, and is taken up again"
                );
            }
        }
    }
}

/// Whether the object is there, says the watch; `listed` while it tells what is there at its begin.
#[derive(Debug, Default)]
struct PresenceWatch {
    there: bool,
    listed: bool,
}

impl PresenceWatch {
    /// Takes note of an event; true when the object was there until now.
    fn ends_with<K>(&mut self, event: &Event<K>) -> bool {
        let before = self.there;
        match event {
            Event::Init => self.listed = false,
            Event::InitApply(_) => self.listed = true,
            Event::InitDone => self.there = self.listed,
            Event::Apply(_) => self.there = true,
            Event::Delete(_) => self.there = false,
        }
        before && !self.there
    }
}

#[cfg(test)]
mod tests {
    use super::PresenceWatch;
    use kube::runtime::watcher::Event::{self, Apply, Delete, Init, InitApply, InitDone};

    #[test]
    fn only_what_was_there_can_be_deleted() {
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
