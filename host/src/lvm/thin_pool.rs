//! The state of a thin pool. Pure.

use crate::units::Bytes;

/// Why no volume can be created in a thin pool, with the remedy as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolFault {
    /// The kernel can't use it.
    #[error("it has failed; try lvconvert --repair of pool {pool}")]
    Failed {
        /// Name of the pool.
        pool: String,
    },
    /// No chunk of its data is free.
    #[error("its data space is full and writes fail; extend it with lvextend")]
    DataFull,
    /// The kernel does not write its metadata any more.
    #[error("its metadata are read-only; repair them with lvconvert --repair of pool {pool}")]
    MetadataReadOnly {
        /// Name of the pool.
        pool: String,
    },
}

impl PoolFault {
    /// Returns the fault by health and state of a pool, the ninth and the fifth letter of `lv_attr`
    /// (see lvs(8)). While its metadata need a check, the kernel does not write them.
    pub(super) fn from_attributes(health: char, state: char, pool: &str) -> Option<Self> {
        let pool = pool.to_owned();
        match (health, state) {
            ('F', _) => Some(Self::Failed { pool }),
            ('M', _) | (_, 'c' | 'C') => Some(Self::MetadataReadOnly { pool }),
            ('D', _) => Some(Self::DataFull),
            _ => None,
        }
    }
}

/// Observed state of a thin pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// The size of its metadata in bytes.
    pub metadata: Bytes,
    /// Data usage in percent, rounded up; 0 while it is inactive.
    pub data_used: u32,
    /// Metadata usage in percent, rounded up.
    pub metadata_used: u32,
    /// Why no volume can be created in it; `None` when it is usable.
    pub fault: Option<PoolFault>,
}
