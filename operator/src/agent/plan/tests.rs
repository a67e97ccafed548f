//! Every rule of the plan by example, and its promises by property: on a simulated node it always comes to rest, and
//! never takes what is not its own.

use super::{Content, Seen, Step, Verdict, plan};
use crate::agent::order::Order;
use crds::condition::reason;
use crds::logical_volume::State;
use host::lvm::{Layout, Level, Lv, LvKind, Pv, Vg};
use host::{Bytes, Extents, LvName, LvTag, LvUuid, VgName};
use proptest::prelude::*;
use std::collections::BTreeMap;

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
        key: host::Key::new("00000000000000000000000000000000").unwrap().digest(),
        size: Bytes(32 << 20),
        layout: Layout::Linear,
        disks: BTreeMap::new(),
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
    }
}

fn next(order: &Order, groups: &[Vg], content: Option<Content>) -> Step {
    plan(order, Seen { groups, content: content.as_ref(), removed: false })
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
    Order { published: Some(uuid(1)), ..order() }
}

#[test]
fn a_new_volume_is_made_in_whole_extents() {
    let odd = Order { size: Bytes((32 << 20) + 1), ..order() };
    assert_eq!(next(&order(), &[vg(vec![])], None), Step::Create(Extents(8), vec![]));
    assert_eq!(next(&odd, &[vg(vec![])], None), Step::Create(Extents(9), vec![]));
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let large = Order { size: Bytes(51 * EXTENT.0), ..order() };
    let verdict = settled(&large, &[vg(vec![])], None);
    let finding = verdict.ready.unwrap();
    assert_eq!(finding.reason, reason::INSUFFICIENT_SPACE);
    assert_eq!(finding.message, "no space in volume group vg0 on node1: 200 MiB free, 204 MiB wanted");

    // A volume that can't grow stays as usable as it was.
    let verdict =
        settled(&Order { size: Bytes(52 * EXTENT.0), ..published() }, &[vg(vec![Lv { size: EXTENT, ..lv() }])], None);
    let Verdict { ready: Some(finding), volume, .. } = verdict else { panic!() };
    assert_eq!(finding.message, "no space in volume group vg0 on node1: 200 MiB free, 204 MiB more wanted");
    assert_eq!(volume, Some((uuid(1), EXTENT)));
}

#[test]
fn a_volume_group_that_is_missing_or_unusable_is_a_condition() {
    let broken = Vg { fault: Some("it is exported".to_owned()), ..vg(vec![lv()]) };
    assert_eq!(ready(&order(), &[]), (false, reason::VOLUME_GROUP_MISSING));
    assert_eq!(ready(&order(), std::slice::from_ref(&broken)), (false, reason::VOLUME_GROUP_UNUSABLE));
    assert_eq!(ready(&published(), &[broken]), (false, reason::VOLUME_GROUP_UNUSABLE));
    assert_eq!(ready(&published(), &[]), (false, reason::VOLUME_GROUP_MISSING));
}

#[test]
fn a_volume_that_is_not_ours_is_left_alone() {
    let untagged = [vg(vec![Lv { tags: vec!["flexlvm.dev/claim-uid=2".to_owned()], ..lv() }])];
    for state in [State::Present, State::Absent, State::AbsentIfUnused] {
        let order = Order { state, ..order() };
        assert!(matches!(next(&order, &untagged, None), Step::Settle(_)), "{state:?}");
    }
    assert_eq!(ready(&order(), &untagged), (false, reason::FOREIGN_LOGICAL_VOLUME));

    // Once a uuid was reported, only that one is ours, whatever its tags say.
    let another = [vg(vec![Lv { uuid: uuid(2), ..lv() }])];
    assert_eq!(ready(&published(), &another), (false, reason::FOREIGN_LOGICAL_VOLUME));
    let absent = Order { state: State::Absent, ..published() };
    assert_eq!(removed(&absent, &another, None), (true, reason::REMOVED));
    assert_eq!(removed(&absent, &untagged, None), (false, reason::FOREIGN_LOGICAL_VOLUME));
}

