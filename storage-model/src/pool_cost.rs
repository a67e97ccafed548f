//! The extents that a thin pool allocates from its volume group. Pure.
//!
//! Sizes are computed here and passed to LVM, so that nothing depends on its configuration.

use crate::error::LayoutError;
use crate::units::{Bytes, Extents};

/// Smallest chunk size in bytes; all chunk sizes are multiples of it.
const MIN_CHUNK: u64 = 64 << 10;

/// Largest chunk size in bytes; larger chunks waste too much on small files.
const MAX_CHUNK: u64 = 4 << 20;

/// Target for the metadata size in bytes, LVM's own: chunks grow until the metadata fit.
const METADATA_TARGET: u64 = 128 << 20;

/// Metadata bytes per chunk.
const METADATA_OF_CHUNK: u64 = 64;

/// Smallest metadata size in bytes; LVM's own minimum is half of it.
const MIN_METADATA: u64 = 4 << 20;

/// Largest metadata size in bytes that the kernel uses.
const MAX_METADATA: u64 = 16_192 << 20;

/// The extents that a thin pool allocates. FlexLVM creates no spare metadata volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolCost {
    /// Extents of its data.
    pub data: Extents,
    /// Extents of its metadata.
    pub metadata: Extents,
}

impl PoolCost {
    /// Computes the extents of a pool of at least `data` bytes, with extents of `extent` bytes.
    ///
    /// Without a `metadata` size, the metadata suffice for a mapping of every chunk.
    ///
    /// # Errors
    /// When LVM can't create it.
    pub fn new(data: Bytes, metadata: Option<Bytes>, extent: Bytes) -> Result<Self, LayoutError> {
        if extent.0 < MIN_CHUNK {
            let message = format!(
                "its extent size of {extent} is too small for a thin pool; the limit is {MIN_CHUNK} bytes"
            );
            return Err(LayoutError(message));
        }
        let needed = data
            .0
            .div_ceil(chunk(data, extent).0)
            .saturating_mul(METADATA_OF_CHUNK);
        let metadata = metadata
            .map_or(needed, |metadata| metadata.0)
            .clamp(MIN_METADATA, MAX_METADATA);
        let cost = Self {
            data: data.extents_up(extent),
            metadata: Bytes(metadata).extents_up(extent),
        };
        if cost.total().0 > u64::from(u32::MAX) {
            let message =
                format!("{data} exceed the number of extents of {extent} that LVM can count");
            return Err(LayoutError(message));
        }
        Ok(cost)
    }

    /// Returns the extents of data and metadata.
    #[must_use]
    pub fn total(self) -> Extents {
        Extents(self.data.0.saturating_add(self.metadata.0))
    }
}

/// Returns the chunk size of a pool that may grow to `most` bytes: a power of two, no larger than
/// an extent.
#[must_use]
pub fn chunk(most: Bytes, extent: Bytes) -> Bytes {
    let fits =
        |chunk: &u64| most.0.div_ceil(*chunk).saturating_mul(METADATA_OF_CHUNK) <= METADATA_TARGET;
    let chunks = std::iter::successors(Some(MIN_CHUNK), |chunk| {
        chunk
            .checked_mul(2)
            .filter(|next| *next <= MAX_CHUNK.min(extent.0))
    });
    let last = chunks.clone().last().unwrap_or(MIN_CHUNK);
    Bytes(chunks.into_iter().find(fits).unwrap_or(last))
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Extents, PoolCost, chunk};
    use proptest::prelude::*;

    const EXTENT: Bytes = Bytes(4 << 20);

    #[test]
    fn metadata_suffice_for_every_chunk() {
        let of = |gibibytes: u64| {
            let data = Bytes(gibibytes << 30);
            (
                chunk(data, EXTENT).0 >> 10,
                PoolCost::new(data, None, EXTENT).unwrap().metadata.0,
            )
        };
        assert_eq!(of(1), (64, 1));
        assert_eq!(of(100), (64, 25));
        assert_eq!(of(1024), (512, 32));
        assert_eq!(of(100 << 10), (4096, 400));
        let small = PoolCost::new(Bytes(1), Some(Bytes(1)), EXTENT).unwrap();
        assert_eq!(
            small,
            PoolCost {
                data: Extents(1),
                metadata: Extents(1)
            }
        );
        assert!(PoolCost::new(Bytes(1 << 30), None, Bytes(4 << 10)).is_err());
    }

    proptest! {
        #[test]
        fn cost_is_monotonic(data in 1..1_u64 << 46, more in 0..1_u64 << 40, shift in 16..24_u32) {
            let extent = Bytes(1 << shift);
            let cost = PoolCost::new(Bytes(data), None, extent);
            let larger = PoolCost::new(Bytes(data + more), None, extent);
            if let (Ok(cost), Ok(larger)) = (cost, larger) {
                prop_assert!(cost.data.bytes(extent).0 >= data && cost.data <= larger.data);
                prop_assert!(chunk(Bytes(data), extent).0 <= extent.0.max(64 << 10));
            }
        }
    }
}
