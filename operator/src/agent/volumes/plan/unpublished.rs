//! Plans for an existing logical volume whose uuid was never published, or whose status has another
//! one. Pure.

use crds::condition::reason;
use host::lvm::Lv;
use host::lvm::tags::{OBJECT_UID, RESTORED};

use super::{Action, Content, LvmChange, step};
use crate::agent::condition::ReportedError;
use crate::agent::volumes::spec::VolumeSpec;

/// Plans for a volume whose uuid was never published: the agent or the node stopped in between, or
/// the object was restored from a backup, which has no status.
///
/// A volume whose status has another uuid proves no more: an agent of another node may have written
/// it before the creation was complete. It gets no marker, as it may have been published before.
///
/// Returns `None` if it can be published as it is.
///
/// # Errors
/// Why it can't be published.
pub(super) fn plan(
    spec: &VolumeSpec,
    lv: &Lv,
    content: Option<&Content>,
) -> Result<Option<Action>, ReportedError> {
    let uuid = lv.uuid.clone();
    if !lv.active {
        return Ok(Some(Action::Change(LvmChange::Activate { uuid })));
    }
    match (content, created_for(spec, lv)) {
        (None, _) => Ok(Some(Action::Inspect { uuid })),
        // With a marker, the volume was wiped, and no pod has used it since. Without one, the
        // content is the claim's; a blank volume gets no marker, which would allow a mkfs, since
        // the admin may still have to recover raw data.
        (Some(Content::Unformatted | Content::Formatting), _)
        | (Some(Content::Blank | Content::Data(_)), CreatedFor::FormerObject) => Ok(None),
        (Some(Content::Blank), CreatedFor::ThisObject) if spec.published.is_some() => {
            Err(other_uuid(spec, "a blank start and end"))
        }
        (Some(Content::Data(what)), CreatedFor::ThisObject) if spec.published.is_some() => {
            Err(other_uuid(spec, what))
        }
        (Some(Content::Blank), CreatedFor::ThisObject) => {
            let blocks = step::blocks_of(lv);
            Ok(Some(Action::Mark { uuid, blocks }))
        }
        (Some(Content::Data(what)), CreatedFor::ThisObject) => Err(not_wiped(spec, what)),
        (Some(Content::Blank), CreatedFor::Unknown) => {
            Err(unknown_origin(spec, "a blank start and end"))
        }
        (Some(Content::Data(what)), CreatedFor::Unknown) => Err(unknown_origin(spec, what)),
    }
}

/// Returns whether the volume's uuid may be published even if the volume is not ready: the status
/// has it already, or has another one by mistake.
pub(super) fn is_identified(spec: &VolumeSpec, lv: &Lv, content: Option<&Content>) -> bool {
    if spec
        .adopted
        .as_ref()
        .is_some_and(|adopted| adopted.uuid == lv.uuid)
    {
        return spec.published.is_some();
    }
    if spec.has_published_another(lv) {
        return matches!(plan(spec, lv, content), Ok(None));
    }
    spec.has_published(lv)
}

/// The object that a volume with the claim's tag was created for.
#[derive(Clone, Copy)]
pub(super) enum CreatedFor {
    /// This object: if its uuid was never published, its creation was interrupted.
    ThisObject,
    /// Another object of the same claim: this object was restored from a backup, and the volume was
    /// in use before.
    FormerObject,
    /// Its tags don't show that: an earlier version created it.
    Unknown,
}

pub(super) fn created_for(spec: &VolumeSpec, lv: &Lv) -> CreatedFor {
    let mut created_for = CreatedFor::Unknown;
    for tag in lv.tags.iter().filter(|tag| tag.starts_with(OBJECT_UID)) {
        if *tag != spec.object.as_str() {
            return CreatedFor::FormerObject;
        }
        created_for = CreatedFor::ThisObject;
    }
    created_for
}

/// Rejects a new volume with content: LVM tags a volume before it wipes an older volume's data,
/// which may belong to another tenant.
fn not_wiped(spec: &VolumeSpec, what: &str) -> ReportedError {
    let path = spec.path();
    let message = format!(
        "logical volume {path} on {} was created for this claim, but is not empty ({what}): most \
         likely LVM was interrupted before it wiped the data of a former volume, so the volume is \
         not used; {}",
        spec.node,
        ways_out(&path)
    );
    ReportedError::new(reason::NOT_EMPTY, message)
}

/// Rejects a volume whose status has another uuid: the creation may have been interrupted before the
/// volume was wiped, since the status does not prove that it was reported.
fn other_uuid(spec: &VolumeSpec, what: &str) -> ReportedError {
    let path = spec.path();
    let published = spec.published.as_ref().map_or("", |uuid| uuid.as_str());
    let message = format!(
        "logical volume {path} on {} has the tags of this LogicalVolume, but another LVM uuid than \
         its status ({published}), which another client has overwritten, and has {what}: the status \
         does not show whose data that is; inspect it on the node: if the data is this claim's, \
         confirm it by: lvchange --addtag {RESTORED} {path}",
        spec.node
    );
    ReportedError::new(reason::NOT_EMPTY, message)
}

/// Rejects a volume that an earlier version created: it was either interrupted before it wiped the
/// volume, or the volume was in use and its object restored.
fn unknown_origin(spec: &VolumeSpec, what: &str) -> ReportedError {
    let path = spec.path();
    let message = format!(
        "logical volume {path} on {} has the tag of this claim, but none of its LogicalVolume, \
         and has {what}: an earlier version of FlexLVM created it, and was interrupted, or the \
         LogicalVolume was restored from a backup, so the volume is not used; {}",
        spec.node,
        ways_out(&path)
    );
    ReportedError::new(reason::NOT_EMPTY, message)
}

/// Returns what an admin can do about a volume of which only the admin can know whose data it has.
fn ways_out(path: &str) -> String {
    format!(
        "inspect it on the node: if the data is this claim's, keep it by: lvchange --addtag \
         {RESTORED} {path}; if not, have it recreated by: lvremove {path}"
    )
}
