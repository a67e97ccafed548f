//! Each kind of deviation, on the report of a real LVM.

use crds::logical_volume::State;
use crds::node_storage::{AuditCounts, DeviationKind, NodeStorageStatus};
use host::LvUuid;
use host::lvm::{Lv, Vg};

use super::Audit;
use crate::agent::inventory::build::tests::{groups, spec};
use crate::agent::volumes::spec::VolumeSpec;

const OTHER: &str = "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP";

/// Returns the group `vg0` of the report, with the volume `pvc-a` of claim `a` alone.
fn vg0() -> Vg {
    let mut vg0 = groups().into_iter().find(|vg| vg.name == "vg0").unwrap();
    vg0.lvs.retain(|lv| lv.name == "pvc-a");
    assert_eq!(vg0.lvs.len(), 1);
    vg0
}

fn described(uuid: Option<&str>) -> VolumeSpec {
    let uuid = uuid.map(|uuid| LvUuid::new(uuid).unwrap());
    spec("a", host::Bytes(32 << 20), uuid)
}

/// Returns the deviations as `kind group/name`.
fn deviations(vg: Vg, spec: VolumeSpec) -> Vec<String> {
    let audit = Audit::new(&[vg], &[spec]);
    let all = audit.deviations.iter();
    all.map(|one| format!("{:?} {}/{}", one.kind, one.volume_group, one.name))
        .collect()
}

#[test]
fn volumes_of_claims_without_object_are_orphans() {
    let orphans = |specs: &[VolumeSpec]| -> Vec<String> {
        let orphans = Audit::new(&groups(), specs).orphans.into_iter();
        orphans
            .map(|one| format!("{} {}/{}", one.claim_uid, one.volume_group, one.name))
            .collect()
    };
    let all = orphans(&[]);
    assert!(all.contains(&"a vg0/pvc-a".to_owned()), "{all:?}");
    let mut rest = all.clone();
    rest.retain(|orphan| !orphan.starts_with("a "));
    assert_eq!(orphans(&[described(None)]), rest);
}

#[test]
fn matching_volume_does_not_deviate() {
    let uuid = vg0().lvs[0].uuid.to_string();
    for spec in [described(Some(&uuid)), described(None)] {
        let audit = Audit::new(&[vg0()], &[spec]);
        assert_eq!(audit, Audit::default());
        assert_eq!(audit.counts(), AuditCounts::default());
    }
}

#[test]
fn published_volume_without_logical_volume_is_missing() {
    let mut empty = vg0();
    empty.lvs.clear();
    let missing = ["Missing vg0/pvc-a"];
    assert_eq!(deviations(empty.clone(), described(Some(OTHER))), missing);
    // One that was never published is about to be created.
    assert!(deviations(empty.clone(), described(None)).is_empty());
    empty.name = "vg9".to_owned();
    let audit = Audit::new(&[empty], &[described(Some(OTHER))]);
    let expected = "volume group vg0 is not on the node";
    assert_eq!(audit.deviations[0].message, expected);

    let mut renamed = vg0();
    let uuid = renamed.lvs[0].uuid.to_string();
    renamed.lvs[0].name = "rescued".to_owned();
    assert_eq!(deviations(renamed, described(Some(&uuid))), missing);
}

#[test]
fn volume_with_name_or_tags_of_another_is_foreign() {
    let foreign = ["Foreign vg0/pvc-a"];
    let mut untagged = vg0();
    untagged.lvs[0].tags.clear();
    assert_eq!(deviations(untagged, described(Some(OTHER))), foreign);
    // It has the tag of the claim, but not of the object.
    assert_eq!(deviations(vg0(), described(Some(OTHER))), foreign);

    let mut copied = vg0();
    let uuid = copied.lvs[0].uuid.to_string();
    copied.lvs.push(Lv {
        name: "copy".to_owned(),
        uuid: LvUuid::new(OTHER).unwrap(),
        ..copied.lvs[0].clone()
    });
    assert_eq!(
        deviations(copied, described(Some(&uuid))),
        ["Foreign vg0/copy"]
    );
}

#[test]
fn retained_volume_without_claim_is_listed_with_its_claim() {
    let retained = vg0();
    let uuid = retained.lvs[0].uuid.to_string();
    let spec = VolumeSpec {
        released: true,
        ..described(Some(&uuid))
    };
    let audit = Audit::new(&[retained], &[spec]);
    let deviation = &audit.deviations[0];
    assert_eq!(deviation.kind, DeviationKind::Retained);
    assert_eq!(deviation.claim.as_deref(), Some("default/a"));
    assert_eq!(audit.counts().retained, 1);
}

#[test]
fn counts_and_digests_include_what_the_lists_omit() {
    let mut many = vg0();
    let model = many.lvs[0].clone();
    for number in 0..1500 {
        many.lvs.push(Lv {
            name: format!("pvc-{number}"),
            tags: vec![format!("flexlvm.dev/claim-uid={number}")],
            ..model.clone()
        });
    }
    let audit = Audit::new(&[many], &[]);
    assert_eq!(audit.counts().orphaned, 1501);
    let status = NodeStorageStatus {
        audit: Some(audit.counts()),
        further_orphans: audit.further_orphans(),
        orphans: audit.limited().orphans,
        ..NodeStorageStatus::default()
    };
    assert_eq!(status.orphans.len(), 1000);
    for number in 0..1500 {
        assert!(status.orphan_of(&number.to_string()).is_some(), "{number}");
    }
    assert_eq!(status.orphan_of("another"), None);
}

#[test]
fn abandoned_volume_is_listed_and_is_no_orphan() {
    let uuid = vg0().lvs[0].uuid.to_string();
    let abandoned = || VolumeSpec {
        state: State::Abandoned,
        ..described(Some(&uuid))
    };
    assert_eq!(deviations(vg0(), abandoned()), ["Abandoned vg0/pvc-a"]);
    let audit = Audit::new(&[vg0()], &[abandoned()]);
    assert_eq!((audit.orphans.len(), audit.counts().abandoned), (0, 1));
    let mut renamed = vg0();
    renamed.lvs[0].name = "precious".to_owned();
    assert_eq!(deviations(renamed, abandoned()), ["Abandoned vg0/precious"]);
    // It is not missing: its disks may be elsewhere.
    let mut empty = vg0();
    empty.lvs.clear();
    assert!(deviations(empty, abandoned()).is_empty());
}
