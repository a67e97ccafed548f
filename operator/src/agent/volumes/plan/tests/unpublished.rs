//! Volumes whose uuid was never published: unfinished ones, and those of restored objects.

use host::fs::NewBlocks;

use super::*;

#[test]
fn interrupted_creation_is_completed() {
    let spec = spec();
    let groups = [vg(vec![lv()])];
    let mark = Step::Act(Action::Mark {
        uuid: uuid(1),
        blocks: NewBlocks::Undefined,
    });
    assert_eq!(next(&spec, &groups, None), inspect());
    assert_eq!(next(&spec, &groups, Some(Content::Blank)), mark);
    for content in [Content::Unformatted, Content::Formatting] {
        let outcome = settled(&spec, &groups, Some(content));
        assert!(outcome.ready.unwrap().status);
        assert_eq!(outcome.volume, Some((uuid(1), Bytes(32 << 20))));
    }
    let inactive = [vg(vec![Lv {
        active: false,
        ..lv()
    }])];
    let activate = LvmChange::Activate { uuid: uuid(1) };
    assert_eq!(next(&spec, &inactive, None), activate.into());
    let short = [vg(vec![Lv {
        size: EXTENT,
        ..lv()
    }])];
    assert_eq!(
        next(&spec, &short, None),
        extend(8, &[]),
        "the format marker's position depends on the published size"
    );
}

#[test]
fn new_volume_with_old_data_is_not_published() {
    let outcome = settled(
        &spec(),
        &[vg(vec![lv()])],
        Some(Content::Data("ext4".to_owned())),
    );
    let ready = outcome.ready.unwrap();
    assert_eq!(
        (ready.status, ready.reason, outcome.volume),
        (false, reason::NOT_EMPTY, None)
    );
    assert!(
        ready.message.contains("not empty (ext4)") && ready.message.ends_with("lvremove vg0/pvc-1"),
        "{}",
        ready.message
    );
}

/// Returns the volume with the claim's tag and these.
fn tagged(tags: &[&str]) -> [Vg; 1] {
    let tags = [&TAGS[..1], tags].concat();
    [vg(vec![Lv {
        tags: tags.into_iter().map(str::to_owned).collect(),
        ..lv()
    }])]
}

const CONTENTS: [fn() -> Content; 4] = [
    || Content::Unformatted,
    || Content::Formatting,
    || Content::Blank,
    || Content::Data("ext4".to_owned()),
];

#[test]
fn volume_of_former_object_is_published_as_it_is() {
    let former = "flexlvm.dev/logicalvolume-uid=1";
    for groups in [
        tagged(&[former]),
        tagged(&["flexlvm.dev/logicalvolume-uid=restored", TAGS[1]]),
        tagged(&[TAGS[1], former]),
    ] {
        for content in CONTENTS {
            let outcome = settled(&spec(), &groups, Some(content()));
            assert!(
                outcome.ready.unwrap().status,
                "the volume is published, and gets no marker"
            );
        }
    }
}

#[test]
fn volume_of_earlier_version_is_published_only_with_its_marker() {
    let groups = tagged(&[]);
    for content in CONTENTS {
        let content = content();
        let is_marked = matches!(content, Content::Unformatted | Content::Formatting);
        let outcome = settled(&spec(), &groups, Some(content));
        let ready = outcome.ready.unwrap();
        assert_eq!(ready.status, is_marked);
        if !is_marked {
            assert_eq!((ready.reason, outcome.volume), (reason::NOT_EMPTY, None));
            let ways_out = "lvchange --addtag flexlvm.dev/logicalvolume-uid=restored vg0/pvc-1; \
                            if not, have it recreated by: lvremove vg0/pvc-1";
            assert!(ready.message.ends_with(ways_out), "{}", ready.message);
        }
    }
}

#[test]
fn volume_of_claim_under_another_name_is_not_replaced() {
    let renamed = Lv {
        name: "kept".to_owned(),
        tags: vec![TAGS[0].to_owned()],
        ..lv()
    };
    let elsewhere = Vg {
        name: "vg1".to_owned(),
        ..vg(vec![renamed.clone()])
    };
    for (groups, found) in [
        (vec![vg(vec![renamed.clone()])], "vg0/kept"),
        (vec![elsewhere.clone(), vg(vec![])], "vg1/kept"),
        (vec![elsewhere], "vg1/kept"),
    ] {
        let ready = settled(&spec(), &groups, None).ready.unwrap();
        assert_eq!((ready.status, ready.reason), (false, reason::NOT_EMPTY));
        let remedy = format!("lvchange --deltag flexlvm.dev/claim-uid=1 {found}");
        assert!(ready.message.ends_with(&remedy), "{}", ready.message);
    }
    let snapshot = Lv {
        role: LvRole::Snapshot,
        ..renamed
    };
    assert_eq!(next(&spec(), &[vg(vec![snapshot])], None), create(8, &[]));
}