#[test]
fn a_volume_that_vanished_is_never_made_anew() {
    assert_eq!(ready(&published(), &[vg(vec![])]), (false, reason::LOGICAL_VOLUME_MISSING));
    let renamed = [vg(vec![Lv { name: "rescued".to_owned(), ..lv() }])];
    assert_eq!(ready(&published(), &renamed), (false, reason::LOGICAL_VOLUME_MISSING));
    let absent = Order { state: State::Absent, ..published() };
    assert_eq!(removed(&absent, &renamed, None), (false, reason::FOREIGN_LOGICAL_VOLUME));
}

#[test]
fn a_volume_that_was_begun_is_finished() {
    let (order, groups) = (order(), [vg(vec![lv()])]);
    let look = Step::Look(uuid(1));
    let mark = Step::Mark(uuid(1));
    assert_eq!(next(&order, &groups, None), look);
    assert_eq!(next(&order, &groups, Some(Content::Blank)), mark);
    for content in [Content::Fresh, Content::Formatting, Content::Data("ext4".to_owned())] {
        let verdict = settled(&order, &groups, Some(content));
        assert!(verdict.ready.unwrap().status);
        assert_eq!(verdict.volume, Some((uuid(1), Bytes(32 << 20))));
    }
    let inactive = [vg(vec![Lv { active: false, ..lv() }])];
    assert_eq!(next(&order, &inactive, None), Step::Activate(uuid(1)));
    let short = [vg(vec![Lv { size: EXTENT, ..lv() }])];
    assert_eq!(
        next(&order, &short, None),
        Step::Extend(Extents(8), vec![]),
        "the mark stands by the size that is reported first"
    );
}

#[test]
fn a_restored_object_does_not_make_an_old_volume_fresh() {
    let old = [vg(vec![Lv { made: 90 * DAY, ..lv() }])];
    let verdict = settled(&order(), &old, Some(Content::Blank));
    assert!(verdict.ready.unwrap().status, "it is adopted, without a mark");
}

#[test]
fn a_volume_grows_and_never_shrinks() {
    let groups = [vg(vec![lv()])];
    let larger = Order { size: Bytes(33 << 20), ..published() };
    let smaller = Order { size: Bytes(8 << 20), ..published() };
    assert_eq!(next(&larger, &groups, None), Step::Extend(Extents(9), vec![]));
    assert_eq!(ready(&smaller, &groups), (true, reason::READY));
    let odd = [vg(vec![Lv { size: Bytes(36 << 20), ..lv() }])];
    assert_eq!(settled(&larger, &odd, None).volume, Some((uuid(1), Bytes(36 << 20))));
}

/// An order for a RAID1 of eight extents on the first two of three disks.
fn mirrored() -> Order {
    let layout = Layout::Raid { level: Level::Raid1 { copies: 2 }, integrity: false };
    let disks = [100, 101].map(|disk| (uuid(disk), Extents(9).bytes(EXTENT))).into();
    Order { layout, disks, ..order() }
}

/// A group of three disks, of which the last is full.
fn three_disks(lvs: Vec<Lv>) -> Vg {
    Vg { pvs: vec![pv(100, 50), pv(101, 50), pv(102, 0)], ..vg(lvs) }
}

fn mirror() -> Lv {
    let shares = [100, 101].map(|disk| (uuid(disk), Extents(9))).into();
    Lv { kind: LvKind::Raid, shares, ..lv() }
}

