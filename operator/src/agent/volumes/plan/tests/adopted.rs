//! Existing logical volumes that an Adoption names: they get the tags of their object, and nothing
//! else is done to them.

use proptest::prelude::*;

use super::any::{any_content, any_groups, any_spec};
use super::*;
use crate::agent::volumes::spec::AdoptedLv;

const FORMER_KEY: &str =
    "flexlvm.dev/claim-key=84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b650";

fn adopted() -> VolumeSpec {
    VolumeSpec {
        adopted: Some(AdoptedLv {
            uuid: uuid(1),
            created_size: Some(Bytes(16 << 20)),
        }),
        ..spec()
    }
}

fn tagged(tags: &[&str]) -> Lv {
    Lv {
        tags: tags.iter().copied().map(str::to_owned).collect(),
        ..lv()
    }
}

/// Returns the step that changes tags.
fn retag(spec: &VolumeSpec, lv: Lv) -> (Vec<String>, Vec<String>) {
    match next(spec, &[vg(vec![lv])], None) {
        Step::Act(Action::Change(LvmChange::Retag {
            uuid: of,
            remove,
            add,
        })) => {
            assert_eq!(of, uuid(1));
            let text = |tags: Vec<LvTag>| tags.iter().map(ToString::to_string).collect();
            (text(remove), text(add))
        }
        other => panic!("{other:?}"),
    }
}

fn all_tags() -> Vec<String> {
    let tags = adopted().tags(Bytes(16 << 20));
    tags.iter().map(ToString::to_string).collect()
}

#[test]
fn static_volume_gets_all_tags_and_can_no_longer_be_used_by_name() {
    let (remove, add) = retag(
        &adopted(),
        tagged(&[
            "theirs",
            "flexlvm.dev/static",
            "flexlvm.dev/marked-at-size=16777216",
        ]),
    );
    assert_eq!(
        remove,
        ["flexlvm.dev/static", "flexlvm.dev/marked-at-size=16777216"]
    );
    assert_eq!(add, all_tags());
    assert!(
        add.iter().any(|tag| tag.ends_with(":size=16777216")),
        "{add:?}"
    );
}

#[test]
fn volume_of_a_former_object_gets_the_new_objects_tag_and_key() {
    let former = "flexlvm.dev/logicalvolume-uid=1";
    let (remove, add) = retag(
        &adopted(),
        tagged(&[TAGS[0], former, FORMER_KEY, "flexlvm.dev/claim=shop/old"]),
    );
    assert_eq!(remove, [former, FORMER_KEY, "flexlvm.dev/claim=shop/old"]);
    let missing: Vec<_> = all_tags()
        .into_iter()
        .filter(|tag| tag != TAGS[0])
        .collect();
    assert_eq!(add, missing);
}

#[test]
fn volume_with_its_tags_is_published_without_a_look_at_its_content() {
    let tags = all_tags();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let inactive = Lv {
        active: false,
        ..tagged(&tags)
    };
    let outcome = settled(&adopted(), &[vg(vec![inactive])], None);
    assert!(outcome.ready.unwrap().status);
    assert_eq!(outcome.volume, Some((uuid(1), Bytes(32 << 20))));
}

#[test]
fn other_volume_of_the_name_is_left_unchanged() {
    let other = Lv {
        uuid: uuid(2),
        ..lv()
    };
    for (lv, phrase) in [
        (other, "that of the Adoption is"),
        (
            tagged(&["flexlvm.dev/claim-uid=2"]),
            "the tag of another claim",
        ),
    ] {
        let outcome = settled(&adopted(), &[vg(vec![lv])], None);
        let ready = outcome.ready.unwrap();
        assert_eq!(ready.reason, reason::FOREIGN_LOGICAL_VOLUME);
        assert!(ready.message.contains(phrase), "{}", ready.message);
    }
    let missing = ready(&adopted(), &[vg(vec![])]);
    assert_eq!(missing, (false, reason::LOGICAL_VOLUME_MISSING));
}

#[test]
fn unsuitable_volumes_are_rejected_with_the_reason() {
    let cases = [
        (tagged(&["flexlvm.dev/format"]), "mount it once"),
        (
            Lv {
                role: LvRole::Snapshot,
                ..lv()
            },
            "it is a snapshot",
        ),
        (
            Lv {
                is_in_transition: true,
                ..lv()
            },
            "converting or moving",
        ),
        (
            Lv {
                segment_type: SegmentType::Cached,
                ..lv()
            },
            "lvconvert --uncache",
        ),
        (
            Lv {
                segment_type: SegmentType::ThinPool,
                ..lv()
            },
            "adopt the volumes in it",
        ),
        (
            Lv {
                segment_type: SegmentType::Raid,
                ..lv()
            },
            "in another way than the layout",
        ),
        (
            Lv {
                size: Bytes(16 << 20),
                ..lv()
            },
            "it is smaller than",
        ),
    ];
    for (lv, phrase) in cases {
        let outcome = settled(&adopted(), &[vg(vec![lv])], None);
        let ready = outcome.ready.unwrap();
        assert_eq!(ready.reason, reason::NOT_ADOPTABLE);
        assert!(ready.message.contains(phrase), "{}", ready.message);
    }
}

#[test]
fn cancelled_adoption_leaves_the_volume_and_ends() {
    let cancelled = VolumeSpec {
        state: State::AbsentIfNeverUsed,
        ..adopted()
    };
    for content in [Content::Unformatted, Content::Blank] {
        assert_eq!(
            removed(&cancelled, &[vg(vec![lv()])], Some(content)),
            (true, reason::ADOPTION_CANCELLED)
        );
    }
}

#[test]
fn tags_of_a_published_volume_are_its_admins() {
    let spec = VolumeSpec {
        published: Some(uuid(1)),
        ..adopted()
    };
    let outcome = settled(&spec, &[vg(vec![tagged(&[])])], None);
    assert!(outcome.ready.unwrap().status);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// For every state of the node, not only for those that a plan leads to.
    #[test]
    fn adopted_volume_is_neither_created_nor_formatted(
        spec in any_spec(),
        number in 1..3_u32,
        groups in any_groups(),
        content in prop::option::of(any_content()),
    ) {
        let spec = VolumeSpec {
            adopted: Some(AdoptedLv { uuid: uuid(number), created_size: None }),
            ..spec
        };
        let lv = groups.iter().find_map(|vg| vg.lv("pvc-1"));
        let is_adopted = lv.is_some_and(|lv| lv.uuid == uuid(number));
        match next(&spec, &groups, content) {
            Step::Done(_) => {}
            Step::Act(Action::Change(LvmChange::Retag { .. } | LvmChange::Extend { .. })) => {
                prop_assert!(is_adopted && spec.state == State::Present);
            }
            // Before the erasure.
            Step::Act(Action::Change(LvmChange::Activate { .. })) => {
                prop_assert!(is_adopted && spec.state == State::Absent);
            }
            Step::Act(Action::Change(LvmChange::Remove { .. }) | Action::Erase { .. }) => {
                prop_assert!(is_adopted && spec.state == State::Absent);
                prop_assert!(lv.is_some_and(|lv| lv.has_tag(spec.identity.as_str())));
            }
            Step::Act(Action::Change(
                LvmChange::RemovePool { .. } | LvmChange::RemoveCache { .. },
            )) => prop_assert!(spec.state == State::Absent),
            Step::Act(Action::Refresh { .. }) => prop_assert!(is_adopted),
            Step::Act(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
