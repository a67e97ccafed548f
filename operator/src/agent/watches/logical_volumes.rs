//! The LogicalVolumes of this node from the API, and the queue of those that changed.

use std::sync::Arc;

use crds::LogicalVolume;
use kube::ResourceExt as _;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use tokio::sync::Notify;

use crate::kube::queue::WorkQueue;

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
}

impl NodeVolumes {
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
