//! Plans the next step for one volume, from its observed claim, LogicalVolume and PersistentVolume,
//! and from the reservations.
//!
//! Pure: `worker.rs` observes, plans and has `act.rs` carry out one step; then it plans again.

mod abandoned;
mod health;
mod lost_node;
mod published;
mod reserved;
mod step;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use crds::condition::{self, reason};
use crds::logical_volume::State;
use crds::node_storage::METADATA_WENT_BACK;
use crds::{LogicalVolume, NodeStorage, StorageBackend};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use placement::claim;
use placement::class::{Class, ClassError};
use placement::node_loss::NodeLoss;
use placement::reservations::Reservations;

use super::master_key::ObservedMasterKey;
use super::volume;
use crate::kube::events::Notice;
use crate::kube::names::event;
use abandoned::plan_abandoned;
use lost_node::plan_loss;
use published::plan_published;
use reserved::plan_reserved;
use wanted::plan_wanted;

pub use health::is_unhealthy;
pub use published::is_released;
pub use step::{Plan, Step, UnpublishedVolume};

/// Time without an agent's report after which an Event is written, and after which an agent that
/// does not answer a new LogicalVolume gets no further ones.
pub const AGENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Grace period before reporting a missing StorageClass or StorageBackend: it may be part of the
/// same `kubectl apply`.
pub const GRACE: Duration = Duration::from_secs(2);

/// The observed objects of one volume. No `Debug`: the PersistentVolume holds the volume's key.
#[derive(Clone, Default)]
pub struct ObservedObjects {
    /// The claim to which the PersistentVolume is bound; without a PersistentVolume the claim whose
    /// uid is in the volume's name.
    pub claim: Option<Arc<PersistentVolumeClaim>>,
    /// The claim's class, or why it can't be used. `None` without a claim.
    pub class: Option<Result<Class, ClassError>>,
    /// The backend that the class names.
    pub backend: Option<Arc<StorageBackend>>,
    /// The LogicalVolume.
    pub logical_volume: Option<Arc<LogicalVolume>>,
    /// The PersistentVolume.
    pub persistent_volume: Option<Arc<PersistentVolume>>,
    /// The LogicalVolume's node.
    pub node: Option<Arc<Node>>,
    /// The report of the LogicalVolume's node.
    pub storage: Option<Arc<NodeStorage>>,
    /// The LogicalVolume's backend; the class may name another one since.
    pub volume_backend: Option<Arc<StorageBackend>>,
    /// The logical volume on some node that has the claim's data already, although no LogicalVolume
    /// describes it.
    pub orphan: Option<Orphan>,
    /// The Adoption that gives the claim a volume, or that made the LogicalVolume, and is not complete.
    pub adoption: Option<PendingAdoption>,
    /// True if the scheduler uses the published capacity.
    pub capacity_tracking_active: bool,
    /// The controller's master key, or why there is none.
    pub master_key: ObservedMasterKey,
    /// True if the watch has not delivered a write about this volume yet.
    pub in_flight: bool,
    /// Time during which no step could be carried out.
    pub waited: Duration,
    /// True if the volume was not healthy when it was last planned, so that its recovery is news.
    pub was_unhealthy: bool,
    /// How the LogicalVolume's node was lost; `None` if it is not.
    pub node_loss: Option<NodeLoss>,
    /// Time for which this process has observed that the node is lost.
    pub lost_for: Duration,
    /// The time, by the clock of this process.
    pub now: Timestamp,
}

/// A logical volume of a claim, without a LogicalVolume, on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Name of the node.
    pub node: String,
    /// Volume group and name, as in `vg0/pvc-1`; `None` if the node's report omits it.
    pub path: Option<String>,
    /// The tag that makes it the claim's.
    pub tag: String,
}

/// An Adoption that is not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingAdoption {
    /// Name of the Adoption.
    pub name: String,
    /// Name of the volume.
    pub volume: String,
}

/// Time until a waiting volume is planned again without a change: short enough that its Event does
/// not expire.
pub const REVISIT: Duration = Duration::from_mins(15);

/// Minimum time between two [`Step::Deselect`] of one claim.
///
/// The scheduler selects a node again within seconds; after ten minutes without a volume it would
/// report a timeout instead.
pub const DESELECT_INTERVAL: Duration = Duration::from_mins(5);

/// Time until the space for a claim without a selected node is checked again: no watch reports when
/// its pod starts to wait, nor when other volumes take the space.
pub const DRY_RUN_INTERVAL: Duration = Duration::from_secs(30);

/// Time until the controller looks again for a foreign object that blocks a step and that it
/// doesn't watch.
pub const OBSTRUCTED: Duration = Duration::from_mins(1);

/// Plans the next step for one volume. `reservations` are those of all volumes.
#[must_use]
pub fn plan(observed: &ObservedObjects, reservations: &Reservations) -> Plan {
    if observed.in_flight {
        return Step::Wait(Duration::from_secs(10)).into();
    }
    if observed
        .logical_volume
        .as_deref()
        .is_some_and(|logical_volume| !volume::is_labelled(logical_volume))
    {
        return Step::Label.into();
    }
    let planned = match (&observed.persistent_volume, &observed.logical_volume) {
        (_, Some(logical_volume)) if logical_volume.spec.state == State::Abandoned => {
            return plan_abandoned(logical_volume, observed);
        }
        (Some(volume), _) => plan_published(volume, observed, reservations),
        (None, Some(logical_volume)) => plan_reserved(logical_volume, observed),
        (None, None) => plan_wanted(observed),
    };
    match &observed.logical_volume {
        Some(logical_volume) => plan_loss(logical_volume, observed, planned),
        None => planned,
    }
}

