//! Failures: a killed agent, lost API responses, LVM commands that fail, outdated reports.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crds::condition::{self, READY};
use harness::wait::{self, LIMIT};
use host::Error;
use operator::agent::volumes::plan::Content;
use serde_json::json;

use crate::faults::Faults;
use crate::fixture::{Fixture, is_condition_true};

#[tokio::test]
async fn agent_killed_before_its_report_leaves_one_lv() {
    for verb in ["lvcreate", "mark"] {
        let fixture = Fixture::new(100).await;
        let agent = fixture.agent();
        let (here, reached) = std::sync::mpsc::channel();
        fixture.node.hook(move |run, after| {
            if run == verb && after {
                let _ = here.send(());
                std::thread::sleep(Duration::from_secs(1));
                return Err(Error::failed("killed"));
            }
            Ok(())
        });
        let name = fixture.create_volume("data", 8).await;
        tokio::task::spawn_blocking(move || reached.recv_timeout(LIMIT).unwrap())
            .await
            .unwrap();
        drop(agent);
        tokio::time::sleep(Duration::from_secs(1)).await;
        fixture.node.unhook();
        assert_eq!(fixture.status(&name).await.uuid, None);
        let made = fixture.node.volume(&name).unwrap();

        let _agent = fixture.agent();
        let status = fixture.ready(&name).await.status.unwrap();
        assert_eq!(status.uuid, Some(made.uuid));
        assert_eq!(
            fixture.node.volume(&name).unwrap().content,
            Content::Unformatted
        );
        assert_eq!(fixture.node.count("lvcreate"), 1, "{verb}");
    }
}

#[tokio::test]
async fn lost_report_is_rewritten_and_lv_created_once() {
    for unanswered in [false, true] {
        let fixture = Fixture::new(100).await;
        let faults = Faults::default();
        // The watch delivers what was carried out, with or without a response.
        let (count, times) = if unanswered {
            (&faults.unanswered, 1)
        } else {
            (&faults.lost, 3)
        };
        count.store(times, Ordering::Relaxed);
        let _agent = fixture.agent_with(faults.clone());
        let name = fixture.create_volume("data", 8).await;
        fixture.ready(&name).await;
        wait::until("all faults are used up", LIMIT, async || {
            Ok((count.load(Ordering::Relaxed) == 0).then_some(()))
        })
        .await
        .unwrap();
        assert_eq!(
            (
                fixture.node.count("lvcreate"),
                fixture.node.state().groups[0].volumes.len()
            ),
            (1, 1)
        );
    }
}

#[tokio::test]
async fn failing_lvm_is_reported_and_keeps_ready_volumes() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let good = fixture.create_volume("good", 8).await;
    fixture.ready(&good).await;
    fixture
        .node
        .hook(|_, _| Err(Error::failed("lvm is broken")));
    let bad = fixture.create_volume("bad", 8).await;
    fixture
        .wait_for_not_ready(&bad, "LvmFailed", "lvm is broken")
        .await;
    fixture.node.change(|_| ());
    fixture
        .wait_for_report("LVM is broken", |storage| {
            !is_condition_true(storage, READY)
        })
        .await;
    assert!(condition::is_true(
        &fixture.status(&good).await.conditions,
        READY
    ));
    fixture.node.unhook();
    fixture.ready(&bad).await;
    fixture
        .wait_for_report("LVM works", |storage| {
            let status = storage.status.clone().unwrap_or_default();
            is_condition_true(storage, READY) && status.lvm_version.as_deref() == Some("2.03.16(2)")
        })
        .await;
}

#[tokio::test]
async fn failed_growth_is_reported() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let name = fixture.create_volume("data", 8).await;
    fixture.ready(&name).await;
    fixture.node.hook(|verb, _| match verb {
        "lvextend" => Err(Error::failed("lvextend is broken")),
        _ => Ok(()),
    });
    fixture.change(&name, json!({"size": "64Mi"})).await;
    let status = fixture
        .wait_for_not_ready(&name, "LvmFailed", "lvextend is broken")
        .await
        .status
        .unwrap();
    assert_eq!(
        (status.size.unwrap().0.as_str(), status.uuid),
        ("32Mi", Some(fixture.node.volume(&name).unwrap().uuid))
    );
    fixture.node.unhook();
    assert_eq!(
        fixture.ready(&name).await.status.unwrap().size.unwrap().0,
        "64Mi"
    );
}

#[tokio::test]
async fn outdated_report_is_corrected_by_lvm() {
    let fixture = Fixture::new(100).await;
    // LVM keeps its backups elsewhere: the agent does not notice changes.
    fixture.node.state().verbs.clear();
    std::fs::remove_dir_all(fixture.site.folder().join("lvm")).unwrap();
    std::fs::create_dir_all(fixture.site.folder().join("lvm/backup")).unwrap();
    let _agent = fixture.agent();
    fixture.wait_for_first_report().await;
    fixture.node.state().groups[0].extents = 4;
    let name = fixture.create_volume("data", 8).await;
    fixture
        .wait_for_not_ready(&name, "InsufficientSpace", "16 MiB free, 32 MiB needed")
        .await;
}

#[tokio::test]
async fn repeated_failure_to_create_lets_the_controller_try_another_node() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    fixture.wait_for_first_report().await;
    fixture.node.hook(|verb, _| match verb {
        "lvcreate" => Err(Error::failed("the maximum number of volumes is reached")),
        _ => Ok(()),
    });
    let name = fixture.create_volume("data", 8).await;
    fixture
        .wait_for_not_ready(&name, "CreateFailed", "the maximum number")
        .await;
    assert!(fixture.status(&name).await.uuid.is_none());
    // The controller withdraws it; the agent verifies that there is nothing.
    fixture
        .change(&name, json!({"state": "AbsentIfNeverUsed"}))
        .await;
    fixture.wait_for_removed(&name, "NeverCreated").await;
}
