//! Parses a file system's superblock from the first bytes of a device.
//!
//! Enough to mount it, and to decide whether it needs a check and whether it can grow, without
//! running a program. Never proves that a device is blank. Pure, but for [`read`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::fs::Filesystem;
use crate::little_endian::{u32_le, u64_le};
use crate::units::Bytes;

/// Number of bytes from a device's start that [`parse`] requires.
pub const LENGTH: usize = BTRFS + 4096;

/// Offset of btrfs's first superblock.
const BTRFS: usize = 64 << 10;

/// A file system, and how much of its device it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Its type.
    pub fs: Filesystem,
    /// Bytes from the device's start to the file system's end.
    pub size: Bytes,
    /// Bytes of `size` that statfs(2) does not count: the log of an XFS.
    pub excluded: Bytes,
    /// Whether it was mounted writable before. A hint in one direction only: a short mount may
    /// leave no trace.
    pub used: bool,
    /// Whether it must be checked before it is mounted: it has recorded errors, or was interrupted
    /// in a change and has no journal to recover from.
    pub unchecked: bool,
    /// UUID of the file system; a copy of the device has the same one.
    pub uuid: [u8; 16],
}

/// Reads the file system on a device, if its first bytes are unambiguous.
///
/// # Errors
/// When they can't be read.
pub fn read(device: &File) -> io::Result<Option<Superblock>> {
    let mut start = vec![0; LENGTH];
    device.read_exact_at(&mut start, 0).map(|()| parse(&start))
}

/// Parses the first bytes of a device, if they are unambiguous.
///
/// Anything unusual is left to blkid.
#[must_use]
pub fn parse(start: &[u8]) -> Option<Superblock> {
    match (has_ext(start), has_xfs(start)) {
        (true, false) => parse_ext4(start.get(1024..)?),
        (false, true) => parse_xfs(start),
        // mkfs.btrfs clears the first 2 MiB, so an older btrfs superblock next to either of the
        // others is a remnant.
        (false, false) if has_btrfs(start) => parse_btrfs(start.get(BTRFS..)?),
        // No known magic; or two, of which only one is current.
        (false, false) | (true, true) => None,
    }
}

/// Returns whether any magic that [`parse`] recognizes is present, even if the rest is damaged.
#[must_use]
pub fn has_magic(start: &[u8]) -> bool {
    has_ext(start) || has_xfs(start) || has_btrfs(start)
}

fn has_ext(start: &[u8]) -> bool {
    start.get(1024 + 0x38..1024 + 0x3a) == Some(&[0x53, 0xef])
}

fn has_xfs(start: &[u8]) -> bool {
    start.starts_with(b"XFSB")
}

fn has_btrfs(start: &[u8]) -> bool {
    start.get(BTRFS + 0x40..BTRFS + 0x48) == Some(b"_BHRfS_M")
}

/// Offsets and feature bits: `struct ext4_super_block` in Linux' `fs/ext4/ext4.h`.
fn parse_ext4(block: &[u8]) -> Option<Superblock> {
    const JOURNAL_DEVICE: u32 = 0x8;
    const BIG_NUMBERS: u32 = 0x80;
    // Features of ext2 and ext3: file types, recovery, meta_bg; sparse superblocks, large files,
    // B-trees.
    const OLD_INCOMPATIBLE: u32 = 0x2 | 0x4 | 0x10;
    const OLD_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
    // With a journal, `VALID` stays set while it is mounted.
    const VALID: u32 = 0x1;
    const ERROR: u32 = 0x2;
    let incompatible = u32_le(block, 0x60)?;
    let read_only = u32_le(block, 0x64)?;
    let newer = incompatible & !OLD_INCOMPATIBLE != 0 || read_only & !OLD_READ_ONLY != 0;
    if !newer || incompatible & JOURNAL_DEVICE != 0 {
        return None;
    }
    let high = if incompatible & BIG_NUMBERS == 0 {
        0
    } else {
        u32_le(block, 0x150)?
    };
    let blocks = u64::from(high) << 32 | u64::from(u32_le(block, 0x4)?);
    let block_size = 1024_u64
        .checked_shl(u32_le(block, 0x18)?)
        .filter(|size| (1024..=65536).contains(size))?;
    let last_mount = u32_le(block, 0x2c)?;
    let mounts = u32_le(block, 0x34)? & 0xffff;
    let state = u32_le(block, 0x38)? >> 16;
    Some(Superblock {
        fs: Filesystem::Ext4,
        size: Bytes(blocks.checked_mul(block_size)?),
        excluded: Bytes(0),
        used: last_mount != 0 || mounts != 0,
        unchecked: state & (VALID | ERROR) != VALID,
        uuid: *block.get(0x68..)?.first_chunk()?,
    })
}

