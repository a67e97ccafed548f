//! The cursor of a job: a block on a logical volume that records how far a job of minutes has
//! come on it.
//!
//! It is on the volume itself, so it is never taken for that of another volume. A restored
//! backup of etcd, of the node's file system or of the disk does not make it differ from the
//! volume's content. It takes the place of the [format marker](crate::format_marker): a volume
//! on which a job has begun gets no file system.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use crate::error::Error;
use crate::format_marker::FormatMarkerBlock;
use crate::lvm::names::LvUuid;
use crate::units::Bytes;

/// Length of the block in bytes.
const LENGTH: usize = 4096;
/// Maximum length of the text in bytes: one sector, which a disk writes completely or not at all.
const MAX_TEXT: usize = 512;

/// Place and content of the cursor of one job on one logical volume.
#[derive(Clone, Debug)]
pub struct JobCursorBlock {
    /// All of the text up to the position: it identifies volume, job and size.
    head: String,
    offset: u64,
}

impl JobCursorBlock {
    /// Returns the cursor of `job` on the logical volume with this uuid and size in bytes.
    ///
    /// `job` is one line that identifies the job, with its request.
    ///
    /// # Errors
    /// If the volume is too small for a cursor, or `job` is no short line.
    pub fn new(uuid: &LvUuid, size: Bytes, job: &str) -> Result<Self, Error> {
        let head =
            format!("FlexLVM job, version 1\nlogical volume {uuid} of {size}\n{job}\nposition ");
        if job.chars().any(char::is_control) || head.len() + 32 > MAX_TEXT {
            let message = format!("{job:?} can't be recorded on a volume: it is no short line");
            return Err(Error::failed(message));
        }
        let marker = FormatMarkerBlock::new(uuid, size)?;
        Ok(Self {
            head,
            offset: marker.filesystem_size().0,
        })
    }

    /// Returns the bytes that the cursor occupies on the volume.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + LENGTH as u64
    }

    /// Reads the recorded position in bytes; `None` if this job has recorded none.
    ///
    /// # Errors
    /// If the block can't be read; a read error never counts as `None`.
    pub fn read(&self, device: &File) -> Result<Option<Bytes>, Error> {
        let mut block = vec![0; LENGTH];
        device
            .read_exact_at(&mut block, self.offset)
            .map_err(Error::io("read", self.location()))?;
        let position = std::str::from_utf8(&block)
            .ok()
            .and_then(|text| text.strip_prefix(&self.head))
            .and_then(|rest| rest.split('\n').next())
            .and_then(|digits| digits.parse().ok())
            .map(Bytes);
        // The whole block counts, not only the digits.
        Ok(position.filter(|position| self.block(*position) == block))
    }

    /// Records the position in bytes; it is durable when this returns.
    ///
    /// Overwrites what the block contains.
    ///
    /// # Errors
    /// If the block can't be written; then the position is the new one or the former.
    pub fn write(&self, device: &File, position: Bytes) -> Result<(), Error> {
        device
            .write_all_at(&self.block(position), self.offset)
            .map_err(Error::io("write", self.location()))?;
        device
            .sync_data()
            .map_err(Error::io("flush", self.location()))
    }

    fn block(&self, position: Bytes) -> Vec<u8> {
        let mut block = format!("{}{}\n", self.head, position.0).into_bytes();
        block.resize(LENGTH, 0);
        block
    }

    fn location(&self) -> String {
        format!("the cursor of a job at byte {}", self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::{JobCursorBlock, LENGTH};
    use crate::format_marker::{FormatMarker, FormatMarkerBlock};
    use crate::lvm::names::LvUuid;
    use crate::units::Bytes;
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    const SIZE: Bytes = Bytes(16 << 20);
    const JOB: &str = "zero for LogicalVolume 0b6f, generation 2";

    fn uuid(text: &str) -> LvUuid {
        LvUuid::from_plain(text).unwrap()
    }

    fn volume() -> LvUuid {
        uuid("ABCDEF1234567890abcdefghijklmnop")
    }

    fn cursor() -> JobCursorBlock {
        JobCursorBlock::new(&volume(), SIZE, JOB).unwrap()
    }

    fn device() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE.0).unwrap();
        file
    }

    #[test]
    fn read_returns_the_written_position() {
        let device = device();
        assert_eq!(cursor().read(&device).unwrap(), None);
        for position in [0, 1, 4096, SIZE.0, u64::MAX] {
            cursor().write(&device, Bytes(position)).unwrap();
            assert_eq!(cursor().read(&device).unwrap(), Some(Bytes(position)));
        }
    }

    #[test]
    fn cursor_of_another_volume_size_or_job_is_none() {
        let device = device();
        cursor().write(&device, Bytes(7)).unwrap();
        let other_volume = uuid("ABCDEF1234567890abcdefghijklmnoq");
        for other in [
            JobCursorBlock::new(&other_volume, SIZE, JOB).unwrap(),
            // A size whose block is at the same place.
            JobCursorBlock::new(&volume(), Bytes(SIZE.0 + 4096), JOB).unwrap(),
            JobCursorBlock::new(&volume(), SIZE, &format!("{JOB}2")).unwrap(),
            JobCursorBlock::new(&volume(), SIZE, "zero for LogicalVolume 0b6f").unwrap(),
        ] {
            assert_eq!(other.range(), cursor().range());
            assert_eq!(other.read(&device).unwrap(), None);
        }
    }

    #[test]
    fn damaged_cursor_is_none() {
        let device = device();
        cursor().write(&device, Bytes(1234)).unwrap();
        for at in cursor().range().step_by(61) {
            let mut byte = [0];
            device.read_exact_at(&mut byte, at).unwrap();
            device.write_all_at(&[byte[0] ^ 1], at).unwrap();
            assert_ne!(cursor().read(&device).unwrap(), Some(Bytes(1234)), "{at}");
            device.write_all_at(&byte, at).unwrap();
        }
        assert_eq!(cursor().read(&device).unwrap(), Some(Bytes(1234)));
    }

    #[test]
    fn cursor_replaces_the_format_marker() {
        let device = device();
        let marker = FormatMarkerBlock::new(&volume(), SIZE).unwrap();
        marker.write_unformatted(&device).unwrap();
        cursor().write(&device, Bytes(0)).unwrap();
        assert_eq!(marker.read(&device).unwrap(), FormatMarker::None);
        assert_eq!(cursor().range().end - cursor().range().start, LENGTH as u64);
    }

    #[test]
    fn new_rejects_small_volumes_and_long_or_broken_lines() {
        assert!(JobCursorBlock::new(&volume(), Bytes(1 << 20), JOB).is_err());
        assert!(JobCursorBlock::new(&volume(), SIZE, "a\nposition 1").is_err());
        assert!(JobCursorBlock::new(&volume(), SIZE, &"a".repeat(500)).is_err());
    }

    #[test]
    fn read_fails_on_shortened_device() {
        let device = device();
        device.set_len(1 << 20).unwrap();
        assert!(cursor().read(&device).is_err());
    }
}
