//! Every name in Kubernetes' API that FlexLVM reads or writes and did not define in its own
//! resources.

pub use placement::filter::HOSTNAME_LABEL;

/// Annotation of a claim: the provisioner that is to serve it. Set by the PersistentVolume
/// controller.
pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";

/// The same annotation before Kubernetes 1.23.
pub const STORAGE_PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";

/// Annotation of a claim: the name of the node that the scheduler chose for its first pod.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Annotation of a PersistentVolume: who made it. Without it the PersistentVolume controller calls
/// the volume failed once it is released
/// (`pkg/controller/volume/persistentvolume/pv_controller.go`, `findDeletablePlugin`).
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// Finalizer of a PersistentVolume whose storage its provisioner has still to remove.
pub const PROVISIONER_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// Label of objects that a program writes and keeps: which program.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Annotation of a static pod: the hash of its file, by which the kubelet names its folders.
pub const STATIC_POD_HASH: &str = "kubernetes.io/config.hash";

/// Annotation of the object that stands for a static pod in the API: that hash again.
pub const STATIC_POD_MIRROR: &str = "kubernetes.io/config.mirror";

/// Field manager of everything that the controller applies; the names of its Deployment and
/// ClusterRole.
pub const CONTROLLER: &str = "flexlvm-controller";

/// Field manager of everything that an agent applies.
pub const AGENT: &str = "flexlvm-agent";

/// Reasons of Events: upstream's own words, so that people and tools find what they know.
pub mod event {
    /// A volume was made for the claim.
    pub const PROVISIONING_SUCCEEDED: &str = "ProvisioningSucceeded";
    /// The claim can't be served, for now or as it is; the message says which.
    pub const PROVISIONING_FAILED: &str = "ProvisioningFailed";
    /// The claim's volume can't grow.
    pub const VOLUME_RESIZE_FAILED: &str = "VolumeResizeFailed";
    /// The claim's volume is in trouble on its node.
    pub const VOLUME_NOT_READY: &str = "VolumeNotReady";
    /// The released volume can't be removed.
    pub const VOLUME_FAILED_DELETE: &str = "VolumeFailedDelete";
}