#[test]
fn a_volume_of_several_images_is_made_and_grows_where_it_was_promised() {
    let devices = || vec!["/dev/sd100".to_owned(), "/dev/sd101".to_owned()];
    assert_eq!(next(&mirrored(), &[three_disks(vec![])], None), Step::Create(Extents(8), devices()));
    let larger = Order { size: Bytes(33 << 20), published: Some(uuid(1)), ..mirrored() };
    assert_eq!(next(&larger, &[three_disks(vec![mirror()])], None), Step::Extend(Extents(9), devices()));
    assert!(ready(&Order { published: Some(uuid(1)), ..mirrored() }, &[three_disks(vec![mirror()])]).0);

    let full = Vg { pvs: vec![pv(100, 50), pv(101, 8), pv(102, 100)], ..vg(vec![]) };
    let verdict = settled(&mirrored(), &[full], None).ready.unwrap();
    assert_eq!(verdict.reason, reason::INSUFFICIENT_SPACE);
    assert_eq!(verdict.message, "no space on disk /dev/sd101 of volume group vg0 on node1: 32 MiB free, 36 MiB wanted");
    let gone = Vg { pvs: vec![pv(100, 50), pv(102, 100)], ..vg(vec![]) };
    assert!(settled(&mirrored(), &[gone], None).ready.unwrap().message.contains("is not in volume group vg0"));
    let full = Vg { pvs: vec![pv(100, 0), pv(101, 8), pv(102, 100)], ..vg(vec![mirror()]) };
    assert!(settled(&larger, &[full], None).ready.unwrap().message.starts_with("no space on disk /dev/sd100"));
}

#[test]
fn a_linear_volume_takes_what_there_is() {
    let on_full = Order { disks: [(uuid(102), Bytes(32 << 20))].into(), ..order() };
    assert_eq!(next(&on_full, &[three_disks(vec![])], None), Step::Create(Extents(8), vec![]));
    let kept_back = Pv { allocatable: false, ..pv(100, 50) };
    let group = Vg { pvs: vec![kept_back, pv(101, 7)], ..vg(vec![]) };
    assert_eq!(ready(&order(), &[group]), (false, reason::INSUFFICIENT_SPACE));
}

#[test]
fn a_volume_is_removed_only_as_the_kind_that_it_was_ordered_as() {
    let absent = Order { state: State::Absent, ..mirrored() };
    assert_eq!(next(&absent, &[three_disks(vec![mirror()])], None), Step::Remove(uuid(1), LvKind::Raid));
    for kind in [LvKind::Plain, LvKind::Other] {
        let groups = [three_disks(vec![Lv { kind, ..mirror() }])];
        assert_eq!(removed(&absent, &groups, None), (false, reason::IN_USE), "{kind:?}");
    }
    let linear = Order { state: State::Absent, ..order() };
    assert_eq!(removed(&linear, &[three_disks(vec![mirror()])], None), (false, reason::IN_USE));
}

#[test]
fn checksums_that_were_not_added_any_more_are_added() {
    let layout = Layout::Raid { level: Level::Raid1 { copies: 2 }, integrity: true };
    let checked = Order { layout, ..mirrored() };
    let groups = [three_disks(vec![mirror()])];
    assert_eq!(next(&checked, &groups, None), Step::AddIntegrity);
    let published = Order { published: Some(uuid(1)), ..checked };
    assert!(ready(&published, &groups).0, "whoever took them away had a reason");
}

#[test]
fn extents_that_do_not_suit_the_layout_are_said() {
    let small = Vg { extent_size: Bytes(256 << 10), ..three_disks(vec![]) };
    assert_eq!(ready(&mirrored(), &[small]), (false, reason::LAYOUT_UNSUITABLE));
}

#[test]
fn deleting_the_object_removes_nothing() {
    let deleted = Order { deleted: true, ..published() };
    let verdict = settled(&deleted, &[vg(vec![lv()])], None);
    assert!(verdict.ready.unwrap().status);
    assert_eq!(verdict.removed.map(|removed| removed.reason), Some(reason::STILL_WANTED));
    let never_made = Order { deleted: true, ..order() };
    assert_eq!(ready(&never_made, &[vg(vec![])]), (false, reason::STILL_WANTED));
}

#[test]
fn a_released_volume_is_removed_unless_somebody_has_it() {
    for order in [published(), order()] {
        let order = Order { state: State::Absent, ..order };
        let (one, gone) = (vg(vec![lv()]), vg(vec![]));
        assert_eq!(next(&order, std::slice::from_ref(&one), None), Step::Remove(uuid(1), LvKind::Plain));
        assert!(removed(&order, &[gone], None).0);
        assert_eq!(removed(&order, &[vg(vec![Lv { open: true, ..lv() }])], None), (false, reason::IN_USE));
        assert_eq!(removed(&order, &[vg(vec![Lv { kind: LvKind::Other, ..lv() }])], None), (false, reason::IN_USE));
        let broken = Vg { fault: Some("1 of its disks are missing".to_owned()), ..one };
        assert_eq!(removed(&order, &[broken], None), (false, reason::VOLUME_GROUP_UNUSABLE));
        assert_eq!(removed(&order, &[], None), (false, reason::VOLUME_GROUP_MISSING));
    }
}

