//! The published volume groups.

mod disks;
mod pools;

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::condition::{self, READY, reason};
use crds::logical_volume::State;
use crds::{NodeStorageStatus, quantity};
use host::lvm::{
    Layout, Lv, LvHealth, LvRole, Lvm, MissingPart, RaidParts, SegmentType, Vg, VgFault,
};
use host::{Bytes, Cmd, Error, Exec, LvName, LvTag, LvUuid, Output, VgName};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::{ReportInputs, build, differ};
use crate::agent::condition::ReportedError;
use crate::agent::lvm::report::LvmReport;
use crate::agent::lvm::rollback::Rollback;
use crate::agent::volumes::spec::VolumeSpec;
use crate::volume_record::VolumeRecord;

/// An `Exec` with fixed output.
struct FixedOutput(&'static [u8]);

impl Exec for FixedOutput {
    fn exec(&self, _: &Cmd) -> Result<Output, Error> {
        Ok(Output {
            code: Some(0),
            stdout: self.0.to_vec(),
            stderr: Vec::new(),
        })
    }
}

pub(in crate::agent) fn groups() -> Vec<Vg> {
    Lvm(&FixedOutput(include_bytes!(
        "../../../../../host/fixtures/lvm2-2.03.16-kinds.json"
    )))
    .report()
    .unwrap()
    .groups
}

fn record() -> VolumeRecord {
    let tag = "flexlvm.dev/volume=backend=fast:class=gold:fs=ext4".to_owned();
    VolumeRecord::from_tags(&[tag]).unwrap()
}

pub(in crate::agent) fn spec(claim: &str, size: Bytes, published: Option<LvUuid>) -> VolumeSpec {
    VolumeSpec {
        node: "node1".to_owned(),
        group: VgName::new("vg0").unwrap(),
        name: LvName::new(format!("pvc-{claim}")).unwrap(),
        identity: LvTag::new(format!("flexlvm.dev/claim-uid={claim}")).unwrap(),
        object: LvTag::new(format!("flexlvm.dev/logicalvolume-uid={claim}")).unwrap(),
        trace: None,
        key: host::Key::new("00000000000000000000000000000000")
            .unwrap()
            .digest(),
        size,
        layout: Layout::Linear,
        disks: BTreeMap::new(),
        pool: None,
        cache: None,
        state: State::Present,
        published,
        deleted: false,
        erase: crds::Erase::None,
        object_uid: "2".to_owned(),
        generation: 1,
        released: false,
        adopted: None,
        record: record(),
        reclaim_policy: crds::logical_volume::ReclaimPolicy::Delete,
    }
}

/// Returns inputs with this report and nothing else.
fn inputs(report: &LvmReport) -> ReportInputs<'_> {
    static MISSING: BTreeMap<String, Rollback> = BTreeMap::new();
    static CACHE_PATHS: BTreeMap<String, Vec<String>> = BTreeMap::new();
    static STABLE_PATHS: BTreeMap<String, String> = BTreeMap::new();
    ReportInputs {
        report,
        missing: &MISSING,
        specs: &[],
        driver: None,
        kubelet: None,
        hang: None,
        cache_paths: &CACHE_PATHS,
        stable_paths: &STABLE_PATHS,
    }
}

fn status(groups: Vec<Vg>, specs: &[VolumeSpec]) -> NodeStorageStatus {
    let report = LvmReport {
        groups: Some(Arc::new(groups)),
        ..LvmReport::default()
    };
    let inputs = ReportInputs {
        specs,
        ..inputs(&report)
    };
    build(
        &NodeStorageStatus::default(),
        inputs,
        &Time(Timestamp::UNIX_EPOCH),
    )
}

fn used_by_others(groups: Vec<Vg>, specs: &[VolumeSpec]) -> u64 {
    let status = status(groups, specs);
    let vg0 = status
        .volume_groups
        .iter()
        .find(|group| group.name == "vg0")
        .unwrap();
    quantity::parse(&vg0.used_by_others).unwrap()
}

const EXTENT: Bytes = Bytes(4 << 20);
/// Extents that the fixture's volumes occupy, with the metadata of thin pool and RAID: of 2046
/// extents, 1974 are free.
const USED: u64 = 72;

#[test]
fn only_reserved_extents_of_known_specs_are_not_used_by_others() {
    let extents = |specs: &[VolumeSpec]| used_by_others(groups(), specs) / EXTENT.0;
    assert_eq!(extents(&[]), USED);
    // pvc-a, pvc-b and pvc-c have 8 extents each.
    assert_eq!(extents(&[spec("a", Bytes(32 << 20), None)]), USED - 8);
    assert_eq!(extents(&[spec("a", Bytes((8 << 20) + 1), None)]), USED - 3);
    assert_eq!(extents(&[spec("a", Bytes(1 << 40), None)]), USED - 8);
    assert_eq!(extents(&[spec("unknown", Bytes(32 << 20), None)]), USED);
    // Another client can write a wrong uuid into the status; the space stays reserved by the spec.
    let wrong = LvUuid::new("abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP").unwrap();
    let overwritten = spec("a", Bytes(32 << 20), Some(wrong));
    assert_eq!(extents(&[overwritten]), USED - 8);
    assert_eq!(
        extents(&[
            spec("a", Bytes(32 << 20), None),
            spec("c", Bytes(32 << 20), None)
        ]),
        USED - 16
    );
}

