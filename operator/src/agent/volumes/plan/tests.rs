//! Examples for every rule of the plan, and the fixtures that they share.

mod abandoned;
mod adopted;
mod any;
mod device;
mod erase;
mod health;
mod identity;
mod image_mismatches;
mod images;
mod limits;
mod never_active;
mod pool_and_cache;
mod property;
mod read_only;
mod removal;
mod retained;
mod rolled_back;
mod unpublished;

use std::collections::BTreeMap;

use crds::Erase;
use crds::condition::reason;
use crds::logical_volume::{ReclaimPolicy, State};
use host::lvm::{
    Discard, Layout, Lv, LvHealth, LvRole, MissingPart, Pv, RaidParts, SegmentType, Vg, VgFault,
};
use host::{Bytes, Extents, LvName, LvTag, LvUuid, VgName};

use super::{Action, Content, LvmChange, NewVolume, ObservedVolume, Step, plan};
use crate::agent::volumes::outcome::Outcome;
use crate::agent::volumes::spec::VolumeSpec;
use crate::volume_record::VolumeRecord;

const EXTENT: Bytes = Bytes(4 << 20);
/// The tags of a volume that was created for the LogicalVolume of these tests.
const TAGS: [&str; 2] = ["flexlvm.dev/claim-uid=1", "flexlvm.dev/logicalvolume-uid=2"];

fn uuid(number: u32) -> LvUuid {
    LvUuid::from_plain(&format!("{number:032}")).unwrap()
}

fn spec() -> VolumeSpec {
    VolumeSpec {
        node: "node1".to_owned(),
        group: VgName::new("vg0").unwrap(),
        name: LvName::new("pvc-1").unwrap(),
        identity: LvTag::new(TAGS[0]).unwrap(),
        object: LvTag::new(TAGS[1]).unwrap(),
        trace: None,
        key: host::Key::new("00000000000000000000000000000000")
            .unwrap()
            .digest(),
        size: Bytes(32 << 20),
        layout: Layout::Linear,
        disks: BTreeMap::new(),
        pool: None,
        cache: None,
        state: State::Present,
        reclaim_policy: ReclaimPolicy::Delete,
        published: None,
        deleted: false,
        erase: Erase::None,
        object_uid: "2".to_owned(),
        generation: 1,
        released: false,
        adopted: None,
        record: record(),
    }
}

/// Returns what the tags of the volume record, apart from its size.
fn record() -> VolumeRecord {
    let tag = "flexlvm.dev/volume=backend=fast:class=gold:fs=ext4".to_owned();
    VolumeRecord::from_tags(&[tag]).unwrap()
}

fn lv() -> Lv {
    Lv {
        name: "pvc-1".to_owned(),
        uuid: uuid(1),
        size: Bytes(32 << 20),
        tags: TAGS.map(str::to_owned).to_vec(),
        active: true,
        open: false,
        segment_type: SegmentType::Plain,
        role: LvRole::Volume,
        shares: BTreeMap::from([(uuid(100), Extents(8))]),
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
    }
}

/// Returns a disk of 100 extents.
fn pv(number: u32, free: u64) -> Pv {
    Pv {
        uuid: uuid(number),
        name: format!("/dev/sd{number}"),
        extents: Extents(100),
        free: Extents(free),
        allocatable: true,
        is_missing: false,
    }
}

/// Returns a group of 100 extents, 50 of them free.
fn vg(lvs: Vec<Lv>) -> Vg {
    Vg {
        name: "vg0".to_owned(),
        uuid: uuid(0),
        extent_size: EXTENT,
        extents: Extents(100),
        free: Extents(50),
        fault: None,
        change_fault: None,
        max_lvs: None,
        lvs,
        pvs: vec![pv(100, 50)],
        system_id: String::new(),
        internal: vec![],
        seqno: 1,
    }
}

/// Returns the step that creates a volume of this many extents.
fn create(extents: u64, disks: &[&str]) -> Step {
    Step::Act(Action::Create(NewVolume::OnDisks {
        extents: Extents(extents),
        disks: disks.iter().map(ToString::to_string).collect(),
    }))
}

/// Returns the step that extends the volume to this many extents.
fn extend(extents: u64, disks: &[&str]) -> Step {
    LvmChange::Extend {
        extents: Extents(extents),
        disks: disks.iter().map(ToString::to_string).collect(),
    }
    .into()
}

/// Returns the step that removes the volume if it is of this type.
fn remove(segment_type: SegmentType) -> Step {
    LvmChange::Remove {
        uuid: uuid(1),
        segment_type,
        discard: Discard::AsConfigured,
    }
    .into()
}

/// Returns the step that inspects the volume.
fn inspect() -> Step {
    Step::Act(Action::Inspect { uuid: uuid(1) })
}

/// Returns an observation of these groups, without a device.
fn observed(groups: &[Vg]) -> ObservedVolume<'_> {
    ObservedVolume {
        groups,
        rollback: None,
        content: None,
        erasure: None,
        removed: false,
        device: None,
        refresh: None,
    }
}

fn next(spec: &VolumeSpec, groups: &[Vg], content: Option<Content>) -> Step {
    plan(
        spec,
        ObservedVolume {
            content: content.as_ref(),
            ..observed(groups)
        },
    )
}

fn settled(spec: &VolumeSpec, groups: &[Vg], content: Option<Content>) -> Outcome {
    match next(spec, groups, content) {
        Step::Done(outcome) => *outcome,
        Step::Act(action) => panic!("{action:?}"),
    }
}

