//! What is to be done next about one volume, from all that the API says about it: its claim, its
//! LogicalVolume, its PersistentVolume. Pure: `act.rs` observes, asks here, and does one step; then
//! it is asked again.

mod published;
mod reserved;

use std::sync::Arc;
use std::time::Duration;

use crds::logical_volume::ReclaimPolicy;
use crds::{LogicalVolume, StorageBackend, quantity};
use k8s_openapi::api::core::v1::{Node, ObjectReference, PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt as _;

use super::class::Class;
use super::{claim, volume};
use crate::kube::events::Notice;
use crate::kube::names::event;
use published::plan_published;
use reserved::plan_reserved;

pub use published::is_released;

/// An agent that has not answered for so long is worth a word.
const PATIENCE: Duration = Duration::from_secs(30);

/// Grace period before a missing StorageClass or StorageBackend counts as missing: it may be part of
/// the same `kubectl apply`.
pub const GRACE: Duration = Duration::from_secs(2);

/// All that the API says about one volume.
#[derive(Clone, Debug, Default)]
pub struct ObservedObjects {
    /// The claim with the uid that the volume's name holds.
    pub claim: Option<Arc<PersistentVolumeClaim>>,
    /// The claim's class, or why it can't be used. `None` without a claim.
    pub class: Option<Result<Class, String>>,
    /// The backend that the class names.
    pub backend: Option<Arc<StorageBackend>>,
    /// The LogicalVolume.
    pub logical_volume: Option<Arc<LogicalVolume>>,
    /// The PersistentVolume.
    pub volume: Option<Arc<PersistentVolume>>,
    /// The LogicalVolume's node.
    pub node: Option<Arc<Node>>,
    /// The volume's thin pool may become larger than was promised.
    pub pool_reservation_outdated: bool,
    /// The scheduler knows how full the nodes are.
    pub capacity_tracking_active: bool,
    /// We wrote something about this volume that has not come back to us yet.
    pub in_flight: bool,
    /// For how long nothing could be done about this volume.
    pub waited: Duration,
}

/// The next step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing is to be done.
    Done,
    /// Somebody else has to do something first; look again after this time even if nothing is
    /// heard.
    Wait(Duration),
    /// Choose a place, promise its space, and write the LogicalVolume.
    Place {
        /// How many bytes at least.
        bytes: u64,
    },
    /// The scheduler has selected no node yet. It selects none that it knows to be too full: if
    /// that goes for all of them, say so.
    DryRunPlacement {
        /// How many bytes at least.
        bytes: u64,
    },
    /// The claim can't be served: remove the node that the scheduler selected. The scheduler then
    /// stops waiting for a volume and reports on the pod that provisioning failed.
    Deselect,
    /// Write the PersistentVolume.
    Publish(Box<PersistentVolume>),
    /// The claim is gone and there is no PersistentVolume: make sure of both, then have the volume
    /// removed if it was never used.
    DeleteUnclaimed,
    /// The volume can't be made where it was promised: have it removed if it was never used, and
    /// promise it anew.
    CancelPlacement,
    /// The node is gone and never made the volume: make sure of that, and drop the LogicalVolume.
    DiscardUncreated,
    /// The PersistentVolume is released: make sure of that, and have the volume removed.
    RequestDeletion,
    /// The PersistentVolume is not released, or not any more: the volume is kept.
    CancelDeletion,
    /// The volume is removed: drop the LogicalVolume.
    FinalizeDeletion,
    /// The volume is removed and its LogicalVolume gone: drop the PersistentVolume.
    Unpublish,
    /// The PersistentVolume's reclaim policy was changed: write it into the LogicalVolume.
    SetReclaimPolicy(ReclaimPolicy),
    /// Give the PersistentVolume our finalizer, or take it away.
    SetFinalizer(bool),
    /// The LogicalVolume has lost the label by which its agent finds it: write it anew.
    Label,
    /// Promise the space for growth to so many bytes, and write it into the LogicalVolume; with its
    /// size of now, only its thin pool's space.
    Grow(u64),
    /// The volume can't grow yet: lower the PersistentVolume's capacity to this number of bytes, so
    /// that pods start.
    LimitCapacity(u64),
    /// The logical volume is large enough for the claim's request: have the kubelet grow the file
    /// system to that.
    SettleGrowth {
        /// The request, in bytes.
        request: u64,
    },
}

/// A step, and what to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The step.
    pub step: Step,
    /// What people are to be told.
    pub notice: Option<Notice>,
}

impl From<Step> for Plan {
    fn from(step: Step) -> Self {
        Self { step, notice: None }
    }
}

