//! The agent's reports about its node, and the driver that it installs.

use std::time::{Duration, Instant};

use crds::condition::{self, DRIVER_INSTALLED};
use harness::simulated::Volume;
use harness::wait;
use kube::api::DeleteParams;

use crate::fixture::{Fixture, groups, is_condition_true};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "the steps of one test")]
async fn node_change_is_reported_at_once_and_volumes_are_not() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let report = fixture
        .wait_for_report("the node is reported", |storage| storage.status.is_some())
        .await;
    let owner = report.metadata.owner_references.unwrap().remove(0);
    assert_eq!(
        (owner.kind.as_str(), owner.name.as_str()),
        ("Node", fixture.name.as_str())
    );
    let group = report.status.clone().unwrap().volume_groups.remove(0);
    let numbers = [
        &group.size,
        &group.extent_size,
        &group.used_by_others,
        &group.free,
    ]
    .map(|size| size.0.as_str());
    assert_eq!(numbers, ["400Mi", "4Mi", "0", "400Mi"]);
    fixture
        .wait_for_report("the driver is installed", |storage| {
            is_condition_true(storage, DRIVER_INSTALLED)
        })
        .await;

    let before = fixture
        .writes(&fixture.name)
        .iter()
        .filter(|write| write.contains("nodestorages"))
        .count();
    for number in 0..10 {
        fixture.create_volume(&format!("v{number}"), 2).await;
    }
    for number in 0..10 {
        fixture.ready(&fixture.volume(&format!("v{number}"))).await;
    }
    fixture.quiet().await;
    let after = fixture
        .writes(&fixture.name)
        .iter()
        .filter(|write| write.contains("nodestorages"))
        .count();
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
    let grown = |storage: &crds::NodeStorage| {
        groups(storage)
            .first()
            .is_some_and(|group| group.size.0 == "600Mi")
    };
    let group = groups(&fixture.wait_for_report("the group has grown", grown).await).remove(0);
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
async fn deleted_report_is_rewritten_at_once() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture
        .wait_for_report("the driver is installed", |storage| {
            is_condition_true(storage, DRIVER_INSTALLED)
        })
        .await;
    fixture
        .storages()
        .delete(&fixture.name, &DeleteParams::default())
        .await
        .unwrap();
    fixture
        .wait_for_report(
            "the report is complete again",
            |storage: &crds::NodeStorage| {
                storage.metadata.owner_references.is_some()
                    && is_condition_true(storage, DRIVER_INSTALLED)
                    && groups(storage)
                        .first()
                        .is_some_and(|group| group.size.0 == "400Mi")
            },
        )
        .await;
}

#[tokio::test]
async fn driver_is_installed_and_repaired() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture
        .wait_for_report("the driver is installed", |storage| {
            is_condition_true(storage, DRIVER_INSTALLED)
        })
        .await;
    let driver = fixture.site.plugins().join("flexlvm.dev~lvm/lvm");
    let is_whole = async || {
        Ok((std::fs::read_to_string(&driver).unwrap_or_default() == "the driver").then_some(()))
    };
    assert!(is_whole().await.is_ok_and(|is: Option<()>| is.is_some()));
    for damage in 0..3 {
        match damage {
            0 => std::fs::write(&driver, "broken").unwrap(),
            1 => std::fs::remove_file(&driver).unwrap(),
            _ => std::fs::remove_dir_all(driver.parent().unwrap()).unwrap(),
        }
        wait::until("it is repaired", Duration::from_secs(5), is_whole)
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
