//! Plans the change of the tag that names a volume's claim, for people. Pure.

use host::LvTag;
use host::lvm::Lv;
use host::lvm::tags::CLAIM_NAME;

use super::{Action, LvmChange};
use crate::agent::volumes::spec::VolumeSpec;

/// Plans the change of the tag that names the volume's claim: a PersistentVolume may be bound to
/// another claim.
pub(super) fn plan(spec: &VolumeSpec, lv: &Lv) -> Option<Action> {
    if !lv.has_tag(spec.identity.as_str()) {
        return None;
    }
    let mut outdated = Vec::new();
    for tag in &lv.tags {
        if tag.starts_with(CLAIM_NAME)
            && spec.trace.as_ref().map(LvTag::as_str) != Some(tag)
            && let Ok(tag) = LvTag::new(tag)
        {
            outdated.push(tag);
        }
    }
    if outdated.is_empty() {
        return None;
    }
    Some(Action::Change(LvmChange::Retag {
        uuid: lv.uuid.clone(),
        remove: outdated,
        add: spec.trace.iter().cloned().collect(),
    }))
}
