//! The number of a device.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

/// Major and minor number of a device, as the kernel writes them: `254:3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevNum {
    /// Identifies the kernel's driver; 0 for file systems without a device of their own.
    pub major: u32,
    /// Identifies the device among those of its driver.
    pub minor: u32,
}

impl DevNum {
    /// The number with these parts.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Returns the number of the block device that this metadata describes; `None` for other files.
    #[must_use]
    pub fn from_block_device(meta: &Metadata) -> Option<Self> {
        meta.file_type()
            .is_block_device()
            .then(|| Self::from_raw(meta.rdev()))
    }

    /// Splits the kernel's `dev_t`.
    #[must_use]
    pub fn from_raw(raw: u64) -> Self {
        Self::new(rustix::fs::major(raw), rustix::fs::minor(raw))
    }

    /// Returns the kernel's `dev_t`.
    #[must_use]
    pub fn to_raw(self) -> u64 {
        rustix::fs::makedev(self.major, self.minor)
    }

    /// Parses the kernel's form, `254:3`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once(':')?;
        Some(Self::new(major.parse().ok()?, minor.parse().ok()?))
    }

    /// Returns whether it stands for no device: btrfs, tmpfs and others number their mounts so.
    #[must_use]
    pub fn is_anonymous(self) -> bool {
        self.major == 0
    }
}

impl fmt::Display for DevNum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::DevNum;

    #[test]
    fn kernel_form_is_parsed_and_written() {
        let number = DevNum::new(254, 3);
        assert_eq!(DevNum::parse("254:3"), Some(number));
        assert_eq!(number.to_string(), "254:3");
        for invalid in ["", "254", "254:", ":3", "a:3", "254:3:1", "-1:3"] {
            assert_eq!(DevNum::parse(invalid), None, "{invalid:?}");
        }
    }

    #[test]
    fn only_numbers_without_a_driver_are_anonymous() {
        assert!(DevNum::new(0, 45).is_anonymous());
        assert!(!DevNum::new(254, 0).is_anonymous());
    }
}
