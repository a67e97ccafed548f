//! The steps that a plan returns. Pure.

use std::fmt;
use std::time::Duration;

use crds::logical_volume::{ClaimReference, ReclaimPolicy};
use host::Bytes;
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use crate::kube::events::Notice;

/// A PersistentVolume to create. `Debug` omits all but its name, since its options hold the volume's
/// key.
#[derive(Clone, PartialEq)]
pub struct UnpublishedVolume(pub Box<PersistentVolume>);

impl fmt::Debug for UnpublishedVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name_any())
    }
}

/// The next step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing to do.
    Done,
    /// Wait for a change by another actor; plan again after this time even without one.
    Wait(Duration),
    /// Choose a node, reserve space there, and create the LogicalVolume.
    Place {
        /// Minimum size.
        size: Bytes,
    },
    /// Report if no node has enough space, while the scheduler has selected none.
    ///
    /// The scheduler selects no node whose published capacity is too small.
    DryRunPlacement {
        /// Minimum size.
        size: Bytes,
    },
    /// Remove the node that the scheduler selected, since the claim can't be served.
    ///
    /// The scheduler then stops waiting for a volume and reports on the pod that provisioning
    /// failed.
    Deselect,
    /// Create the PersistentVolume.
    Publish(UnpublishedVolume),
    /// Request the removal of a volume that was never used: its claim is gone and there is no
    /// PersistentVolume. Verify both with the API server first.
    DeleteUnclaimed,
    /// Request the removal of a volume that was never used, since its node can't create it, and
    /// place it again.
    CancelPlacement,
    /// Delete the LogicalVolume: its node is gone and never created the volume. Verify both with
    /// the API server first.
    DiscardUncreated,
    /// Request the removal of the volume: its PersistentVolume is released. Verify that with the
    /// API server first.
    RequestDeletion,
    /// Keep the volume: its PersistentVolume is not released, or no longer.
    CancelDeletion,
    /// Delete the LogicalVolume: its logical volume is removed.
    FinalizeDeletion,
    /// Delete the PersistentVolume: logical volume and LogicalVolume are removed.
    Unpublish,
    /// Write the claim to which the PersistentVolume is bound into the LogicalVolume.
    SetCurrentClaim(ClaimReference),
    /// Write into the LogicalVolume whether the claim of a retained volume was deleted.
    SetReleased(bool),
    /// Write the PersistentVolume's changed reclaim policy into the LogicalVolume.
    SetReclaimPolicy(ReclaimPolicy),
    /// Add (true) or remove (false) the PersistentVolume's finalizer.
    SetFinalizer(bool),
    /// Restore the LogicalVolume's label, by which its agent finds it.
    Label,
    /// Reserve the space for growth to this size, and write it into the LogicalVolume; with the
    /// current size, only the space of its thin pool.
    Grow(Bytes),
    /// Lower the PersistentVolume's capacity to this size, so that pods start although the volume
    /// can't grow yet.
    LimitCapacity(Bytes),
    /// Make the kubelet grow the file system to the claim's request, since the logical volume is
    /// large enough.
    CompleteGrowth {
        /// The request.
        request: Bytes,
    },
    /// Write into the LogicalVolume since when its node is lost, or that it is not.
    SetNodeLost(Option<Time>),
    /// Record that the volume is abandoned: its node is lost, and the grace period is over. Verify
    /// the loss with the API server first.
    Abandon,
    /// Keep an abandoned volume: its node is back before the claim was deleted, or another claim is
    /// bound to its PersistentVolume.
    CancelAbandonment(Option<ClaimReference>),
    /// Delete the claim of an abandoned volume. Verify with the API server first that it is the
    /// volume's.
    ReleaseClaim,
    /// Delete the released PersistentVolume of an abandoned volume, whose LogicalVolume stays.
    /// Verify with the API server first that it is released.
    UnpublishAbandoned,
    /// End a LogicalVolume that an admin has deleted and that has no agent any more. Verify that
    /// with the API server first.
    EndWithoutAgent,
}

/// A step, and the Event about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The step.
    pub step: Step,
    /// The Event to write.
    pub notice: Option<Notice>,
}

impl From<Step> for Plan {
    fn from(step: Step) -> Self {
        Self { step, notice: None }
    }
}

impl Step {
    pub(super) fn with_notice(self, notice: Notice) -> Plan {
        Plan {
            step: self,
            notice: Some(notice),
        }
    }
}
