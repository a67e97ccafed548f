//! Whether a file system is checked before it is mounted, and the check. Called by `prepare`.

use std::time::Duration;

use host::{Device, Error, Kind, filesystem};

use crate::node::Node;

/// How long a check may take. The kubelet's patience for a pod's volumes is two minutes.
const TIME: Duration = Duration::from_secs(90);

/// When a file system is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsck {
    /// When its superblock asks for it.
    #[default]
    Auto,
    /// Never: it is mounted as it is, if the kernel does so.
    Never,
}

impl Fsck {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Auto, Self::Never];

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fsck| fsck.name() == name)
    }

    /// Its name, as classes and volumes spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Never => "never",
        }
    }
}

/// Whether the device is mounted, or a program works on it.
///
/// # Errors
/// When nobody can tell.
pub(crate) fn is_claimed(device: &Device) -> Result<bool, Error> {
    match device.claim() {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == Kind::Busy => Ok(true),
        Err(error) => Err(error),
    }
}

/// Checks the ext4 on this device, unless it is mounted already: then what could be checked is gone, and another mount of
/// it changes nothing.
///
/// # Errors
/// When it is not sound afterwards: what to do is said.
pub(crate) fn check(node: &Node<'_>, device: &Device) -> Result<(), Error> {
    // e2fsck claims it for itself.
    if is_claimed(device)? {
        return Ok(());
    }
    filesystem::check(node, &device.path(), &device.mapper_path(), TIME)?;
    if device.superblock()?.is_none_or(|superblock| superblock.unchecked) {
        let detail = format!("success, and {} still asks for a check", device.mapper_path().display());
        return Err(Error::Answer { program: "e2fsck".to_owned(), detail });
    }
    Ok(())
}
