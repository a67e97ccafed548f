//! Enqueues the volumes that a change affects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crds::logical_volume::State;
use crds::{Adoption, LogicalVolume, NodeStorage, StorageBackend};
use futures::future::{BoxFuture, FutureExt as _, join_all};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use placement::claim;

use super::{ClusterState, prune};
use crate::controller::plan;
use crate::kube::watch_cache::{follow, follow_some};

/// Number of claims in one answer of the API server, which is in memory as a whole. A claim of a
/// tenant may have 8.4 MB of JSON: etcd limits it to 1.5 MB, and JSON has six bytes for a `<`.
const CLAIMS_PER_PAGE: u32 = 10;

/// Where the watches write.
pub(in crate::controller) struct Writers {
    pub(in crate::controller) claims: Writer<PersistentVolumeClaim>,
    pub(in crate::controller) classes: Writer<StorageClass>,
    pub(in crate::controller) persistent_volumes: Writer<PersistentVolume>,
    pub(in crate::controller) logical_volumes: Writer<LogicalVolume>,
    pub(in crate::controller) backends: Writer<StorageBackend>,
    pub(in crate::controller) storages: Writer<NodeStorage>,
    pub(in crate::controller) nodes: Writer<Node>,
    pub(in crate::controller) adoptions: Writer<Adoption>,
}

/// Where the watches of what admins and agents write, write.
struct PlacementWriters {
    backends: Writer<StorageBackend>,
    storages: Writer<NodeStorage>,
    nodes: Writer<Node>,
    adoptions: Writer<Adoption>,
}

