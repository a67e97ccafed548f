//! Plans for a volume that was abandoned while its node was lost: the logical volume is left as it
//! is, with its data. Pure.

use crds::condition::reason;
use host::lvm::{Lv, Vg};

use super::lookup::{ObservedLv, find, find_by_claim};
use super::{ObservedVolume, Step, check_group};
use crate::agent::condition::ReportedError;
use crate::agent::volumes::outcome::Outcome;
use crate::agent::volumes::spec::VolumeSpec;

/// Plans for an abandoned volume: never a change of the node.
pub(super) fn plan_abandoned(spec: &VolumeSpec, seen: ObservedVolume<'_>) -> Step {
    match find(spec, seen.groups) {
        ObservedLv::Ours(vg, lv) | ObservedLv::Renamed(vg, lv) => found(spec, vg, lv),
        ObservedLv::Foreign { .. } | ObservedLv::Nothing => {
            match find_by_claim(spec, seen.groups) {
                Some((vg, lv)) => found(spec, vg, lv),
                None => not_found(spec, seen.groups),
            }
        }
    }
    .into()
}

/// Returns the outcome for a logical volume that is on the node.
fn found(spec: &VolumeSpec, vg: &Vg, lv: &Lv) -> Outcome {
    let message = format!(
        "the claim of logical volume {}/{} was released while {} was lost: it is kept with its data, and not used; to use \
         its data, delete this object and create an Adoption; to remove it with its data, set this object's spec.state to \
         Absent",
        vg.name, lv.name, spec.node
    );
    let error = ReportedError::new(reason::ABANDONED, message);
    Outcome {
        volume: Some((lv.uuid.clone(), lv.size)),
        ..Outcome::not_ready(error)
    }
}

/// Returns the outcome for a logical volume that is not on the node: the object ends, unless the
/// volume may only be invisible.
fn not_found(spec: &VolumeSpec, groups: &[Vg]) -> Outcome {
    let path = spec.path();
    let Some(vg) = groups.iter().find(|vg| vg.name == spec.group.as_str()) else {
        let message = format!(
            "volume group {} is missing on {}, so that abandoned logical volume {path} may still exist; if it does not, \
             delete this object",
            spec.group, spec.node
        );
        let error = ReportedError::new(reason::VOLUME_GROUP_MISSING, message);
        return Outcome::not_ready(error);
    };
    if let Err(error) = check_group(spec, vg) {
        return Outcome::not_ready(error);
    }
    let message = format!("abandoned logical volume {path} is not on {}", spec.node);
    Outcome::removed(ReportedError::new(reason::REMOVED, message))
}
