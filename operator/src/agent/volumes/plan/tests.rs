//! Every rule of the plan by example; and what all of these tests start from.

mod images;
mod pool_and_cache;
mod property;
mod removal;

use std::collections::BTreeMap;

use crds::condition::reason;
use crds::logical_volume::State;
use host::lvm::{Layout, Lv, LvKind, Pv, Vg};
use host::{Bytes, Extents, LvName, LvTag, LvUuid, VgName};

use super::{Content, Seen, Step, Verdict, plan};
use crate::agent::volumes::spec::Order;

const EXTENT: Bytes = Bytes(4 << 20);
const DAY: u64 = 24 * 3600;

fn uuid(number: u32) -> LvUuid {
    LvUuid::from_plain(&format!("{number:032}")).unwrap()
}

fn order() -> Order {
    Order {
        node: "node1".to_owned(),
        group: VgName::new("vg0").unwrap(),
        name: LvName::new("pvc-1").unwrap(),
        identity: LvTag::new("flexlvm.dev/claim-uid=1").unwrap(),
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
        published: None,
        deleted: false,
        ordered: 100 * DAY,
    }
}

fn lv() -> Lv {
    Lv {
        name: "pvc-1".to_owned(),
        uuid: uuid(1),
        size: Bytes(32 << 20),
        tags: vec!["flexlvm.dev/claim-uid=1".to_owned()],
        active: true,
        open: false,
        kind: LvKind::Plain,
        shares: BTreeMap::from([(uuid(100), Extents(8))]),
        integrity: false,
        made: 100 * DAY,
        pool: None,
        state: None,
    }
}

/// A disk of 100 extents.
fn pv(number: u32, free: u64) -> Pv {
    Pv {
        uuid: uuid(number),
        name: format!("/dev/sd{number}"),
        extents: Extents(100),
        free: Extents(free),
        allocatable: true,
    }
}

/// A group of 100 extents, half of them free.
fn vg(lvs: Vec<Lv>) -> Vg {
    Vg {
        name: "vg0".to_owned(),
        uuid: uuid(0),
        extent_size: EXTENT,
        extents: Extents(100),
        free: Extents(50),
        fault: None,
        lvs,
        pvs: vec![pv(100, 50)],
        system_id: String::new(),
        seqno: 1,
    }
}

fn next(order: &Order, groups: &[Vg], content: Option<Content>) -> Step {
    plan(
        order,
        Seen {
            groups,
            content: content.as_ref(),
            removed: false,
        },
    )
}

fn settled(order: &Order, groups: &[Vg], content: Option<Content>) -> Verdict {
    match next(order, groups, content) {
        Step::Settle(verdict) => *verdict,
        step => panic!("{step:?}"),
    }
}

/// The reason of `Ready`, and whether it is.
fn ready(order: &Order, groups: &[Vg]) -> (bool, &'static str) {
    let ready = settled(order, groups, None).ready.unwrap();
    (ready.status, ready.reason)
}

/// The reason of `Removed`, and whether it is.
fn removed(order: &Order, groups: &[Vg], content: Option<Content>) -> (bool, &'static str) {
    let removed = settled(order, groups, content).removed.unwrap();
    (removed.status, removed.reason)
}

fn published() -> Order {
    Order {
        published: Some(uuid(1)),
        ..order()
    }
}

#[test]
fn a_new_volume_is_made_in_whole_extents() {
    let odd = Order {
        size: Bytes((32 << 20) + 1),
        ..order()
    };
    assert_eq!(
        next(&order(), &[vg(vec![])], None),
        Step::Create(Extents(8), vec![])
    );
    assert_eq!(
        next(&odd, &[vg(vec![])], None),
        Step::Create(Extents(9), vec![])
    );
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let large = Order {
        size: Bytes(51 * EXTENT.0),
        ..order()
    };
    let verdict = settled(&large, &[vg(vec![])], None);
    let finding = verdict.ready.unwrap();
    assert_eq!(finding.reason, reason::INSUFFICIENT_SPACE);
    assert_eq!(
        finding.message,
        "no space in volume group vg0 on node1: 200 MiB free, 204 MiB wanted"
    );

    // A volume that can't grow stays as usable as it was.
    let verdict = settled(
        &Order {
            size: Bytes(52 * EXTENT.0),
            ..published()
        },
        &[vg(vec![Lv {
            size: EXTENT,
            ..lv()
        }])],
        None,
    );
    let Verdict {
        ready: Some(finding),
        volume,
        ..
    } = verdict
    else {
        panic!()
    };
    assert_eq!(
        finding.message,
        "no space in volume group vg0 on node1: 200 MiB free, 204 MiB more wanted"
    );
    assert_eq!(volume, Some((uuid(1), EXTENT)));
}

