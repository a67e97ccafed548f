//! What the first bytes of a device say of its file system: enough to mount it and to see whether it can grow, without
//! running a program. It never proves that a device is blank. Called by the driver and by `filesystem`.
//! Pure.

use crate::filesystem::Filesystem;
use crate::size::Bytes;

/// How many bytes from a device's begin [`parse`] wants.
pub const LENGTH: usize = 4096;

/// A file system, and how much of its device it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Its type.
    pub fs: Filesystem,
    /// From the device's begin to the file system's end.
    pub size: Bytes,
    /// Whether it shows that it was mounted writable. A hint one way only: a short mount may leave no trace.
    pub used: bool,
}

/// The file system that these first bytes of a device belong to, if that is beyond doubt: anything unusual is for blkid
/// to judge.
#[must_use]
pub fn parse(start: &[u8]) -> Option<Superblock> {
    let ext = start.get(1024 + 0x38..1024 + 0x3a)? == [0x53, 0xef];
    let xfs = start.starts_with(b"XFSB");
    match (ext, xfs) {
        (true, false) => ext4(start.get(1024..)?),
        (false, true) => parse_xfs(start),
        // Nothing known; or traces of two, of which only one is alive.
        (false, false) | (true, true) => None,
    }
}

/// Whether any magic that [`parse`] knows is there, however damaged the rest.
#[must_use]
pub fn has_magic(start: &[u8]) -> bool {
    start.starts_with(b"XFSB") || start.get(1024 + 0x38..1024 + 0x3a) == Some(&[0x53, 0xef])
}

/// Offsets and feature bits: `struct ext4_super_block` in Linux' `fs/ext4/ext4.h`.
fn ext4(block: &[u8]) -> Option<Superblock> {
    const JOURNAL_DEVICE: u32 = 0x8;
    const BIG_NUMBERS: u32 = 0x80;
    // What ext2 and ext3 know too: file types, recovery, meta_bg; sparse superblocks, large files, B-trees.
    const OLD_INCOMPATIBLE: u32 = 0x2 | 0x4 | 0x10;
    const OLD_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
    let (incompatible, read_only) = (little(block, 0x60)?, little(block, 0x64)?);
    let newer = incompatible & !OLD_INCOMPATIBLE != 0 || read_only & !OLD_READ_ONLY != 0;
    if !newer || incompatible & JOURNAL_DEVICE != 0 {
        return None;
    }
    let high = if incompatible & BIG_NUMBERS == 0 { 0 } else { little(block, 0x150)? };
    let blocks = u64::from(high) << 32 | u64::from(little(block, 0x4)?);
    let block_size = 1024_u64.checked_shl(little(block, 0x18)?).filter(|size| (1024..=65536).contains(size))?;
    let (last_mount, mounts) = (little(block, 0x2c)?, little(block, 0x34)? & 0xffff);
    let size = Bytes(blocks.checked_mul(block_size)?);
    Some(Superblock { fs: Filesystem::Ext4, size, used: last_mount != 0 || mounts != 0 })
}

/// Offsets: `struct xfs_dsb` in Linux' `fs/xfs/libxfs/xfs_format.h`.
fn parse_xfs(block: &[u8]) -> Option<Superblock> {
    let block_size = u32::from_be_bytes(*block.get(4..)?.first_chunk()?);
    let blocks = u64::from_be_bytes(*block.get(8..)?.first_chunk()?);
    if !(512..=65536).contains(&block_size) {
        return None;
    }
    // The position in the log that the superblock was last written from; mkfs leaves zero.
    let log_position = u64::from_be_bytes(*block.get(0xf0..)?.first_chunk()?);
    let size = Bytes(blocks.checked_mul(u64::from(block_size))?);
    Some(Superblock { fs: Filesystem::Xfs, size, used: log_position != 0 })
}

fn little(block: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*block.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::{LENGTH, Superblock, has_magic, parse};
    use crate::filesystem::Filesystem;
    use crate::size::Bytes;
    use proptest::prelude::*;

    fn ext(incompatible: u32, read_only: u32) -> Vec<u8> {
        let mut start = vec![0; LENGTH];
        let mut put = |at: usize, bytes: &[u8]| start[1024 + at..1024 + at + bytes.len()].copy_from_slice(bytes);
        put(0x04, &25_u32.to_le_bytes());
        put(0x18, &2_u32.to_le_bytes());
        put(0x38, &[0x53, 0xef]);
        put(0x60, &incompatible.to_le_bytes());
        put(0x64, &read_only.to_le_bytes());
        put(0x150, &1_u32.to_le_bytes());
        start
    }

    fn xfs() -> Vec<u8> {
        let mut start = vec![0; LENGTH];
        start[..4].copy_from_slice(b"XFSB");
        start[4..8].copy_from_slice(&4096_u32.to_be_bytes());
        start[8..16].copy_from_slice(&1000_u64.to_be_bytes());
        start
    }

    #[test]
    fn sizes_are_read() {
        let ext4 = |size| Some(Superblock { fs: Filesystem::Ext4, size: Bytes(size), used: false });
        assert_eq!(parse(&ext(0x40, 0)), ext4(25 * 4096), "extents, small numbers");
        assert_eq!(parse(&ext(0xc2, 0)), ext4((25 + (1 << 32)) * 4096), "64bit");
        let expected = Superblock { fs: Filesystem::Xfs, size: Bytes(4_096_000), used: false };
        assert_eq!(parse(&xfs()), Some(expected));
    }

    #[test]
    fn a_mount_leaves_traces() {
        for (mut start, at) in [(ext(0x40, 0), 1024 + 0x2c), (ext(0x40, 0), 1024 + 0x34), (xfs(), 0xf7)] {
            start[at] = 1;
            assert!(parse(&start).unwrap().used, "{at}");
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_blkid() {
        assert_eq!(parse(&ext(0x6, 0x3)), None, "ext3");
        assert_eq!(parse(&ext(0x48, 0)), None, "an external journal");
        let mut both = ext(0x40, 0);
        both[..4].copy_from_slice(b"XFSB");
        assert_eq!(parse(&both), None, "traces of both");
        assert!(has_magic(&both) && has_magic(&ext(0, 0)) && has_magic(&xfs()));
        assert_eq!(parse(&[0; LENGTH]), None);
        assert!(!has_magic(&[0; LENGTH]) && !has_magic(&[]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut start in proptest::collection::vec(any::<u8>(), 0..LENGTH), kind in 0..3) {
            if kind == 1 && start.len() > 4 { start[..4].copy_from_slice(b"XFSB"); }
            if kind == 2 && start.len() > 2000 { start[1080..1082].copy_from_slice(&[0x53, 0xef]); }
            let _ = parse(&start);
        }
    }
}
