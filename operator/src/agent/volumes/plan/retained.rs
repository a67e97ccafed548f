//! Plans the end of a deleted object whose volume has the reclaim policy Retain. Pure.
//!
//! The agent never removes such a volume by itself. The object ends once its logical volume is gone,
//! or no longer carries FlexLVM's tag: then there is nothing left that the object describes.

use crds::condition::reason;
use crds::logical_volume::ReclaimPolicy;
use host::lvm::{Lv, Vg};

use super::lookup::{ObservedLv, find};
use crate::agent::condition::ReportedError;
use crate::agent::volumes::outcome::Outcome;
use crate::agent::volumes::spec::VolumeSpec;

/// Returns the outcome that ends a deleted object, if an admin removed its logical volume or the
/// volume's tag.
///
/// `None` while a volume with the tag exists, under any name, and while the volume group is missing
/// or faulty: the volume may then only be invisible.
pub(super) fn ended(spec: &VolumeSpec, groups: &[Vg]) -> Option<Outcome> {
    if !spec.deleted || spec.reclaim_policy != ReclaimPolicy::Retain || spec.published.is_none() {
        return None;
    }
    let mut lvs = groups.iter().flat_map(|vg| &vg.lvs);
    if lvs.any(|lv| lv.has_tag(spec.identity.as_str())) {
        return None;
    }
    match find(spec, groups) {
        ObservedLv::Ours(vg, lv) | ObservedLv::Renamed(vg, lv) => {
            return Some(released(spec, vg, lv));
        }
        // Another volume took the name of one that is gone.
        ObservedLv::Foreign { .. } | ObservedLv::Nothing => {}
    }
    let group = groups.iter().find(|vg| vg.name == spec.group.as_str())?;
    if group.fault.is_some() {
        return None;
    }
    let message = format!(
        "logical volume {} was removed from {}",
        spec.path(),
        spec.node
    );
    let error = ReportedError::new(reason::REMOVED, message);
    Some(Outcome::removed(error))
}

/// Returns the outcome for a volume that exists without the tag.
fn released(spec: &VolumeSpec, vg: &Vg, lv: &Lv) -> Outcome {
    let message = format!(
        "logical volume {}/{} on {} no longer has the tag {}, so FlexLVM leaves it unchanged and \
         manages it no more",
        vg.name, lv.name, spec.node, spec.identity
    );
    Outcome::removed(ReportedError::new(reason::FOREIGN_LOGICAL_VOLUME, message))
}

/// Returns the message about a deleted object whose logical volume the policy keeps.
pub(super) fn kept(spec: &VolumeSpec) -> String {
    let path = spec.path();
    let tag = &spec.identity;
    format!(
        "reclaim policy Retain keeps logical volume {path}: to remove it with its data, delete claim \
         and PersistentVolume, then set this object's spec.state to Absent; to keep it without this \
         object, remove its tag on {}: lvchange --deltag {tag} {path}",
        spec.node
    )
}