#[test]
fn an_unused_volume_is_removed_only_with_proof() {
    let groups = [vg(vec![lv()])];
    let unused = |order: Order| Order { state: State::AbsentIfUnused, ..order };
    for order in [unused(order()), unused(published())] {
        assert_eq!(next(&order, &groups, None), Step::Look(uuid(1)));
        assert_eq!(next(&order, &groups, Some(Content::Fresh)), Step::Remove(uuid(1), LvKind::Plain));
        assert_eq!(next(&order, &groups, Some(Content::Formatting)), Step::Remove(uuid(1), LvKind::Plain));
        let data = Some(Content::Data("ext4".to_owned()));
        assert_eq!(removed(&order, &groups, data), (false, reason::CARRIES_DATA));
    }
    assert_eq!(next(&unused(order()), &groups, Some(Content::Blank)), Step::Remove(uuid(1), LvKind::Plain));
    assert_eq!(removed(&unused(published()), &groups, Some(Content::Blank)), (false, reason::CARRIES_DATA));
    assert_eq!(removed(&unused(order()), &[vg(vec![])], None), (true, reason::NEVER_MADE));
    assert_eq!(removed(&unused(order()), &[], None), (true, reason::NEVER_MADE));
    assert_eq!(removed(&unused(published()), &[], None), (false, reason::VOLUME_GROUP_MISSING));
}

/// A node that does what it is told, as LVM would.
struct Simulated {
    groups: Vec<Vg>,
    content: Content,
    seen: Option<Content>,
    removed: bool,
}

impl Simulated {
    /// Does a step; false when it was the last.
    fn act(&mut self, step: &Step) -> bool {
        let vg = self.groups.first_mut();
        match (step, vg) {
            (Step::Settle(_), _) => return false,
            (Step::Create(extents, _), Some(vg)) => {
                assert!(vg.fault.is_none() && *extents <= vg.free && vg.lv("pvc-1").is_none());
                vg.free.0 -= extents.0;
                vg.pvs[0].free.0 -= extents.0;
                vg.lvs.push(Lv { uuid: uuid(9), size: extents.bytes(EXTENT), ..lv() });
                self.content = Content::Fresh;
                self.seen = Some(Content::Fresh);
            }
            (Step::Extend(extents, _), Some(vg)) => {
                let free = vg.free;
                let lv = one(vg);
                let more = extents.0 - lv.size.extents_up(EXTENT).0;
                assert!(more > 0 && more <= free.0);
                lv.size = extents.bytes(EXTENT);
                vg.free.0 -= more;
                vg.pvs[0].free.0 -= more;
            }
            (Step::AddIntegrity, Some(vg)) => one(vg).integrity = true,
            (Step::Activate(_), Some(vg)) => one(vg).active = true,
            (Step::Look(_), Some(vg)) => {
                assert!(one(vg).active);
                self.seen = Some(self.content.clone());
            }
            (Step::Mark(_), _) => {
                assert_eq!(self.content, Content::Blank, "only what is blank is ever marked");
                self.content = Content::Fresh;
                self.seen = Some(Content::Fresh);
            }
            (Step::Remove(..), Some(vg)) => {
                vg.lvs.retain(|lv| lv.name != "pvc-1");
                self.removed = true;
            }
            (step, None) => panic!("{step:?} without a volume group"),
        }
        true
    }
}

fn one(vg: &mut Vg) -> &mut Lv {
    vg.lvs.iter_mut().find(|lv| lv.name == "pvc-1").unwrap()
}

fn other_volumes(groups: &[Vg]) -> Vec<Lv> {
    let all = groups.iter().flat_map(|vg| &vg.lvs);
    all.filter(|lv| lv.name != "pvc-1").cloned().collect()
}