/// Offsets: `struct xfs_dsb` in Linux' `fs/xfs/libxfs/xfs_format.h`.
fn parse_xfs(block: &[u8]) -> Option<Superblock> {
    let block_size = u32::from_be_bytes(*block.get(4..)?.first_chunk()?);
    let blocks = u64::from_be_bytes(*block.get(8..)?.first_chunk()?);
    if !(512..=65536).contains(&block_size) {
        return None;
    }
    // Zero if the log is on another device.
    let log_begin = u64::from_be_bytes(*block.get(0x30..)?.first_chunk()?);
    let log_blocks = if log_begin == 0 {
        0
    } else {
        u32::from_be_bytes(*block.get(0x60..)?.first_chunk()?)
    };
    // Log sequence number of the last superblock write; zero after mkfs.
    let log_position = u64::from_be_bytes(*block.get(0xf0..)?.first_chunk()?);
    Some(Superblock {
        fs: Filesystem::Xfs,
        size: Bytes(blocks.checked_mul(u64::from(block_size))?),
        excluded: Bytes(u64::from(log_blocks) * u64::from(block_size)),
        used: log_position != 0,
        unchecked: false,
        uuid: *block.get(0x20..)?.first_chunk()?,
    })
}

/// Offsets: `struct btrfs_super_block` in Linux' `include/uapi/linux/btrfs_tree.h`.
///
/// Rejects a btrfs on several devices: each has only a part of the data.
fn parse_btrfs(block: &[u8]) -> Option<Superblock> {
    let devices = u64_le(block, 0x88)?;
    // Generation of the last check of the uuid tree, which each mount does; zero after mkfs.
    let uuid_tree_generation = u64_le(block, 0x233)?;
    if devices != 1 {
        return None;
    }
    Some(Superblock {
        fs: Filesystem::Btrfs,
        size: Bytes(u64_le(block, 0x70)?),
        excluded: Bytes(0),
        used: uuid_tree_generation != 0,
        unchecked: false,
        uuid: *block.get(0x20..)?.first_chunk()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{BTRFS, LENGTH, has_magic, parse};
    use crate::fs::Filesystem;
    use proptest::prelude::*;

    fn ext(incompatible: u32, read_only: u32) -> Vec<u8> {
        let mut start = vec![0; LENGTH];
        let mut put = |at: usize, bytes: &[u8]| {
            start[1024 + at..1024 + at + bytes.len()].copy_from_slice(bytes);
        };
        put(0x04, &25_u32.to_le_bytes());
        put(0x18, &2_u32.to_le_bytes());
        put(0x38, &[0x53, 0xef, 1, 0]);
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

    fn btrfs(devices: u8) -> Vec<u8> {
        let mut start = vec![0; LENGTH];
        start[BTRFS + 0x40..BTRFS + 0x48].copy_from_slice(b"_BHRfS_M");
        start[BTRFS + 0x70..BTRFS + 0x78].copy_from_slice(&5_000_000_u64.to_le_bytes());
        start[BTRFS + 0x88] = devices;
        start
    }

    #[test]
    fn parse_reads_type_and_size() {
        let read = |start: &[u8]| {
            parse(start).map(|found| (found.fs, found.size.0, found.used, found.unchecked))
        };
        assert_eq!(
            read(&ext(0x40, 0)),
            Some((Filesystem::Ext4, 25 * 4096, false, false)),
            "extents, small numbers"
        );
        let size = (25 + (1 << 32)) * 4096;
        assert_eq!(
            read(&ext(0xc2, 0)),
            Some((Filesystem::Ext4, size, false, false)),
            "64bit"
        );
        assert_eq!(
            read(&xfs()),
            Some((Filesystem::Xfs, 4_096_000, false, false))
        );
        assert_eq!(
            read(&btrfs(1)),
            Some((Filesystem::Btrfs, 5_000_000, false, false))
        );
    }

    #[test]
    fn parse_excludes_internal_xfs_log() {
        let mut start = xfs();
        start[0x60..0x64].copy_from_slice(&7_u32.to_be_bytes());
        assert_eq!(parse(&start).unwrap().excluded.0, 0, "on another device");
        start[0x37] = 1;
        assert_eq!(parse(&start).unwrap().excluded.0, 7 * 4096);
    }

    #[test]
    fn parse_detects_earlier_mount() {
        let traces = [
            (ext(0x40, 0), 1024 + 0x2c),
            (ext(0x40, 0), 1024 + 0x34),
            (xfs(), 0xf7),
            (btrfs(1), BTRFS + 0x233),
        ];
        for (mut start, at) in traces {
            start[at] = 1;
            assert!(parse(&start).unwrap().used, "{at}");
        }
    }

    #[test]
    fn parse_detects_ext4_that_requires_check() {
        for (state, unchecked) in [(0, true), (1, false), (2, true), (3, true), (5, false)] {
            let mut start = ext(0x40, 0);
            start[1024 + 0x3a] = state;
            assert_eq!(parse(&start).unwrap().unchecked, unchecked, "{state}");
        }
    }

    #[test]
    fn parse_reads_uuid() {
        for (mut start, at) in [
            (ext(0x40, 0), 1024 + 0x68),
            (xfs(), 0x20),
            (btrfs(1), BTRFS + 0x20),
        ] {
            let uuid: Vec<u8> = (1..=16).collect();
            start[at..at + 16].copy_from_slice(&uuid);
            assert_eq!(parse(&start).unwrap().uuid.to_vec(), uuid);
        }
    }

    #[test]
    fn parse_returns_none_for_unusual_superblocks() {
        assert_eq!(parse(&ext(0x6, 0x3)), None, "ext3");
        assert_eq!(parse(&ext(0x48, 0)), None, "an external journal");
        let mut both = ext(0x40, 0);
        both[..4].copy_from_slice(b"XFSB");
        assert_eq!(parse(&both), None, "traces of both");
        let mut older = btrfs(1);
        older[..LENGTH - 4096].copy_from_slice(&ext(0x40, 0)[..LENGTH - 4096]);
        assert_eq!(
            parse(&older).unwrap().fs,
            Filesystem::Ext4,
            "made where a btrfs was"
        );
        assert_eq!(parse(&btrfs(2)), None, "a part of a btrfs");
        assert!(
            has_magic(&both) && has_magic(&ext(0, 0)) && has_magic(&xfs()) && has_magic(&btrfs(7))
        );
        assert_eq!(parse(&vec![0; LENGTH]), None);
        assert!(!has_magic(&vec![0; LENGTH]) && !has_magic(&[]));
    }

    proptest! {
        #[test]
        fn parse_never_panics(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..4096),
            kind in 0..4,
        ) {
            if kind == 1 && bytes.len() > 4 { bytes[..4].copy_from_slice(b"XFSB"); }
            if kind == 2 && bytes.len() > 2000 { bytes[1080..1082].copy_from_slice(&[0x53, 0xef]); }
            if kind == 3 {
                if bytes.len() > 0x48 { bytes[0x40..0x48].copy_from_slice(b"_BHRfS_M"); }
                bytes.splice(..0, vec![0; BTRFS]);
            }
            let _ = parse(&bytes);
        }
    }
}
