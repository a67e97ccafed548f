//! The format marker: positive proof, on the device itself, that FlexLVM created a logical volume
//! and that it was never used. The agent writes it after creating the volume; the driver makes a
//! file system only where it finds the marker, and then clears it.
//!
//! The marker is 1 MiB before the end that the volume had when it was created. The driver makes
//! file systems that end before the marker, so mkfs can't overwrite it: neither with the copies of
//! ext4's superblock nor with the wipe of the last 128 KiB by mkfs.xfs.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::error::Error;
use crate::lvm::names::LvUuid;
use crate::units::Bytes;

const LENGTH: usize = 4096;
/// Distance in bytes from the end of the volume. mkfs.xfs wipes the last 128 KiB of the device;
/// other programs read and wipe less than 1 MiB.
const FROM_END: u64 = 1 << 20;
/// File systems end at a multiple of this many bytes, which any block size divides.
const ALIGNMENT: u64 = 64 << 10;
/// Minimum volume size in bytes: space for the marker and a file system.
const MIN_SIZE: u64 = 4 << 20;

/// Returns where a file system ends on a volume of this size, in bytes: before the format marker of a
/// new volume, and before the places at the end in which programs look for signatures.
#[must_use]
pub fn filesystem_size(volume: Bytes) -> Bytes {
    Bytes(volume.0.saturating_sub(FROM_END) / ALIGNMENT * ALIGNMENT)
}

/// The state of a volume's format marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatMarker {
    /// No marker: the volume was used, or FlexLVM did not create it.
    None,
    /// FlexLVM created the volume, and it was never written to.
    Unformatted,
    /// The driver started mkfs. The volume was never mounted.
    Formatting,
}

/// The position and the content of one volume's marker.
#[derive(Clone, Debug)]
pub struct FormatMarkerBlock {
    uuid: LvUuid,
    offset: u64,
}

impl FormatMarkerBlock {
    /// Returns the marker of the logical volume with this uuid, created with this size in bytes.
    ///
    /// # Errors
    /// When a volume of that size is too small for a marker.
    pub fn new(uuid: &LvUuid, created_size: Bytes) -> Result<Self, Error> {
        if created_size.0 < MIN_SIZE {
            let message =
                format!("a volume of {created_size} is too small: the minimum is {MIN_SIZE} bytes");
            return Err(Error::failed(message));
        }
        Ok(Self {
            uuid: uuid.clone(),
            offset: filesystem_size(created_size).0,
        })
    }

    /// Returns where the file system must end, in bytes, so that mkfs leaves the marker intact.
    #[must_use]
    pub fn filesystem_size(&self) -> Bytes {
        Bytes(self.offset)
    }

