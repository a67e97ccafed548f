//! Checks every command line, and that no name can be parsed as an option.

use device_path::DevicePath;
use proptest::prelude::*;

use super::{
    Discard, NewLv, NewPool, activate, add_integrity, attach_cache, change_tags, create,
    create_disk, create_group, create_pool, create_thin, deactivate, disks, escape, extend,
    refresh, remove, report, usable_groups, version, volume,
};
use crate::lvm::names::{LvName, LvTag, LvUuid, VgName};
use crate::lvm::{Layout, Level, PoolCost, SegmentType};
use crate::units::{Bytes, Extents};

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
fn pool_and_cache_command_lines_match_real_lvm() {
    let pool_name = LvName::new("pool0").unwrap();
    let disks = ["/dev/sdb".to_owned()];
    let pool = NewPool {
        cost: PoolCost {
            data: Extents(256),
            metadata: Extents(1),
        },
        extent: Bytes(4 << 20),
        most: Bytes(2 << 30),
        disks: &disks,
        tag: &tag("flexlvm.dev/thin-pool=thin"),
    };
    for (command, line) in [
        (
            create_thin(
                &vg(),
                &pool_name,
                &lv(),
                Bytes(4 << 20),
                &[tag("flexlvm.dev/claim-uid=1")],
            ),
            "lvm lvcreate --yes --type thin --setactivationskip n --addtag flexlvm.dev/claim-uid=1 \
             --virtualsize 4194304b --name pvc-1 --thinpool pool0 vg0",
        ),
        (
            create_pool(&vg(), &pool_name, &pool),
            "lvm lvcreate --yes --type thin-pool --zero y --discards passdown --poolmetadataspare n \
             --config activation/error_when_full=0 --chunksize 64k --poolmetadatasize 4194304b --addtag flexlvm.dev/thin-pool=thin \
             --extents 256 --name pool0 vg0 /dev/sdb",
        ),
        (
            attach_cache(
                &vg(),
                &lv(),
                &LvName::new("pvc-1_cache").unwrap(),
                "writethrough",
            ),
            "lvm lvconvert --yes --type cache --cachemode writethrough --cachevol pvc-1_cache vg0/pvc-1",
        ),
    ] {
        assert_eq!(command.line(), line);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn command_lines_match_real_lvm() {
    let tags = [
        tag("flexlvm.dev/claim-uid=1"),
        tag("flexlvm.dev/claim=default/data"),
    ];
    let linear = NewLv {
        extents: Extents(32),
        layout: Layout::Linear,
        disks: &[],
        tags: &tags,
    };
    let disks = [
        "/dev/sdb".to_owned(),
        "/dev/disk/by-path/pci-0000:00".to_owned(),
    ];
    let mirrored = Layout::Raid {
        level: Level::Raid1 { copies: 2 },
        integrity: true,
    };
    let raid = NewLv {
        layout: mirrored,
        disks: &disks,
        tags: &tags[..1],
        ..linear
    };
    for (command, line) in [
        (
            create(&vg(), &lv(), &raid),
            "lvm lvcreate --yes --type raid1 --mirrors 1 --raidintegrity y --wipesignatures y --zero y \
             --addtag flexlvm.dev/claim-uid=1 --extents 32 --name pvc-1 vg0 /dev/sdb \
             /dev/disk/by-path/pci-0000\\:00",
        ),
        (
            extend(&vg(), &lv(), Extents(64), &disks[..1]),
            "lvm lvextend --extents 64 vg0/pvc-1 /dev/sdb",
        ),
        (
            add_integrity(&vg(), &lv()),
            "lvm lvconvert --yes --raidintegrity y vg0/pvc-1",
        ),
        (
            create(&vg(), &lv(), &linear),
            "lvm lvcreate --yes --type linear --wipesignatures y --zero y --addtag flexlvm.dev/claim-uid=1 \
             --addtag flexlvm.dev/claim=default/data --extents 32 --name pvc-1 vg0",
        ),
        (
            extend(&vg(), &lv(), Extents(64), &[]),
            "lvm lvextend --extents 64 vg0/pvc-1",
        ),
        (
            activate(&vg(), &lv(), &uuid()),
            "lvm lvchange --activate y --config log/report_command_log=0 backup/retain_days=0 backup/retain_min=100 --select lv_uuid=\"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP\" vg0/pvc-1",
        ),
        (
            refresh(&vg(), &lv(), &uuid()),
            "lvm lvchange --refresh --config log/report_command_log=0 backup/retain_days=0 backup/retain_min=100 --select lv_uuid=\"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP\" vg0/pvc-1",
        ),
        (
            deactivate(&vg(), &lv(), &uuid()),
            "lvm lvchange --activate n --config log/report_command_log=0 backup/retain_days=0 backup/retain_min=100 --select lv_uuid=\"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP\" vg0/pvc-1",
        ),
        (
            change_tags(
                &vg(),
                &lv(),
                &uuid(),
                &[tag("flexlvm.dev/format")],
                &tags[..1],
            ),
            "lvm lvchange --deltag flexlvm.dev/format --addtag flexlvm.dev/claim-uid=1 --config log/report_command_log=0 backup/retain_days=0 backup/retain_min=100 --select \
             lv_uuid=\"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP\" vg0/pvc-1",
        ),
        (
            volume(&vg(), &lv()),
            "lvm lvs --reportformat json --units b --nosuffix --config \
             report/list_item_separator=\",\" report/prefixes=0 report/compact_output=0 \
             report/compact_output_cols=\"\" report/mark_hidden_devices=1 \
             report/binary_values_as_numeric=0 report/two_word_unknown_device=0 \
             report/vgs_sort=\"vg_name\" report/lvs_sort=\"vg_name,lv_name\" report/pvs_sort=\"pv_name\" \
             report/vgs_sort_full=\"vg_name\" report/lvs_sort_full=\"vg_name,lv_name\" \
             report/pvs_sort_full=\"pv_name\" report/pvsegs_sort_full=\"pv_uuid,pvseg_start\" \
             report/segs_sort_full=\"lv_uuid,seg_start\" log/prefix=\"  \" log/command_names=0 \
             log/report_command_log=0 --options \
             lv_name,lv_uuid,lv_attr,lv_size,lv_tags,pool_lv,data_percent,metadata_percent,lv_metadata_size vg0/pvc-1",
        ),
        (
            remove(
                &vg(),
                &lv(),
                &uuid(),
                &tag("flexlvm.dev/claim-uid=1"),
                SegmentType::Plain,
                Discard::AsConfigured,
            ),
            "lvm lvremove --yes --config log/report_command_log=0 backup/retain_days=0 backup/retain_min=100 --select lv_uuid=\"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP\" && \
             lv_tags=\"flexlvm.dev/claim-uid=1\" && lv_attr=~\"^-\" vg0/pvc-1",
        ),
        (
            remove(
                &vg(),
                &lv(),
                &uuid(),
                &tag("t"),
                SegmentType::Plain,
                Discard::Always,
            ),
            "lvm lvremove --yes --config log/report_command_log=0 backup/retain_days=0 backup/retain_min=100 devices/issue_discards=1 --select \
             lv_uuid=\"abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP\" && lv_tags=\"t\" && lv_attr=~\"^-\" vg0/pvc-1",
        ),
    ] {
        assert_eq!(command.line(), line);
    }
    assert!(
        report()
            .line()
            .starts_with("lvm fullreport --reportformat json --units b --nosuffix --config ")
    );
}

#[test]
fn group_creation_confirms_no_prompt() {
    let disks = ["/dev/sdb", "/dev/nvme0n1"].map(|disk| DevicePath::new(disk).unwrap());
    let line =
        "lvm pvcreate --norestorefile --uuid abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP -- /dev/sdb";
    assert_eq!(create_disk(&disks[0], &uuid()).line(), line);
    let line = "lvm vgcreate --addtag flexlvm.dev/backend=a -- vg0 /dev/sdb /dev/nvme0n1";
    assert_eq!(
        create_group(&vg(), &[tag("flexlvm.dev/backend=a")], &disks).line(),
        line
    );
}

#[test]
fn remove_selects_volumes_by_type() {
    let selection = |segment_type| {
        remove(
            &vg(),
            &lv(),
            &uuid(),
            &tag("t"),
            segment_type,
            Discard::AsConfigured,
        )
        .arguments()[5]
            .clone()
    };
    assert!(selection(SegmentType::Raid).ends_with("lv_attr=~\"^[rR]\""));
    assert!(selection(SegmentType::Other).ends_with("lv_attr=~\"^$\""));
}

#[test]
fn device_escapes_colon_and_at_sign() {
    assert_eq!(escape("/dev/a:b@c\\d"), "/dev/a\\:b\\@c\\\\d");
}

proptest! {
    /// Names come from objects that tenants influence.
    #[test]
    fn names_never_become_options_or_end_selections(vg in "\\PC{1,20}", lv in "\\PC{1,20}", tag in "\\PC{1,20}") {
        let (Ok(vg), Ok(lv), Ok(tag)) = (VgName::new(vg), LvName::new(lv), LvTag::new(tag)) else {
            return Ok(());
        };
        let command = remove(&vg, &lv, &uuid(), &tag, SegmentType::Raid, Discard::AsConfigured);
        let selection = &command.arguments()[3];
        prop_assert_eq!(selection.matches('"').count(), 6);
        prop_assert_eq!(selection.matches("&&").count(), 2 + tag.as_str().matches("&&").count());
        prop_assert_eq!(command.arguments().len(), 5);
        let new = NewLv { extents: Extents(1), layout: Layout::Linear, disks: &[], tags: &[tag] };
        for command in [create(&vg, &lv, &new), extend(&vg, &lv, Extents(1), &[])] {
            prop_assert!(!command.arguments().last().unwrap().starts_with('-'));
        }
    }
}

#[test]
fn only_reports_may_be_killed() {
    for read in [
        report(),
        volume(&vg(), &lv()),
        usable_groups(),
        disks(),
        version(),
    ] {
        assert!(!read.changes_devices(), "{}", read.line());
    }
    let disk = DevicePath::new("/dev/sdb").unwrap();
    for change in [
        extend(&vg(), &lv(), Extents(1), &[]),
        activate(&vg(), &lv(), &uuid()),
        deactivate(&vg(), &lv(), &uuid()),
        refresh(&vg(), &lv(), &uuid()),
        add_integrity(&vg(), &lv()),
        attach_cache(&vg(), &lv(), &lv(), "writeback"),
        create_thin(&vg(), &lv(), &lv(), Bytes(1), &[]),
        remove(
            &vg(),
            &lv(),
            &uuid(),
            &tag("a"),
            SegmentType::Plain,
            Discard::AsConfigured,
        ),
        create_disk(&disk, &uuid()),
        create_group(&vg(), &[], &[disk]),
    ] {
        assert!(change.changes_devices(), "{}", change.line());
    }
}