#[test]
fn used_by_others_is_counted_per_disk() {
    let mut groups = groups();
    let vg = groups.iter_mut().find(|vg| vg.name == "vg0").unwrap();
    let (first, second) = (vg.pvs[0].uuid.clone(), vg.pvs[1].uuid.clone());
    let usage = |groups: &[Vg], specs: &[VolumeSpec], uuid: &LvUuid| {
        let status = status(groups.to_vec(), specs);
        let vg0 = status
            .volume_groups
            .iter()
            .find(|group| group.name == "vg0")
            .unwrap()
            .clone();
        let disk = vg0
            .physical_volumes
            .iter()
            .find(|disk| disk.uuid == uuid.as_str())
            .unwrap()
            .clone();
        (
            quantity::parse(&disk.used_by_others).unwrap() / EXTENT.0,
            quantity::parse(&disk.free).unwrap() / EXTENT.0,
        )
    };
    let reserved = VolumeSpec {
        disks: [(first.clone(), Bytes(32 << 20))].into(),
        ..spec("a", Bytes(32 << 20), None)
    };
    let elsewhere = VolumeSpec {
        disks: [(second.clone(), Bytes(32 << 20))].into(),
        ..reserved.clone()
    };
    assert_eq!(usage(&groups, &[], &first), (56, 967));
    assert_eq!(
        usage(&groups, std::slice::from_ref(&reserved), &first),
        (48, 967)
    );
    // The space was reserved on the other disk, but is allocated on the first: there it counts as
    // used by others.
    assert_eq!(usage(&groups, &[elsewhere], &first), (56, 967));

    // Space that LVM does not allocate can't be reserved.
    for pv in groups.iter_mut().flat_map(|vg| &mut vg.pvs) {
        pv.allocatable = pv.uuid != second;
    }
    assert_eq!(usage(&groups, &[], &second), (1023, 0));
    assert_eq!(
        used_by_others(groups, &[reserved]) / EXTENT.0,
        USED - 8 + 1007
    );
}

#[test]
fn limit_of_logical_volumes_is_published() {
    let limited = |max: Option<u64>| {
        let mut groups = groups();
        for vg in &mut groups {
            vg.max_lvs = max;
        }
        status(groups, &[])
    };
    let limit = |status: &NodeStorageStatus| {
        let mut groups = status.volume_groups.iter();
        groups
            .find(|group| group.name == "vg0")
            .and_then(|group| group.logical_volume_limit)
    };
    // vg0 has eight.
    assert_eq!(limit(&limited(None)), None);
    let full = limit(&limited(Some(8))).unwrap();
    assert_eq!((full.maximum, full.remaining), (8, 0));
    assert_eq!(limit(&limited(Some(10))).unwrap().remaining, 2);

    // Otherwise each volume in a group with a limit would cost a write.
    let with_remaining = |remaining: u32| {
        let mut status = limited(Some(1000));
        for group in &mut status.volume_groups {
            group.logical_volume_limit.as_mut().unwrap().remaining = remaining;
        }
        status
    };
    assert!(!differ(&with_remaining(66), &with_remaining(65)));
    assert!(differ(&with_remaining(65), &with_remaining(64)));
    assert!(differ(&with_remaining(1), &with_remaining(0)));
}

#[test]
fn group_with_duplicate_disk_is_published_as_unusable() {
    let mut groups = groups();
    let vg0 = groups.iter_mut().find(|vg| vg.name == "vg0").unwrap();
    vg0.change_fault = Some(host::lvm::DuplicateDisk {
        used: "/dev/sda".to_owned(),
        copy: "/dev/sdb".to_owned(),
    });
    for group in status(groups, &[]).volume_groups {
        let is_unusable = group.unusable_reason.is_some();
        assert_eq!(is_unusable, group.name == "vg0", "{group:?}");
    }
}

#[test]
fn warnings_of_lvm_are_published_and_cleared() {
    let mut report = LvmReport {
        groups: Some(Arc::new(groups())),
        warnings: vec!["WARNING: bad checksum".to_owned()],
        ..LvmReport::default()
    };
    let published = |report: &LvmReport, known: &NodeStorageStatus| {
        build(known, inputs(report), &Time(Timestamp::UNIX_EPOCH))
    };
    let warned = published(&report, &NodeStorageStatus::default());
    assert_eq!(warned.lvm_warnings, report.warnings);
    assert!(condition::is_true(&warned.conditions, READY));
    report.warnings.clear();
    let cleared = published(&report, &warned);
    assert!(cleared.lvm_warnings.is_empty() && differ(&warned, &cleared));
}

