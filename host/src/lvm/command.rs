//! Builds LVM's command lines. Pure.
//!
//! Names are validated types, so none can be parsed as an option or end a selection early.

mod removal;

use std::time::Duration;

use device_path::DevicePath;
use storage_model::pool_cost;

use super::{Layout, PoolCost};
use crate::lvm::names::{LvName, LvTag, LvUuid, VgName};
use crate::process::Cmd;
use crate::units::{Bytes, Extents};

pub use removal::Discard;
pub(super) use removal::{remove, remove_never_active};

/// A logical volume to create.
#[derive(Clone, Copy, Debug)]
pub struct NewLv<'a> {
    /// Its size.
    pub extents: Extents,
    /// Its layout.
    pub layout: Layout,
    /// Devices to allocate extents from, by LVM's names; empty allows any.
    pub disks: &'a [String],
    /// Its tags.
    pub tags: &'a [LvTag],
}

/// A thin pool to create.
#[derive(Clone, Copy, Debug)]
pub struct NewPool<'a> {
    /// Extents of data and metadata.
    pub cost: PoolCost,
    /// The extent size in bytes.
    pub extent: Bytes,
    /// Maximum size of its data in bytes.
    pub most: Bytes,
    /// Devices to allocate extents from, by LVM's names; empty allows any.
    pub disks: &'a [String],
    /// The tag that names its StorageBackend.
    pub tag: &'a LvTag,
}

/// Report columns of a volume group; `vg_attr` has exported, partial and shared.
const VG_COLUMNS: &str = "vg_name,vg_uuid,vg_attr,vg_seqno,vg_extent_size,vg_extent_count,vg_free_count,\
                          vg_missing_pv_count,vg_systemid,vg_lock_type,max_lv";

/// Report columns of a logical volume; `lv_attr` has its type, role, active and open.
const LV_COLUMNS: &str = "lv_name,lv_uuid,lv_attr,lv_size,lv_tags,pool_lv,data_percent,metadata_percent,lv_metadata_size";

/// Every setting of lvm.conf(5) that changes what a JSON report contains: the admin's values are for
/// people.
///
/// LVM ends a report at the first part whose sort key is invalid. `log/prefix` and
/// `log/command_names` begin each line, also those of a report.
const REPORT_SETTINGS: [&str; 18] = [
    "report/list_item_separator=\",\"",
    "report/prefixes=0",
    "report/compact_output=0",
    "report/compact_output_cols=\"\"",
    "report/mark_hidden_devices=1",
    "report/binary_values_as_numeric=0",
    "report/two_word_unknown_device=0",
    "report/vgs_sort=\"vg_name\"",
    "report/lvs_sort=\"vg_name,lv_name\"",
    "report/pvs_sort=\"pv_name\"",
    "report/vgs_sort_full=\"vg_name\"",
    "report/lvs_sort_full=\"vg_name,lv_name\"",
    "report/pvs_sort_full=\"pv_name\"",
    "report/pvsegs_sort_full=\"pv_uuid,pvseg_start\"",
    "report/segs_sort_full=\"lv_uuid,seg_start\"",
    "log/prefix=\"  \"",
    "log/command_names=0",
    "log/report_command_log=0",
];

/// Settings of commands that change or remove an existing volume, by a selection.
///
/// A selection is evaluated by the code for reports. With `report_command_log=1` in lvm.conf, LVM
/// 2.03.16 ends in a segmentation fault there.
///
/// LVM archives the metadata before each change, by default for 30 days: tenants who create and
/// delete claims would fill the node's file system. So these commands keep the 100 newest archives of
/// the group, regardless of their age. They must go on to archive, as `backup/archive=0` would not: the
/// first command after a `vgcfgrestore` replaces the backup with the newest state, of which only the
/// archive has a copy then.
const SELECT_SETTINGS: [&str; 3] = [
    "log/report_command_log=0",
    "backup/retain_days=0",
    "backup/retain_min=100",
];

/// Report columns of a physical volume; `pv_attr` has allocatable and missing.
const PV_COLUMNS: &str = "pv_name,pv_uuid,pv_attr,pv_pe_count,pv_pe_alloc_count";

/// Columns that only the statistics read, of a volume group, a logical volume and a physical volume.
/// All of them are older than `fullreport`.
const VG_STATISTICS: &str = "max_pv,snap_count,vg_mda_count,vg_mda_used_count,vg_mda_size,vg_mda_free,\
                             vg_permissions,vg_allocation_policy";
const LV_STATISTICS: &str = "lv_layout,lv_permissions,lv_health_status,lv_when_full,snap_percent,\
                             raid_sync_action,sync_percent,raid_mismatch_count";
const PV_STATISTICS: &str = "dev_size,pv_mda_size,pv_mda_free";

/// Report columns of a segment of a physical volume.
const PVSEG_COLUMNS: &str = "pv_uuid,pvseg_size,lv_name";

/// LVM waits for its locks without a limit, and other commands hold them for long on slow disks.
const TIMEOUT: Duration = Duration::from_mins(2);

