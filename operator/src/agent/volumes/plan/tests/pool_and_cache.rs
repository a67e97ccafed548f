//! Thin pools and caches: created before they are needed, removed when unused.

use crds::cache::CacheMode;
use host::fs::NewBlocks;
use host::lvm::{PoolCost, PoolFault, PoolState};

use super::*;
use crate::agent::volumes::plan::extended;
use crate::agent::volumes::spec::{CacheSpec, PoolCreation, PoolSpec};

/// Name of the pool.
pub(super) const POOL: &str = "flexlvm-thin";

/// Returns the spec of a volume of eight extents in a pool of ten that may grow to twenty.
pub(super) fn thin() -> VolumeSpec {
    let create = PoolCreation {
        first: Extents(10).bytes(EXTENT),
        most: Extents(20).bytes(EXTENT),
        metadata: Extents(1).bytes(EXTENT),
        disks: [(uuid(100), Extents(21).bytes(EXTENT))].into(),
    };
    let identity = LvTag::new("flexlvm.dev/thin-pool=thin").unwrap();
    let pool = PoolSpec {
        name: LvName::new(POOL).unwrap(),
        identity,
        create: Some(create),
    };
    VolumeSpec {
        layout: Layout::Thin,
        pool: Some(pool),
        ..spec()
    }
}

/// Returns the spec of a volume with a cache of two extents.
pub(super) fn cached() -> VolumeSpec {
    let disks = [(uuid(100), Extents(2).bytes(EXTENT))].into();
    let name = LvName::new("pvc-1").unwrap().cache().unwrap();
    let cache = CacheSpec {
        name,
        size: Bytes(8 << 20),
        mode: CacheMode::WriteThrough,
        disks,
    };
    VolumeSpec {
        layout: Layout::Cached,
        cache: Some(cache),
        ..spec()
    }
}

/// Returns the pool with this data usage (percent).
pub(super) fn pool(data_used: u32) -> Lv {
    Lv {
        name: POOL.to_owned(),
        uuid: uuid(7),
        size: Extents(10).bytes(EXTENT),
        tags: vec!["flexlvm.dev/thin-pool=thin".to_owned()],
        segment_type: SegmentType::ThinPool,
        shares: BTreeMap::from([(uuid(100), Extents(11))]),
        state: Some(PoolState {
            metadata: Bytes(4 << 20),
            data_used,
            metadata_used: 1,
            fault: None,
        }),
        ..lv()
    }
}

fn in_pool() -> Lv {
    Lv {
        segment_type: SegmentType::Thin,
        pool: Some(POOL.to_owned()),
        shares: BTreeMap::new(),
        ..lv()
    }
}

/// Returns the step that creates the volume in its pool.
fn create_in_pool() -> Step {
    Step::Act(Action::Create(NewVolume::InPool {
        pool: LvName::new(POOL).unwrap(),
        size: Bytes(32 << 20),
        blocks: NewBlocks::Zeros,
    }))
}

#[test]
fn pool_is_created_before_its_first_volume() {
    let cost = PoolCost {
        data: Extents(10),
        metadata: Extents(1),
    };
    let create = LvmChange::CreatePool {
        pool: LvName::new(POOL).unwrap(),
        tag: LvTag::new("flexlvm.dev/thin-pool=thin").unwrap(),
        cost,
        extent: EXTENT,
        most: Extents(20).bytes(EXTENT),
        disks: vec!["/dev/sd100".to_owned()],
    };
    assert_eq!(next(&thin(), &[vg(vec![])], None), create.into());
    assert_eq!(next(&thin(), &[vg(vec![pool(1)])], None), create_in_pool());
    let full = Vg {
        pvs: vec![pv(100, 10)],
        ..vg(vec![])
    };
    let outcome = settled(&thin(), &[full], None).ready.unwrap();
    assert_eq!(
        (
            outcome.reason,
            outcome.message.contains("40 MiB free, 44 MiB needed")
        ),
        (reason::INSUFFICIENT_SPACE, true)
    );
}

