//! The controller's state: watch caches of every kind of object that it reads, the reservations,
//! and which volumes a change requeues.
//!
//! No other part of the controller keeps state that matters.

mod adoptions;
pub mod agents;
mod changes;
mod node_marks;
pub mod nodes;
mod prune;
pub mod timings;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crds::orphans::OrphanOf;
use crds::{Adoption, LogicalVolume, NodeStorage, StorageBackend};
use futures::future::BoxFuture;
use host::MasterKey;
use host::lvm::tags::CLAIM_UID;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::{Client, ResourceExt as _};
use placement::claim;
use placement::class::{self, ClassError};
use placement::node_loss::NodeLoss;
use placement::reservations::Reservations;
use tokio::sync::watch;

use super::master_key::{MasterKeyError, ObservedMasterKey};
use super::plan;
use crate::kube::queue::WorkQueue;
use crate::kube::queue::statistics::QueueStatistics;
use agents::AgentReports;
use changes::Writers;
use node_marks::NodeMarks;
use timings::Timings;

/// Watch caches, reservations and the work queue.
pub struct ClusterState {
    /// Claims that name FlexLVM as their provisioner, those that name none yet, and those that are
    /// bound to a volume which may be FlexLVM's and was created for another claim.
    pub claims: Store<PersistentVolumeClaim>,
    /// All StorageClasses.
    pub classes: Store<StorageClass>,
    /// PersistentVolumes that FlexLVM created.
    pub persistent_volumes: Store<PersistentVolume>,
    /// All LogicalVolumes.
    pub logical_volumes: Store<LogicalVolume>,
    /// All StorageBackends.
    pub backends: Store<StorageBackend>,
    /// All NodeStorages.
    pub storages: Store<NodeStorage>,
    /// All Adoptions.
    pub adoptions: Store<Adoption>,
    /// All Nodes, reduced to their labels, whether they are cordoned, and whether they are Ready.
    pub nodes: Store<Node>,
    /// Notifies of changes to free space, reservations, classes and backends.
    pub space_changed: watch::Sender<()>,
    /// Notifies of changes to Adoptions, and to the objects that the controller creates for them.
    pub adoptions_changed: watch::Sender<()>,
    capacity_tracking_active: AtomicBool,
    master_key: Mutex<ObservedMasterKey>,
    reservations: Mutex<Reservations>,
    claims_by_uid: Mutex<HashMap<String, ObjectRef<PersistentVolumeClaim>>>,
    waiting: Mutex<HashSet<String>>,
    agents: Mutex<AgentReports>,
    /// Nodes with silent agents, and for how long; computed regularly.
    silent: Mutex<HashMap<String, Duration>>,
    node_marks: Mutex<NodeMarks>,
    queue: WorkQueue,
    timings: Timings,
}

impl ClusterState {
    /// Creates the state, and the future that keeps it current. Poll the future for as long as the
    /// state is used.
    #[must_use]
    pub fn watch(client: &Client, queue: WorkQueue) -> (Arc<Self>, BoxFuture<'static, ()>) {
        let (state, writers) = Self::new(queue);
        let following = state.follow(client, writers);
        (state, following)
    }

    /// Creates the state with empty caches, and what writes to them.
    pub(in crate::controller) fn new(queue: WorkQueue) -> (Arc<Self>, Writers) {
        let (claims, claims_writer) = store();
        let (classes, classes_writer) = store();
        let (persistent_volumes, persistent_volumes_writer) = store();
        let (logical_volumes, logical_volumes_writer) = store();
        let (backends, backends_writer) = store();
        let (storages, storages_writer) = store();
        let (nodes, nodes_writer) = store();
        let (adoptions, adoptions_writer) = store();
        let state = Arc::new(Self {
            claims,
            classes,
            persistent_volumes,
            logical_volumes,
            backends,
            storages,
            nodes,
            adoptions,
            space_changed: watch::Sender::new(()),
            adoptions_changed: watch::Sender::new(()),
            capacity_tracking_active: AtomicBool::new(false),
            master_key: Mutex::default(),
            reservations: Mutex::default(),
            claims_by_uid: Mutex::default(),
            waiting: Mutex::default(),
            agents: Mutex::default(),
            silent: Mutex::default(),
            node_marks: Mutex::default(),
            queue,
            timings: Timings::default(),
        });
        let writers = Writers {
            claims: claims_writer,
            classes: classes_writer,
            persistent_volumes: persistent_volumes_writer,
            logical_volumes: logical_volumes_writer,
            backends: backends_writer,
            storages: storages_writer,
            nodes: nodes_writer,
            adoptions: adoptions_writer,
        };
        (state, writers)
    }

