//! Proves that a device is blank by reading it.
//!
//! If every byte that could belong to a signature is zero, no program has to run.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::block::lv_device::size_of;
use crate::error::Error;
use crate::format_marker::FormatMarkerBlock;
use crate::units::Bytes;

/// Bytes read at a device's start. libblkid's farthest signature there is the second header of
/// LUKS2, at 4 MiB at most.
const START: u64 = (4 << 20) + (64 << 10);
/// Bytes read at a device's end. libblkid's farthest signature there is Promise's RAID, 3087
/// sectors (1.5 MiB) before it.
const END: u64 = 2 << 20;
/// Bytes held in memory at a time.
const CHUNK: u64 = 256 << 10;

/// The result of reading both ends of a device.
pub(super) struct Ends {
    /// Its first bytes.
    pub(super) start: Vec<u8>,
    /// Whether all bytes are zero, apart from the format marker.
    pub(super) zero: bool,
}

/// Returns the bytes at the start and at the end of a device of this size in which libblkid looks
/// for signatures. They don't overlap.
pub(super) fn ranges(size: Bytes) -> [Range<u64>; 2] {
    let start = START.min(size.0);
    [0..start, size.0.saturating_sub(END).max(start)..size.0]
}

/// Reads all regions in which libblkid looks for signatures; a read error is an error.
///
/// A device no larger than both ends is read completely.
pub(super) fn read_ends(
    device: &File,
    path: &Path,
    mark: &FormatMarkerBlock,
) -> Result<Ends, Error> {
    let size = size_of(device).map_err(Error::io("measure", path))?;
    let mut ends = Ends {
        start: Vec::new(),
        zero: true,
    };
    // One buffer for all: each page of a new one costs a page fault.
    let mut chunk = Vec::new();
    for range in ranges(size) {
        let mut at = range.start;
        while at < range.end {
            let length = CHUNK.min(range.end - at);
            read_into(&mut chunk, device, at, length).map_err(Error::io("read", path))?;
            if at == 0 {
                ends.start.clone_from(&chunk);
            }
            mark.mask(&mut chunk, at);
            ends.zero &= are_zero(&chunk);
            at += length;
        }
    }
    Ok(ends)
}

/// Returns whether all bytes are zero. Compares the bytes with their successors, by memcmp(3): several
/// times as fast as a loop.
pub(super) fn are_zero(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == 0 && bytes.get(..rest.len()) == Some(rest),
    }
}

/// The result of reading a device's start.
pub(super) struct Start {
    /// Its first bytes.
    pub(super) bytes: Vec<u8>,
    /// Offset of the first byte that is not zero.
    pub(super) first: Option<u64>,
}

/// Reads a device's start.
///
/// What `pvremove` leaves counts as zeros: LVM's metadata area without the label that refers to it.
/// An interrupted `pvcreate` leaves the same, since it writes the label last.
pub(super) fn read_start(device: &File, path: &Path) -> Result<Start, Error> {
    let size = size_of(device).map_err(Error::io("measure", path))?.0;
    let mut start = Start {
        bytes: Vec::new(),
        first: None,
    };
    let mut unused_lvm_area = 0..0;
    let mut at = 0;
    while at < START.min(size) {
        let chunk = read(device, at, CHUNK.min(size - at)).map_err(Error::io("read", path))?;
        if at == 0 {
            unused_lvm_area = lvm_area(&chunk);
        }
        if start.first.is_none() {
            start.first = (at..)
                .zip(&chunk)
                .find(|(offset, byte)| **byte != 0 && !unused_lvm_area.contains(offset))
                .map(|(offset, _)| offset);
        }
        at += CHUNK;
        if start.bytes.is_empty() {
            start.bytes = chunk;
        }
    }
    Ok(start)
}

/// Returns LVM's metadata area, in bytes, if these first bytes of a device have its header.
///
/// `struct mda_header` in LVM's `lib/format_text`: a checksum, then this magic.
fn lvm_area(start: &[u8]) -> Range<u64> {
    const AT: usize = 4096;
    let magic = start.get(AT + 4..AT + 20) == Some(b" LVM2 x[5A%r0N*>");
    if magic { AT as u64..1 << 20 } else { 0..0 }
}

