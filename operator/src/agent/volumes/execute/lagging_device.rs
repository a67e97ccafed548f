//! Reads the state of a volume's device, and refreshes a device that lags behind LVM's metadata.

use std::thread;
use std::time::{Duration, Instant};

use host::LvUuid;
use host::block::DeviceState;

use super::{Progress, VolumeExecutor, lv_path};
use crate::agent::error;
use crate::agent::lvm::state::LockedLvm;
use crate::agent::volumes::plan::RefreshResult;
use crate::agent::volumes::spec::VolumeSpec;

/// Time for which a device may be suspended before it is refreshed.
const SUSPENDED_TIME: Duration = Duration::from_secs(1);

impl VolumeExecutor {
    /// Returns the state of the volume's device, if the volume is active.
    ///
    /// Waits for a moment while it is suspended: an LVM command of another program has it suspended
    /// for as long.
    pub(super) fn device_state(
        &self,
        lvm: &LockedLvm,
        spec: &VolumeSpec,
        progress: &Progress,
    ) -> Option<DeviceState> {
        let uuid = lvm.uuid(&spec.group, &spec.name)?;
        let deadline = Instant::now() + SUSPENDED_TIME;
        loop {
            let state = self.devices.device_state(lv_path(spec), &uuid)?;
            let has_waited = progress.refresh.is_some() || Instant::now() >= deadline;
            if !state.is_suspended || has_waited {
                return Some(state);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Refreshes the volume's device. A failure is a result for the plan: the pass has to report
    /// that the device still lags.
    pub(super) fn refresh(
        lvm: &LockedLvm,
        spec: &VolumeSpec,
        uuid: &LvUuid,
        progress: &mut Progress,
    ) {
        let volume = spec.path();
        tracing::warn!(
            volume,
            "the device is suspended, or smaller than in LVM's metadata; refreshing it"
        );
        match lvm.commands().refresh(&spec.group, &spec.name, uuid) {
            Ok(()) => {
                progress.refresh = Some(RefreshResult::Succeeded);
                progress.changed = Some(Instant::now());
            }
            Err(error) => {
                let cause = error::message(&error);
                tracing::warn!(volume, error = cause, "can't refresh the device");
                progress.refresh = Some(RefreshResult::Failed(cause));
            }
        }
    }
}