#[test]
fn pool_that_differs_from_the_spec_is_left_unchanged() {
    let foreign = Lv {
        tags: vec![],
        ..pool(1)
    };
    assert_eq!(
        ready(&thin(), &[vg(vec![foreign])]),
        (false, reason::FOREIGN_LOGICAL_VOLUME)
    );
    let plain = Lv {
        name: POOL.to_owned(),
        uuid: uuid(7),
        tags: vec![],
        ..lv()
    };
    assert_eq!(
        ready(&thin(), &[vg(vec![plain])]),
        (false, reason::FOREIGN_LOGICAL_VOLUME)
    );
    let state = PoolState {
        fault: Some(PoolFault::Failed {
            pool: POOL.to_owned(),
        }),
        ..pool(1).state.unwrap()
    };
    assert_eq!(
        ready(
            &thin(),
            &[vg(vec![Lv {
                state: Some(state),
                ..pool(1)
            }])]
        ),
        (false, reason::THIN_POOL_UNUSABLE)
    );
    let mut named = thin();
    named.pool.as_mut().unwrap().create = None;
    assert_eq!(
        ready(&named, &[vg(vec![])]),
        (false, reason::THIN_POOL_MISSING)
    );
    let foreign = Lv {
        tags: vec![],
        ..pool(1)
    };
    assert_eq!(next(&named, &[vg(vec![foreign])], None), create_in_pool());
}

#[test]
fn renamed_pool_is_reported_and_no_second_one_created() {
    let renamed = Lv {
        name: "fast-pool".to_owned(),
        ..pool(1)
    };
    let outcome = settled(&thin(), &[vg(vec![renamed])], None).ready.unwrap();
    assert_eq!(outcome.reason, reason::THIN_POOL_MISSING);
    let remedy = "`lvrename vg0 fast-pool flexlvm-thin`";
    assert!(outcome.message.contains(remedy), "{}", outcome.message);
    // The pool of another backend is none of its concern.
    let other = Lv {
        name: "flexlvm-other".to_owned(),
        tags: vec!["flexlvm.dev/thin-pool=other".to_owned()],
        ..pool(1)
    };
    let step = next(&thin(), &[vg(vec![other])], None);
    assert!(
        matches!(
            step,
            Step::Act(Action::Change(LvmChange::CreatePool { .. }))
        ),
        "{step:?}"
    );
}

#[test]
fn pool_is_removed_with_its_last_volume() {
    let absent = VolumeSpec {
        state: State::Absent,
        published: Some(uuid(1)),
        ..thin()
    };
    assert_eq!(
        next(&absent, &[vg(vec![pool(1), in_pool()])], None),
        remove(SegmentType::Thin)
    );
    let remove_pool = LvmChange::RemovePool {
        pool: LvName::new(POOL).unwrap(),
        tag: LvTag::new("flexlvm.dev/thin-pool=thin").unwrap(),
        uuid: uuid(7),
    };
    assert_eq!(
        next(&absent, &[vg(vec![pool(1)])], None),
        remove_pool.into()
    );
    assert_eq!(
        removed(&absent, &[vg(vec![])], None),
        (true, reason::REMOVED)
    );
    let another = Lv {
        name: "pvc-2".to_owned(),
        uuid: uuid(2),
        ..in_pool()
    };
    assert_eq!(
        removed(&absent, &[vg(vec![pool(1), another])], None),
        (true, reason::REMOVED)
    );
    let mut named = absent;
    named.pool.as_mut().unwrap().create = None;
    assert_eq!(
        removed(&named, &[vg(vec![pool(1)])], None),
        (true, reason::REMOVED)
    );
}

#[test]
fn pool_is_extended_as_it_fills_up() {
    let to = |used: u32, most: u64| {
        extended(&pool(used), Extents(most), EXTENT, 70, 20).map(|extents| extents.0)
    };
    assert_eq!(
        [
            to(69, 20),
            to(70, 20),
            to(100, 20),
            to(100, 11),
            to(100, 10)
        ],
        [None, Some(12), Some(15), Some(11), None]
    );
    let failed = PoolState {
        fault: Some(PoolFault::Failed {
            pool: POOL.to_owned(),
        }),
        ..pool(80).state.unwrap()
    };
    assert_eq!(
        extended(
            &Lv {
                state: Some(failed),
                ..pool(80)
            },
            Extents(20),
            EXTENT,
            70,
            20
        ),
        None
    );
}

