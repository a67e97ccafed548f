//! All that the controller knows: local copies of every kind of object that it looks at, the reservations
//! of promised space, and who is to be woken when something changes. Nothing else of the controller
//! keeps state that matters.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crds::logical_volume::State;
use crds::{LogicalVolume, NodeStorage, StorageBackend, StorageBackendSpec};
use futures::future::{BoxFuture, FutureExt as _, join_all};
use k8s_openapi::api::core::v1::{Node, NodeStatus, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt as _};
use placement::reservations::Reservations;
use placement::{growth, request};
use tokio::sync::watch;

use super::{claim, class, plan};
use crate::kube::names;
use crate::kube::queue::WorkQueue;
use crate::kube::watch_cache::follow;

/// The controller's knowledge.
pub struct ClusterState {
    /// Claims that name us as their provisioner, and those that name nobody yet.
    pub claims: Store<PersistentVolumeClaim>,
    /// Every StorageClass.
    pub classes: Store<StorageClass>,
    /// PersistentVolumes that we made.
    pub volumes: Store<PersistentVolume>,
    /// Every LogicalVolume.
    pub logical_volumes: Store<LogicalVolume>,
    /// Every StorageBackend.
    pub backends: Store<StorageBackend>,
    /// Every NodeStorage.
    pub storages: Store<NodeStorage>,
    /// Every node: its labels, whether it is cordoned, and whether it is Ready.
    pub nodes: Store<Node>,
    /// Something changed that space, its promises, or who may ask for it depends on.
    pub space_changed: watch::Sender<()>,
    capacity_tracking_active: AtomicBool,
    reservations: Mutex<Reservations>,
    claims_by_uid: Mutex<HashMap<String, ObjectRef<PersistentVolumeClaim>>>,
    waiting: Mutex<HashSet<String>>,
    queue: WorkQueue,
}

impl ClusterState {
    /// A world, and what keeps it current: to be polled for as long as the world is used.
    #[must_use]
    pub fn watch(client: &Client, queue: WorkQueue) -> (Arc<Self>, BoxFuture<'static, ()>) {
        let (claims, claims_writer) = store();
        let (classes, classes_writer) = store();
        let (volumes, volumes_writer) = store();
        let (logical_volumes, logical_volumes_writer) = store();
        let (backends, backends_writer) = store();
        let (storages, storages_writer) = store();
        let (nodes, nodes_writer) = store();
        let state = Arc::new(Self {
            claims,
            classes,
            volumes,
            logical_volumes,
            backends,
            storages,
            nodes,
            space_changed: watch::Sender::new(()),
            capacity_tracking_active: AtomicBool::new(false),
            reservations: Mutex::default(),
            claims_by_uid: Mutex::default(),
            waiting: Mutex::default(),
            queue,
        });
        let followers = vec![
            follow(
                client,
                claims_writer,
                may_be_our_claim,
                &state,
                Self::claim_changed,
            )
            .boxed(),
            follow(
                client,
                classes_writer,
                |_| true,
                &state,
                Self::class_changed,
            )
            .boxed(),
            follow(
                client,
                volumes_writer,
                is_our_volume,
                &state,
                Self::volume_changed,
            )
            .boxed(),
            follow(
                client,
                logical_volumes_writer,
                |_| true,
                &state,
                Self::logical_volume_changed,
            )
            .boxed(),
            follow(
                client,
                backends_writer,
                |_| true,
                &state,
                Self::backend_changed,
            )
            .boxed(),
            follow(
                client,
                storages_writer,
                |_| true,
                &state,
                Self::storage_changed,
            )
            .boxed(),
            follow(
                client,
                nodes_writer,
                only_what_places,
                &state,
                Self::premise_changed,
            )
            .boxed(),
        ];
        (state, join_all(followers).map(|_| ()).boxed())
    }

