//! Zeroes the new end of a volume that has grown, where a former volume may have left signatures.
//!
//! File systems leave the last MiB of their device unused
//! ([`filesystem_size`](crate::format_marker::filesystem_size)), so nothing overwrites a signature
//! there. With the superblock of an md array, for example, a reboot would assemble the array, and the
//! volume could neither be mounted nor removed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{Filesystem, NewBlocks, blank};
use crate::block::lv_device::{Device, size_of};
use crate::error::Error;
use crate::format_marker::filesystem_size;
use crate::units::Bytes;

/// Bytes that are read, and overwritten if necessary, at a time. The first is at a multiple of them:
/// no block of a file system shares a page with the zeros.
const CHUNK: u64 = 64 << 10;

/// Overwrites what is not zero among the last 2 MiB of a device, behind its first `used` bytes; the
/// zeros are durable when this returns. May be repeated.
///
/// No file system may grow over the range meanwhile. Writes nothing, and so allocates nothing of a
/// thin volume, where the range reads as zeros; unless the blocks may be [`NewBlocks::Stale`], which
/// only zeros that are written hide.
///
/// # Errors
/// If the device can't be read or written; then any part of the range may be zeroed.
pub fn zero_new_end(
    device: &File,
    path: &Path,
    used: Bytes,
    blocks: NewBlocks,
) -> Result<(), Error> {
    zero(device, used, blocks).map_err(Error::io("zero", path))
}

/// Does the same for the device of a mounted file system that ends at `used`, as it reports.
///
/// Where the kernel refuses writes to devices of mounted file systems, this does nothing: the file
/// system can grow, and leaves the range unused.
///
/// # Errors
/// If the device can't be read or written.
pub fn zero_behind_filesystem(device: &Device, fs: Filesystem, used: Bytes) -> Result<(), Error> {
    let used = unused_from(fs, used, device.size()?);
    match device.open_for_writing() {
        Ok(file) => zero_new_end(&file, &device.mapper_path(), used, NewBlocks::Undefined),
        Err(error) if is_write_refused(&error) => Ok(()),
        Err(error) => Err(Error::io("open for writing", device.mapper_path())(error)),
    }
}

/// Returns where the part of a device begins that the file system does not use for certain.
///
/// An xfs may report less than it uses: its superblock is written some time after growth, and a quota
/// on its root folder limits what statfs(2) reports. But no growth uses the last MiB.
fn unused_from(fs: Filesystem, used: Bytes, device: Bytes) -> Bytes {
    match fs {
        Filesystem::Xfs => used.max(filesystem_size(device)),
        Filesystem::Ext4 | Filesystem::Btrfs => used,
    }
}

/// Returns whether the kernel refuses writes to a device, since it is read-only, or mounted.
#[must_use]
pub fn is_write_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn zero(device: &File, used: Bytes, blocks: NewBlocks) -> io::Result<()> {
    let [_, end] = blank::ranges(size_of(device)?);
    let mut at = end.start.max(used.0).next_multiple_of(CHUNK);
    let mut is_changed = false;
    while at < end.end {
        let next = end.end.min(at + CHUNK);
        let mut chunk = vec![0; usize::try_from(next - at).map_err(io::Error::other)?];
        device.read_exact_at(&mut chunk, at)?;
        if blocks == NewBlocks::Stale || !blank::are_zero(&chunk) {
            chunk.fill(0);
            device.write_all_at(&chunk, at)?;
            is_changed = true;
        }
        at = next;
    }
    if is_changed {
        device.sync_data()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, unused_from};
    use crate::error::Error;
    use crate::fs::{Filesystem, NewBlocks};
    use crate::units::Bytes;
    use std::fs::File;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    use std::path::Path;

    const MIB: u64 = 1 << 20;

    fn zero_new_end(device: &File, used: u64, blocks: NewBlocks) -> Result<(), Error> {
        super::zero_new_end(device, Path::new("x"), Bytes(used), blocks)
    }

    #[test]
    fn only_last_two_mib_behind_used_bytes_are_zeroed() {
        let size = 16 * MIB;
        for (used, from) in [
            (4 * MIB, 14 * MIB),
            (15 * MIB, 15 * MIB),
            (15 * MIB + 1, 15 * MIB + CHUNK),
            (16 * MIB - CHUNK, 16 * MIB - CHUNK),
            (16 * MIB, 16 * MIB),
            (20 * MIB, 16 * MIB),
        ] {
            let device = tempfile::tempfile().unwrap();
            let mut bytes = vec![7; usize::try_from(size).unwrap()];
            device.write_all_at(&bytes, 0).unwrap();
            for _ in 0..2 {
                zero_new_end(&device, used, NewBlocks::Undefined).unwrap();
                device.read_exact_at(&mut bytes, 0).unwrap();
                for (at, byte) in (0..).zip(&bytes) {
                    assert_eq!(*byte == 0, at >= from, "{used}: {at}");
                }
            }
        }
    }

    #[test]
    fn xfs_that_reports_less_than_it_uses_is_not_zeroed() {
        let device = Bytes(64 * MIB);
        for (fs, used, expected) in [
            (Filesystem::Xfs, 32 * MIB, 63 * MIB),
            (Filesystem::Xfs, 64 * MIB, 64 * MIB),
            (Filesystem::Ext4, 32 * MIB, 32 * MIB),
            (Filesystem::Btrfs, 32 * MIB, 32 * MIB),
        ] {
            assert_eq!(
                unused_from(fs, Bytes(used), device),
                Bytes(expected),
                "{fs}"
            );
        }
    }

    #[test]
    fn range_of_zeros_is_written_only_if_blocks_may_be_stale() {
        let device = tempfile::tempfile().unwrap();
        device.set_len(16 * MIB).unwrap();
        zero_new_end(&device, 4 * MIB, NewBlocks::Undefined).unwrap();
        assert_eq!(device.metadata().unwrap().blocks(), 0);
        for (used, written) in [(16, 0), (20, 0), (15, MIB), (4, 2 * MIB)] {
            zero_new_end(&device, used * MIB, NewBlocks::Stale).unwrap();
            assert_eq!(device.metadata().unwrap().blocks() * 512, written, "{used}");
        }
    }

    #[test]
    fn device_that_is_not_writable_is_an_error_only_if_zeros_are_missing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(16 * MIB).unwrap();
        let device = File::open(file.path()).unwrap();
        assert!(zero_new_end(&device, 0, NewBlocks::Undefined).is_ok());
        file.as_file().write_all_at(b"x", 16 * MIB - 1).unwrap();
        assert!(zero_new_end(&device, 0, NewBlocks::Undefined).is_err());
    }
}
