//! The LogicalVolumes of this node from the API, and the queue of those that changed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crds::LogicalVolume;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::Notify;

use crate::kube::queue::WorkQueue;
use crate::kube::watch_cache;

/// The LogicalVolumes of this node.
pub struct NodeVolumes {
    /// Name of the Node object.
    pub node: String,
    /// The watch cache: objects with this node's label.
    pub store: Store<LogicalVolume>,
    /// Notified after each change.
    pub changed: Notify,
    /// Queue of the names to reconcile.
    pub queue: WorkQueue,
    /// Uid of the Node object; `None` until it is known.
    node_uid: Mutex<Option<String>>,
}

impl NodeVolumes {
    /// Creates an empty cache of this node's LogicalVolumes.
    #[must_use]
    pub fn new(node: &str, store: Store<LogicalVolume>, queue: WorkQueue) -> Self {
        Self {
            node: node.to_owned(),
            store,
            changed: Notify::new(),
            queue,
            node_uid: Mutex::default(),
        }
    }

    /// Returns the uid of the Node object; `None` until it is known.
    #[must_use]
    pub fn node_uid(&self) -> Option<String> {
        self.lock_node_uid().clone()
    }

    /// Sets the uid of the Node object. The statuses name it, so if it changes, all are due.
    pub fn set_node_uid(&self, uid: Option<String>) {
        let is_changed = {
            let mut current = self.lock_node_uid();
            let is_changed = *current != uid;
            *current = uid;
            is_changed
        };
        if is_changed {
            self.enqueue_all();
        }
    }

    fn lock_node_uid(&self) -> MutexGuard<'_, Option<String>> {
        self.node_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the cache current; never returns.
    pub fn follow(
        self: &Arc<Self>,
        client: &Client,
        writer: Writer<LogicalVolume>,
    ) -> impl Future<Output = ()> + use<> {
        let label = format!(
            "{}={}",
            crds::NODE_LABEL,
            crds::node_label_value(&self.node)
        );
        watch_cache::follow_some(
            Api::all(client.clone()),
            watcher::Config::default().labels(&label),
            writer,
            |_| true,
            self,
            Self::on_event,
        )
    }

    /// Returns the LogicalVolume of this name if its spec names this node: the label only selects,
    /// the spec decides.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<LogicalVolume>> {
        self.store
            .get(&ObjectRef::new(name))
            .filter(|object| object.spec.node == self.node)
    }

    /// Returns all LogicalVolumes of this node.
    pub fn all(&self) -> impl Iterator<Item = Arc<LogicalVolume>> {
        self.store
            .state()
            .into_iter()
            .filter(|object| object.spec.node == self.node)
    }

    /// Queues all LogicalVolumes of this node.
    pub fn enqueue_all(&self) {
        self.all()
            .for_each(|object| self.queue.enqueue(&object.name_any()));
    }

    /// Handles an event of the watch, after the store has applied it.
    pub fn on_event(&self, event: &Event<LogicalVolume>) {
        match event {
            Event::Apply(object) | Event::Delete(object) => self.queue.enqueue(&object.name_any()),
            Event::InitDone => self.enqueue_all(),
            Event::Init | Event::InitApply(_) => return,
        }
        self.changed.notify_one();
    }
}
