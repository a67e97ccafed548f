//! The command line of each verb of LVM. Pure: names are validated types, so none of them can be
//! taken for an option or end a selection early.

use std::time::Duration;

use super::geometry::Layout;
use super::model::LvKind;
use super::thin_pool::{self, PoolCost};
use crate::lvm::names::{DevicePath, LvName, LvTag, LvUuid, VgName};
use crate::process::Cmd;
use crate::units::{Bytes, Extents};

/// A logical volume that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewLv<'a> {
    /// Its size.
    pub extents: Extents,
    /// How it is laid out.
    pub layout: Layout,
    /// The devices that its extents come from, as LVM calls them; none named means any.
    pub disks: &'a [String],
    /// Its tags.
    pub tags: &'a [LvTag],
}

/// A thin pool that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewPool<'a> {
    /// What it takes.
    pub cost: PoolCost,
    /// The size of an extent.
    pub extent: Bytes,
    /// How large its data may become.
    pub most: Bytes,
    /// The devices that its extents come from, as LVM calls them; none named means any.
    pub disks: &'a [String],
    /// The tag that says whose it is.
    pub tag: &'a LvTag,
}

/// What a report says of a volume group; `vg_attr` tells exported, partial and shared.
const VG_COLUMNS: &str = "vg_name,vg_uuid,vg_attr,vg_seqno,vg_extent_size,vg_extent_count,vg_free_count,\
                          vg_missing_pv_count,vg_systemid,vg_lock_type";

/// What a report says of a logical volume; `lv_attr` tells its kind, active and open.
const LV_COLUMNS: &str = "lv_name,lv_uuid,lv_attr,lv_size,lv_tags,lv_time,pool_lv,data_percent,metadata_percent,lv_metadata_size";

/// Seconds since 1970, whatever the administrator likes to read.
const TIME_FORMAT: [&str; 2] = ["--config", "report/time_format=\"%s\""];

/// What a report says of a physical volume; `pv_attr` tells allocatable and missing.
const PV_COLUMNS: &str = "pv_name,pv_uuid,pv_attr,pv_pe_count,pv_pe_alloc_count";

/// What a report says of each piece of a physical volume.
const PVSEG_COLUMNS: &str = "pv_uuid,pvseg_size,lv_name";

/// LVM waits for its locks without end, and others hold them for long when disks are slow.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Where `issue_discards` is on, the space is discarded before the command ends: minutes, for a
/// large volume.
const REMOVE_TIMEOUT: Duration = Duration::from_mins(10);

/// Every volume group with its logical volumes, also those that LVM otherwise hides because they
/// are another host's or need a lock manager: hidden, they would look like missing ones.
pub(super) fn report() -> Cmd {
    json("fullreport")
        .args(TIME_FORMAT)
        .args(["--foreign", "--shared"])
        .args(["--configreport", "vg", "--options", VG_COLUMNS])
        .args(["--configreport", "lv", "--options", LV_COLUMNS])
        .args(["--configreport", "pv", "--options", PV_COLUMNS])
        .args(["--configreport", "pvseg", "--options", PVSEG_COLUMNS])
        // This part of the report can't be left out, only kept short.
        .args(["--configreport", "seg", "--options", "segtype"])
}

/// One logical volume.
pub(super) fn volume(vg: &VgName, lv: &LvName) -> Cmd {
    json("lvs")
        .args(TIME_FORMAT)
        .args(["--options", LV_COLUMNS, &path(vg, lv)])
}

/// The uuids of the volume groups that this host may use.
pub(super) fn usable_groups() -> Cmd {
    json("vgs").args(["--options", "vg_uuid"])
}

fn json(verb: &str) -> Cmd {
    lvm(verb).args(["--reportformat", "json", "--units", "b", "--nosuffix"])
}

/// A logical volume with its tags, in one change of the metadata: there is no moment at which it is
/// there and not known as ours. Signatures of whatever was there before are wiped, or the next
/// mount would find them.
pub(super) fn create(vg: &VgName, lv: &LvName, new: &NewLv<'_>) -> Cmd {
    let NewLv {
        extents,
        layout,
        disks,
        tags,
    } = new;
    lvm("lvcreate")
        .arg("--yes")
        .args(layout.arguments())
        .args(["--wipesignatures", "y", "--zero", "y"])
        .args(tags.iter().flat_map(|tag| ["--addtag", tag.as_str()]))
        .args(["--extents", &extents.0.to_string()])
        .args(["--name", lv.as_str(), vg.as_str()])
        .args(disks.iter().map(|disk| escaped(disk)))
}

