//! The StorageBackends, and which of them select this node.
//!
//! Two watches fill them, of the backends and of this node's labels; all parts of the agent read
//! backends from here. Agents never write StorageBackends.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use crds::StorageBackend;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;

use crate::kube::watch_cache;

/// A node's labels.
type Labels = BTreeMap<String, String>;

/// The backends that select this node, by name.
///
/// Only name, uid, generation and deletion timestamp of their metadata are kept, and no status.
pub type SelectedBackends = Vec<Arc<StorageBackend>>;

/// The StorageBackends, and which of them select this node.
pub struct Backends {
    node: String,
    store: Store<StorageBackend>,
    known: Mutex<KnownObjects>,
    selected: watch::Sender<Option<Arc<SelectedBackends>>>,
}

/// State received from the watches.
#[derive(Debug, Default)]
struct KnownObjects {
    /// Whether the watch of backends has synced.
    listed: bool,
    /// The node's labels; `None` while its Node does not exist.
    labels: Option<Labels>,
    /// The labels from the list that is under way.
    listing: Option<Labels>,
}

impl Backends {
    /// Returns an empty cache; the writer is for [`run`](Self::run).
    #[must_use]
    pub fn new(node: &str) -> (Arc<Self>, Writer<StorageBackend>) {
        let (store, writer) = reflector::store();
        let backends = Self {
            node: node.to_owned(),
            store,
            known: Mutex::default(),
            selected: watch::Sender::default(),
        };
        (Arc::new(backends), writer)
    }

    /// Returns a cache in which these backends select the node.
    #[cfg(test)]
    pub(in crate::agent) fn selecting(backends: Vec<StorageBackend>) -> Arc<Self> {
        let (cache, _) = Self::new("node");
        let backends: SelectedBackends = backends.into_iter().map(Arc::new).collect();
        cache.selected.send_replace(Some(Arc::new(backends)));
        cache
    }

    /// Returns a receiver of the backends that select this node; updates of their status are no
    /// change.
    ///
    /// `None` while that is unknown: before both watches have synced, and while the Node does not
    /// exist.
    #[must_use]
    pub fn selected(&self) -> watch::Receiver<Option<Arc<SelectedBackends>>> {
        self.selected.subscribe()
    }

    /// Returns the backend of this name, whether it selects this node or not: volumes stay when
    /// their backend no longer selects the node.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<StorageBackend>> {
        self.store.get(&ObjectRef::new(name))
    }

    /// Watches the API; never returns.
    pub async fn run(self: &Arc<Self>, client: &Client, writer: Writer<StorageBackend>) {
        tokio::join!(
            watch_cache::follow(client, writer, keep, self, Self::on_backend_event),
            self.follow_labels(client)
        );
    }

    /// Watches the metadata of this node's Node: the rest of it changes all the time, and is large.
    async fn follow_labels(&self, client: &Client) {
        let this = watcher::Config::default().fields(&format!("metadata.name={}", self.node));
        let api: Api<PartialObjectMeta<Node>> = Api::all(client.clone());
        let mut events = pin!(watch_objects(api, this).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.on_node_event(event),
                Err(error) => {
                    let error = host::error::chain(&error);
                    tracing::warn!(
                        error,
                        "the watch of this node was interrupted; restarting it"
                    );
                }
            }
        }
    }

    /// Handles an event of the backends' watch, after the store has applied it.
    fn on_backend_event(&self, event: &Event<StorageBackend>) {
        match event {
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => self.update(|known| known.listed = true),
            Event::Apply(_) | Event::Delete(_) => self.update(|_| {}),
        }
    }

    fn on_node_event(&self, event: Event<PartialObjectMeta<Node>>) {
        match event {
            Event::Init => self.update(|known| known.listing = None),
            Event::InitApply(node) => self.update(|known| known.listing = Some(labels(node))),
            Event::InitDone => self.update(|known| known.labels = known.listing.take()),
            Event::Apply(node) => self.update(|known| known.labels = Some(labels(node))),
            Event::Delete(_) => self.update(|known| known.labels = None),
        }
    }

    fn update(&self, change: impl FnOnce(&mut KnownObjects)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        let labels = known.labels.as_ref().filter(|_| known.listed);
        let selected = labels.map(|labels| Arc::new(select(self.store.state(), labels)));
        self.selected.send_if_modified(|current| {
            let is_changed = *current != selected;
            *current = selected;
            is_changed
        });
    }
}

