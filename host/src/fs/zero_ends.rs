//! Zeroes the ends of a new volume, where a former volume may have left signatures.
//!
//! LVM's wipe, libblkid and the kernel's drivers disagree about what is a signature; all of them
//! agree about zeros. Most new volumes lie on space that reads as zeros, and reading is several times
//! as fast as writing, so only the edges are overwritten in any case.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::blank;
use crate::block::lv_device::size_of;
use crate::block::zero_range::zero_unflushed;
use crate::error::Error;
use crate::format_marker::FormatMarkerBlock;

/// Bytes that are read, and zeroed if necessary, at a time.
const CHUNK: u64 = 64 << 10;

/// Bytes at the very start and end that are overwritten even if they read as zeros: a disk may return
/// zeros for discarded blocks now, and their former content later. What udev and the kernel act on by
/// themselves lies there: partition tables, metadata of md, of firmware RAIDs and of LVM.
const EDGE: u64 = 256 << 10;

/// What the blocks of a volume contain that was never written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewBlocks {
    /// What a former volume left there.
    Undefined,
    /// Zeros: blocks of a thin volume, which occupy space only once they are written.
    Zeros,
    /// Zeros until a neighbor is written, then what a former volume left there: blocks of a thin volume
    /// whose pool does not zero new chunks. A chunk has up to 1 GiB.
    Stale,
}

/// Overwrites all bytes in which [`probe`](super::probe) looks for signatures, including those of
/// the format marker; the zeros are durable when this returns. May be repeated.
///
/// Only for a volume that was created just now, or that is blank and was never provided to a pod.
///
/// # Errors
/// If the device can't be read or written; then any part of its ends may be zeroed.
pub fn zero_ends(
    device: &File,
    path: &Path,
    marker: &FormatMarkerBlock,
    blocks: NewBlocks,
) -> Result<(), Error> {
    zero(device, marker, blocks).map_err(Error::io("zero the ends of", path))
}

fn zero(device: &File, marker: &FormatMarkerBlock, blocks: NewBlocks) -> io::Result<()> {
    let ranges = blank::ranges(size_of(device)?);
    match blocks {
        NewBlocks::Undefined => {
            let [start, end] = &ranges;
            zero_unflushed(device, start.start..start.end.min(EDGE))?;
            if !end.is_empty() {
                zero_unflushed(device, end.end - EDGE..end.end)?;
            }
        }
        // The marker's write allocates a block of the pool, which contains former data if an admin
        // has created the pool without zeroing: so it is allocated before it is examined.
        NewBlocks::Zeros => zero_unflushed(device, marker.range())?,
        // A read shows nothing of a chunk that is not allocated yet, and a later write of the file
        // system would allocate it, and show the rest: both ends are overwritten below.
        NewBlocks::Stale => {}
    }
    for range in ranges {
        if blocks == NewBlocks::Stale && !range.is_empty() {
            zero_unflushed(device, range)?;
        } else {
            zero_written(device, range)?;
        }
    }
    device.sync_data()
}

/// Zeroes what does not read as zeros.
fn zero_written(device: &File, range: Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(CHUNK).map_err(io::Error::other)?];
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at + CHUNK);
        // Only the last chunk is shorter.
        buffer.truncate(usize::try_from(end - at).map_err(io::Error::other)?);
        device.read_exact_at(&mut buffer, at)?;
        if !blank::are_zero(&buffer) {
            zero_unflushed(device, at..end)?;
        }
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{EDGE, NewBlocks, zero_ends};
    use crate::format_marker::{FormatMarker, FormatMarkerBlock};
    use crate::fs::blank::{ranges, read_ends};
    use crate::lvm::names::LvUuid;
    use crate::units::Bytes;
    use proptest::prelude::*;
    use std::fs::File;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    use std::path::Path;

    const MIB: u64 = 1 << 20;

    fn marker(size: u64) -> FormatMarkerBlock {
        let uuid = LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap();
        FormatMarkerBlock::new(&uuid, Bytes(size)).unwrap()
    }

    fn zero(device: &File, size: u64, blocks: NewBlocks) {
        zero_ends(device, Path::new("x"), &marker(size), blocks).unwrap();
    }

    #[test]
    fn zero_ends_zeroes_all_that_a_probe_reads_and_nothing_else() {
        for size in [4 * MIB, 5 * MIB, 6 * MIB + 65536, 8 * MIB, 16 * MIB] {
            for blocks in [NewBlocks::Undefined, NewBlocks::Zeros, NewBlocks::Stale] {
                let device = tempfile::tempfile().unwrap();
                let mut bytes = vec![7; usize::try_from(size).unwrap()];
                device.write_all_at(&bytes, 0).unwrap();
                zero(&device, size, blocks);
                device.read_exact_at(&mut bytes, 0).unwrap();
                let [start, end] = ranges(Bytes(size));
                for (at, byte) in (0..).zip(&bytes) {
                    let is_in_end = start.contains(&at) || end.contains(&at);
                    assert_eq!(*byte == 0, is_in_end, "{size} {blocks:?}: {at}");
                }
                marker(size).write_unformatted(&device).unwrap();
                let ends = read_ends(&device, Path::new("x"), &marker(size)).unwrap();
                assert!(ends.zero, "a probe of it runs no program");
                assert_eq!(
                    marker(size).read(&device).unwrap(),
                    FormatMarker::Unformatted
                );
            }
        }
    }

    #[test]
    fn zero_ends_of_thin_volume_allocates_no_block_but_the_marker() {
        let device = tempfile::tempfile().unwrap();
        device.set_len(64 * MIB).unwrap();
        zero(&device, 64 * MIB, NewBlocks::Zeros);
        assert!(device.metadata().unwrap().blocks() * 512 <= 64 << 10);
    }

    #[test]
    fn zero_ends_writes_all_of_both_ends_if_blocks_may_be_stale() {
        let device = tempfile::tempfile().unwrap();
        device.set_len(64 * MIB).unwrap();
        zero(&device, 64 * MIB, NewBlocks::Stale);
        let [start, end] = ranges(Bytes(64 * MIB));
        let examined = start.end - start.start + (end.end - end.start);
        assert!(device.metadata().unwrap().blocks() * 512 >= examined);
    }

    #[test]
    fn zero_ends_writes_edges_and_no_other_zeros() {
        let device = tempfile::tempfile().unwrap();
        device.set_len(64 * MIB).unwrap();
        zero(&device, 64 * MIB, NewBlocks::Undefined);
        let written = device.metadata().unwrap().blocks() * 512;
        assert!((2 * EDGE..3 * EDGE).contains(&written), "{written}");
    }

    proptest! {
        #[test]
        fn ranges_are_inside_the_device_and_disjoint(size in 0..1_u64 << 50) {
            let [start, end] = ranges(Bytes(size));
            prop_assert_eq!(start.start, 0);
            prop_assert!(start.end <= end.start && end.end == size);
            prop_assert!(size - end.start == 2 * MIB || end.start == start.end);
            if size >= 4 * MIB {
                let marker = marker(size).range();
                let is_in_start = marker.end <= start.end;
                let is_at_edge = marker.start < start.end && start.end == end.start;
                prop_assert!(marker.start >= end.start || is_in_start || is_at_edge);
            }
        }
    }
}
