//! Compares a volume's device with LVM's metadata, and plans its refresh. Pure.
//!
//! An LVM command that was killed, or failed half-way, leaves the device with its former size, or
//! suspended: then reads and writes wait without end. `lvchange --refresh` loads the table of LVM's
//! metadata into the device and resumes it. A running LVM command of another program also has the
//! device suspended for a moment; the refresh then waits for LVM's lock, and changes nothing.

use crds::condition::reason;
use crds::quantity;
use host::Bytes;
use host::block::DeviceState;
use host::lvm::{Lv, SegmentType};

use super::{Action, ObservedVolume};
use crate::agent::condition::ReportedError;
use crate::agent::volumes::spec::VolumeSpec;

/// Result of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshResult {
    /// LVM reported success.
    Succeeded,
    /// LVM failed; the message has the cause.
    Failed(String),
}

/// Plans the refresh of a device that lags behind LVM's metadata. `None` if the device has the
/// size in the metadata and is not suspended, or if the volume is inactive.
///
/// # Errors
/// The refresh did not help, or is not possible.
pub(super) fn plan(
    spec: &VolumeSpec,
    lv: &Lv,
    seen: ObservedVolume<'_>,
) -> Result<Option<Action>, ReportedError> {
    let Some(device) = seen.device else {
        return Ok(None);
    };
    if !device.is_suspended && device.size >= lv.size {
        return Ok(None);
    }
    if can_be_refreshed(lv, device) && seen.refresh.is_none() {
        return Ok(Some(refresh(lv)));
    }
    Err(lags(spec, lv, device, seen.refresh))
}

/// Plans the refresh of a suspended device whose volume is removed: no mount of it can end before.
pub(super) fn plan_resume(lv: &Lv, seen: ObservedVolume<'_>) -> Option<Action> {
    let device = seen.device?;
    if device.is_suspended && can_be_refreshed(lv, device) && seen.refresh.is_none() {
        Some(refresh(lv))
    } else {
        None
    }
}

/// Returns the size that the volume has for its users.
pub(super) fn usable_size(lv: &Lv, device: Option<DeviceState>) -> Bytes {
    match device {
        Some(device) => device.size.min(lv.size),
        None => lv.size,
    }
}

fn refresh(lv: &Lv) -> Action {
    Action::Refresh {
        uuid: lv.uuid.clone(),
    }
}

/// Returns whether the table of LVM's metadata may be loaded: not while LVM converts, moves or
/// merges the volume, which reloads its tables itself; and not if it would cut the device off, as
/// after metadata went back to an older state.
fn can_be_refreshed(lv: &Lv, device: DeviceState) -> bool {
    let is_usual = match lv.segment_type {
        SegmentType::Plain | SegmentType::Raid | SegmentType::Thin | SegmentType::Cached => true,
        SegmentType::ThinPool | SegmentType::Other => false,
    };
    is_usual && !lv.is_in_transition && device.size <= lv.size
}

fn lags(
    spec: &VolumeSpec,
    lv: &Lv,
    device: DeviceState,
    refresh: Option<&RefreshResult>,
) -> ReportedError {
    let path = spec.path();
    let state = if device.is_suspended {
        "is suspended, so reads and writes wait".to_owned()
    } else {
        format!(
            "has {}, but {} in LVM's metadata",
            quantity::human(device.size.0),
            quantity::human(lv.size.0)
        )
    };
    let attempt = match refresh {
        None if device.size > lv.size => format!(
            "it has {}, and only {} in LVM's metadata, so it is not refreshed, which would cut it off; \
             look for the cause with `dmsetup info -c` and `vgcfgrestore --list`",
            quantity::human(device.size.0),
            quantity::human(lv.size.0)
        ),
        None => {
            "LVM is converting, moving or merging the volume, so it is not refreshed; `lvs -a` \
                 shows the progress"
                .to_owned()
        }
        Some(RefreshResult::Succeeded) => format!(
            "`lvchange --refresh {path}` did not help, and is repeated; look for the cause with \
             `dmsetup info -c` and `dmesg`"
        ),
        Some(RefreshResult::Failed(cause)) => {
            format!("its refresh failed, and is repeated: {cause}")
        }
    };
    let message = format!(
        "the device of logical volume {path} on {} {state}: {attempt}",
        spec.node
    );
    ReportedError::new(reason::DEVICE_OUTDATED, message)
}
