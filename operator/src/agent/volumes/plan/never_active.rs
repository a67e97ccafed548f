//! Plans for a RAID that LVM did not complete: its creation was interrupted, or a conversion. Pure.

use crds::condition::reason;
use host::lvm::{Lv, RaidParts, Vg};

use super::health::VolumeHealth;
use super::unpublished::{CreatedFor, created_for};
use super::{Action, LvmChange, check_changes};
use crate::agent::condition::ReportedError;
use crate::agent::volumes::spec::VolumeSpec;

/// Returns the removal of a RAID that was created for this object, and was never active, so that it
/// is created again: LVM can't complete it. `None` if LVM has completed the RAID.
///
/// Two proofs must agree, so that no single mistake removes data: LVM's metadata show that the RAID was
/// never active, and the object's uuid was never published.
///
/// # Errors
/// Why the volume is kept, although LVM does not activate it.
pub(super) fn plan(spec: &VolumeSpec, lv: &Lv) -> Result<Option<Action>, ReportedError> {
    if lv.raid_parts == RaidParts::Hidden || lv.active {
        return Ok(None);
    }
    if is_proven(spec, lv) {
        let uuid = lv.uuid.clone();
        return Ok(Some(Action::Change(LvmChange::RemoveNeverActive { uuid })));
    }
    Err(kept(spec, lv))
}

/// Checks that a volume has not failed, and that LVM has completed it; returns its removal if its
/// creation was interrupted, and has to be repeated.
///
/// # Errors
/// Why the volume can't be used.
pub(super) fn check_works(
    spec: &VolumeSpec,
    vg: &Vg,
    lv: &Lv,
    health: &VolumeHealth,
) -> Result<Option<Action>, ReportedError> {
    if let VolumeHealth::Failed(error) = health {
        return Err(error.clone());
    }
    if spec.published.is_some() {
        return Ok(None);
    }
    let removal = plan(spec, lv)?;
    if removal.is_some() {
        check_changes(spec, vg)?;
    }
    Ok(removal)
}

/// Returns whether the volume is this object's, and was never active.
pub(super) fn is_proven(spec: &VolumeSpec, lv: &Lv) -> bool {
    lv.raid_parts == RaidParts::NeverActive
        && !lv.active
        && spec.published.is_none()
        && spec.adopted.is_none()
        && lv.has_tag(spec.identity.as_str())
        && matches!(created_for(spec, lv), CreatedFor::ThisObject)
}

fn kept(spec: &VolumeSpec, lv: &Lv) -> ReportedError {
    let path = spec.path();
    let cause = match lv.raid_parts {
        RaidParts::NeverActive => "LVM was interrupted while it created the RAID",
        RaidParts::Hidden | RaidParts::Visible => {
            "LVM was interrupted while it created or converted the RAID"
        }
    };
    let message = format!(
        "logical volume {path} on {} has visible parts ({path}_rmeta_0 and the like), so LVM does not \
         activate it: {cause}, and it is not proven that no pod has used it, so it is kept; inspect it \
         with `lvs -a {}`: if it has data, undo the conversion (`vgcfgrestore --list {}` lists the \
         former states); if not, have it recreated by: lvremove {path}",
        spec.node, spec.group, spec.group
    );
    ReportedError::new(reason::NOT_EMPTY, message)
}