    /// Returns once every kind has been listed.
    pub async fn ready(&self) {
        // An error here means that the followers have ended, with the process.
        let _ = self.claims.wait_until_ready().await;
        let _ = self.classes.wait_until_ready().await;
        let _ = self.volumes.wait_until_ready().await;
        let _ = self.logical_volumes.wait_until_ready().await;
        let _ = self.backends.wait_until_ready().await;
        let _ = self.storages.wait_until_ready().await;
        let _ = self.nodes.wait_until_ready().await;
    }

    /// The reservations, locked: hold it for as long as a decision takes, never across a request.
    pub fn reservations(&self) -> MutexGuard<'_, Reservations> {
        self.reservations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the scheduler heeds the capacity that we publish, and so selects no node that is too
    /// full.
    #[must_use]
    pub fn capacity_tracking_active(&self) -> bool {
        self.capacity_tracking_active.load(Ordering::Relaxed)
    }

    /// Says so.
    pub fn set_capacity_tracking_active(&self, knows: bool) {
        if self.capacity_tracking_active.swap(knows, Ordering::Relaxed) != knows {
            self.enqueue_all(); // claims without a node are to be told about, or not any more
        }
    }

    /// Every node, with its report.
    #[must_use]
    pub fn candidates(&self) -> Vec<(Arc<Node>, Option<Arc<NodeStorage>>)> {
        let storage = |node: &Arc<Node>| self.storages.get(&ObjectRef::new(&node.name_any()));
        self.nodes
            .state()
            .into_iter()
            .map(|node| {
                let storage = storage(&node);
                (node, storage)
            })
            .collect()
    }

