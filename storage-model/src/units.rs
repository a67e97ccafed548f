//! Sizes as types: bytes and extents never mix, and a name states which way a function rounds.
//! Pure.

use std::fmt;
use std::iter::Sum;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A number of extents, LVM's unit of space; the volume group defines the size of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extents(pub u64);

impl Bytes {
    /// Returns the fewest extents that hold this many bytes. `extent_size` is at least one byte.
    #[must_use]
    pub fn extents_up(self, extent_size: Bytes) -> Extents {
        Extents(self.0.div_ceil(extent_size.0.max(1)))
    }

    /// Returns the size of the fewest extents that hold this many bytes.
    #[must_use]
    pub fn round_up(self, extent_size: Bytes) -> Bytes {
        self.extents_up(extent_size).bytes(extent_size)
    }

    /// Adds; saturates at `u64::MAX`.
    #[must_use]
    pub fn saturating_add(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_add(other.0))
    }

    /// Subtracts; saturates at 0.
    #[must_use]
    pub fn saturating_sub(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_sub(other.0))
    }
}

impl Extents {
    /// Returns the bytes of this many extents; saturates at `u64::MAX`.
    #[must_use]
    pub fn bytes(self, extent_size: Bytes) -> Bytes {
        Bytes(self.0.saturating_mul(extent_size.0))
    }
}

impl From<Bytes> for u64 {
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

impl Sum for Bytes {
    /// Adds up; saturates at `u64::MAX`.
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), Self::saturating_add)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Extents};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn extents_up_never_rounds_down(
            bytes in 0..u64::from(u32::MAX) << 12,
            shift in 10..30_u32,
        ) {
            let extent = Bytes(1 << shift);
            let extents = Bytes(bytes).extents_up(extent);
            prop_assert!(extents.bytes(extent).0 >= bytes);
            prop_assert!(extents.0 == 0 || Extents(extents.0 - 1).bytes(extent).0 < bytes);
        }
    }
}