prop_compose! {
    fn any_order()(state in prop_oneof![Just(State::Present), Just(State::Absent), Just(State::AbsentIfUnused)],
                   published in prop::option::of(1..3_u32), deleted: bool, size in (4_u64 << 20)..(300 << 20),
                   ordered in 0..200_u64) -> Order {
        Order { state, published: published.map(uuid), deleted, size: Bytes(size), ordered: ordered * DAY, ..order() }
    }
}

prop_compose! {
    fn any_lv()(name in prop_oneof![3 => Just("pvc-1"), 1 => Just("rescued")], number in 1..3_u32, extents in 1..60_u64,
                tagged in prop::bool::weighted(0.8), active: bool, open in prop::bool::weighted(0.2),
                is_plain in prop::bool::weighted(0.9)) -> Lv {
        let tags = if tagged { lv().tags } else { vec![] };
        let kind = if is_plain { LvKind::Plain } else { LvKind::Other };
        Lv { name: name.to_owned(), uuid: uuid(number), size: Extents(extents).bytes(EXTENT), tags, active, open, kind, ..lv() }
    }
}

fn any_groups() -> impl Strategy<Value = Vec<Vg>> {
    let fault = prop::option::weighted(0.1, Just("it is exported".to_owned()));
    let group = (prop::option::weighted(0.8, any_lv()), fault)
        .prop_map(|(lv, fault)| Vg { fault, ..vg(lv.into_iter().collect()) });
    prop::option::weighted(0.9, group).prop_map(|group| group.into_iter().collect())
}

fn any_content() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Fresh),
        Just(Content::Formatting),
        Just(Content::Blank),
        Just(Content::Data("ext4".to_owned()))
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn it_always_comes_to_rest_and_takes_only_its_own(order in any_order(), groups in any_groups(), content in any_content()) {
        let named = |groups: &[Vg]| groups.iter().find_map(|vg| vg.lv("pvc-1").cloned());
        let (before, others) = (named(&groups), other_volumes(&groups));
        let mut node = Simulated { groups, content: content.clone(), seen: None, removed: false };
        let mut steps = Vec::new();
        loop {
            let step = plan(&order, Seen { groups: &node.groups, content: node.seen.as_ref(), removed: node.removed });
            steps.push(step.clone());
            prop_assert!(steps.len() < 8, "{:?}", steps);
            if !node.act(&step) {
                break;
            }
        }
        let after = named(&node.groups);
        prop_assert_eq!(other_volumes(&node.groups), others);
        let is_ours = before.as_ref().is_some_and(|lv| {
            order.published.as_ref().map_or(lv.has_tag(order.identity.as_str()), |uuid| lv.uuid == *uuid)
        });
        if let Some(before) = &before {
            let changes = steps.iter().any(|step| !matches!(step, Step::Settle(_)));
            prop_assert!(is_ours || !changes, "{:?}", steps);
            // Ours is removed only when it is to be, closed, tagged, and, where that is asked for, proven empty.
            if after.is_none() {
                prop_assert!(is_ours && order.state != State::Present && !before.open && before.kind == LvKind::Plain);
                prop_assert!(before.has_tag(order.identity.as_str()));
                prop_assert!(order.state == State::Absent || !matches!(content, Content::Data(_)));
            }
        }
        // What was given away is never made or marked again.
        if order.published.is_some() {
            prop_assert!(!steps.iter().any(|step| matches!(step, Step::Create(..) | Step::Mark(_))), "{:?}", steps);
        }
        // It says Ready only when it is there, and Removed only when it is not.
        if let Some(Step::Settle(verdict)) = steps.last() {
            if verdict.ready.as_ref().is_some_and(|ready| ready.status) {
                prop_assert!(after.as_ref().is_some_and(|lv| lv.size >= order.size));
            }
            if verdict.removed.as_ref().is_some_and(|removed| removed.status) {
                prop_assert!(after.as_ref().is_none_or(|lv| order.published.as_ref() != Some(&lv.uuid)));
            }
        }
    }
}
