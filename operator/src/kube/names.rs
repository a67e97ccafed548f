//! Names in Kubernetes' API that FlexLVM reads or writes, apart from those of its own resources.

pub use placement::claim::{SELECTED_NODE, STORAGE_PROVISIONER, STORAGE_PROVISIONER_BETA};
pub use placement::filter::HOSTNAME_LABEL;

/// Annotation of a PersistentVolume: its provisioner.
///
/// Without it the PersistentVolume controller sets the volume to Failed once it is released
/// (`pkg/controller/volume/persistentvolume/pv_controller.go`, `findDeletablePlugin`).
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// Finalizer of a PersistentVolume whose storage its provisioner has not removed yet.
pub const PROVISIONER_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// Label of an object: the program that manages it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Annotation of a static pod: the hash of its manifest, after which the kubelet names its
/// directories.
pub const STATIC_POD_HASH: &str = "kubernetes.io/config.hash";

/// Annotation of a static pod's mirror pod in the API: the same hash.
pub const STATIC_POD_MIRROR: &str = "kubernetes.io/config.mirror";

/// Field manager of the controller; also the name of its Deployment and ClusterRole.
pub const CONTROLLER: &str = "flexlvm-controller";

/// Field manager of the agents.
pub const AGENT: &str = "flexlvm-agent";

/// Reasons of Events: the same as upstream's, so that users and tools recognize them.
pub mod event {
    /// A volume was created for the claim.
    pub const PROVISIONING_SUCCEEDED: &str = "ProvisioningSucceeded";
    /// The claim can't be served, temporarily or at all; the message has the reason.
    pub const PROVISIONING_FAILED: &str = "ProvisioningFailed";
    /// A volume populator has to hand over the claim's volume.
    pub const WAITING_FOR_POPULATOR: &str = "WaitingForPopulator";
    /// The claim's volume can't grow.
    pub const VOLUME_RESIZE_FAILED: &str = "VolumeResizeFailed";
    /// The claim's volume has a fault on its node.
    pub const VOLUME_NOT_READY: &str = "VolumeNotReady";
    /// The claim's volume is not healthy; external-health-monitor's reason for CSI volumes.
    pub const VOLUME_CONDITION_ABNORMAL: &str = "VolumeConditionAbnormal";
    /// The claim's volume is healthy again; external-health-monitor's reason for CSI volumes.
    pub const VOLUME_CONDITION_NORMAL: &str = "VolumeConditionNormal";
    /// A condition of the StorageBackend or NodeStorage is False.
    pub const NOT_READY: &str = "NotReady";
    /// All conditions of the StorageBackend or NodeStorage are True again.
    pub const READY: &str = "Ready";
    /// The logical volume of the Adoption has its PersistentVolume.
    pub const ADOPTED: &str = "Adopted";
    /// The Adoption waits; its condition has the reason.
    pub const ADOPTION_FAILED: &str = "AdoptionFailed";
    /// The node of the claim's volume is lost.
    pub const NODE_LOST: &str = "NodeLost";
    /// The claim was deleted, since the node of its volume is lost.
    pub const CLAIM_RELEASED: &str = "ClaimReleased";
    /// The released volume can't be removed.
    pub const VOLUME_FAILED_DELETE: &str = "VolumeFailedDelete";
}
