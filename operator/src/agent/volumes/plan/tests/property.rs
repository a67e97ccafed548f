//! Invariants of the plan: on a simulated node it always terminates, and never changes foreign
//! volumes.

use host::block::DeviceState;
use proptest::prelude::*;

use super::any::{any_content, any_groups, any_spec};
use super::pool_and_cache::{POOL, pool};
use super::rolled_back::seqno_fell;
use super::*;
use crate::agent::volumes::erasure::Erasure;
use crate::agent::volumes::plan::RefreshResult;

/// A simulated node that executes steps as LVM would.
struct Simulated {
    groups: Vec<Vg>,
    content: Content,
    seen: Option<Content>,
    erasure: Option<Erasure>,
    removed: bool,
    device: Option<DeviceState>,
    refresh: Option<RefreshResult>,
}

impl Simulated {
    fn act(&mut self, action: &Action) {
        let vg = self.groups.first_mut().expect("there is a volume group");
        match action {
            Action::Create(new) => self.create(new),
            Action::Change(change) => self.change(change),
            Action::Inspect { .. } => {
                assert!(one(vg).active);
                self.seen = Some(self.content.clone());
            }
            Action::Erase { .. } => {
                assert!(one(vg).active && self.erasure.is_none());
                let is_open = one(vg).open;
                self.erasure = Some(if is_open {
                    Erasure::InUse
                } else {
                    Erasure::Complete
                });
            }
            Action::Refresh { uuid } => {
                assert_eq!(one(vg).uuid, *uuid);
                assert!(self.refresh.is_none(), "once per pass");
                // It may not help.
                self.refresh = Some(RefreshResult::Succeeded);
            }
            Action::Mark { .. } => {
                assert_eq!(
                    self.content,
                    Content::Blank,
                    "only a blank volume gets a marker"
                );
                self.content = Content::Unformatted;
                self.seen = Some(Content::Unformatted);
            }
        }
    }

    fn create(&mut self, new: &NewVolume) {
        let vg = self.groups.first_mut().unwrap();
        match new {
            NewVolume::OnDisks { extents, .. } => {
                assert!(vg.fault.is_none() && *extents <= vg.free && vg.lv("pvc-1").is_none());
                vg.free.0 -= extents.0;
                vg.pvs[0].free.0 -= extents.0;
                vg.lvs.push(Lv {
                    uuid: uuid(9),
                    size: extents.bytes(EXTENT),
                    ..lv()
                });
            }
            NewVolume::InPool { pool, size, .. } => {
                let pool = vg.lv(pool.as_str()).unwrap();
                assert!(
                    pool.segment_type == SegmentType::ThinPool
                        && pool.state.as_ref().unwrap().fault.is_none()
                );
                vg.lvs.push(Lv {
                    uuid: uuid(9),
                    size: *size,
                    segment_type: SegmentType::Thin,
                    pool: Some(POOL.to_owned()),
                    shares: BTreeMap::new(),
                    ..lv()
                });
            }
        }
        self.content = Content::Unformatted;
        self.seen = Some(Content::Unformatted);
    }

    fn change(&mut self, change: &LvmChange) {
        let vg = self.groups.first_mut().unwrap();
        match change {
            LvmChange::Extend { extents, .. } => {
                let free = vg.free;
                let lv = one(vg);
                let more = extents.0 - lv.size.extents_up(EXTENT).0;
                assert!(more > 0);
                lv.size = extents.bytes(EXTENT);
                if lv.segment_type != SegmentType::Thin {
                    assert!(more <= free.0);
                    vg.free.0 -= more;
                    vg.pvs[0].free.0 -= more;
                }
            }
            LvmChange::Retag { remove, add, .. } => {
                let lv = one(vg);
                lv.tags
                    .retain(|tag| !remove.iter().any(|outdated| outdated.as_str() == tag));
                lv.tags.extend(add.iter().map(ToString::to_string));
            }
            LvmChange::AddIntegrity => one(vg).integrity = true,
            LvmChange::Activate { .. } => one(vg).active = true,
            LvmChange::Remove { .. } => {
                vg.lvs.retain(|lv| lv.name != "pvc-1");
                self.removed = true;
            }
            LvmChange::RemoveNeverActive { .. } => {
                let lv = one(vg);
                assert!(!lv.active && lv.raid_parts == RaidParts::NeverActive && lv.tags == TAGS);
                vg.lvs.retain(|lv| lv.name != "pvc-1");
            }
            LvmChange::CreatePool { cost, .. } => {
                assert!(vg.lv(POOL).is_none() && cost.total() <= vg.free);
                vg.free.0 -= cost.total().0;
                vg.pvs[0].free.0 -= cost.total().0;
                vg.lvs.push(pool(1));
            }
            LvmChange::RemovePool { .. } => {
                assert!(
                    vg.lvs.iter().all(|lv| lv.pool.is_none()),
                    "removing a pool removes its volumes"
                );
                vg.lvs.retain(|lv| lv.name != POOL);
            }
            LvmChange::CreateCache { extents, .. } => {
                vg.free.0 -= extents.0;
                vg.pvs[0].free.0 -= extents.0;
                vg.lvs.push(Lv {
                    name: "pvc-1_cache".to_owned(),
                    uuid: uuid(8),
                    ..lv()
                });
            }
            LvmChange::AttachCache { .. } => {
                assert!(self.content == Content::Unformatted || self.seen.is_none());
                vg.lvs.retain(|lv| lv.name != "pvc-1_cache");
                one(vg).segment_type = SegmentType::Cached;
            }
            LvmChange::RemoveCache { .. } => vg.lvs.retain(|lv| lv.name != "pvc-1_cache"),
        }
    }
}