fn labels(node: PartialObjectMeta<Node>) -> Labels {
    node.metadata.labels.unwrap_or_default()
}

fn select(mut backends: SelectedBackends, labels: &Labels) -> SelectedBackends {
    backends.retain(|backend| backend.spec.node_selector.matches(labels));
    backends.sort_by_cached_key(|backend| backend.name_any());
    backends
}

/// Drops the fields that no agent reads, above all those that change with each of the controller's
/// writes.
fn keep(backend: &mut StorageBackend) -> bool {
    let ObjectMeta {
        name,
        uid,
        generation,
        deletion_timestamp,
        ..
    } = std::mem::take(&mut backend.metadata);
    backend.metadata = ObjectMeta {
        name,
        uid,
        generation,
        deletion_timestamp,
        ..ObjectMeta::default()
    };
    backend.status = None;
    true
}

#[cfg(test)]
mod tests {
    use super::{Backends, Event, Writer, keep};
    use crds::StorageBackend;
    use kube::ResourceExt as _;
    use serde_json::json;

    fn backend(name: &str, disk: &str, free: &str) -> StorageBackend {
        let mut backend = serde_json::from_value(json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend",
            "metadata": {"name": name, "uid": name, "resourceVersion": free, "annotations": {"a": free}},
            "spec": {"volumeGroup": "vg0", "nodeSelector": {"matchLabels": {"disk": disk}}},
            "status": {"free": free},
        }))
        .unwrap();
        assert!(keep(&mut backend));
        backend
    }

    fn node(disk: &str) -> kube::core::PartialObjectMeta<k8s_openapi::api::core::v1::Node> {
        serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"disk": disk}}}))
            .unwrap()
    }

    fn apply(
        backends: &Backends,
        writer: &mut Writer<StorageBackend>,
        event: Event<StorageBackend>,
    ) {
        writer.apply_watcher_event(&event);
        backends.on_backend_event(&event);
    }

    fn names(backends: &Backends) -> Option<Vec<String>> {
        let selected = backends.selected();
        let selected = selected.borrow();
        selected
            .as_ref()
            .map(|selected| selected.iter().map(|backend| backend.name_any()).collect())
    }

    #[test]
    fn selection_is_unknown_before_both_watches_synced() {
        let (backends, mut writer) = Backends::new("n");
        for event in [Event::Init, Event::InitApply(node("ssd")), Event::InitDone] {
            backends.on_node_event(event);
        }
        apply(&backends, &mut writer, Event::Init);
        apply(
            &backends,
            &mut writer,
            Event::InitApply(backend("a", "ssd", "1")),
        );
        assert_eq!(names(&backends), None);
        apply(&backends, &mut writer, Event::InitDone);
        assert_eq!(names(&backends), Some(vec!["a".to_owned()]));
        backends.on_node_event(Event::Delete(node("ssd")));
        assert_eq!(names(&backends), None);
        backends.on_node_event(Event::Apply(node("hdd")));
        assert_eq!(names(&backends), Some(Vec::new()));
        for event in [Event::Init, Event::InitDone] {
            backends.on_node_event(event);
        }
        assert_eq!(
            names(&backends),
            None,
            "the selection is unknown while the Node does not exist"
        );
    }

    #[test]
    fn selection_follows_labels_and_ignores_status_updates() {
        let (backends, mut writer) = Backends::new("n");
        backends.on_node_event(Event::Apply(node("ssd")));
        for event in [
            Event::Init,
            Event::InitApply(backend("b", "ssd", "1")),
            Event::InitDone,
        ] {
            apply(&backends, &mut writer, event);
        }
        apply(
            &backends,
            &mut writer,
            Event::Apply(backend("a", "ssd", "1")),
        );
        apply(
            &backends,
            &mut writer,
            Event::Apply(backend("c", "hdd", "1")),
        );
        assert_eq!(names(&backends), Some(vec!["a".to_owned(), "b".to_owned()]));

        let mut selected = backends.selected();
        selected.mark_unchanged();
        apply(
            &backends,
            &mut writer,
            Event::Apply(backend("a", "ssd", "2")),
        );
        backends.on_node_event(Event::Apply(node("ssd")));
        assert!(!selected.has_changed().unwrap());
        backends.on_node_event(Event::Apply(node("hdd")));
        assert!(selected.has_changed().unwrap());
        assert_eq!(names(&backends), Some(vec!["c".to_owned()]));
        assert!(
            backends.get("a").is_some(),
            "a backend that no longer selects the node stays in the cache"
        );
    }
}