impl ClusterState {
    /// Keeps every cache current; never returns.
    pub(super) fn follow(
        self: &Arc<Self>,
        client: &Client,
        writers: Writers,
    ) -> BoxFuture<'static, ()> {
        let claims = follow_some(
            Api::all(client.clone()),
            watcher::Config::default().page_size(CLAIMS_PER_PAGE),
            writers.claims,
            prune::claim,
            self,
            Self::claim_changed,
        );
        let classes = follow(client, writers.classes, |_| true, self, Self::class_changed);
        let persistent_volumes = follow(
            client,
            writers.persistent_volumes,
            prune::volume,
            self,
            Self::volume_changed,
        );
        let logical_volumes = follow(
            client,
            writers.logical_volumes,
            prune::logical_volume,
            self,
            Self::logical_volume_changed,
        );
        let inputs = self.follow_inputs(
            client,
            PlacementWriters {
                backends: writers.backends,
                storages: writers.storages,
                nodes: writers.nodes,
                adoptions: writers.adoptions,
            },
        );
        let all = vec![
            claims.boxed(),
            classes.boxed(),
            persistent_volumes.boxed(),
            logical_volumes.boxed(),
            inputs,
        ];
        join_all(all).map(drop).boxed()
    }

    /// Keeps the caches of what admins and agents write current; never returns.
    fn follow_inputs(
        self: &Arc<Self>,
        client: &Client,
        writers: PlacementWriters,
    ) -> BoxFuture<'static, ()> {
        let backends = follow(
            client,
            writers.backends,
            |_| true,
            self,
            Self::backend_changed,
        );
        let storages = follow(
            client,
            writers.storages,
            prune::node_storage,
            self,
            Self::storage_changed,
        );
        let nodes = follow(client, writers.nodes, prune::node, self, Self::node_changed);
        let adoptions = follow(
            client,
            writers.adoptions,
            |_| true,
            self,
            Self::adoption_changed,
        );
        let all = vec![
            backends.boxed(),
            storages.boxed(),
            nodes.boxed(),
            adoptions.boxed(),
            self.clone().follow_agents().boxed(),
        ];
        join_all(all).map(drop).boxed()
    }

    /// Enqueues the waiting volumes, behind those with changes: one tenant may have thousands.
    pub(super) fn enqueue_waiting(&self) {
        for name in self.lock_waiting().iter() {
            self.queue.revisit_after(name, Duration::ZERO);
        }
    }

    /// Enqueues a volume that was listed: it may have changed.
    fn enqueue_listed(&self, name: &str) {
        if self.lock_waiting().contains(name) {
            self.queue.revisit_after(name, Duration::ZERO);
        } else {
            self.queue.enqueue(name);
        }
    }

    /// Enqueues one volume of each thin pool on this node, or on all: one whose spec can record
    /// that the pool may become larger.
    fn enqueue_pools(&self, node: Option<&str>) {
        let pools = self.reservations().in_pools(node);
        for names in pools {
            if let Some(name) = names.iter().find(|name| self.is_in_use(name)) {
                self.queue.enqueue(name);
            }
        }
    }

    /// Returns true if the volume is neither released nor being removed.
    fn is_in_use(&self, name: &str) -> bool {
        self.logical_volumes
            .get(&ObjectRef::new(name))
            .is_some_and(|lv| lv.spec.state == State::Present)
            && self
                .persistent_volumes
                .get(&ObjectRef::new(name))
                .is_some_and(|volume| !plan::is_released(&volume))
    }

    fn enqueue_claim(&self, claim: &PersistentVolumeClaim) {
        for name in volumes_of(claim) {
            self.queue.enqueue(&name);
        }
    }

    fn enqueue_listed_claim(&self, claim: &PersistentVolumeClaim) {
        for name in volumes_of(claim) {
            self.enqueue_listed(&name);
        }
    }

    /// Records whether a claim waits, or has ceased to.
    fn time_claim(&self, claim: &PersistentVolumeClaim) {
        self.timings.claim(claim, Instant::now(), |volume| {
            let volume = self.logical_volumes.get(&ObjectRef::new(volume))?;
            Some(volume.spec.backend.clone())
        });
    }

    fn claim_changed(&self, event: &Event<PersistentVolumeClaim>) {
        let mut index = self.lock_claims();
        match event {
            Event::Apply(claim) => {
                if let Some(uid) = claim.uid() {
                    index.insert(uid, ObjectRef::from_obj(claim));
                }
                self.time_claim(claim);
                self.enqueue_claim(claim);
            }
            Event::Delete(claim) => {
                index.remove(&claim.uid().unwrap_or_default());
                self.timings.claim_deleted(claim);
                self.enqueue_claim(claim);
            }
            Event::InitDone => {
                let claims = self.claims.state();
                *index = claims
                    .iter()
                    .filter_map(|claim| Some((claim.uid()?, ObjectRef::from_obj(&**claim))))
                    .collect();
                self.timings.retain_claims(|uid| index.contains_key(uid));
                drop(index);
                for claim in &claims {
                    self.time_claim(claim);
                }
                self.enqueue_all();
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }

    /// Handles a change of an Adoption: claims may wait for it, or no longer.
    fn adoption_changed(&self, event: &Event<Adoption>) {
        if let Event::Apply(adoption) | Event::Delete(adoption) = event {
            self.queue.enqueue(&adoption.spec.logical_volume);
        }
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            self.adoptions_changed.send_replace(());
            self.enqueue_waiting();
        }
    }

    fn volume_changed(&self, event: &Event<PersistentVolume>) {
        self.adoptions_changed.send_replace(());
        match event {
            Event::Apply(volume) | Event::Delete(volume) => self.queue.enqueue(&volume.name_any()),
            Event::InitDone => self.enqueue_all(),
            Event::Init | Event::InitApply(_) => {}
        }
    }

    fn logical_volume_changed(&self, event: &Event<LogicalVolume>) {
        self.adoptions_changed.send_replace(());
        self.space_changed.send_replace(());
        match event {
            Event::Apply(logical_volume) => {
                self.observe_answer(logical_volume);
                self.reservations().observe(logical_volume);
                self.timings.volume(logical_volume, Instant::now());
                self.queue.enqueue(&logical_volume.name_any());
                if logical_volume.spec.state != State::Present {
                    self.space_freed(logical_volume);
                }
            }
            Event::Delete(logical_volume) => {
                self.lock_agents().remove_volume(&logical_volume.name_any());
                self.reservations().remove(&logical_volume.name_any());
                self.timings.volume_deleted(logical_volume, Instant::now());
                self.queue.enqueue(&logical_volume.name_any());
                self.space_freed(logical_volume);
            }
            Event::Init => self.reservations().begin_list(),
            Event::InitApply(logical_volume) => {
                self.observe_answer(logical_volume);
                self.reservations().observe(logical_volume);
                self.timings.volume(logical_volume, Instant::now());
            }
            Event::InitDone => {
                self.reservations().end_list();
                let exists = |name: &str| self.logical_volumes.get(&ObjectRef::new(name)).is_some();
                self.timings.retain_volumes(exists);
                self.lock_agents().retain_volumes(exists);
                self.enqueue_all();
            }
        }
    }

    /// Enqueues the volumes that wait for space which this volume may have freed.
    fn space_freed(&self, logical_volume: &LogicalVolume) {
        self.enqueue_waiting();
        self.enqueue_pools(Some(&logical_volume.spec.node));
    }

    fn backend_changed(&self, event: &Event<StorageBackend>) {
        self.placement_input_changed(event);
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            self.enqueue_pools(None);
        }
    }

    fn storage_changed(&self, event: &Event<NodeStorage>) {
        match event {
            Event::Apply(storage) => {
                let name = storage.name_any();
                let is_changed = self.lock_agents().observe_storage(storage, Instant::now());
                if self.agent_reported(&name) || is_changed {
                    self.placement_input_changed(event);
                    self.enqueue_pools(Some(&name));
                }
            }
            Event::Delete(storage) => {
                self.lock_agents().remove_storage(&storage.name_any());
                self.placement_input_changed(event);
            }
            Event::Init => {}
            Event::InitApply(storage) => {
                self.lock_agents().observe_storage(storage, Instant::now());
            }
            Event::InitDone => {
                self.lock_agents()
                    .retain_storages(|node| self.storages.get(&ObjectRef::new(node)).is_some());
                self.placement_input_changed(event);
                self.enqueue_pools(None);
            }
        }
    }

    /// Handles a change of a class: it may make claims FlexLVM's.
    fn class_changed(&self, event: &Event<StorageClass>) {
        self.placement_input_changed(event);
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            self.claims
                .state()
                .iter()
                .for_each(|claim| self.enqueue_listed_claim(claim));
        }
    }

    /// Handles a change of a backend, a node or its report: waiting volumes may proceed.
    pub(super) fn placement_input_changed<K>(&self, event: &Event<K>) {
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            self.space_changed.send_replace(());
            self.enqueue_waiting();
        }
    }

    /// Enqueues everything: a new list may contain changes that no event reported.
    pub(super) fn enqueue_all(&self) {
        for claim in self.claims.state() {
            self.enqueue_listed_claim(&claim);
        }
        for volume in self.persistent_volumes.state() {
            self.enqueue_listed(&volume.name_any());
        }
        for logical_volume in self.logical_volumes.state() {
            self.enqueue_listed(&logical_volume.name_any());
        }
    }
}

/// Returns the names of the volumes that a claim concerns.
fn volumes_of(claim: &PersistentVolumeClaim) -> impl Iterator<Item = String> {
    let adopted = claim::adopted_volume(claim).map(str::to_owned);
    claim::volume_name(claim).into_iter().chain(adopted)
}

#[cfg(test)]
mod tests;
