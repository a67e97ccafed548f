//! Builds the command line that removes a logical volume. Pure.

use super::{REMOVE_TIMEOUT, SELECT_SETTINGS, change_lvm, path};
use crate::lvm::model::SegmentType;
use crate::lvm::names::{LvName, LvTag, LvUuid, VgName};
use crate::process::Cmd;

/// Whether LVM discards the extents that it frees (TRIM), on disks that support it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// As `devices/issue_discards` in the node's lvm.conf requires; by default it does not.
    AsConfigured,
    /// It does.
    Always,
}

/// Removes the volume with this name if uuid, tag and type match, too, and no other volume depends
/// on it.
///
/// LVM itself checks all of them under its lock, and does nothing if one differs. `--yes` confirms
/// the removal of an active volume; LVM still refuses an open one. `--yes` would also confirm the
/// removal of snapshots along with their origin: hence the check of the first letter of `lv_attr`,
/// which is an `o` for an origin of any type.
pub(in crate::lvm) fn remove(
    vg: &VgName,
    lv: &LvName,
    uuid: &LvUuid,
    tag: &LvTag,
    segment_type: SegmentType,
    discard: Discard,
) -> Cmd {
    let letters = match segment_type {
        SegmentType::Plain => "^-",
        SegmentType::Raid => "^[rR]",
        SegmentType::Thin => "^V",
        SegmentType::Cached => "^C",
        // LVM would remove a pool's volumes along with it.
        SegmentType::ThinPool => "^t",
        // No volume has such attributes: LVM removes nothing.
        SegmentType::Other => "^$",
    };
    let empty = if segment_type == SegmentType::ThinPool {
        " && thin_count=0"
    } else {
        ""
    };
    let selection = selection(uuid, tag, letters) + empty;
    let mut settings = SELECT_SETTINGS.join(" ");
    if discard == Discard::Always {
        settings.push_str(" devices/issue_discards=1");
    }
    change_lvm("lvremove")
        .arg("--yes")
        .args(["--config", &settings])
        .args(["--select", &selection, &path(vg, lv)])
        .timeout(REMOVE_TIMEOUT)
}

/// Removes the RAID with this name if uuid and tag match, too, and it is inactive and still has the flag
/// to skip activation.
///
/// LVM itself checks all of them under its lock: a RAID whose creation another LVM command has
/// completed, or that was activated, is kept.
pub(in crate::lvm) fn remove_never_active(
    vg: &VgName,
    lv: &LvName,
    uuid: &LvUuid,
    tag: &LvTag,
) -> Cmd {
    let selection = selection(uuid, tag, "^[rR]...--...k");
    change_lvm("lvremove")
        .arg("--yes")
        .args(["--config", &SELECT_SETTINGS.join(" ")])
        .args(["--select", &selection, &path(vg, lv)])
        .timeout(REMOVE_TIMEOUT)
}

/// Returns LVM's selection of the volume with this uuid and tag, whose attributes match a regular
/// expression.
fn selection(uuid: &LvUuid, tag: &LvTag, attributes: &str) -> String {
    format!("lv_uuid=\"{uuid}\" && lv_tags=\"{tag}\" && lv_attr=~\"{attributes}\"")
}
