//! The command line of each verb of LVM. Called by [`Lvm`](super::Lvm).
//! Pure: names are validated types, so none of them can be taken for an option or end a selection early.

use std::time::Duration;

use crate::exec::Cmd;
use crate::name::{LvName, LvTag, LvUuid, VgName};
use crate::size::Extents;

/// What a report says of a volume group; `vg_attr` tells exported, partial and shared.
const VG_COLUMNS: &str =
    "vg_name,vg_uuid,vg_attr,vg_extent_size,vg_extent_count,vg_free_count,vg_missing_pv_count,vg_systemid,vg_lock_type";

/// What a report says of a logical volume; `lv_attr` tells its kind, active and open.
const LV_COLUMNS: &str = "lv_name,lv_uuid,lv_attr,lv_size,lv_tags,lv_time";

/// Seconds since 1970, whatever the administrator likes to read.
const TIME_FORMAT: [&str; 2] = ["--config", "report/time_format=\"%s\""];

/// LVM waits for its locks without end, and others hold them for long when disks are slow.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Where `issue_discards` is on, the space is discarded before the command ends: minutes, for a large volume.
const REMOVE_TIMEOUT: Duration = Duration::from_mins(10);

/// Every volume group with its logical volumes, also those that LVM otherwise hides because they are another host's
/// or need a lock manager: hidden, they would look like missing ones.
pub(super) fn report() -> Cmd {
    json("fullreport")
        .args(TIME_FORMAT)
        .args(["--foreign", "--shared"])
        .args(["--configreport", "vg", "--options", VG_COLUMNS])
        .args(["--configreport", "lv", "--options", LV_COLUMNS])
        // The other parts of the report can't be left out, only kept short.
        .args(["--configreport", "pv", "--options", "pv_name"])
        .args(["--configreport", "pvseg", "--options", "pvseg_start"])
        .args(["--configreport", "seg", "--options", "segtype"])
}

/// One logical volume.
pub(super) fn volume(vg: &VgName, lv: &LvName) -> Cmd {
    json("lvs").args(TIME_FORMAT).args(["--options", LV_COLUMNS, &path(vg, lv)])
}

/// The uuids of the volume groups that this host may use.
pub(super) fn usable_groups() -> Cmd {
    json("vgs").args(["--options", "vg_uuid"])
}

fn json(verb: &str) -> Cmd {
    lvm(verb).args(["--reportformat", "json", "--units", "b", "--nosuffix"])
}

/// A linear logical volume with its tags, in one change of the metadata: there is no moment at which it is there and
/// not known as ours. Signatures of whatever was there before are wiped, or the next mount would find them.
pub(super) fn create(vg: &VgName, lv: &LvName, extents: Extents, tags: &[LvTag]) -> Cmd {
    lvm("lvcreate")
        .args(["--yes", "--type", "linear", "--wipesignatures", "y", "--zero", "y"])
        .args(tags.iter().flat_map(|tag| ["--addtag", tag.as_str()]))
        .args(["--extents", &extents.0.to_string()])
        .args(["--name", lv.as_str(), vg.as_str()])
}

/// To a total of `extents`, never by some: repeated, it changes nothing.
pub(super) fn extend(vg: &VgName, lv: &LvName, extents: Extents) -> Cmd {
    lvm("lvextend").args(["--extents", &extents.0.to_string(), &path(vg, lv)])
}

