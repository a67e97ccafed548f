//! The LogicalVolumes of this node as the API has them, and who is to hear when they change.

use std::sync::Arc;

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
    /// Those of this node, of which nothing is known yet.
    #[must_use]
    pub fn new(node: &str, store: Store<LogicalVolume>, queue: WorkQueue) -> Self {
        Self {
            node: node.to_owned(),
            store,
            changed: Notify::new(),
            queue,
        }
    }

    /// Keeps the copy current, for ever.
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
