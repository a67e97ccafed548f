//! Finds the logical volume of a spec among those of the node. Pure.

use host::lvm::{Lv, Vg};

use crate::agent::volumes::spec::VolumeSpec;

/// The spec's logical volume, or what exists in its place.
pub(super) enum ObservedLv<'a> {
    /// No volume with this name, and none with the published uuid.
    Nothing,
    /// The spec's logical volume.
    Ours(&'a Vg, &'a Lv),
    /// Another volume has the name; the text names the difference.
    Foreign(String),
    /// The spec's volume has another name.
    Renamed(String),
}

/// Finds the volume: by uuid once it was published, by tag before.
pub(super) fn find<'a>(spec: &VolumeSpec, groups: &'a [Vg]) -> ObservedLv<'a> {
    let mut named = None;
    let mut published = None;
    for vg in groups {
        for lv in &vg.lvs {
            if has_name(spec, vg, lv) {
                named = named.or(Some((vg, lv)));
            }
            if spec.published.as_ref() == Some(&lv.uuid) {
                published = published.or(Some((vg, lv)));
            }
        }
    }
    let Some(uuid) = &spec.published else {
        return match named {
            None => ObservedLv::Nothing,
            Some((vg, lv)) if lv.has_tag(spec.identity.as_str()) => ObservedLv::Ours(vg, lv),
            Some(_) => ObservedLv::Foreign(format!("it lacks the tag {}", spec.identity)),
        };
    };
    match (published, named) {
        (Some((vg, lv)), _) if has_name(spec, vg, lv) => ObservedLv::Ours(vg, lv),
        (Some((vg, lv)), _) => ObservedLv::Renamed(format!("{}/{}", vg.name, lv.name)),
        (None, Some((_, lv))) => ObservedLv::Foreign(format!(
            "its LVM uuid is {}, this volume's is {uuid}",
            lv.uuid
        )),
        (None, None) => ObservedLv::Nothing,
    }
}

fn has_name(spec: &VolumeSpec, vg: &Vg, lv: &Lv) -> bool {
    vg.name == spec.group.as_str() && lv.name == spec.name.as_str()
}