/// Makes the device.
pub(super) fn activate(vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Cmd {
    change(["--activate", "y"], vg, lv, uuid)
}

/// Takes the device away; LVM refuses when somebody has it open.
pub(super) fn deactivate(vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Cmd {
    change(["--activate", "n"], vg, lv, uuid)
}

/// Takes a tag off the volume.
pub(super) fn remove_tag(vg: &VgName, lv: &LvName, uuid: &LvUuid, tag: &LvTag) -> Cmd {
    change(["--deltag", tag.as_str()], vg, lv, uuid)
}

/// Changes the volume of this name if it also has this uuid.
fn change(what: [&str; 2], vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Cmd {
    lvm("lvchange").args(what).args(["--select", &format!("lv_uuid=\"{uuid}\""), &path(vg, lv)])
}

/// Removes the volume of this name if it also has this uuid and this tag: LVM itself checks all three under its lock,
/// and does nothing when one of them differs. `--yes` answers "really remove the active volume?"; an open one is refused
/// all the same. It would also agree to removing snapshots along with their origin: hence only a plain volume, whose
/// attributes begin with a hyphen.
pub(super) fn remove(vg: &VgName, lv: &LvName, uuid: &LvUuid, tag: &LvTag) -> Cmd {
    let selection = format!("lv_uuid=\"{uuid}\" && lv_tags=\"{tag}\" && lv_attr=~\"^-\"");
    lvm("lvremove").args(["--yes", "--select", &selection, &path(vg, lv)]).timeout(REMOVE_TIMEOUT)
}

/// The version of LVM.
pub(super) fn version() -> Cmd {
    lvm("version")
}

fn lvm(verb: &str) -> Cmd {
    Cmd::new("lvm").arg(verb).timeout(TIMEOUT)
}

/// `vg/lv`: neither part can begin with a hyphen or hold a slash.
fn path(vg: &VgName, lv: &LvName) -> String {
    format!("{vg}/{lv}")
}

#[cfg(test)]
mod tests {
    use super::{activate, create, deactivate, extend, remove, remove_tag, report, volume};
    use crate::name::{LvName, LvTag, LvUuid, VgName};
    use crate::size::Extents;
    use proptest::prelude::*;

    fn vg() -> VgName {
        VgName::new("vg0").unwrap()
    }

    fn lv() -> LvName {
        LvName::new("pvc-1").unwrap()
    }

    fn uuid() -> LvUuid {
        LvUuid::new("abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP").unwrap()
    }

    fn tag(tag: &str) -> LvTag {
        LvTag::new(tag).unwrap()
    }

    #[test]
    fn every_command_line_is_as_tried_on_real_lvm() {
        let tags = [tag("flexlvm.dev/claim-uid=1"), tag("flexlvm.dev/claim=default/data")];
        for (command, line) in [
            (
                create(&vg(), &lv(), Extents(32), &tags),
                "lvm lvcreate --yes --type linear --wipesignatures y --zero y --addtag flexlvm.dev/claim-uid=1 \
                 --addtag flexlvm.dev/claim=default/data --extents 32 --name pvc-1 vg0",
            ),
            (extend(&vg(), &lv(), Extents(64)), "lvm lvextend --extents 64 vg0/pvc-1"),
            (
                activate(&vg(), &lv(), &uuid()),
                "lvm lvchange --activate y --select lv_uuid=\"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP\" vg0/pvc-1",
            ),
            (
                deactivate(&vg(), &lv(), &uuid()),
                "lvm lvchange --activate n --select lv_uuid=\"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP\" vg0/pvc-1",
            ),
            (
                remove_tag(&vg(), &lv(), &uuid(), &tag("flexlvm.dev/format")),
                "lvm lvchange --deltag flexlvm.dev/format --select \
                 lv_uuid=\"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP\" vg0/pvc-1",
            ),
            (
                volume(&vg(), &lv()),
                "lvm lvs --reportformat json --units b --nosuffix --config report/time_format=\"%s\" --options \
                 lv_name,lv_uuid,lv_attr,lv_size,lv_tags,lv_time vg0/pvc-1",
            ),
            (
                remove(&vg(), &lv(), &uuid(), &tag("flexlvm.dev/claim-uid=1")),
                "lvm lvremove --yes --select lv_uuid=\"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP\" && \
                 lv_tags=\"flexlvm.dev/claim-uid=1\" && lv_attr=~\"^-\" vg0/pvc-1",
            ),
        ] {
            assert_eq!(command.line(), line);
        }
        assert!(report().line().starts_with("lvm fullreport --reportformat json --units b --nosuffix --config "));
    }

    proptest! {
        /// Names come from objects that users influence.
        #[test]
        fn no_name_becomes_an_option_or_ends_a_selection(vg in "\\PC{1,20}", lv in "\\PC{1,20}", tag in "\\PC{1,20}") {
            let (Ok(vg), Ok(lv), Ok(tag)) = (VgName::new(vg), LvName::new(lv), LvTag::new(tag)) else { return Ok(()) };
            let command = remove(&vg, &lv, &uuid(), &tag);
            let selection = &command.arguments()[3];
            prop_assert_eq!(selection.matches('"').count(), 6);
            prop_assert_eq!(selection.matches("&&").count(), 2 + tag.as_str().matches("&&").count());
            prop_assert_eq!(command.arguments().len(), 5);
            for command in [create(&vg, &lv, Extents(1), &[tag]), extend(&vg, &lv, Extents(1))] {
                prop_assert!(!command.arguments().last().unwrap().starts_with('-'));
            }
        }
    }
}
