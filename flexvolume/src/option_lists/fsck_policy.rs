//! The volume option that determines when a file system is checked. Pure.

/// When a file system is checked before it is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsck {
    /// When its superblock requests a check.
    #[default]
    Auto,
    /// Never: it is mounted as it is, if the kernel accepts it.
    Never,
}

impl Fsck {
    /// All policies.
    pub const ALL: [Self; 2] = [Self::Auto, Self::Never];

    /// Returns the policy of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fsck| fsck.name() == name)
    }

    /// Returns the name, as StorageClasses and volumes spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Never => "never",
        }
    }
}
