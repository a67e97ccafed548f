//! Holds back changes of a volume group whose metadata may have gone back to an older state. Pure.

use crds::condition::reason;
use crds::logical_volume::State;

use super::{Action, Step, without_volume};
use crate::agent::condition::ReportedError;
use crate::agent::lvm::rollback::Rollback;
use crate::agent::volumes::outcome::Outcome;
use crate::agent::volumes::spec::VolumeSpec;

/// Returns the step, or the reason why it is not done in a group with evidence of a rollback.
///
/// The volume of a device that LVM does not list still exists, so it does not count as removed.
pub(super) fn hold_back(spec: &VolumeSpec, rollback: Option<&Rollback>, step: Step) -> Step {
    let Some(rollback) = rollback else {
        return step;
    };
    let is_held_back = match &step {
        Step::Act(action) => !is_harmless(action, rollback),
        Step::Done(outcome) => {
            let is_removed = outcome
                .removed
                .as_ref()
                .is_some_and(|removed| removed.status);
            is_removed && !rollback.allows_removal()
        }
    };
    if !is_held_back {
        return step;
    }
    let message = format!(
        "nothing is created, extended or removed in volume group {} on {}: {rollback}",
        spec.group, spec.node
    );
    let error = ReportedError::new(reason::METADATA_ROLLED_BACK, message);
    match spec.state {
        State::Present | State::Abandoned => without_volume(spec, error).into(),
        State::Absent | State::AbsentIfNeverUsed => Outcome::kept(error).into(),
    }
}

/// Returns whether an action can't reach the extents of another volume.
fn is_harmless(action: &Action, rollback: &Rollback) -> bool {
    match action {
        Action::Inspect { .. } => true,
        // Its extents may be those of a volume that the metadata lack.
        Action::Erase { .. } => false,
        _ => rollback.allows_removal() && !action.allocates(),
    }
}
