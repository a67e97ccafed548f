//! Block devices, identified through `/dev` and `/sys` without running a program.
//!
//! [`dev_num`] is a device's number; [`lv_device`] opens the device of a logical volume and keeps it
//! open; [`resolve`] finds what is at a path of the node, [`stable_path`] a lasting path of each
//! device; [`disk`] opens a device that may become part of a volume group; [`DeviceError`] is why
//! they can't; [`sysfs`] reads what the kernel shows of a device, and [`DeviceState`] is what it
//! shows of a logical volume's; [`mapped`] lists the devices of active logical volumes;
//! [`zero_range`] overwrites a range with zeros. How devices lie on each other is
//! [`stack`](crate::stack)'s topic.

pub mod dev_num;
mod device_error;
mod device_state;
pub mod disk;
pub mod lv_device;
pub mod mapped;
pub mod resolve;
pub mod stable_path;
pub mod sysfs;
pub mod zero_range;

pub use device_error::DeviceError;
pub use device_state::DeviceState;
