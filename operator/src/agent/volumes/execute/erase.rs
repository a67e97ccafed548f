//! Starts and stops the jobs that erase volumes before their removal.

use host::LvUuid;

use super::VolumeExecutor;
use crate::agent::lvm::state::LockedLvm;
use crate::agent::volumes::erasure::Erasure;
use crate::agent::volumes::jobs::job::{Job, JobKind};
use crate::agent::volumes::spec::VolumeSpec;

impl VolumeExecutor {
    /// Stops the erasure of a volume that is no longer to be removed, or whose object is gone: at
    /// most the present portion is still erased.
    pub fn stop_erasure(&self, name: &str) {
        self.jobs.stop(name);
    }

    /// Returns whether a job erases the volume, or has just ended.
    pub(super) fn is_erasing(&self, spec: &VolumeSpec) -> bool {
        self.jobs.is_started(spec.name.as_str())
    }

    /// Starts or continues the job that erases the volume; does not wait for it.
    ///
    /// The job opens the device exclusively, which excludes mounts, but not a program that reads it.
    /// LVM shows that one, too, before the job itself has the device open.
    pub(super) fn erase(&self, lvm: &LockedLvm, spec: &VolumeSpec, uuid: LvUuid) -> Erasure {
        let groups = lvm.groups();
        let mut volumes = groups.iter().flat_map(|vg| &vg.lvs);
        if !self.is_erasing(spec) && volumes.any(|lv| lv.uuid == uuid && lv.open) {
            return Erasure::InUse;
        }
        let job = Job {
            kind: JobKind::Zero,
            node: spec.node.clone(),
            group: spec.group.clone(),
            name: spec.name.clone(),
            uuid,
            object_uid: spec.object_uid.clone(),
            generation: spec.generation,
        };
        let state = self.jobs.ensure(&job);
        Erasure::from_job(&job, &state, self.jobs.stalled_after())
    }
}
