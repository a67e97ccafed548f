//! Overwrites a range of a device with zeros.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Bytes per write where the device or file system can't zero a range itself.
const CHUNK: usize = 1 << 20;

/// Overwrites the bytes of `range` with zeros; they are durable when this returns.
///
/// `range` is inside the device, and its ends are multiples of the device's block size. Of a
/// thin volume it allocates every block.
///
/// # Errors
/// If a write or the flush fails; then any part of the range may be zeroed.
pub fn zero_range(device: &File, range: Range<u64>) -> io::Result<()> {
    zero_unflushed(device, range)?;
    device.sync_data()
}

/// Overwrites the bytes of `range` with zeros, as [`zero_range`] does; they are durable after the
/// next flush.
///
/// # Errors
/// If a write fails; then any part of the range may be zeroed.
pub(crate) fn zero_unflushed(device: &File, range: Range<u64>) -> io::Result<()> {
    // The kernel passes this on to the disk if that can zero blocks, and writes pages of zeros
    // otherwise; both without filling the page cache.
    let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    match fallocate(device, flags, range.start, range.end - range.start) {
        Err(Errno::OPNOTSUPP) => write_zeros(device, range),
        done => Ok(done?),
    }
}

fn write_zeros(device: &File, range: Range<u64>) -> io::Result<()> {
    let zeros = vec![0; CHUNK];
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(CHUNK);
        let chunk = zeros.get(..left).unwrap_or(&zeros);
        device.write_all_at(chunk, at)?;
        at += chunk.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, write_zeros, zero_range};
    use std::fs::File;
    use std::io;
    use std::ops::Range;
    use std::os::unix::fs::FileExt as _;

    const SIZE: usize = 4 * CHUNK;

    fn assert_zeroes_exactly_the_range(zero: fn(&File, Range<u64>) -> io::Result<()>) {
        let mib = CHUNK as u64;
        let block = 4096;
        for range in [
            0..4 * mib,
            0..block,
            block..mib,
            mib - block..mib + block,
            block..4 * mib,
            2 * mib..2 * mib + block,
        ] {
            let device = tempfile::tempfile().unwrap();
            device.write_all_at(&vec![7; SIZE], 0).unwrap();
            zero(&device, range.clone()).unwrap();
            let mut bytes = vec![1; SIZE];
            device.read_exact_at(&mut bytes, 0).unwrap();
            for (at, byte) in (0..).zip(&bytes) {
                assert_eq!(*byte == 0, range.contains(&at), "{range:?}: {at}");
            }
            assert_eq!(device.metadata().unwrap().len(), 4 * mib);
        }
    }

    #[test]
    fn zero_range_zeroes_exactly_the_range() {
        assert_zeroes_exactly_the_range(zero_range);
    }

    #[test]
    fn write_zeros_zeroes_exactly_the_range() {
        assert_zeroes_exactly_the_range(write_zeros);
    }

    #[test]
    fn zero_range_fails_on_device_opened_for_reading() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        assert!(zero_range(&File::open(file.path()).unwrap(), 0..4096).is_err());
    }
}
