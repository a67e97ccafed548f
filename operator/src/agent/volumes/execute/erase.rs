//! Starts and stops the jobs that erase volumes before their removal.

use host::LvUuid;

use super::VolumeExecutor;
use crate::agent::volumes::erasure::Erasure;
use crate::agent::volumes::jobs::job::{Job, JobKind};
use crate::agent::volumes::spec::VolumeSpec;

impl VolumeExecutor {
    /// Stops the erasure of a volume that is no longer to be removed, or whose object is gone: at
    /// most the present portion is still erased.
    pub fn stop_erasure(&self, name: &str) {
        self.jobs.stop(name);
    }

    /// Starts or continues the job that erases the volume; does not wait for it.
    pub(super) fn erase(&self, spec: &VolumeSpec, uuid: LvUuid) -> Erasure {
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
