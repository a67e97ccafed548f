//! The flags of mount(2) that options of a StorageClass can set. Pure.

use std::ops::{BitAnd, BitOr, BitOrAssign};

/// Flags of mount(2), with Linux' values on each system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountFlags(u32);

impl MountFlags {
    /// The file system can't be written.
    pub const RDONLY: Self = Self(1);
    /// Set-user-ID bits have no effect.
    pub const NOSUID: Self = Self(1 << 1);
    /// Device files can't be opened.
    pub const NODEV: Self = Self(1 << 2);
    /// Programs can't be executed.
    pub const NOEXEC: Self = Self(1 << 3);
    /// Each write waits for the disk.
    pub const SYNCHRONOUS: Self = Self(1 << 4);
    /// Each change of a folder waits for the disk.
    pub const DIRSYNC: Self = Self(1 << 7);
    /// Access times are not updated.
    pub const NOATIME: Self = Self(1 << 10);
    /// Access times of folders are not updated.
    pub const NODIRATIME: Self = Self(1 << 11);
    /// A bind mount.
    pub const BIND: Self = Self(1 << 12);
    /// Access times are updated once a day, and after a change.
    pub const RELATIME: Self = Self(1 << 21);
    /// Access times are updated at each access.
    pub const STRICTATIME: Self = Self(1 << 24);
    /// Times are written later.
    pub const LAZYTIME: Self = Self(1 << 25);

    /// Returns no flag.
    #[must_use]
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Returns whether all of these flags are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Returns the argument of mount(2).
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for MountFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for MountFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for MountFlags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
