//! The contract between FlexLVM's controller, agent and FlexVolume driver: the driver's names, the
//! folders that the kubelet creates for it, and the options and settings that it reads.
//!
//! In reading order:
//!
//! - [`driver_name`]: the names under which the driver is installed.
//! - [`kubelet_path`]: the kubelet's folders for volumes of a driver.
//! - [`options`]: a volume's options, written by the controller, read by the driver.
//! - [`option_lists`]: the mkfs and mount options that are allowed per file system.
//! - [`settings`]: the driver's settings, written by the agent, read by the driver.
//! - [`load_stamp`]: which driver a kubelet has loaded, written by the driver, read by the agent.
//! - `flat_json`: the JSON of options and settings, one object of strings.

pub mod driver_name;
mod flat_json;
pub mod kubelet_path;
pub mod load_stamp;
pub mod option_lists;
pub mod options;
pub mod settings;

pub use driver_name::{DriverName, DriverNameError};
pub use kubelet_path::VolumeFolder;
pub use load_stamp::LoadStamp;
pub use option_lists::fsck_policy::Fsck;
pub use option_lists::value::OptionError;
pub use options::VolumeOptions;
pub use settings::DriverSettings;

/// The vendor's part of the driver's name.
pub const VENDOR: &str = "flexlvm.dev";
/// The driver's part of its name, and the name of its file.
pub const NAME: &str = "lvm";
/// The driver's name, as PersistentVolumes spell it.
pub const DRIVER: &str = "flexlvm.dev/lvm";
/// The name of the driver's folder in the kubelet's plugin folder, and of its folders among a pod's
/// volumes.
pub const FOLDER: &str = "flexlvm.dev~lvm";
