//! FlexLVM's FlexVolume driver: the call-outs that the kubelet makes, and what the controller has to know of them.

mod allowed;
pub mod mkfs_options;
pub mod mount_options;
pub mod options;

pub use allowed::OptionError;
pub use options::VolumeOptions;

/// The vendor's part of the driver's name.
pub const VENDOR: &str = "flexlvm.dev";
/// The driver's part of its name, and the name of its file.
pub const NAME: &str = "lvm";
/// The driver's name, as PersistentVolumes spell it.
pub const DRIVER: &str = "flexlvm.dev/lvm";
/// The name of the driver's folder in the kubelet's plugin folder, and of its folders among a pod's volumes.
pub const FOLDER: &str = "flexlvm.dev~lvm";
