//! Plans the erasure of a volume before its removal. Pure.

use crds::Erase;
use crds::condition::reason;
use crds::logical_volume::State;
use host::lvm::{Lv, SegmentType};

use super::{Action, LvmChange, Step, removal};
use crate::agent::condition::ReportedError;
use crate::agent::volumes::erasure::Erasure;
use crate::agent::volumes::outcome::Outcome;
use crate::agent::volumes::spec::VolumeSpec;

/// Returns whether the agent overwrites the volume before it removes it.
///
/// A volume that never carried data needs no erasure. Zeros in a thin volume would allocate blocks
/// of its pool, and a cache keeps copies of the content: see [`Erase::is_possible`].
pub(super) fn is_required(spec: &VolumeSpec, lv: &Lv) -> bool {
    spec.state == State::Absent
        && spec.erase == Erase::Zero
        && matches!(lv.segment_type, SegmentType::Plain | SegmentType::Raid)
}

/// Returns the next step of the erasure; `None` once it is complete.
///
/// # Errors
/// If the volume is in use.
pub(super) fn plan(
    spec: &VolumeSpec,
    lv: &Lv,
    erasure: Option<&Erasure>,
) -> Result<Option<Step>, ReportedError> {
    let uuid = lv.uuid.clone();
    let (path, node) = (spec.path(), &spec.node);
    let (error, progressing) = match erasure {
        _ if !lv.active => return Ok(Some(LvmChange::Activate { uuid }.into())),
        None => return Ok(Some(Step::Act(Action::Erase { uuid }))),
        Some(Erasure::Complete) => return Ok(None),
        Some(Erasure::InUse) => return Err(removal::in_use(spec)),
        Some(Erasure::Unfinished(update)) => {
            let message = format!(
                "logical volume {path} on {node} is removed as soon as its content is erased; the \
                 condition Progressing shows how far that is"
            );
            (ReportedError::new(reason::ERASING, message), update.clone())
        }
        Some(Erasure::Failed(update)) => {
            let message = format!(
                "logical volume {path} on {node} is not removed, since its content can't be \
                 erased: see the condition Progressing; to have it removed all the same, set \
                 spec.erase of the LogicalVolume to None"
            );
            let error = ReportedError::new(reason::ERASE_FAILED, message);
            (error, Some(update.clone()))
        }
    };
    Ok(Some(
        Outcome {
            progressing,
            ..Outcome::kept(error)
        }
        .into(),
    ))
}