#[test]
fn a_volume_group_that_is_missing_or_unusable_is_a_condition() {
    let broken = Vg {
        fault: Some("it is exported".to_owned()),
        ..vg(vec![lv()])
    };
    assert_eq!(ready(&order(), &[]), (false, reason::VOLUME_GROUP_MISSING));
    assert_eq!(
        ready(&order(), std::slice::from_ref(&broken)),
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
fn a_volume_that_is_not_ours_is_left_alone() {
    let untagged = [vg(vec![Lv {
        tags: vec!["flexlvm.dev/claim-uid=2".to_owned()],
        ..lv()
    }])];
    for state in [State::Present, State::Absent, State::AbsentIfUnused] {
        let order = Order { state, ..order() };
        assert!(
            matches!(next(&order, &untagged, None), Step::Settle(_)),
            "{state:?}"
        );
    }
    assert_eq!(
        ready(&order(), &untagged),
        (false, reason::FOREIGN_LOGICAL_VOLUME)
    );

    // Once a uuid was reported, only that one is ours, whatever its tags say.
    let another = [vg(vec![Lv {
        uuid: uuid(2),
        ..lv()
    }])];
    assert_eq!(
        ready(&published(), &another),
        (false, reason::FOREIGN_LOGICAL_VOLUME)
    );
    let absent = Order {
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
fn a_volume_that_vanished_is_never_made_anew() {
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
    let absent = Order {
        state: State::Absent,
        ..published()
    };
    assert_eq!(
        removed(&absent, &renamed, None),
        (false, reason::FOREIGN_LOGICAL_VOLUME)
    );
}

#[test]
fn a_volume_that_was_begun_is_finished() {
    let (order, groups) = (order(), [vg(vec![lv()])]);
    let look = Step::Look(uuid(1));
    let mark = Step::Mark(uuid(1));
    assert_eq!(next(&order, &groups, None), look);
    assert_eq!(next(&order, &groups, Some(Content::Blank)), mark);
    for content in [Content::Unformatted, Content::Formatting] {
        let verdict = settled(&order, &groups, Some(content));
        assert!(verdict.ready.unwrap().status);
        assert_eq!(verdict.volume, Some((uuid(1), Bytes(32 << 20))));
    }
    let inactive = [vg(vec![Lv {
        active: false,
        ..lv()
    }])];
    assert_eq!(next(&order, &inactive, None), Step::Activate(uuid(1)));
    let short = [vg(vec![Lv {
        size: EXTENT,
        ..lv()
    }])];
    assert_eq!(
        next(&order, &short, None),
        Step::Extend(Extents(8), vec![]),
        "the mark stands by the size that is reported first"
    );
}

#[test]
fn what_an_older_volume_has_left_is_given_to_nobody() {
    let verdict = settled(
        &order(),
        &[vg(vec![lv()])],
        Some(Content::Data("ext4".to_owned())),
    );
    let ready = verdict.ready.unwrap();
    assert_eq!(
        (ready.status, ready.reason, verdict.volume),
        (false, reason::CARRIES_DATA, None)
    );
    assert!(
        ready.message.contains("not empty (ext4)") && ready.message.ends_with("lvremove vg0/pvc-1"),
        "{}",
        ready.message
    );
}

#[test]
fn a_restored_object_does_not_make_an_old_volume_fresh() {
    let old = [vg(vec![Lv {
        made: 90 * DAY,
        ..lv()
    }])];
    for content in [Content::Blank, Content::Data("ext4".to_owned())] {
        let verdict = settled(&order(), &old, Some(content));
        assert!(
            verdict.ready.unwrap().status,
            "it is adopted, without a mark"
        );
    }
}

#[test]
fn a_volume_grows_and_never_shrinks() {
    let groups = [vg(vec![lv()])];
    let larger = Order {
        size: Bytes(33 << 20),
        ..published()
    };
    let smaller = Order {
        size: Bytes(8 << 20),
        ..published()
    };
    assert_eq!(
        next(&larger, &groups, None),
        Step::Extend(Extents(9), vec![])
    );
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