/// With `issue_discards`, LVM discards the space before the command ends: minutes for a large
/// volume.
const REMOVE_TIMEOUT: Duration = Duration::from_mins(10);

/// Reports every volume group with its logical volumes.
///
/// Includes those that LVM hides by default because they belong to another host or need a lock
/// manager: hidden, they would look missing; and LVM's internal volumes, since they have devices of
/// their own.
pub(super) fn report() -> Cmd {
    json("fullreport")
        .args(["--foreign", "--shared", "--all"])
        .args(["--configreport", "vg", "--options"])
        .arg(format!("{VG_COLUMNS},{VG_STATISTICS}"))
        .args(["--configreport", "lv", "--options"])
        .arg(format!("{LV_COLUMNS},{LV_STATISTICS}"))
        .args(["--configreport", "pv", "--options"])
        .arg(format!("{PV_COLUMNS},{PV_STATISTICS}"))
        .args(["--configreport", "pvseg", "--options", PVSEG_COLUMNS])
        // This part of the report can't be omitted, only shortened.
        .args(["--configreport", "seg", "--options", "segtype"])
}

/// Reports one logical volume.
pub(super) fn volume(vg: &VgName, lv: &LvName) -> Cmd {
    json("lvs").args(["--options", LV_COLUMNS, &path(vg, lv)])
}

/// Lists the uuids of the volume groups that this host may use.
pub(super) fn usable_groups() -> Cmd {
    json("vgs").args(["--options", "vg_uuid"])
}

/// Lists the blocks of each logical volume that did not match their checksums. LVM has had this
/// column for as long as it has had the checksums; earlier versions would reject the full report.
pub(super) fn mismatches() -> Cmd {
    let columns = "lv_uuid,integritymismatches";
    json("lvs").args(["--foreign", "--shared", "--options", columns])
}

/// Where LVM writes what, by descriptor: the report alone to standard output, and what it prints for
/// people, such as `Retrying metadata scan.`, to standard error. By default both go to standard
/// output, mixed. LVM has these variables since 2.02.165.
const STREAMS: [(&str, &str); 2] = [("LVM_REPORT_FD", "1"), ("LVM_OUT_FD", "2")];

fn json(verb: &str) -> Cmd {
    let [report, messages] = STREAMS;
    lvm(verb)
        .variable(report.0, report.1)
        .variable(messages.0, messages.1)
        .args(["--reportformat", "json", "--units", "b", "--nosuffix"])
        .args(["--config", &REPORT_SETTINGS.join(" ")])
}

/// Creates a logical volume with its tags in one metadata change.
///
/// At no moment does the volume exist without the tags that identify it as FlexLVM's. Old
/// signatures are wiped, or the next mount would find them.
pub(super) fn create(vg: &VgName, lv: &LvName, new: &NewLv<'_>) -> Cmd {
    let NewLv {
        extents,
        layout,
        disks,
        tags,
    } = new;
    change_lvm("lvcreate")
        .arg("--yes")
        .args(layout.arguments())
        .args(["--wipesignatures", "y", "--zero", "y"])
        .args(tags.iter().flat_map(|tag| ["--addtag", tag.as_str()]))
        .args(["--extents", &extents.0.to_string()])
        .args(["--name", lv.as_str(), vg.as_str()])
        .args(disks.iter().map(|disk| escape(disk)))
}

/// Creates a volume of `size` bytes in a thin pool. It reads as zeros, since pools are created with
/// `--zero y`.
pub(super) fn create_thin(
    vg: &VgName,
    pool: &LvName,
    lv: &LvName,
    size: Bytes,
    tags: &[LvTag],
) -> Cmd {
    change_lvm("lvcreate")
        .args(["--yes", "--type", "thin", "--setactivationskip", "n"])
        .args(tags.iter().flat_map(|tag| ["--addtag", tag.as_str()]))
        .args(["--virtualsize", &format!("{}b", size.0)])
        .args([
            "--name",
            lv.as_str(),
            "--thinpool",
            pool.as_str(),
            vg.as_str(),
        ])
}

/// Creates a thin pool.
///
/// If it is extended automatically, writers wait for space when it is full; else their writes fail
/// at once.
pub(super) fn create_pool(vg: &VgName, pool: &LvName, new: &NewPool<'_>) -> Cmd {
    let NewPool {
        cost,
        extent,
        most,
        disks,
        tag,
    } = new;
    let chunk = pool_cost::chunk(*most, *extent);
    let is_extended = cost.data < most.extents_up(*extent);
    change_lvm("lvcreate")
        .args([
            "--yes",
            "--type",
            "thin-pool",
            "--zero",
            "y",
            "--discards",
            "passdown",
            "--poolmetadataspare",
            "n",
        ])
        .args([
            "--config",
            &format!("activation/error_when_full={}", u8::from(!is_extended)),
        ])
        .args(["--chunksize", &format!("{}k", chunk.0 >> 10)])
        .args([
            "--poolmetadatasize",
            &format!("{}b", cost.metadata.bytes(*extent).0),
        ])
        .args(["--addtag", tag.as_str()])
        .args(["--extents", &cost.data.0.to_string()])
        .args(["--name", pool.as_str(), vg.as_str()])
        .args(disks.iter().map(|disk| escape(disk)))
}

