//! The interface of jobs to the devices of logical volumes. All operations may block.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use host::block::zero_range::zero_range;
use host::{Bytes, Device, Error, JobCursorBlock, Roots};

use super::job::{Job, JobError, JobKind};
use super::plan::ObservedJob;

/// Opens the devices of jobs; tests replace it by files.
pub trait JobDevices: Send + Sync {
    /// Opens the device of a job's volume exclusively: until the value is dropped, no other program
    /// mounts, formats or removes it, and no other agent works on it.
    ///
    /// # Errors
    /// `NotFound` if the volume is inactive or absent, `Busy` if it is in use; an error if the
    /// device with its name is another volume.
    fn claim(&self, job: &Job) -> Result<Box<dyn JobDevice>, JobError>;
}

/// The device of a job's volume, open exclusively.
pub trait JobDevice {
    /// Reads size and cursor.
    ///
    /// # Errors
    /// If they can't be read, or the device is no longer the volume's.
    fn observe(&self) -> Result<ObservedJob, JobError>;

    /// Records the position in the cursor; it is durable when this returns.
    ///
    /// # Errors
    /// If it can't be written; then the cursor is the new one or the former.
    fn record(&self, position: Bytes) -> Result<(), JobError>;

    /// Does the job's work on these bytes; it is durable when this returns. May be repeated.
    ///
    /// # Errors
    /// If it fails; then the content of these bytes is undefined.
    fn work_on(&self, portion: Range<u64>) -> Result<(), JobError>;
}

/// A job on an open device or file.
pub struct JobFile {
    file: File,
    path: PathBuf,
    kind: JobKind,
    opened_size: Bytes,
    cursor: JobCursorBlock,
}

impl JobFile {
    /// Returns the job on this file; `path` is for messages.
    ///
    /// # Errors
    /// If its size can't be read, or it is too small for a cursor.
    pub fn new(file: File, path: PathBuf, job: &Job) -> Result<Self, JobError> {
        let opened_size = size(&file).map_err(Error::io("measure", &path))?;
        Ok(Self {
            cursor: JobCursorBlock::new(&job.uuid, opened_size, &job.label())?,
            file,
            path,
            kind: job.kind,
            opened_size,
        })
    }
}

impl JobDevice for JobFile {
    fn observe(&self) -> Result<ObservedJob, JobError> {
        Ok(ObservedJob {
            opened_size: self.opened_size,
            size: size(&self.file).map_err(Error::io("measure", &self.path))?,
            cursor: self.cursor.range(),
            position: self.cursor.read(&self.file)?,
        })
    }

    fn record(&self, position: Bytes) -> Result<(), JobError> {
        Ok(self.cursor.write(&self.file, position)?)
    }

    fn work_on(&self, portion: Range<u64>) -> Result<(), JobError> {
        match self.kind {
            JobKind::Zero => {
                zero_range(&self.file, portion).map_err(Error::io("zero", &self.path))?;
            }
        }
        Ok(())
    }
}

/// The devices of this node.
pub struct NodeJobDevices {
    /// Where devices are looked up.
    pub roots: Roots,
}

/// The claimed device of a logical volume of this node.
struct ClaimedVolume {
    roots: Roots,
    job: Job,
    /// Keeps the device's number from being reused.
    device: Device,
    file: JobFile,
}

impl JobDevices for NodeJobDevices {
    fn claim(&self, job: &Job) -> Result<Box<dyn JobDevice>, JobError> {
        let device = Device::open(&self.roots, &job.group, &job.name, &job.uuid)
            .map_err(host::Error::from)?;
        let file = JobFile::new(device.claim()?, device.mapper_path(), job)?;
        Ok(Box::new(ClaimedVolume {
            roots: self.roots.clone(),
            job: job.clone(),
            device,
            file,
        }))
    }
}

impl ClaimedVolume {
    /// Fails unless the volume's name and uuid still lead to the open device.
    fn verify(&self) -> Result<(), JobError> {
        let Job {
            group, name, uuid, ..
        } = &self.job;
        let found = Device::open(&self.roots, group, name, uuid).map_err(host::Error::from)?;
        let found = found.number();
        let claimed = self.device.number();
        if found != claimed {
            return Err(JobError::Replaced { claimed, found });
        }
        Ok(())
    }
}

impl JobDevice for ClaimedVolume {
    fn observe(&self) -> Result<ObservedJob, JobError> {
        self.verify()?;
        self.file.observe()
    }

    fn record(&self, position: Bytes) -> Result<(), JobError> {
        self.file.record(position)
    }

    fn work_on(&self, portion: Range<u64>) -> Result<(), JobError> {
        self.file.work_on(portion)
    }
}

fn size(mut file: &File) -> std::io::Result<Bytes> {
    file.seek(SeekFrom::End(0)).map(Bytes)
}
