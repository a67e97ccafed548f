//! Devices that lag behind LVM's metadata: refreshed once per pass, then reported.

use host::block::DeviceState;

use super::pool_and_cache::{pool, thin};
use super::*;
use crate::agent::volumes::plan::RefreshResult;

/// Returns the state of a device of this many extents.
fn device(extents: u64, is_suspended: bool) -> DeviceState {
    DeviceState {
        size: Extents(extents).bytes(EXTENT),
        is_suspended,
    }
}

/// Plans with this device, after this refresh.
fn with_device(
    spec: &VolumeSpec,
    lv: &Lv,
    device: DeviceState,
    refresh: Option<&RefreshResult>,
) -> Step {
    let groups = [vg(vec![lv.clone(), pool(1)])];
    plan(
        spec,
        ObservedVolume {
            device: Some(device),
            refresh,
            ..observed(&groups)
        },
    )
}

fn outcome(step: Step) -> Outcome {
    match step {
        Step::Done(outcome) => *outcome,
        Step::Act(action) => panic!("{action:?}"),
    }
}

fn refresh() -> Step {
    Step::Act(Action::Refresh { uuid: uuid(1) })
}

#[test]
fn device_as_in_the_metadata_is_left_unchanged() {
    // A larger one, too: LVM's report may be older than the extension.
    for extents in [8, 9] {
        let done = outcome(with_device(
            &published(),
            &lv(),
            device(extents, false),
            None,
        ));
        assert_eq!(done.ready.unwrap().reason, reason::READY);
        assert_eq!(done.volume, Some((uuid(1), lv().size)));
    }
}

#[test]
fn smaller_or_suspended_device_is_refreshed() {
    for lagging in [device(7, false), device(8, true), device(7, true)] {
        assert_eq!(
            with_device(&published(), &lv(), lagging, None),
            refresh(),
            "{lagging:?}"
        );
        // Before the volume is published, and before it is extended.
        assert_eq!(with_device(&spec(), &lv(), lagging, None), refresh());
        let larger = VolumeSpec {
            size: Bytes(64 << 20),
            ..published()
        };
        assert_eq!(with_device(&larger, &lv(), lagging, None), refresh());
    }
    let thin_lv = Lv {
        segment_type: SegmentType::Thin,
        pool: Some(pool(1).name),
        shares: BTreeMap::new(),
        ..lv()
    };
    let thin = VolumeSpec {
        published: Some(uuid(1)),
        ..thin()
    };
    assert_eq!(
        with_device(&thin, &thin_lv, device(7, false), None),
        refresh()
    );
}

#[test]
fn device_larger_than_the_metadata_is_not_cut_off_by_a_refresh() {
    let done = outcome(with_device(&published(), &lv(), device(9, true), None));
    let ready = done.ready.unwrap();
    assert_eq!(ready.reason, reason::DEVICE_OUTDATED);
    assert!(
        ready.message.contains("would cut it off"),
        "{}",
        ready.message
    );
    assert_eq!(done.volume, Some((uuid(1), lv().size)));
}

#[test]
fn device_that_still_lags_is_reported_with_its_own_size() {
    let failed = RefreshResult::Failed("lvchange failed: out of memory".to_owned());
    for (lagging, result, phrases) in [
        (
            device(7, false),
            &RefreshResult::Succeeded,
            ["has 28 MiB, but 32 MiB in LVM's metadata", "did not help"],
        ),
        (
            device(8, true),
            &failed,
            ["is suspended, so reads and writes wait", "out of memory"],
        ),
    ] {
        let done = outcome(with_device(&published(), &lv(), lagging, Some(result)));
        let ready = done.ready.clone().unwrap();
        assert!(!ready.status && ready.reason == reason::DEVICE_OUTDATED);
        for phrase in phrases {
            assert!(ready.message.contains(phrase), "{}", ready.message);
        }
        assert!(ready.message.contains("vg0/pvc-1 on node1"));
        assert_eq!(done.volume, Some((uuid(1), lagging.size)));
        let healthy = done.healthy.clone().unwrap();
        assert_eq!(healthy.status, !lagging.is_suspended);
        assert!(done.has_outdated_device());
        assert_eq!(
            done.oldest_report(),
            std::time::Duration::MAX,
            "LVM may refuse reports meanwhile"
        );
    }
}

#[test]
fn volume_that_lvm_changes_by_itself_is_not_refreshed() {
    let moving = Lv {
        is_in_transition: true,
        ..lv()
    };
    let converted = Lv {
        segment_type: SegmentType::Other,
        ..lv()
    };
    for lv in [moving, converted] {
        let done = outcome(with_device(&published(), &lv, device(7, false), None));
        let ready = done.ready.unwrap();
        assert_eq!(ready.reason, reason::DEVICE_OUTDATED);
        assert!(ready.message.contains("is converting, moving or merging"));
        assert_eq!(done.volume.unwrap().1, Extents(7).bytes(EXTENT));
    }
}

#[test]
fn suspended_device_of_a_removed_volume_is_resumed_first() {
    let absent = VolumeSpec {
        state: State::Absent,
        ..published()
    };
    let open = Lv { open: true, ..lv() };
    assert_eq!(
        with_device(&absent, &open, device(8, true), None),
        refresh(),
        "its mount can't end before"
    );
    let done = RefreshResult::Succeeded;
    assert_eq!(
        with_device(&absent, &lv(), device(8, true), Some(&done)),
        remove(SegmentType::Plain)
    );
    assert_eq!(
        with_device(&absent, &lv(), device(7, false), None),
        remove(SegmentType::Plain)
    );
    let foreign = Lv {
        tags: vec![],
        ..lv()
    };
    let kept = outcome(with_device(&absent, &foreign, device(8, true), None));
    assert_eq!(kept.removed.unwrap().reason, reason::FOREIGN_LOGICAL_VOLUME);
}
