//! Regular files as devices of jobs, which can hang, die and be replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use host::{Bytes, Error, JobCursorBlock, LvName, LvUuid, VgName};
use tempfile::TempDir;

use crate::agent::volumes::jobs::device::{JobDevice, JobDevices, JobFile};
use crate::agent::volumes::jobs::job::{Job, JobError, JobKind};
use crate::agent::volumes::jobs::plan::ObservedJob;
use crate::agent::volumes::jobs::run::lock;

/// Size of each volume in bytes.
pub(super) const SIZE: u64 = 5 << 20;
/// Size of a portion in bytes.
pub(super) const PORTION: u64 = 1 << 20;
/// Former content of each byte.
pub(super) const FORMER: u8 = 7;

/// The devices: one file per volume.
pub(super) struct FileDevices {
    folder: TempDir,
    state: Arc<FileState>,
}

#[derive(Default)]
struct FileState {
    faults: Mutex<Faults>,
    changed: Condvar,
}

#[derive(Default)]
struct Faults {
    uuids: BTreeMap<String, LvUuid>,
    claimed: BTreeSet<String>,
    /// Volumes whose portions hang.
    held: BTreeSet<String>,
    /// Volumes that are in a portion.
    working: BTreeSet<String>,
    /// Points at which a run passed so far; each operation has one before and one after it.
    points: u32,
    /// Point at which the agent dies.
    dies_at: Option<u32>,
    panics: bool,
}

/// Returns the job on the volume with this name, in its own volume group.
pub(super) fn job(name: &str) -> Job {
    Job {
        kind: JobKind::Zero,
        node: "node1".to_owned(),
        group: VgName::new(format!("vg-{name}")).unwrap(),
        name: LvName::new(name).unwrap(),
        uuid: LvUuid::from_plain(&format!("{name:0>32}").replace('-', "x")).unwrap(),
        object_uid: format!("uid-of-{name}"),
        generation: 2,
    }
}

impl FileDevices {
    /// Creates the volumes of these jobs, with a former content.
    pub(super) fn new(jobs: &[Job]) -> Self {
        let devices = Self {
            folder: tempfile::tempdir().unwrap(),
            state: Arc::default(),
        };
        for job in jobs {
            let content = vec![FORMER; usize::try_from(SIZE).unwrap()];
            fs::write(devices.path(job), content).unwrap();
            devices.set_uuid(job, &job.uuid);
        }
        devices
    }

    fn path(&self, job: &Job) -> PathBuf {
        self.folder.path().join(job.name.as_str())
    }

    /// Returns the whole content of a volume.
    pub(super) fn content(&self, job: &Job) -> Vec<u8> {
        fs::read(self.path(job)).unwrap()
    }