impl Step {
    fn saying(self, notice: Notice) -> Plan {
        Plan {
            step: self,
            notice: Some(notice),
        }
    }
}

/// How long until a volume that waits for somebody is looked at again without anything having been
/// heard: often enough that its Event does not expire.
pub const REVISIT: Duration = Duration::from_mins(15);

/// Minimum time between two [`Step::Deselect`] of one claim. The scheduler selects a node again
/// within seconds; after ten minutes without a volume it would report a timeout instead.
pub const DESELECT_INTERVAL: Duration = Duration::from_mins(5);

/// How long until the space for a claim without a node is looked at again: nobody tells us when its
/// pod begins to wait, nor when space goes that it would have had.
pub const DRY_RUN_INTERVAL: Duration = Duration::from_secs(30);

/// How long until somebody else's object that is in the way, and that we don't watch, is looked for
/// again.
pub const OBSTRUCTED: Duration = Duration::from_mins(1);

/// The next step for one volume.
#[must_use]
pub fn plan(observed: &ObservedObjects) -> Plan {
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
    match (&observed.volume, &observed.logical_volume) {
        (Some(volume), _) => plan_published(volume, observed),
        (None, Some(logical_volume)) => plan_reserved(logical_volume, observed),
        (None, None) => plan_wanted(observed),
    }
}

/// There is nothing yet but, maybe, a claim.
fn plan_wanted(observed: &ObservedObjects) -> Plan {
    // Where the scheduler knows, it selects no node for a claim that can't be served, and so nobody
    // would ask us.
    let waits = |claim: &&PersistentVolumeClaim| {
        claim::is_waiting(claim) || (observed.capacity_tracking_active && claim::is_unasked(claim))
    };
    let Some(claim) = observed.claim.as_deref().filter(waits) else {
        return Step::Done.into();
    };
    let refuse = |message: String| {
        let step = match claim::selected_node(claim) {
            Some(_) => Step::Deselect,
            None => Step::Wait(REVISIT),
        };
        step.saying(about_claim(claim, event::PROVISIONING_FAILED, message))
    };
    let incomplete = observed.backend.is_none() || !matches!(observed.class, Some(Ok(_)));
    if incomplete && observed.waited < GRACE {
        return Step::Wait(GRACE).into();
    }
    let class = match &observed.class {
        Some(Ok(class)) => class,
        Some(Err(sentence)) => return refuse(sentence.clone()),
        None => return refuse("the claim names no StorageClass".to_owned()),
    };
    if let Some(sentence) = claim::refusal(claim) {
        return refuse(sentence);
    }
    let Some(backend) = observed.backend.as_deref() else {
        return refuse(format!(
            "StorageBackend {}, which the class names, does not exist",
            class.backend
        ));
    };
    if backend.metadata.deletion_timestamp.is_some() {
        return refuse(format!(
            "StorageBackend {}, which the class names, is being deleted",
            class.backend
        ));
    }
    if let Some(fault) = backend.spec.fault() {
        return refuse(format!("StorageBackend {}: {fault}", class.backend));
    }
    let bytes = match claim::size(claim).and_then(|bytes| within_limits(bytes, class, backend)) {
        Ok(bytes) => bytes,
        Err(sentence) => return refuse(sentence),
    };
    match (class.waits_for_consumer, claim::selected_node(claim)) {
        (true, None) if observed.capacity_tracking_active => Step::DryRunPlacement { bytes }.into(),
        (true, None) => Step::Done.into(), // the PersistentVolume controller tells the user
        _ if claim::is_unasked(claim) => Step::Done.into(), // we are asked in a moment
        _ => Step::Place { bytes }.into(),
    }
}

/// The bytes that a claim for so many gets: at least what its file system and its backend ask for,
/// and never more than the backend allows.
fn within_limits(asked: u64, class: &Class, backend: &StorageBackend) -> Result<u64, String> {
    let (minimum, maximum) = backend.spec.limits()?;
    let bytes = asked
        .max(minimum)
        .max(class.filesystem.type_.smallest_volume());
    if bytes <= maximum {
        return Ok(bytes);
    }
    let (bytes, maximum) = (quantity::human(bytes), quantity::human(maximum));
    Err(format!(
        "{bytes} is more than StorageBackend {} allows for one volume (volumeSize.maximum: {maximum})",
        class.backend
    ))
}

fn silent(logical_volume: &LogicalVolume) -> String {
    let node = &logical_volume.spec.node;
    format!(
        "the FlexLVM agent on node {node} does not answer: is the node up, and the pod of DaemonSet flexlvm-agent running there?"
    )
}

/// A warning about a claim.
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

/// A warning about a PersistentVolume whose volume can't be removed as asked.
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
