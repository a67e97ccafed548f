//! Reads little-endian numbers from a block of a device. Pure.

/// Returns the number in the four bytes at `at`; `None` beyond the block.
pub(crate) fn u32_le(block: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*block.get(at..)?.first_chunk()?))
}

/// Returns the number in the eight bytes at `at`; `None` beyond the block.
pub(crate) fn u64_le(block: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*block.get(at..)?.first_chunk()?))
}