/// Returns whether a step can change the volume or its content.
fn changes_volume(step: &Step) -> bool {
    match step {
        Step::Done(_) => false,
        Step::Act(Action::Change(change)) => !matches!(
            change,
            LvmChange::Retag { .. } | LvmChange::RemovePool { .. } | LvmChange::RemoveCache { .. }
        ),
        Step::Act(
            Action::Inspect { .. }
            | Action::Mark { .. }
            | Action::Create(_)
            | Action::Erase { .. }
            | Action::Refresh { .. },
        ) => true,
    }
}

fn one(vg: &mut Vg) -> &mut Lv {
    vg.lvs.iter_mut().find(|lv| lv.name == "pvc-1").unwrap()
}

fn other_volumes(groups: &[Vg]) -> Vec<Lv> {
    let all = groups.iter().flat_map(|vg| &vg.lvs);
    let parts = ["pvc-1", "pvc-1_cache", POOL];
    all.filter(|lv| !parts.contains(&lv.name.as_str()) || (lv.name == POOL && !is_our_pool(lv)))
        .cloned()
        .collect()
}

fn is_our_pool(lv: &Lv) -> bool {
    lv.has_tag(&pool(1).tags[0])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn plan_changes_nothing_in_group_with_older_metadata(
        spec in any_spec(),
        groups in any_groups(),
        content in prop::option::of(any_content()),
    ) {
        let step = plan(&spec, ObservedVolume {
            rollback: Some(&seqno_fell()),
            content: content.as_ref(),
            ..observed(&groups)
        });
        match step {
            Step::Act(action) => {
                let is_inspection = matches!(action, Action::Inspect { .. });
                prop_assert!(is_inspection, "{:?}", action);
            }
            Step::Done(outcome) => {
                prop_assert!(!outcome.removed.is_some_and(|removed| removed.status));
            }
        }
    }

    #[test]
    fn plan_terminates_and_changes_only_its_own_volumes(
        spec in any_spec(),
        groups in any_groups(),
        content in any_content(),
        device in prop::option::of((1..60_u64, prop::bool::weighted(0.2))),
    ) {
        let named = |groups: &[Vg]| groups.iter().find_map(|vg| vg.lv("pvc-1").cloned());
        let before = named(&groups);
        let others = other_volumes(&groups);
        let device = device.map(|(extents, is_suspended)| DeviceState {
            size: Extents(extents).bytes(EXTENT),
            is_suspended,
        });
        let mut node = Simulated {
            groups,
            content: content.clone(),
            seen: None,
            erasure: None,
            removed: false,
            device,
            refresh: None,
        };
        let mut steps = Vec::new();
        loop {
            let observed = ObservedVolume {
                groups: &node.groups,
                rollback: None,
                content: node.seen.as_ref(),
                erasure: node.erasure.as_ref(),
                removed: node.removed,
                device: node.device,
                refresh: node.refresh.as_ref(),
            };
            let step = plan(&spec, observed);
            steps.push(step.clone());
            prop_assert!(steps.len() < 10, "{:?}", steps);
            match &step {
                Step::Act(action) => node.act(action),
                Step::Done(_) => break,
            }
        }
        let after = named(&node.groups);
        prop_assert_eq!(other_volumes(&node.groups), others);
        let is_ours = before
            .as_ref()
            .is_some_and(|lv| spec.has_published(lv) || lv.has_tag(spec.identity.as_str()));
        if let Some(before) = &before {
            // Unused parts of it may be removed all the same.
            prop_assert!(is_ours || !steps.iter().any(changes_volume), "{:?}", steps);
            // The volume is removed only if that is requested, it is closed and tagged, and, where
            // the state requires it, proven to be empty.
            let was_never_active = steps.iter().any(|step| {
                matches!(step, Step::Act(Action::Change(LvmChange::RemoveNeverActive { .. })))
            });
            if was_never_active {
                prop_assert!(is_ours && spec.published.is_none());
            } else if after.is_none() {
                prop_assert!(is_ours && spec.state != State::Present);
                prop_assert!(spec.state != State::Abandoned);
                prop_assert!(!before.open && before.role == LvRole::Volume);
                prop_assert!(before.segment_type != SegmentType::Other);
                let is_thin = before.segment_type == SegmentType::Thin;
                prop_assert!(is_thin == (spec.layout == Layout::Thin));
                prop_assert!(before.has_tag(spec.identity.as_str()));
                prop_assert!(!spec.has_published_another(before) || spec.is_proven_by_tags(before));
                prop_assert!(spec.state == State::Absent || !matches!(content, Content::Data(_)));
            }
        }
        // The same holds for its erasure, which the job itself limits to a closed volume.
        if node.erasure.is_some() {
            let before = before.as_ref().unwrap();
            prop_assert!(spec.state == State::Absent && spec.erase == Erase::Zero);
            prop_assert!(before.role == LvRole::Volume && before.has_tag(spec.identity.as_str()));
            prop_assert!(!spec.has_published_another(before) || spec.is_proven_by_tags(before));
        }
        // Only an interrupted creation is continued by a marker, which allows a mkfs.
        if steps.iter().any(|step| matches!(step, Step::Act(Action::Mark { .. }))) {
            prop_assert!(before.is_some_and(|lv| lv.tags == TAGS));
            prop_assert_eq!(&content, &Content::Blank);
        }
        // An abandoned volume is left as it is.
        prop_assert!(spec.state != State::Abandoned || steps.len() == 1, "{:?}", steps);
        // A published volume is never recreated or marked again.
        if spec.published.is_some() {
            let creates_or_marks = steps.iter().any(|step| {
                matches!(step, Step::Act(Action::Create(_) | Action::Mark { .. }))
            });
            prop_assert!(!creates_or_marks, "{:?}", steps);
        }
        // Ready implies that the volume exists, Removed that it does not, or is not FlexLVM's.
        if let Some(Step::Done(outcome)) = steps.last() {
            if outcome.ready.as_ref().is_some_and(|ready| ready.status) {
                prop_assert!(after.as_ref().is_some_and(|lv| lv.size >= spec.size));
                // The device has the published size, too, if there is one.
                if let (Some(device), Some((_, size))) = (node.device, &outcome.volume) {
                    prop_assert!(!device.is_suspended && *size <= device.size);
                }
                // Data on a volume that was never published belongs to another tenant, unless the
                // volume was created for a former object.
                let is_old = after
                    .as_ref()
                    .is_some_and(|lv| lv.has_tag("flexlvm.dev/logicalvolume-uid=1"));
                let is_new = steps
                    .iter()
                    .any(|step| matches!(step, Step::Act(Action::Create(_))));
                let has_data = matches!(content, Content::Data(_));
                let is_published = after.as_ref().is_some_and(|lv| spec.has_published(lv));
                prop_assert!(is_published || is_old || is_new || !has_data);
            }
            if outcome.removed.as_ref().is_some_and(|removed| removed.status) {
                let exists = after
                    .as_ref()
                    .is_some_and(|lv| spec.published.as_ref() == Some(&lv.uuid));
                let is_tagged = after
                    .as_ref()
                    .is_some_and(|lv| lv.has_tag(spec.identity.as_str()));
                prop_assert!(!is_tagged, "a volume of the claim is forgotten");
                // An admin may take a retained volume away from its deleted object.
                let is_let_go = spec.deleted
                    && spec.reclaim_policy == ReclaimPolicy::Retain
                    && after.as_ref().is_some_and(|lv| !lv.has_tag(spec.identity.as_str()));
                prop_assert!(!exists || is_let_go);
            }
        }
    }
}