#[test]
fn converted_volume_is_not_extended() {
    let larger = |spec: VolumeSpec| VolumeSpec {
        size: Bytes(64 << 20),
        published: Some(uuid(1)),
        ..spec
    };
    for (spec, lv) in [(thin(), lv()), (spec(), in_pool())] {
        let outcome = settled(&larger(spec), &[vg(vec![pool(1), lv])], None)
            .ready
            .unwrap();
        assert!(
            outcome.reason == reason::LAYOUT_UNSUITABLE
                && outcome.message.contains("was converted")
        );
    }
}

#[test]
fn origin_in_pool_is_extended() {
    let larger = VolumeSpec {
        size: Bytes(64 << 20),
        published: Some(uuid(1)),
        ..thin()
    };
    let origin = Lv {
        role: LvRole::Origin,
        ..in_pool()
    };
    assert_eq!(
        next(&larger, &[vg(vec![pool(1), origin])], None),
        extend(16, &[])
    );
}

#[test]
fn cache_is_attached_before_the_volume_is_published() {
    let without = |lvs: Vec<Lv>| next(&cached(), &[vg(lvs)], Some(Content::Unformatted));
    let cache = LvName::new("pvc-1").unwrap().cache().unwrap();
    assert_eq!(next(&cached(), &[vg(vec![])], None), create(8, &[]));
    assert_eq!(
        without(vec![lv()]),
        LvmChange::CreateCache {
            cache: cache.clone(),
            extents: Extents(2),
            disks: vec!["/dev/sd100".to_owned()],
        }
        .into()
    );
    let made = Lv {
        name: "pvc-1_cache".to_owned(),
        uuid: uuid(8),
        ..lv()
    };
    let attach = LvmChange::AttachCache {
        cache: cache.clone(),
        mode: CacheMode::WriteThrough,
    };
    assert_eq!(without(vec![lv(), made.clone()]), attach.into());
    let foreign = Lv {
        tags: vec![],
        ..made.clone()
    };
    assert_eq!(
        ready(&cached(), &[vg(vec![lv(), foreign])]),
        (false, reason::FOREIGN_LOGICAL_VOLUME)
    );
    let attached = Lv {
        segment_type: SegmentType::Cached,
        ..lv()
    };
    assert!(matches!(without(vec![attached.clone()]), Step::Done(_)));
    // An admin may have detached the cache on purpose.
    let published = VolumeSpec {
        published: Some(uuid(1)),
        ..cached()
    };
    assert!(ready(&published, &[vg(vec![lv()])]).0);

    let absent = VolumeSpec {
        state: State::Absent,
        ..published
    };
    for segment_type in [SegmentType::Cached, SegmentType::Plain] {
        let groups = [vg(vec![Lv {
            segment_type,
            ..lv()
        }])];
        assert_eq!(next(&absent, &groups, None), remove(segment_type));
    }
    assert_eq!(
        next(&absent, &[vg(vec![made])], None),
        LvmChange::RemoveCache {
            cache,
            uuid: uuid(8)
        }
        .into()
    );
}

#[test]
fn blocks_of_volume_may_be_stale_if_its_pool_does_not_zero_them() {
    let unzeroed = Lv {
        has_stale_blocks: true,
        ..pool(1)
    };
    let created = Step::Act(Action::Create(NewVolume::InPool {
        pool: LvName::new(POOL).unwrap(),
        size: Bytes(32 << 20),
        blocks: NewBlocks::Stale,
    }));
    assert_eq!(next(&thin(), &[vg(vec![unzeroed.clone()])], None), created);
    let interrupted = Lv {
        has_stale_blocks: true,
        ..in_pool()
    };
    let mark = Step::Act(Action::Mark {
        uuid: uuid(1),
        blocks: NewBlocks::Stale,
    });
    let groups = [vg(vec![unzeroed, interrupted])];
    assert_eq!(next(&thin(), &groups, Some(Content::Blank)), mark);
}