    /// Returns once every kind has been listed.
    pub async fn ready(&self, client: &Client) {
        // An error means that the watches have ended, with the process.
        let _ = self.claims.wait_until_ready().await;
        let _ = self.classes.wait_until_ready().await;
        let _ = self.persistent_volumes.wait_until_ready().await;
        let _ = self.logical_volumes.wait_until_ready().await;
        let _ = self.backends.wait_until_ready().await;
        let _ = self.storages.wait_until_ready().await;
        let _ = self.nodes.wait_until_ready().await;
        self.adoptions_ready(client).await;
    }

    /// Locks the reservations. Hold the lock during a decision, never across a request.
    pub fn reservations(&self) -> MutexGuard<'_, Reservations> {
        self.reservations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the scheduler uses the published capacity, and so selects no node that is
    /// too full.
    #[must_use]
    pub fn capacity_tracking_active(&self) -> bool {
        self.capacity_tracking_active.load(Ordering::Relaxed)
    }

    /// Sets whether the scheduler uses the published capacity.
    pub fn set_capacity_tracking_active(&self, active: bool) {
        if self
            .capacity_tracking_active
            .swap(active, Ordering::Relaxed)
            != active
        {
            self.enqueue_all(); // claims without a selected node need a dry run, or none any more
        }
    }

    /// Returns the master key, or why there is none.
    #[must_use]
    pub fn master_key(&self) -> ObservedMasterKey {
        self.lock_master_key().clone()
    }

    /// Sets the master key, or why there is none.
    pub fn set_master_key(&self, read: Result<Arc<MasterKey>, MasterKeyError>) {
        let mut current = self.lock_master_key();
        if let (Some(Err(old)), Err(new)) = (&*current, &read)
            && old == new
        {
            return;
        }
        *current = Some(read);
        drop(current);
        self.enqueue_all(); // claims wait for the master key, or get an Event about its absence
    }

    /// Returns the observed objects of one volume. The caller fills in `in_flight` and `waited`.
    #[must_use]
    pub fn observe(&self, name: &str) -> plan::ObservedObjects {
        let persistent_volume = self.persistent_volumes.get(&ObjectRef::new(name));
        let claim = self.claim_of(name, persistent_volume.as_deref());
        let class = claim.as_deref().map(|claim| self.class_of(claim));
        // Looked up once: the class must be read with the same backend that the volume is created
        // from.
        let named = class
            .as_ref()
            .and_then(|class| class::backend_of(class.as_ref().ok()?));
        let backend = named.and_then(|name| self.backends.get(&ObjectRef::new(name)));
        let default = backend
            .as_ref()
            .and_then(|backend| backend.spec.filesystem.as_ref());
        let class = class.map(|class| class::read_ours(&*class?, default));
        let logical_volume = self.logical_volumes.get(&ObjectRef::new(name));
        let node = logical_volume
            .as_ref()
            .and_then(|lv| self.nodes.get(&ObjectRef::new(&lv.spec.node)));
        let storage = logical_volume
            .as_ref()
            .and_then(|lv| self.storages.get(&ObjectRef::new(&lv.spec.node)));
        let volume_backend = logical_volume.as_deref().and_then(|lv| self.backend_of(lv));
        let node_loss = logical_volume
            .as_deref()
            .and_then(|lv| NodeLoss::judge(lv, node.as_deref(), storage.as_deref()));
        let is_placed = logical_volume.is_some() || persistent_volume.is_some();
        let orphan = match &claim {
            Some(claim) if !is_placed => self.orphan_of(claim),
            _ => None,
        };
        let adoption = match (&logical_volume, &claim) {
            (Some(logical_volume), _) => self.adoption_behind(logical_volume),
            (None, Some(claim)) if !is_placed => self.adoption_for(claim),
            _ => None,
        };
        let capacity_tracking_active = self.capacity_tracking_active();
        let rest = plan::ObservedObjects::default();
        plan::ObservedObjects {
            claim,
            class,
            backend,
            logical_volume,
            persistent_volume,
            node,
            storage,
            volume_backend,
            node_loss,
            orphan,
            adoption,
            capacity_tracking_active,
            master_key: self.master_key(),
            ..rest
        }
    }