/// Attaches a cache to a volume; the former content of `cache` is lost.
pub(super) fn attach_cache(vg: &VgName, lv: &LvName, cache: &LvName, mode: &str) -> Cmd {
    change_lvm("lvconvert")
        .args(["--yes", "--type", "cache", "--cachemode", mode])
        .args(["--cachevol", cache.as_str(), &path(vg, lv)])
}

/// Extends to a total of `extents`, never by an amount, so that a repetition changes nothing.
///
/// Allocates from these disks; an empty list allows any.
pub(super) fn extend(vg: &VgName, lv: &LvName, extents: Extents, disks: &[String]) -> Cmd {
    change_lvm("lvextend")
        .args(["--extents", &extents.0.to_string(), &path(vg, lv)])
        .args(disks.iter().map(|disk| escape(disk)))
}

/// Adds checksums to the images of a RAID, the last step of `lvcreate`.
pub(super) fn add_integrity(vg: &VgName, lv: &LvName) -> Cmd {
    change_lvm("lvconvert").args(["--yes", "--raidintegrity", "y", &path(vg, lv)])
}

/// Activates the volume.
pub(super) fn activate(vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Cmd {
    change(["--activate", "y"], vg, lv, uuid)
}

/// Deactivates the volume; LVM refuses if its device is open.
pub(super) fn deactivate(vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Cmd {
    change(["--activate", "n"], vg, lv, uuid)
}

/// Loads the table of LVM's metadata into the volume's device, and resumes it.
pub(super) fn refresh(vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Cmd {
    change(["--refresh"], vg, lv, uuid)
}

/// Removes tags from the volume and adds others in one metadata change.
pub(super) fn change_tags(
    vg: &VgName,
    lv: &LvName,
    uuid: &LvUuid,
    remove: &[LvTag],
    add: &[LvTag],
) -> Cmd {
    let removed = remove.iter().flat_map(|tag| ["--deltag", tag.as_str()]);
    change(
        removed.chain(add.iter().flat_map(|tag| ["--addtag", tag.as_str()])),
        vg,
        lv,
        uuid,
    )
}

/// Changes the volume with this name if it also has this uuid.
fn change<'a>(
    what: impl IntoIterator<Item = &'a str>,
    vg: &VgName,
    lv: &LvName,
    uuid: &LvUuid,
) -> Cmd {
    change_lvm("lvchange")
        .args(what)
        .args(["--config", &SELECT_SETTINGS.join(" ")])
        .args(["--select", &format!("lv_uuid=\"{uuid}\""), &path(vg, lv)])
}

/// Lists every physical volume, including those of groups that LVM hides by default.
pub(super) fn disks() -> Cmd {
    json("pvs").args([
        "--foreign",
        "--shared",
        "--options",
        "pv_name,pv_uuid,vg_name",
    ])
}

/// Creates a physical volume with this uuid.
///
/// Without `--yes` and without a terminal LVM refuses to wipe any signature; with `--force` it
/// would take a disk from another group.
pub(super) fn create_disk(disk: &DevicePath, uuid: &LvUuid) -> Cmd {
    change_lvm("pvcreate").args([
        "--norestorefile",
        "--uuid",
        uuid.as_str(),
        "--",
        disk.as_str(),
    ])
}

/// Creates a volume group from physical volumes that belong to no group.
pub(super) fn create_group(vg: &VgName, tags: &[LvTag], disks: &[DevicePath]) -> Cmd {
    change_lvm("vgcreate")
        .args(tags.iter().flat_map(|tag| ["--addtag", tag.as_str()]))
        .args(["--", vg.as_str()])
        .args(disks.iter().map(DevicePath::as_str))
}

/// Prints the effective value of the setting that lets LVM change volume groups with duplicate
/// physical volumes, as `allow_changes_with_duplicate_pvs=0`.
pub(super) fn allows_duplicates() -> Cmd {
    lvm("lvmconfig").args([
        "--typeconfig",
        "full",
        "devices/allow_changes_with_duplicate_pvs",
    ])
}

/// Prints the version of LVM.
pub(super) fn version() -> Cmd {
    lvm("version")
}

fn lvm(verb: &str) -> Cmd {
    Cmd::new("lvm").arg(verb).timeout(TIMEOUT)
}

/// Builds a command that changes LVM's metadata or devices, and is never killed.
fn change_lvm(verb: &str) -> Cmd {
    lvm(verb).changing_devices()
}

/// Escapes a device path: LVM parses a colon as a range of extents, an at sign as a tag.
fn escape(disk: &str) -> String {
    disk.replace('\\', "\\\\")
        .replace(':', "\\:")
        .replace('@', "\\@")
}

/// Joins `vg/lv`: neither name can begin with a hyphen or contain a slash.
fn path(vg: &VgName, lv: &LvName) -> String {
    format!("{vg}/{lv}")
}

#[cfg(test)]
mod tests;