    /// Overwrites a part of a volume, as another program.
    pub(super) fn overwrite(&self, job: &Job, bytes: &[u8], at: u64) {
        let file = File::options().write(true).open(self.path(job)).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    /// Changes the size of a volume.
    pub(super) fn resize(&self, job: &Job, size: u64) {
        let file = File::options().write(true).open(self.path(job)).unwrap();
        file.set_len(size).unwrap();
    }

    /// Returns the position that the cursor of a job records.
    pub(super) fn position(&self, job: &Job) -> Option<Bytes> {
        let file = File::open(self.path(job)).unwrap();
        cursor(job).read(&file).unwrap()
    }

    /// Puts another volume in the place of this one.
    pub(super) fn set_uuid(&self, job: &Job, uuid: &LvUuid) {
        let mut faults = lock(&self.state.faults);
        faults.uuids.insert(job.name.to_string(), uuid.clone());
    }

    /// Lets portions of a volume hang until they are released.
    pub(super) fn hold(&self, job: &Job) {
        lock(&self.state.faults).held.insert(job.name.to_string());
    }

    /// Releases the portions of a volume.
    pub(super) fn release(&self, job: &Job) {
        lock(&self.state.faults).held.remove(job.name.as_str());
        self.state.changed.notify_all();
    }

    /// Waits until a job is in a portion.
    pub(super) fn wait_until_working(&self, job: &Job) {
        let faults = lock(&self.state.faults);
        let limit = Duration::from_secs(20);
        let is_idle = |faults: &mut Faults| !faults.working.contains(job.name.as_str());
        let waited = self
            .state
            .changed
            .wait_timeout_while(faults, limit, is_idle)
            .unwrap();
        assert!(!waited.1.timed_out(), "{} does not work", job.name);
    }

    /// Lets the next run die at this point: before or after an operation, or never. Returns the
    /// number of points that the last run passed.
    pub(super) fn die_at(&self, point: Option<u32>) -> u32 {
        let mut faults = lock(&self.state.faults);
        faults.dies_at = point;
        std::mem::take(&mut faults.points)
    }

    /// Lets each portion panic.
    pub(super) fn panic(&self) {
        lock(&self.state.faults).panics = true;
    }
}

/// Returns the cursor of a job on a volume of the usual size.
pub(super) fn cursor(job: &Job) -> JobCursorBlock {
    JobCursorBlock::new(&job.uuid, Bytes(SIZE), &job.label()).unwrap()
}

impl JobDevices for FileDevices {
    fn claim(&self, job: &Job) -> Result<Box<dyn JobDevice>, JobError> {
        self.state.pass()?;
        self.state.verify(job)?;
        let path = self.path(job);
        let file = File::options().read(true).write(true).open(&path);
        if !lock(&self.state.faults)
            .claimed
            .insert(job.name.to_string())
        {
            return Err(Error::busy("claimed already").into());
        }
        Ok(Box::new(FileDevice {
            job: job.clone(),
            file: JobFile::new(file.unwrap(), path, job)?,
            state: self.state.clone(),
        }))
    }
}

impl FileState {
    /// Passes one point; fails if the agent dies there.
    fn pass(&self) -> Result<(), JobError> {
        let mut faults = lock(&self.faults);
        faults.points += 1;
        if faults.dies_at == Some(faults.points) {
            return Err(Error::failed("killed").into());
        }
        Ok(())
    }

    fn verify(&self, job: &Job) -> Result<(), JobError> {
        if lock(&self.faults).uuids.get(job.name.as_str()) != Some(&job.uuid) {
            return Err(Error::failed("another volume").into());
        }
        Ok(())
    }
}

/// The device of one job.
struct FileDevice {
    job: Job,
    file: JobFile,
    state: Arc<FileState>,
}

impl Drop for FileDevice {
    fn drop(&mut self) {
        lock(&self.state.faults)
            .claimed
            .remove(self.job.name.as_str());
    }
}

impl JobDevice for FileDevice {
    fn observe(&self) -> Result<ObservedJob, JobError> {
        self.state.pass()?;
        self.state.verify(&self.job)?;
        self.file.observe()
    }

    fn record(&self, position: Bytes) -> Result<(), JobError> {
        self.state.pass()?;
        self.file.record(position)?;
        self.state.pass()
    }

    fn work_on(&self, portion: Range<u64>) -> Result<(), JobError> {
        self.state.pass()?;
        let name = self.job.name.to_string();
        let mut faults = lock(&self.state.faults);
        assert!(!faults.panics, "a fault of the agent");
        faults.working.insert(name.clone());
        self.state.changed.notify_all();
        while faults.held.contains(&name) {
            faults = self.state.changed.wait(faults).unwrap();
        }
        drop(faults);
        // A kill in the middle leaves any part of the portion done.
        let middle = portion.start + (portion.end - portion.start) / 8192 * 4096;
        self.file.work_on(middle..portion.end)?;
        self.state.pass()?;
        self.file.work_on(portion)?;
        lock(&self.state.faults).working.remove(&name);
        self.state.pass()
    }
}