/// Returns status and reason of `Ready`.
fn ready(spec: &VolumeSpec, groups: &[Vg]) -> (bool, &'static str) {
    let ready = settled(spec, groups, None).ready.unwrap();
    (ready.status, ready.reason)
}

/// Returns status and reason of `Removed`.
fn removed(spec: &VolumeSpec, groups: &[Vg], content: Option<Content>) -> (bool, &'static str) {
    let removed = settled(spec, groups, content).removed.unwrap();
    (removed.status, removed.reason)
}

fn published() -> VolumeSpec {
    VolumeSpec {
        published: Some(uuid(1)),
        ..spec()
    }
}

#[test]
fn new_volume_is_rounded_up_to_whole_extents() {
    let odd = VolumeSpec {
        size: Bytes((32 << 20) + 1),
        ..spec()
    };
    assert_eq!(next(&spec(), &[vg(vec![])], None), create(8, &[]));
    assert_eq!(next(&odd, &[vg(vec![])], None), create(9, &[]));
}

#[test]
fn missing_or_unusable_volume_group_is_reported() {
    let broken = Vg {
        fault: Some(VgFault::Exported),
        ..vg(vec![lv()])
    };
    assert_eq!(ready(&spec(), &[]), (false, reason::VOLUME_GROUP_MISSING));
    assert_eq!(
        ready(&spec(), std::slice::from_ref(&broken)),
        (false, reason::VOLUME_GROUP_UNUSABLE)
    );
    assert_eq!(
        ready(&published(), &[broken]),
        (false, reason::VOLUME_GROUP_UNUSABLE)
    );
    assert_eq!(
        ready(&published(), &[]),
        (false, reason::VOLUME_GROUP_MISSING)
    );
}

#[test]
fn foreign_volume_is_left_unchanged() {
    let untagged = [vg(vec![Lv {
        tags: vec!["flexlvm.dev/claim-uid=2".to_owned()],
        ..lv()
    }])];
    for state in [State::Present, State::Absent, State::AbsentIfNeverUsed] {
        let spec = VolumeSpec { state, ..spec() };
        assert!(
            matches!(next(&spec, &untagged, None), Step::Done(_)),
            "{state:?}"
        );
    }
    assert_eq!(
        ready(&spec(), &untagged),
        (false, reason::FOREIGN_LOGICAL_VOLUME)
    );

    // Without the tag, another volume took the name of one that is gone.
    let another = [vg(vec![Lv {
        uuid: uuid(2),
        tags: Vec::new(),
        ..lv()
    }])];
    assert_eq!(
        ready(&published(), &another),
        (false, reason::FOREIGN_LOGICAL_VOLUME)
    );
    let absent = VolumeSpec {
        state: State::Absent,
        ..published()
    };
    assert_eq!(removed(&absent, &another, None), (true, reason::REMOVED));
    assert_eq!(
        removed(&absent, &untagged, None),
        (false, reason::FOREIGN_LOGICAL_VOLUME)
    );
}

#[test]
fn missing_volume_is_never_recreated() {
    assert_eq!(
        ready(&published(), &[vg(vec![])]),
        (false, reason::LOGICAL_VOLUME_MISSING)
    );
    let renamed = [vg(vec![Lv {
        name: "rescued".to_owned(),
        ..lv()
    }])];
    assert_eq!(
        ready(&published(), &renamed),
        (false, reason::LOGICAL_VOLUME_MISSING)
    );
    let absent = VolumeSpec {
        state: State::Absent,
        ..published()
    };
    assert_eq!(
        removed(&absent, &renamed, None),
        (false, reason::FOREIGN_LOGICAL_VOLUME)
    );
}

#[test]
fn volume_is_extended_but_never_shrunk() {
    let groups = [vg(vec![lv()])];
    let larger = VolumeSpec {
        size: Bytes(33 << 20),
        ..published()
    };
    let smaller = VolumeSpec {
        size: Bytes(8 << 20),
        ..published()
    };
    assert_eq!(next(&larger, &groups, None), extend(9, &[]));
    assert_eq!(ready(&smaller, &groups), (true, reason::READY));
    let odd = [vg(vec![Lv {
        size: Bytes(36 << 20),
        ..lv()
    }])];
    assert_eq!(
        settled(&larger, &odd, None).volume,
        Some((uuid(1), Bytes(36 << 20)))
    );
}

#[test]
fn tag_with_claim_follows_the_claim_that_holds_the_volume() {
    let tag = |claim: &str| LvTag::new(format!("flexlvm.dev/claim={claim}")).unwrap();
    let own = |claim: &str| {
        let mut tags = lv().tags;
        tags.push(tag(claim).to_string());
        Lv { tags, ..lv() }
    };
    let spec = VolumeSpec {
        trace: Some(tag("shop/new")),
        ..published()
    };
    let retag = LvmChange::Retag {
        uuid: uuid(1),
        remove: vec![tag("default/old")],
        add: vec![tag("shop/new")],
    };
    assert_eq!(
        next(&spec, &[vg(vec![own("default/old")])], None),
        retag.into()
    );
    for kept in [own("shop/new"), lv()] {
        assert_eq!(ready(&spec, &[vg(vec![kept])]), (true, reason::READY));
    }
    let untagged = Lv {
        tags: vec![tag("default/old").to_string()],
        ..lv()
    };
    assert_eq!(ready(&spec, &[vg(vec![untagged])]), (true, reason::READY));
}
