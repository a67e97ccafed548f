//! Arbitrary specs, volume groups and contents, for properties of the plan.

use host::lvm::{PoolFault, PoolState, VgFault};
use proptest::prelude::*;

use super::pool_and_cache::{POOL, cached, pool, thin};
use super::*;

prop_compose! {
    pub(super) fn any_spec()(
        state in prop_oneof![
            Just(State::Present),
            Just(State::Absent),
            Just(State::AbsentIfNeverUsed),
            Just(State::Abandoned),
        ],
        reclaim_policy in prop_oneof![Just(ReclaimPolicy::Delete), Just(ReclaimPolicy::Retain)],
        published in prop::option::of(1..3_u32),
        deleted: bool,
        size in (4_u64 << 20)..(300 << 20),
        basis in prop_oneof![Just(spec()), Just(thin()), Just(cached())],
        erase in prop_oneof![Just(Erase::None), Just(Erase::Discard), Just(Erase::Zero)],
    ) -> VolumeSpec {
        VolumeSpec {
            state,
            erase,
            reclaim_policy,
            published: published.map(uuid),
            deleted,
            size: Bytes(size),
            ..basis
        }
    }
}

prop_compose! {
    pub(super) fn any_lv()(
        name in prop_oneof![3 => Just("pvc-1"), 1 => Just("rescued")],
        number in 1..3_u32,
        extents in 1..60_u64,
        tagged in prop::bool::weighted(0.8),
        object in prop_oneof![
            4 => Just(Some("flexlvm.dev/logicalvolume-uid=2")),
            1 => Just(Some("flexlvm.dev/logicalvolume-uid=1")),
            1 => Just(None),
        ],
        active: bool,
        open in prop::bool::weighted(0.2),
        segment_type in prop_oneof![
            6 => Just(SegmentType::Plain),
            4 => Just(SegmentType::Thin),
            2 => Just(SegmentType::Cached),
            1 => Just(SegmentType::Other),
        ],
        role in prop_oneof![
            8 => Just(LvRole::Volume),
            1 => Just(LvRole::Origin),
            1 => Just(LvRole::Snapshot),
        ],
        raid_parts in prop_oneof![
            8 => Just(RaidParts::Hidden),
            1 => Just(RaidParts::NeverActive),
            1 => Just(RaidParts::Visible),
        ],
    ) -> Lv {
        let claim = tagged.then_some(TAGS[0]);
        let tags = claim.into_iter().chain(object).map(str::to_owned).collect();
        let pool = (segment_type == SegmentType::Thin).then(|| POOL.to_owned());
        Lv {
            name: name.to_owned(),
            uuid: uuid(number),
            size: Extents(extents).bytes(EXTENT),
            tags,
            active,
            open,
            segment_type,
            role,
            raid_parts,
            pool,
            ..lv()
        }
    }
}

/// The pool, a foreign or broken one, or none; a logical volume for the cache, or none.
pub(super) fn any_parts() -> impl Strategy<Value = Vec<Lv>> {
    let foreign = Lv {
        tags: vec![],
        ..pool(1)
    };
    let broken = Lv {
        state: Some(PoolState {
            fault: Some(PoolFault::Failed {
                pool: POOL.to_owned(),
            }),
            ..pool(1).state.unwrap()
        }),
        ..pool(1)
    };
    let pool = prop_oneof![
        4 => Just(None),
        4 => Just(Some(pool(1))),
        1 => Just(Some(foreign)),
        1 => Just(Some(broken)),
    ];
    let cache = prop::option::weighted(
        0.2,
        Just(Lv {
            name: "pvc-1_cache".to_owned(),
            uuid: uuid(8),
            ..lv()
        }),
    );
    (pool, cache).prop_map(|(pool, cache)| pool.into_iter().chain(cache).collect())
}

pub(super) fn any_groups() -> impl Strategy<Value = Vec<Vg>> {
    let fault = prop::option::weighted(0.1, Just(VgFault::Exported));
    let group = (prop::option::weighted(0.8, any_lv()), any_parts(), fault).prop_map(
        |(lv, parts, fault)| Vg {
            fault,
            ..vg(lv.into_iter().chain(parts).collect())
        },
    );
    prop::option::weighted(0.9, group).prop_map(|group| group.into_iter().collect())
}

pub(super) fn any_content() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Unformatted),
        Just(Content::Formatting),
        Just(Content::Blank),
        Just(Content::Data("ext4".to_owned()))
    ]
}
