//! The agent's reports about its node, and the driver that it installs.

use std::time::{Duration, Instant};

use crds::NodeStorage;
use crds::condition::{self, DRIVER_INSTALLED};
use harness::simulated::Volume;
use harness::wait;
use kube::api::DeleteParams;

use crate::fixture::{Fixture, groups, is_condition_true};

/// Returns true if the first volume group has this size.
fn has_size(storage: &NodeStorage, size: &str) -> bool {
    let groups = groups(storage);
    groups.first().is_some_and(|group| group.size.0 == size)
}

#[tokio::test]
async fn node_change_is_reported_at_once_and_volumes_are_not() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let report = fixture.wait_for_first_report().await;
    let owner = report.metadata.owner_references.unwrap().remove(0);
    assert_eq!(owner.kind, "Node");
    assert_eq!(owner.name, fixture.name);
    let group = report.status.clone().unwrap().volume_groups.remove(0);
    assert_eq!(group.size.0, "400Mi");
    assert_eq!(group.extent_size.0, "4Mi");
    assert_eq!(group.used_by_others.0, "0");
    assert_eq!(group.free.0, "400Mi");
    fixture.wait_for_driver().await;

    let before = fixture.report_writes();
    for number in 0..10 {
        fixture.create_volume(&format!("v{number}"), 2).await;
    }
    for number in 0..10 {
        fixture.ready(&fixture.volume(&format!("v{number}"))).await;
    }
    fixture.quiet().await;
    let after = fixture.report_writes();
    assert_eq!(after, before, "{:?}", fixture.writes(&fixture.name));

    // vgextend, and an LV that FlexLVM does not manage.
    let begin = Instant::now();
    fixture.node.change(|state| {
        state.groups[0].extents = 150;
        let volume = Volume {
            tags: Vec::new(),
            name: "other".to_owned(),
            extents: 5,
            ..state.groups[0].volumes[0].clone()
        };
        state.groups[0].volumes.push(volume);
    });
    let report = fixture
        .wait_for_report("the group has grown", |storage| has_size(storage, "600Mi"))
        .await;
    let group = groups(&report).remove(0);
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(
        [group.used_by_others.0.as_str(), group.free.0.as_str()],
        ["20Mi", "500Mi"]
    );
}

#[tokio::test]
async fn free_space_is_reported_with_delay() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    // Its report has the free space of that moment, too.
    fixture.wait_for_driver().await;
    fixture
        .ready(&fixture.create_volume("data", 25).await)
        .await;
    let begin = Instant::now();
    fixture
        .wait_for_report("the free space is brought up to date", |storage| {
            groups(storage)
                .first()
                .is_some_and(|group| group.free.0 == "300Mi")
        })
        .await;
    assert!(begin.elapsed() > Duration::from_secs(5));
}

#[tokio::test]
async fn limit_of_logical_volumes_is_reported_and_new_volume_waits() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let first = fixture.create_volume("first", 8).await;
    fixture.ready(&first).await;
    fixture.node.change(|state| state.groups[0].max_lv = 1);
    fixture
        .wait_for_report("the limit is reported", |storage| {
            let groups = groups(storage);
            let limit = groups.first().and_then(|group| group.logical_volume_limit);
            limit.is_some_and(|limit| (limit.maximum, limit.remaining) == (1, 0))
        })
        .await;
    let second = fixture.create_volume("second", 8).await;
    fixture
        .wait_for_not_ready(
            &second,
            "VolumeLimitReached",
            "has 1 of 1 logical volumes (max_lv)",
        )
        .await;
    assert_eq!(fixture.node.count("lvcreate"), 1, "LVM would refuse");
    fixture.node.change(|state| state.groups[0].max_lv = 2);
    fixture.ready(&second).await;
}

#[tokio::test]
async fn deleted_report_is_rewritten_at_once() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture.wait_for_driver().await;
    fixture
        .storages()
        .delete(&fixture.name, &DeleteParams::default())
        .await
        .unwrap();
    fixture
        .wait_for_report("the report is complete again", |storage| {
            storage.metadata.owner_references.is_some()
                && is_condition_true(storage, DRIVER_INSTALLED)
                && has_size(storage, "400Mi")
        })
        .await;
}

#[tokio::test]
async fn driver_is_installed_and_repaired() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture.wait_for_driver().await;
    let driver = fixture.site.plugins().join("flexlvm.dev~lvm/lvm");
    assert_eq!(std::fs::read_to_string(&driver).unwrap(), "the driver");
    for damage in 0..3 {
        match damage {
            0 => std::fs::write(&driver, "broken").unwrap(),
            1 => std::fs::remove_file(&driver).unwrap(),
            _ => std::fs::remove_dir_all(driver.parent().unwrap()).unwrap(),
        }
        wait::until("it is repaired", Duration::from_secs(5), async || {
            let content = std::fs::read_to_string(&driver).unwrap_or_default();
            Ok((content == "the driver").then_some(()))
        })
        .await
        .unwrap();
    }
    std::fs::remove_dir_all(driver.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/nowhere", driver.parent().unwrap()).unwrap();
    let report = fixture
        .wait_for_report("the obstacle is reported", |storage| {
            !is_condition_true(storage, DRIVER_INSTALLED)
        })
        .await;
    let conditions = report.status.unwrap().conditions;
    assert!(
        condition::get(&conditions, DRIVER_INSTALLED)
            .unwrap()
            .message
            .contains("is not a folder: remove it")
    );
}