    /// Returns the bytes that the marker occupies on the volume.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + LENGTH as u64
    }

    /// Reads the state of the marker on `device`.
    ///
    /// # Errors
    /// When it can't be read; a read error never counts as `None`.
    pub fn read(&self, device: &File) -> Result<FormatMarker, Error> {
        let mut block = vec![0; LENGTH];
        device
            .read_exact_at(&mut block, self.offset)
            .map_err(Error::io("read", self.location()))?;
        Ok([FormatMarker::Unformatted, FormatMarker::Formatting]
            .into_iter()
            .find(|mark| self.text(*mark) == block)
            .unwrap_or(FormatMarker::None))
    }

    /// Writes the marker of an unformatted volume.
    ///
    /// Only for a volume that was created just now, that no PersistentVolume refers to yet, and
    /// that is [blank](crate::fs::is_blank). May be repeated until the volume is handed out.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_unformatted(&self, device: &File) -> Result<(), Error> {
        self.write(device, &self.text(FormatMarker::Unformatted))
    }

    /// Records that mkfs starts. Must be durable before mkfs writes its first byte.
    ///
    /// # Errors
    /// When the volume has no marker, or it can't be read or written.
    pub fn begin(&self, device: &File) -> Result<(), Error> {
        match self.read(device)? {
            FormatMarker::None => Err(Error::failed("the logical volume has no format marker")),
            FormatMarker::Formatting => Ok(()),
            FormatMarker::Unformatted => self.write(device, &self.text(FormatMarker::Formatting)),
        }
    }

    /// Clears the marker, and nothing but a marker. Must be durable before the volume is mounted.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn clear(&self, device: &File) -> Result<(), Error> {
        match self.read(device)? {
            FormatMarker::None => Ok(()),
            FormatMarker::Unformatted | FormatMarker::Formatting => {
                self.write(device, &[0; LENGTH])
            }
        }
    }

    /// Zeroes the marker, or the part of it, in `bytes`, which were read at offset `at`.
    ///
    /// Leaves all other bytes unchanged.
    pub(crate) fn mask(&self, bytes: &mut [u8], at: u64) {
        let skipped = usize::try_from(self.offset.saturating_sub(at)).unwrap_or(usize::MAX);
        let passed = usize::try_from(at.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        for mark in [FormatMarker::Unformatted, FormatMarker::Formatting] {
            let text = self.text(mark);
            let (Some(part), Some(text)) = (bytes.get_mut(skipped..), text.get(passed..)) else {
                return;
            };
            let length = part.len().min(text.len());
            if let (Some(part), Some(text)) = (part.get_mut(..length), text.get(..length))
                && part == text
            {
                part.fill(0);
            }
        }
    }

    fn write(&self, device: &File, block: &[u8]) -> Result<(), Error> {
        device
            .write_all_at(block, self.offset)
            .map_err(Error::io("write", self.location()))?;
        device
            .sync_all()
            .map_err(Error::io("flush", self.location()))
    }

    fn location(&self) -> String {
        format!(
            "the format marker of logical volume {} at byte {}",
            self.uuid, self.offset
        )
    }

    fn text(&self, mark: FormatMarker) -> Vec<u8> {
        let state = match mark {
            FormatMarker::None => return vec![0; LENGTH],
            FormatMarker::Unformatted => "unformatted: never written to, waits for its file system",
            FormatMarker::Formatting => "formatting: mkfs was begun, never mounted",
        };
        let mut block = format!(
            "FlexLVM mark, version 1\nlogical volume {}\n{state}\n",
            self.uuid
        )
        .into_bytes();
        block.resize(LENGTH, 0);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::{FormatMarker, FormatMarkerBlock, LENGTH};
    use crate::lvm::names::LvUuid;
    use crate::units::Bytes;
    use proptest::prelude::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    const SIZE: Bytes = Bytes(16 << 20);

    fn uuid(text: &str) -> LvUuid {
        LvUuid::from_plain(text).unwrap()
    }

    fn mark() -> FormatMarkerBlock {
        FormatMarkerBlock::new(&uuid("ABCDEF1234567890abcdefghijklmnop"), SIZE).unwrap()
    }

    fn volume(byte: u8) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![byte; usize::try_from(SIZE.0).unwrap()], 0)
            .unwrap();
        file
    }

    #[test]
    fn marker_goes_from_unformatted_to_formatting_to_none() {
        let device = volume(7);
        let mark = mark();
        assert_eq!(mark.read(&device).unwrap(), FormatMarker::None);
        mark.write_unformatted(&device).unwrap();
        assert_eq!(mark.read(&device).unwrap(), FormatMarker::Unformatted);
        for _ in 0..2 {
            mark.begin(&device).unwrap();
            assert_eq!(mark.read(&device).unwrap(), FormatMarker::Formatting);
        }
        mark.clear(&device).unwrap();
        assert_eq!(mark.read(&device).unwrap(), FormatMarker::None);
        assert!(mark.begin(&device).is_err());
    }

    #[test]
    fn clear_keeps_bytes_that_are_no_marker() {
        let device = volume(7);
        mark().clear(&device).unwrap();
        let mut block = [0; LENGTH];
        device.read_exact_at(&mut block, mark().offset).unwrap();
        assert_eq!(block, [7; LENGTH]);
    }

    #[test]
    fn marker_of_other_uuid_or_damaged_marker_reads_as_none() {
        let device = volume(0);
        mark().write_unformatted(&device).unwrap();
        let other =
            FormatMarkerBlock::new(&uuid("BBCDEF1234567890abcdefghijklmnop"), SIZE).unwrap();
        assert_eq!(other.read(&device).unwrap(), FormatMarker::None);
        device.write_all_at(b"x", mark().offset + 4095).unwrap();
        assert_eq!(mark().read(&device).unwrap(), FormatMarker::None);
    }

    #[test]
    fn mask_zeroes_exactly_the_marker_at_any_offset() {
        let device = volume(7);
        mark().write_unformatted(&device).unwrap();
        let begin = mark().offset;
        for at in [
            begin - 10_000,
            begin - 1,
            begin,
            begin + 1,
            begin + 4095,
            begin + 4096,
        ] {
            for length in [1, 4095, 4096, 20_000] {
                let mut bytes = vec![0; length];
                device.read_exact_at(&mut bytes, at).unwrap();
                mark().mask(&mut bytes, at);
                for (byte, at) in bytes.iter().zip(at..) {
                    assert_eq!(*byte == 0, (begin..begin + 4096).contains(&at), "{at}");
                }
            }
        }
    }

    #[test]
    fn read_fails_when_volume_is_shorter_than_created() {
        let device = volume(0);
        device.set_len(SIZE.0 / 2).unwrap();
        assert!(mark().read(&device).is_err());
    }

    proptest! {
        #[test]
        fn marker_is_inside_volume_and_clear_of_wiped_ends(size in 0..1_u64 << 50) {
            match FormatMarkerBlock::new(&uuid("ABCDEF1234567890abcdefghijklmnop"), Bytes(size)) {
                Err(_) => prop_assert!(size < 4 << 20),
                Ok(mark) => {
                    let end = mark.offset + LENGTH as u64;
                    prop_assert!(end + (512 << 10) < size, "clear of what is wiped at the end");
                    prop_assert_eq!(mark.offset % 4096, 0);
                    prop_assert_eq!(mark.filesystem_size().0, mark.offset);
                }
            }
        }
    }
}