#[test]
fn failed_report_keeps_the_volume_groups() {
    let known = status(groups(), &[]);
    let report = LvmReport {
        groups: None,
        failure: Some(ReportedError::new(
            reason::LVM_FAILED,
            "lvm could not be started",
        )),
        ..LvmReport::default()
    };
    let failed = build(&known, inputs(&report), &Time(Timestamp::UNIX_EPOCH));
    assert_eq!(failed.volume_groups, known.volume_groups);
    assert_eq!(
        condition::get(&failed.conditions, READY).unwrap().message,
        "lvm could not be started"
    );
    assert!(differ(&known, &failed));
}

#[test]
fn group_with_older_metadata_is_unusable_unless_lvm_refuses_it_anyway() {
    let missing = |group: &str, volume: &str| Rollback::VolumeMissing {
        group: group.to_owned(),
        volume: volume.to_owned(),
    };
    let objects = BTreeMap::from([("vg0".to_owned(), missing("vg0", "pvc-1"))]);
    let mut report = LvmReport {
        groups: Some(Arc::new(groups())),
        ..LvmReport::default()
    };
    let reason = |report: &LvmReport| {
        let inputs = ReportInputs {
            missing: &objects,
            ..inputs(report)
        };
        let status = build(
            &NodeStorageStatus::default(),
            inputs,
            &Time(Timestamp::UNIX_EPOCH),
        );
        let mut groups = status.volume_groups.into_iter();
        let vg0 = groups.find(|group| group.name == "vg0").unwrap();
        assert!(groups.all(|group| group.unusable_reason.is_none()));
        vg0.unusable_reason.unwrap()
    };
    assert_eq!(reason(&report), missing("vg0", "pvc-1").to_string());
    let mut changed = groups();
    let vg0 = changed.iter_mut().find(|vg| vg.name == "vg0").unwrap();
    report.rollbacks = Arc::new([(vg0.uuid.clone(), missing("vg0", "from the node"))].into());
    assert!(reason(&report).contains("from the node"));
    vg0.fault = Some(VgFault::Exported);
    report.groups = Some(Arc::new(changed));
    assert_eq!(reason(&report), VgFault::Exported.to_string());
}

#[test]
fn groups_that_share_a_name_are_one_unusable_entry() {
    let namesakes = include_bytes!("../../../../../host/fixtures/lvm2-2.03.16-namesakes.json");
    let status = status(Lvm(&FixedOutput(namesakes)).report().unwrap().groups, &[]);
    assert_eq!(status.volume_groups.len(), 1);
    assert!(status.volume_groups[0].unusable_reason.is_some());
}

proptest! {
    /// Otherwise each volume would cost a write of the NodeStorage, and the controller would count
    /// it twice.
    #[test]
    fn creating_and_removing_a_volume_changes_only_the_free_space(bytes in 1..3_u64 << 30) {
        let mut after = groups();
        let vg = after.iter_mut().find(|vg| vg.name == "vg0").unwrap();
        let mut spec = spec("new", Bytes(bytes), None);
        let extents = spec.size.extents_up(EXTENT);
        let shares = BTreeMap::from([(vg.pvs[1].uuid.clone(), extents)]);
        spec.disks = [(vg.pvs[1].uuid.clone(), extents.bytes(EXTENT))].into();
        vg.insert(Lv {
            name: spec.name.to_string(),
            uuid: LvUuid::new("abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP").unwrap(),
            size: extents.bytes(EXTENT),
            tags: vec![spec.identity.to_string()],
            active: true,
            open: false,
            segment_type: SegmentType::Plain,
            role: LvRole::Volume,
            shares,
            integrity: false,
            pool: None,
            state: None,
            health: LvHealth::Good,
            missing_images: [].into(),
            missing_part: MissingPart::None,
            sync: None,
            integrity_mismatches: 0,
            is_in_transition: false,
            raid_parts: RaidParts::Hidden,
            raid_mismatches: 0,
            has_stale_blocks: false,
        });
        let specs = [spec];
        let (before, after) = (status(groups(), &specs), status(after, &specs));
        prop_assert!(before != after && !differ(&before, &after));
    }
}

#[test]
fn number_of_orphans_is_bounded() {
    let mut all = groups();
    let vg0 = all.iter_mut().find(|vg| vg.name == "vg0").unwrap();
    let model = vg0.lv("pvc-a").unwrap().clone();
    for number in 0..1500 {
        vg0.lvs.push(Lv {
            name: format!("pvc-{number}"),
            tags: vec![format!("flexlvm.dev/claim-uid={number}")],
            ..model.clone()
        });
    }
    assert_eq!(status(all, &[]).orphans.len(), 1000);
}