/// Returns the message of a condition for the Event of a tenant.
///
/// LVM's own words may name logical volumes, groups and disks of admins and other tenants, and so do
/// messages about disks and pools. An Event refers to the LogicalVolume, which only admins can read.
fn for_tenant(logical_volume: &LogicalVolume, condition: &Condition) -> String {
    let node = &logical_volume.spec.node;
    match condition.reason.as_str() {
        reason::LVM_FAILED => format!(
            "an LVM command failed on node {node}, and is retried; LVM's message is in the conditions of LogicalVolume {}",
            logical_volume.name_any()
        ),
        reason::CREATE_FAILED => format!(
            "LVM can't create the volume on node {node}, so another node is tried; LVM's message is in the log of the agent on {node}"
        ),
        reason::FAILED => format!(
            "the volume on node {node} has failed and can't be used; {}",
            for_admins(logical_volume)
        ),
        reason::DEGRADED => format!(
            "the volume on node {node} works, but has lost a disk or more: another one could lose its data; {}",
            for_admins(logical_volume)
        ),
        reason::CACHE_FAILED => format!(
            "the cache of the volume on node {node} has failed; {}",
            for_admins(logical_volume)
        ),
        reason::INTEGRITY_MISMATCHES => format!(
            "the volume on node {node} works, but a disk of it returned wrong data, which were corrected from another one; {}",
            for_admins(logical_volume)
        ),
        reason::IMAGE_MISMATCHES => format!(
            "the volume on node {node} works, but a check found that its disks do not agree, so a lost disk may cost data; {}",
            for_admins(logical_volume)
        ),
        reason::RESYNCING => format!(
            "the volume on node {node} works, but has not got all its redundancy until its synchronization ends; the progress is in the conditions of LogicalVolume {}",
            logical_volume.name_any()
        ),
        reason::POOL_FULL => format!(
            "the thin pool of the volume on node {node} is full, so writes fail or wait; {}",
            for_admins(logical_volume)
        ),
        reason::POOL_METADATA_FULL | reason::POOL_READ_ONLY => format!(
            "the thin pool of the volume on node {node} accepts no changes, so writes fail; {}",
            for_admins(logical_volume)
        ),
        reason::READ_ONLY => format!(
            "the volume on node {node} is read-only, so writes fail; {}",
            for_admins(logical_volume)
        ),
        reason::DEVICE_OUTDATED => format!(
            "the volume's device on node {node} is suspended, or has not got its new size, after an LVM command that \
             failed; {}",
            for_admins(logical_volume)
        ),
        reason::METADATA_ROLLED_BACK => format!(
            "volume group {} on node {node}: {METADATA_WENT_BACK}, so no volume is created, extended or removed in it; \
             the evidence is in the conditions of LogicalVolume {}",
            logical_volume.spec.volume_group,
            logical_volume.name_any()
        ),
        _ => condition.message.clone(),
    }
}

/// Returns where admins find what Events of tenants omit.
fn for_admins(logical_volume: &LogicalVolume) -> String {
    format!(
        "an admin finds the cause and what to do in the conditions of LogicalVolume {}",
        logical_volume.name_any()
    )
}

/// Returns why a volume waits for its agent: LVM hangs on the node, or the agent has not reported for
/// a while. `None` before that.
fn agent_fault(logical_volume: &LogicalVolume, observed: &ObservedObjects) -> Option<String> {
    if has_hanging_lvm(observed) {
        let node = &logical_volume.spec.node;
        return Some(format!(
            "LVM does not respond on node {node}, so no volume is created, expanded or removed there until it does; \
             NodeStorage {node} names the LVM command"
        ));
    }
    if observed.waited < AGENT_TIMEOUT {
        return None;
    }
    Some(agent_not_reporting(logical_volume))
}

/// Returns true if the agent of the LogicalVolume's node reports that LVM hangs.
fn has_hanging_lvm(observed: &ObservedObjects) -> bool {
    let storage = observed.storage.as_deref();
    let Some(status) = storage.and_then(|storage| storage.status.as_ref()) else {
        return false;
    };
    condition::get(&status.conditions, condition::READY)
        .is_some_and(|ready| ready.status != "True" && ready.reason == reason::LVM_HANGS)
}

fn agent_not_reporting(logical_volume: &LogicalVolume) -> String {
    let node = &logical_volume.spec.node;
    format!(
        "the FlexLVM agent on node {node} does not report: check that the node is up and runs a pod of DaemonSet flexlvm-agent"
    )
}

/// Returns a warning about a claim.
#[must_use]
pub fn about_claim(claim: &PersistentVolumeClaim, reason: &'static str, message: String) -> Notice {
    about_reference(
        claim::object_reference(&claim::reference(claim)),
        reason,
        message,
    )
}

fn about_reference(about: ObjectReference, reason: &'static str, message: String) -> Notice {
    Notice {
        about,
        warning: true,
        reason,
        message,
    }
}

/// Returns a warning about a PersistentVolume whose volume can't be removed as requested.
#[must_use]
pub fn about_volume(volume: &PersistentVolume, message: String) -> Notice {
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolume".to_owned()),
        name: Some(volume.name_any()),
        uid: volume.uid(),
        ..ObjectReference::default()
    };
    about_reference(about, event::VOLUME_FAILED_DELETE, message)
}

#[cfg(test)]
mod tests;