fn read(device: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::new();
    read_into(&mut chunk, device, at, length).map(|()| chunk)
}

/// Replaces the content of a buffer by `length` bytes of the device.
fn read_into(chunk: &mut Vec<u8>, device: &File, at: u64, length: u64) -> io::Result<()> {
    chunk.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
    device.read_exact_at(chunk, at)
}

#[cfg(test)]
mod tests {
    use super::{END, START, are_zero, read_ends, read_start};
    use crate::format_marker::FormatMarkerBlock;
    use crate::lvm::names::LvUuid;
    use crate::units::Bytes;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    const MIB: u64 = 1 << 20;

    fn mark(size: u64) -> FormatMarkerBlock {
        FormatMarkerBlock::new(
            &LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap(),
            Bytes(size),
        )
        .unwrap()
    }

    fn is_zero(device: &File, mark: &FormatMarkerBlock) -> bool {
        read_ends(device, Path::new("x"), mark).unwrap().zero
    }

    #[test]
    fn are_zero_finds_any_other_byte() {
        assert!(are_zero(&[]) && are_zero(&[0]) && are_zero(&[0; 4096]));
        for at in [0, 1, 63, 64, 4094, 4095] {
            let mut bytes = [0; 4096];
            bytes[at] = 1;
            assert!(!are_zero(&bytes), "{at}");
        }
        assert!(!are_zero(&[7; 4096]) && !are_zero(&[1]));
    }

    #[test]
    fn read_ends_checks_every_byte_except_marker() {
        for size in [
            4 * MIB,
            5 * MIB,
            START,
            START + END,
            START + END + 512,
            64 * MIB,
        ] {
            let device = tempfile::tempfile().unwrap();
            let mark = mark(size);
            device.set_len(size).unwrap();
            assert!(is_zero(&device, &mark), "{size}");
            mark.write_unformatted(&device).unwrap();
            assert!(is_zero(&device, &mark), "{size}");
            let at = mark.filesystem_size().0;
            let other = [
                0,
                1,
                START - 1,
                at - 1,
                at + 4096,
                size - END,
                size - 4096,
                size - 1,
            ];
            for at in other.into_iter().filter(|at| *at < size) {
                device.write_all_at(b"x", at).unwrap();
                assert!(!is_zero(&device, &mark), "{size}: {at}");
                device.write_all_at(b"\0", at).unwrap();
            }
            device.write_all_at(b"x", at + 4000).unwrap();
            assert!(!is_zero(&device, &mark), "{size}: a torn mark is none");
        }
    }

    #[test]
    fn read_start_ignores_only_leftovers_of_pvremove() {
        let device = tempfile::tempfile().unwrap();
        device.set_len(64 * MIB).unwrap();
        let first = || read_start(&device, Path::new("x")).unwrap().first;
        assert_eq!(first(), None);
        for at in [0, 1, 512, 4095, 4096, 262_144, MIB, START - 1] {
            device.write_all_at(b"x", at).unwrap();
            assert_eq!(first(), Some(at));
            device.write_all_at(b"\0", at).unwrap();
        }
        device
            .write_all_at(b"sum! LVM2 x[5A%r0N*>\x01", 4096)
            .unwrap();
        device.write_all_at(b"vg0 {", 300 << 10).unwrap();
        assert_eq!(first(), None);
        for at in [512, 4095, MIB] {
            device.write_all_at(b"L", at).unwrap();
            assert_eq!(first(), Some(at));
            device.write_all_at(b"\0", at).unwrap();
        }
        device.write_all_at(b"X", 4100).unwrap();
        assert_eq!(first(), Some(4096));
    }

    #[test]
    fn read_ends_skips_middle_of_device() {
        let device = tempfile::tempfile().unwrap();
        let mark = mark(64 * MIB);
        device.set_len(64 * MIB).unwrap();
        device.write_all_at(b"x", START).unwrap();
        device.write_all_at(b"x", 64 * MIB - END - 1).unwrap();
        assert!(is_zero(&device, &mark));
    }

    #[test]
    fn read_ends_fails_on_unreadable_device() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 * MIB).unwrap();
        let shut = File::options().write(true).open(file.path()).unwrap();
        assert!(read_ends(&shut, file.path(), &mark(8 * MIB)).is_err());
    }
}
