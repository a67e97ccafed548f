//! A physical volume that LVM finds on several devices. Pure.

/// A physical volume on several devices: LVM uses one of them, and changes nothing in its volume
/// group, whose volumes work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its disk {used} exists twice, and LVM changes nothing while it finds the copy {copy}, too; exclude the copy (devices file or global_filter in lvm.conf), or wipe it if it is not needed"
)]
pub struct DuplicateDisk {
    /// The device that LVM uses.
    pub used: String,
    /// The other device.
    pub copy: String,
}