    /// Returns the claim that holds a volume: the one to which its PersistentVolume is bound, without
    /// one the claim that the volume is named after.
    fn claim_of(
        &self,
        name: &str,
        volume: Option<&PersistentVolume>,
    ) -> Option<Arc<PersistentVolumeClaim>> {
        let uid = match volume {
            Some(volume) => claim::bound_to(volume)?.uid,
            None => name.strip_prefix(claim::VOLUME_PREFIX)?.to_owned(),
        };
        let claim = self.claim_by_uid(&uid)?;
        if volume.is_none() && !self.is_ours(&claim) {
            return None;
        }
        Some(claim)
    }

    /// Returns the claim with this uid, if it is in the cache.
    #[must_use]
    pub fn claim_by_uid(&self, uid: &str) -> Option<Arc<PersistentVolumeClaim>> {
        let reference = self.lock_claims().get(uid).cloned()?;
        self.claims.get(&reference)
    }

    /// Returns the logical volume with a claim's tag that a node reports as an orphan.
    ///
    /// A report without its node is left over from a node that an admin has removed.
    fn orphan_of(&self, claim: &PersistentVolumeClaim) -> Option<plan::Orphan> {
        let uid = claim.uid()?;
        for storage in self.storages.state() {
            if self
                .nodes
                .get(&ObjectRef::new(&storage.name_any()))
                .is_none()
            {
                continue;
            }
            let Some(status) = &storage.status else {
                continue;
            };
            let path = match status.orphan_of(&uid) {
                Some(OrphanOf::Listed(orphan)) => {
                    Some(format!("{}/{}", orphan.volume_group, orphan.name))
                }
                Some(OrphanOf::Unlisted) => None,
                None => continue,
            };
            return Some(plan::Orphan {
                node: storage.name_any(),
                path,
                tag: format!("{CLAIM_UID}{uid}"),
            });
        }
        None
    }

    /// Returns true if the claim is FlexLVM's, or will be once its pod has a node.
    fn is_ours(&self, claim: &PersistentVolumeClaim) -> bool {
        claim::provisioner(claim).is_some()
            || self
                .class_of(claim)
                .is_ok_and(|class| class.provisioner == crds::GROUP)
    }

    fn class_of(&self, claim: &PersistentVolumeClaim) -> Result<Arc<StorageClass>, ClassError> {
        let name = claim::class_name(claim).ok_or(ClassError::NotNamed)?;
        self.classes
            .get(&ObjectRef::new(name))
            .ok_or_else(|| ClassError::NotFound(name.to_owned()))
    }

    /// Returns a volume's backend; `None` if it is deleted.
    #[must_use]
    pub fn backend_of(&self, logical_volume: &LogicalVolume) -> Option<Arc<StorageBackend>> {
        self.backends
            .get(&ObjectRef::new(&logical_volume.spec.backend))
    }

    /// Requeues a volume after a delay.
    pub fn requeue_after(&self, name: &str, wait: Duration) {
        self.queue.requeue_after(name, wait);
    }

    /// Requeues a waiting volume after a delay, behind those with changes.
    pub fn revisit_after(&self, name: &str, wait: Duration) {
        self.queue.revisit_after(name, wait);
    }

    /// Returns what is counted about the work queue.
    #[must_use]
    pub fn queue_statistics(&self) -> QueueStatistics {
        self.queue.statistics()
    }

    /// Returns how long claims wait, and how long operations on volumes take.
    #[must_use]
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Records whether a volume waits for an external change: space, a backend, a node.
    pub fn set_waiting(&self, name: &str, is_waiting: bool) {
        let mut waiting = self.lock_waiting();
        if is_waiting {
            waiting.insert(name.to_owned());
        } else {
            waiting.remove(name);
        }
    }

    fn lock_waiting(&self) -> MutexGuard<'_, HashSet<String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_master_key(&self) -> MutexGuard<'_, ObservedMasterKey> {
        self.master_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_claims(&self) -> MutexGuard<'_, HashMap<String, ObjectRef<PersistentVolumeClaim>>> {
        self.claims_by_uid
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