    /// The candidates of [`ClusterState::candidates`], as placing takes them.
    #[must_use]
    pub fn borrow(
        candidates: &[(Arc<Node>, Option<Arc<NodeStorage>>)],
    ) -> Vec<request::Candidate<'_>> {
        candidates
            .iter()
            .map(|(node, storage)| request::Candidate {
                node,
                storage: storage.as_deref(),
            })
            .collect()
    }

    /// What the API says about one volume; `in_flight` and `waited` are the caller's to fill in.
    #[must_use]
    pub fn observe(&self, name: &str) -> plan::ObservedObjects {
        let claim = name
            .strip_prefix("pvc-")
            .and_then(|uid| self.lock_claims().get(uid).cloned());
        let claim = claim
            .and_then(|reference| self.claims.get(&reference))
            .filter(|claim| self.is_ours(claim));
        let class = claim.as_deref().map(|claim| self.class_of(claim));
        // Looked up once: the class is read with the very backend that the volume is made from.
        let named = class
            .as_ref()
            .and_then(|class| class::backend_of(class.as_ref().ok()?));
        let backend = named.and_then(|name| self.backends.get(&ObjectRef::new(name)));
        let default = backend
            .as_ref()
            .and_then(|backend| backend.spec.filesystem.as_ref());
        let class = class.map(|class| class.and_then(|class| class::read(&class, default)));
        let logical_volume = self.logical_volumes.get(&ObjectRef::new(name));
        let node = logical_volume
            .as_ref()
            .and_then(|lv| self.nodes.get(&ObjectRef::new(&lv.spec.node)));
        let volume = self.volumes.get(&ObjectRef::new(name));
        let pool_reservation_outdated = logical_volume
            .as_deref()
            .is_some_and(|logical_volume| self.pool_reservation_outdated(logical_volume));
        let capacity_tracking_active = self.capacity_tracking_active();
        let rest = plan::ObservedObjects::default();
        plan::ObservedObjects {
            claim,
            class,
            backend,
            logical_volume,
            volume,
            node,
            pool_reservation_outdated,
            capacity_tracking_active,
            ..rest
        }
    }

    /// Whether the thin pool of a volume may become larger than was promised.
    fn pool_reservation_outdated(&self, logical_volume: &LogicalVolume) -> bool {
        if logical_volume.spec.thin_pool.is_none() {
            return false;
        }
        let reference = ObjectRef::new(&logical_volume.spec.node);
        let Some(node) = self.nodes.get(&reference) else {
            return false;
        };
        let storage = self
            .storages
            .get(&ObjectRef::new(&logical_volume.spec.node));
        let candidate = request::Candidate {
            node: &node,
            storage: storage.as_deref(),
        };
        growth::pool_reservation_outdated(
            logical_volume,
            &self.backend_of(logical_volume),
            candidate,
            &self.reservations(),
        )
    }

    /// Whether the claim asks us, or will once its pod has a node.
    fn is_ours(&self, claim: &PersistentVolumeClaim) -> bool {
        claim::provisioner(claim).is_some()
            || self
                .class_of(claim)
                .is_ok_and(|class| class.provisioner == crds::GROUP)
    }

    fn class_of(&self, claim: &PersistentVolumeClaim) -> Result<Arc<StorageClass>, String> {
        let name = claim::class_name(claim).ok_or("the claim names no StorageClass")?;
        self.classes
            .get(&ObjectRef::new(name))
            .ok_or_else(|| format!("StorageClass {name} does not exist"))
    }

    /// The backend that a volume was asked from; where that is gone, one without rules of its own.
    #[must_use]
    pub fn backend_of(&self, logical_volume: &LogicalVolume) -> StorageBackendSpec {
        let backend = self
            .backends
            .get(&ObjectRef::new(&logical_volume.spec.backend));
        let rules = backend.map(|backend| backend.spec.clone());
        // The volume stays where it is, whatever the backend says by now.
        let volume_group = logical_volume.spec.volume_group.clone();
        StorageBackendSpec {
            volume_group,
            ..rules.unwrap_or_else(|| StorageBackendSpec::of(""))
        }
    }

    /// Queues a volume for later.
    pub fn requeue_after(&self, name: &str, wait: std::time::Duration) {
        self.queue.requeue_after(name, wait);
    }

    /// Says whether a volume waits for something outside itself: space, a backend, a node.
    pub fn set_waiting(&self, name: &str, waits: bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waits {
            waiting.insert(name.to_owned());
        } else {
            waiting.remove(name);
        }
    }

    fn enqueue_waiting(&self) {
        for name in self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            self.queue.enqueue(name);
        }
    }

    /// One volume of each thin pool on this node, or on all: one that can say in its object that
    /// the pool may become larger.
    fn enqueue_pools(&self, node: Option<&str>) {
        let pools = self.reservations().in_pools(node);
        let speakers = pools
            .iter()
            .filter_map(|names| names.iter().find(|name| self.is_in_use(name)));
        speakers.for_each(|name| self.queue.enqueue(name));
    }

    /// Whether a volume is there to stay.
    fn is_in_use(&self, name: &str) -> bool {
        let is_present = |lv: &LogicalVolume| lv.spec.state == State::Present;
        self.logical_volumes
            .get(&ObjectRef::new(name))
            .is_some_and(|lv| is_present(&lv))
            && self
                .volumes
                .get(&ObjectRef::new(name))
                .is_some_and(|volume| !plan::is_released(&volume))
    }

    fn enqueue_claim(&self, claim: &PersistentVolumeClaim) {
        if let Some(name) = claim::volume_name(claim) {
            self.queue.enqueue(&name);
        }
    }

    fn lock_claims(&self) -> MutexGuard<'_, HashMap<String, ObjectRef<PersistentVolumeClaim>>> {
        self.claims_by_uid
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn claim_changed(&self, event: &Event<PersistentVolumeClaim>) {
        let mut index = self.lock_claims();
        match event {
            Event::Apply(claim) => {
                if let Some(uid) = claim.uid() {
                    index.insert(uid, ObjectRef::from_obj(claim));
                }
                self.enqueue_claim(claim);
            }
            Event::Delete(claim) => {
                index.remove(&claim.uid().unwrap_or_default());
                self.enqueue_claim(claim);
            }
            Event::InitDone => {
                let claims = self.claims.state();
                *index = claims
                    .iter()
                    .filter_map(|claim| Some((claim.uid()?, ObjectRef::from_obj(&**claim))))
                    .collect();
                drop(index);
                self.enqueue_all();
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }

    fn volume_changed(&self, event: &Event<PersistentVolume>) {
        match event {
            Event::Apply(volume) | Event::Delete(volume) => self.queue.enqueue(&volume.name_any()),
            Event::InitDone => self.enqueue_all(),
            Event::Init | Event::InitApply(_) => {}
        }
    }

    fn logical_volume_changed(&self, event: &Event<LogicalVolume>) {
        self.space_changed.send_replace(());
        match event {
            Event::Apply(logical_volume) => {
                self.reservations().observe(logical_volume);
                self.queue.enqueue(&logical_volume.name_any());
                if logical_volume.spec.state != State::Present {
                    self.space_freed(logical_volume);
                }
            }
            Event::Delete(logical_volume) => {
                self.reservations().forget(&logical_volume.name_any());
                self.queue.enqueue(&logical_volume.name_any());
                self.space_freed(logical_volume);
            }
            Event::Init => self.reservations().list_begins(),
            Event::InitApply(logical_volume) => self.reservations().observe(logical_volume),
            Event::InitDone => {
                self.reservations().list_ends();
                self.enqueue_all();
            }
        }
    }

    /// The space of a volume may be free now.
    fn space_freed(&self, logical_volume: &LogicalVolume) {
        self.enqueue_waiting();
        self.enqueue_pools(Some(&logical_volume.spec.node));
    }

    fn backend_changed(&self, event: &Event<StorageBackend>) {
        self.premise_changed(event);
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            self.enqueue_pools(None);
        }
    }

    fn storage_changed(&self, event: &Event<NodeStorage>) {
        self.premise_changed(event);
        match event {
            Event::Apply(storage) => self.enqueue_pools(Some(&storage.name_any())),
            Event::InitDone => self.enqueue_pools(None),
            Event::Delete(_) | Event::Init | Event::InitApply(_) => {}
        }
    }

    /// A class came, or changed: some claims may be ours by it.
    fn class_changed(&self, event: &Event<StorageClass>) {
        self.premise_changed(event);
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            self.claims
                .state()
                .iter()
                .for_each(|claim| self.enqueue_claim(claim));
        }
    }

    /// A backend, a node or its report changed: whoever waits may wait no longer.
    fn premise_changed<K>(&self, event: &Event<K>) {
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            self.space_changed.send_replace(());
            self.enqueue_waiting();
        }
    }

    /// After a list, changes may have been missed: everything is looked at.
    fn enqueue_all(&self) {
        for claim in self.claims.state() {
            self.enqueue_claim(&claim);
        }
        for volume in self.volumes.state() {
            self.queue.enqueue(&volume.name_any());
        }
        for logical_volume in self.logical_volumes.state() {
            self.queue.enqueue(&logical_volume.name_any());
        }
    }
}

fn may_be_our_claim(claim: &mut PersistentVolumeClaim) -> bool {
    claim::provisioner(claim) == Some(crds::GROUP) || claim::is_unasked(claim)
}

fn is_our_volume(volume: &mut PersistentVolume) -> bool {
    volume
        .annotations()
        .get(names::PROVISIONED_BY)
        .map(String::as_str)
        == Some(crds::GROUP)
}

/// Most of a node's status (images, addresses, heartbeats) is nothing to us.
fn only_what_places(node: &mut Node) -> bool {
    let ready = node
        .status
        .take()
        .and_then(|status| status.conditions)
        .map(|mut conditions| {
            conditions.retain(|condition| condition.type_ == placement::filter::NODE_READY);
            conditions
        });
    node.status = Some(NodeStatus {
        conditions: ready,
        ..NodeStatus::default()
    });
    node.annotations_mut().clear();
    true
}
