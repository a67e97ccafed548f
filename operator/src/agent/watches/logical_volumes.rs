//! The LogicalVolumes of this node as the API has them, and who is to hear when they change.

use std::sync::Arc;

use crds::LogicalVolume;
use kube::ResourceExt as _;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use tokio::sync::Notify;

use crate::kube::queue::WorkQueue;

/// The LogicalVolumes of this node.
pub struct NodeVolumes {
    /// The node's name.
    pub node: String,
    /// The watch's copy: what carries the node's label.
    pub store: Store<LogicalVolume>,
    /// Hears of each change.
    pub changed: Notify,
    /// Queues the name of whatever something happened to.
    pub queue: WorkQueue,
}

impl NodeVolumes {
    /// The LogicalVolume of this name, if it is for this node: the label says so, but the spec
    /// counts.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<LogicalVolume>> {
        self.store
            .get(&ObjectRef::new(name))
            .filter(|object| object.spec.node == self.node)
    }

    /// All for this node.
    pub fn all(&self) -> impl Iterator<Item = Arc<LogicalVolume>> {
        self.store
            .state()
            .into_iter()
            .filter(|object| object.spec.node == self.node)
    }

    /// Queues every one of them.
    pub fn enqueue_all(&self) {
        self.all()
            .for_each(|object| self.queue.enqueue(&object.name_any()));
    }

    /// Called by the watch, after the copy has the change.
    pub fn on_event(&self, event: &Event<LogicalVolume>) {
        match event {
            Event::Apply(object) | Event::Delete(object) => self.queue.enqueue(&object.name_any()),
            Event::InitDone => self.enqueue_all(),
            Event::Init | Event::InitApply(_) => return,
        }
        self.changed.notify_one();
    }
}
