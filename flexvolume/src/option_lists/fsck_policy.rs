//! When a file system is checked: an option of a volume.
//! Pure.

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