/// A volume of so many bytes in a thin pool. It reads as zeros: pools are made so.
pub(super) fn create_thin(
    vg: &VgName,
    pool: &LvName,
    lv: &LvName,
    size: Bytes,
    tags: &[LvTag],
) -> Cmd {
    lvm("lvcreate")
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

/// A thin pool. One that is extended as it fills up lets writers wait for that a while; another
/// lets them fail at once.
pub(super) fn create_pool(vg: &VgName, pool: &LvName, new: &NewPool<'_>) -> Cmd {
    let NewPool {
        cost,
        extent,
        most,
        disks,
        tag,
    } = new;
    let chunk = thin_pool::chunk(*most, *extent);
    let is_extended = cost.data < most.extents_up(*extent);
    lvm("lvcreate")
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
        .args(disks.iter().map(|disk| escaped(disk)))
}

/// Puts a cache in front of a volume: what `cache` was before, is gone.
pub(super) fn attach_cache(vg: &VgName, lv: &LvName, cache: &LvName, mode: &str) -> Cmd {
    lvm("lvconvert")
        .args(["--yes", "--type", "cache", "--cachemode", mode])
        .args(["--cachevol", cache.as_str(), &path(vg, lv)])
}

/// To a total of `extents`, never by some: repeated, it changes nothing. On these disks; none named
/// means on any.
pub(super) fn extend(vg: &VgName, lv: &LvName, extents: Extents, disks: &[String]) -> Cmd {
    lvm("lvextend")
        .args(["--extents", &extents.0.to_string(), &path(vg, lv)])
        .args(disks.iter().map(|disk| escaped(disk)))
}

/// Gives the images of a RAID their checksums: what `lvcreate` does last.
pub(super) fn add_integrity(vg: &VgName, lv: &LvName) -> Cmd {
    lvm("lvconvert").args(["--yes", "--raidintegrity", "y", &path(vg, lv)])
}

/// Makes the device.
pub(super) fn activate(vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Cmd {
    change(["--activate", "y"], vg, lv, uuid)
}

/// Takes the device away; LVM refuses when somebody has it open.
pub(super) fn deactivate(vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Cmd {
    change(["--activate", "n"], vg, lv, uuid)
}

/// Takes tags off the volume, and gives it others, in one change of the metadata.
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

/// Changes the volume of this name if it also has this uuid.
fn change<'a>(
    what: impl IntoIterator<Item = &'a str>,
    vg: &VgName,
    lv: &LvName,
    uuid: &LvUuid,
) -> Cmd {
    lvm("lvchange")
        .args(what)
        .args(["--select", &format!("lv_uuid=\"{uuid}\""), &path(vg, lv)])
}

/// Removes the volume of this name if it also has this uuid and this tag: LVM itself checks all
/// three under its lock, and does nothing when one of them differs. `--yes` answers "really remove
/// the active volume?"; an open one is refused all the same. It would also agree to removing
/// snapshots along with their origin: hence only a volume that is of this kind and nothing more. An
/// origin's attributes begin with an `o`, whatever it is beside.
pub(super) fn remove(vg: &VgName, lv: &LvName, uuid: &LvUuid, tag: &LvTag, kind: LvKind) -> Cmd {
    let letters = match kind {
        LvKind::Plain => "^-",
        LvKind::Raid => "^[rR]",
        LvKind::Thin => "^V",
        LvKind::Cached => "^C",
        // A pool with volumes would take them along.
        LvKind::ThinPool => "^t",
        // No volume has such attributes: nothing is removed.
        LvKind::Other => "^$",
    };
    let empty = if kind == LvKind::ThinPool {
        " && thin_count=0"
    } else {
        ""
    };
    let selection =
        format!("lv_uuid=\"{uuid}\" && lv_tags=\"{tag}\" && lv_attr=~\"{letters}\"{empty}");
    lvm("lvremove")
        .args(["--yes", "--select", &selection, &path(vg, lv)])
        .timeout(REMOVE_TIMEOUT)
}

/// Every physical volume, also those of groups that LVM otherwise hides.
pub(super) fn disks() -> Cmd {
    json("pvs").args([
        "--foreign",
        "--shared",
        "--options",
        "pv_name,pv_uuid,vg_name",
    ])
}

/// Makes a physical volume of this uuid. Without `--yes` and without a terminal LVM refuses to wipe
/// whatever signature it finds; with `--force` it would take the disk of another group.
pub(super) fn create_disk(disk: &DevicePath, uuid: &LvUuid) -> Cmd {
    lvm("pvcreate").args([
        "--norestorefile",
        "--uuid",
        uuid.as_str(),
        "--",
        disk.as_str(),
    ])
}

/// Makes a volume group of physical volumes that no group has.
pub(super) fn create_group(vg: &VgName, tags: &[LvTag], disks: &[DevicePath]) -> Cmd {
    lvm("vgcreate")
        .args(tags.iter().flat_map(|tag| ["--addtag", tag.as_str()]))
        .args(["--", vg.as_str()])
        .args(disks.iter().map(DevicePath::as_str))
}

/// The version of LVM.
pub(super) fn version() -> Cmd {
    lvm("version")
}

fn lvm(verb: &str) -> Cmd {
    Cmd::new("lvm").arg(verb).timeout(TIMEOUT)
}

/// A device as LVM takes it: a colon would begin a range of extents, an at sign a tag.
fn escaped(disk: &str) -> String {
    disk.replace('\\', "\\\\")
        .replace(':', "\\:")
        .replace('@', "\\@")
}

/// `vg/lv`: neither part can begin with a hyphen or hold a slash.
fn path(vg: &VgName, lv: &LvName) -> String {
    format!("{vg}/{lv}")
}

#[cfg(test)]
mod tests;
