//! Whether a device positively carries nothing, by reading it: no program is needed where every byte that could hold a
//! signature is zero. Called by [`probe`](super::probe).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::device::size_of;
use crate::error::Error;
use crate::fresh::FreshMark;

/// From a device's begin. libblkid's farthest signature there is the second header of LUKS2, at 4 MiB at most.
const START: u64 = (4 << 20) + (64 << 10);
/// Up to a device's end. libblkid's farthest there is Promise's RAID, 3087 sectors (1.5 MiB) before it.
const END: u64 = 2 << 20;
/// What is held in memory at a time.
const CHUNK: u64 = 256 << 10;

/// What was read of a device.
pub(super) struct Ends {
    /// Its first bytes.
    pub(super) start: Vec<u8>,
    /// Whether all was zero, but for the fresh mark.
    pub(super) zero: bool,
}

/// Reads wherever libblkid looks for signatures, all of it: what can't be read is an error. A device that is not larger
/// than both ends is read as a whole.
pub(super) fn read_ends(device: &File, path: &Path, mark: &FreshMark) -> Result<Ends, Error> {
    let size = size_of(device).map_err(Error::io("measure", path))?.0;
    let mut ends = Ends { start: Vec::new(), zero: true };
    let end = size.saturating_sub(END).max(START.min(size));
    for range in [0..START.min(size), end..size] {
        let mut at = range.start;
        while at < range.end {
            let length = CHUNK.min(range.end - at);
            let mut chunk = read(device, at, length).map_err(Error::io("read", path))?;
            if at == 0 {
                ends.start.clone_from(&chunk);
            }
            mark.blot_out(&mut chunk, at);
            ends.zero &= chunk.iter().all(|&byte| byte == 0);
            at += length;
        }
    }
    Ok(ends)
}

fn read(device: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    device.read_exact_at(&mut chunk, at).map(|()| chunk)
}

#[cfg(test)]
mod tests {
    use super::{END, START, read_ends};
    use crate::fresh::FreshMark;
    use crate::name::LvUuid;
    use crate::size::Bytes;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    const MIB: u64 = 1 << 20;

    fn mark(size: u64) -> FreshMark {
        FreshMark::new(&LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap(), Bytes(size)).unwrap()
    }

    fn is_zero(device: &File, mark: &FreshMark) -> bool {
        read_ends(device, Path::new("x"), mark).unwrap().zero
    }

    #[test]
    fn no_byte_of_either_end_is_passed_over_but_the_marks() {
        for size in [4 * MIB, 5 * MIB, START, START + END, START + END + 512, 64 * MIB] {
            let (device, mark) = (tempfile::tempfile().unwrap(), mark(size));
            device.set_len(size).unwrap();
            assert!(is_zero(&device, &mark), "{size}");
            mark.write_fresh(&device).unwrap();
            assert!(is_zero(&device, &mark), "{size}");
            let at = mark.filesystem_size().0;
            let other = [0, 1, START - 1, at - 1, at + 4096, size - END, size - 4096, size - 1];
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
    fn what_lies_between_is_not_read() {
        let (device, mark) = (tempfile::tempfile().unwrap(), mark(64 * MIB));
        device.set_len(64 * MIB).unwrap();
        device.write_all_at(b"x", START).unwrap();
        device.write_all_at(b"x", 64 * MIB - END - 1).unwrap();
        assert!(is_zero(&device, &mark));
    }

    #[test]
    fn a_device_that_can_not_be_read_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 * MIB).unwrap();
        let shut = File::options().write(true).open(file.path()).unwrap();
        assert!(read_ends(&shut, file.path(), &mark(8 * MIB)).is_err());
    }
}
