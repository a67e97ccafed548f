//! An agent that dies, answers that are lost, LVM that fails or knows better.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crds::condition::{self, READY};
use harness::wait;
use host::{Error, Kind};
use operator::agent::volumes::plan::Content;
use serde_json::json;

use crate::faults::Faults;
use crate::stage::{Stage, holds};

#[tokio::test]
async fn an_agent_killed_between_lvcreate_and_its_report_leaves_one_volume() {
    for verb in ["lvcreate", "mark"] {
        let stage = Stage::new(100).await;
        let agent = stage.agent();
        let (here, reached) = std::sync::mpsc::channel();
        stage.node.hook(move |run, after| {
            if run == verb && after {
                let _ = here.send(());
                std::thread::sleep(Duration::from_secs(1));
                return Err(Error::refused(Kind::Failed, "killed"));
            }
            Ok(())
        });
        let name = stage.order("data", 8).await;
        tokio::task::spawn_blocking(move || reached.recv_timeout(Duration::from_secs(10)).unwrap())
            .await
            .unwrap();
        drop(agent);
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.node.unhook();
        assert_eq!(stage.status(&name).await.uuid, None);
        let made = stage.node.volume(&name).unwrap();

        let _agent = stage.agent();
        let status = stage.ready(&name).await.status.unwrap();
        assert_eq!(status.uuid, Some(made.uuid));
        assert_eq!(
            stage.node.volume(&name).unwrap().content,
            Content::Unformatted
        );
        assert_eq!(stage.node.count("lvcreate"), 1, "{verb}");
    }
}

#[tokio::test]
async fn a_report_that_is_lost_is_written_again_and_the_volume_made_once() {
    for unanswered in [false, true] {
        let stage = Stage::new(100).await;
        let faults = Faults::default();
        // What was carried out is seen in the watch, whether there was an answer or not.
        let (count, times) = if unanswered {
            (&faults.unanswered, 1)
        } else {
            (&faults.lost, 3)
        };
        count.store(times, Ordering::Relaxed);
        let _agent = stage.agent_with(faults.clone());
        let name = stage.order("data", 8).await;
        stage.ready(&name).await;
        let all_gone = wait::until(
            "all faults are used up",
            Duration::from_secs(20),
            async || Ok((count.load(Ordering::Relaxed) == 0).then_some(())),
        );
        all_gone.await.unwrap();
        assert_eq!(
            (
                stage.node.count("lvcreate"),
                stage.node.state().groups[0].volumes.len()
            ),
            (1, 1)
        );
    }
}

#[tokio::test]
async fn lvm_that_fails_is_said_and_makes_no_volume_worse() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let good = stage.order("good", 8).await;
    stage.ready(&good).await;
    stage
        .node
        .hook(|_, _| Err(Error::refused(Kind::Failed, "lvm is broken")));
    let bad = stage.order("bad", 8).await;
    stage
        .says(&bad, READY, "False", "LvmFailed", "lvm is broken")
        .await;
    stage.node.change(|_| ());
    stage
        .reports("LVM is broken", |storage| !holds(storage, READY))
        .await;
    assert!(condition::is_true(
        &stage.status(&good).await.conditions,
        READY
    ));
    stage.node.unhook();
    stage.ready(&bad).await;
    let version =
        |storage: &crds::NodeStorage| storage.status.clone().unwrap_or_default().lvm_version;
    let works = |storage: &crds::NodeStorage| {
        holds(storage, READY) && version(storage).as_deref() == Some("2.03.16(2)")
    };
    stage.reports("LVM works", works).await;
}

#[tokio::test]
async fn growth_that_fails_says_so() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let name = stage.order("data", 8).await;
    stage.ready(&name).await;
    stage.node.hook(|verb, _| match verb {
        "lvextend" => Err(Error::refused(Kind::Failed, "lvextend is broken")),
        _ => Ok(()),
    });
    stage.change(&name, json!({"size": "64Mi"})).await;
    let status = stage
        .says(&name, READY, "False", "LvmFailed", "lvextend is broken")
        .await
        .status
        .unwrap();
    assert_eq!(
        (status.size.unwrap().0.as_str(), status.uuid),
        ("32Mi", Some(stage.node.volume(&name).unwrap().uuid))
    );
    stage.node.unhook();
    assert_eq!(
        stage.ready(&name).await.status.unwrap().size.unwrap().0,
        "64Mi"
    );
}

#[tokio::test]
async fn a_report_out_of_date_is_found_out_by_lvm() {
    let stage = Stage::new(100).await;
    // LVM keeps its backups elsewhere: nobody hears of changes.
    stage.node.state().verbs.clear();
    std::fs::remove_dir_all(stage.site.folder().join("lvm")).unwrap();
    std::fs::create_dir_all(stage.site.folder().join("lvm/backup")).unwrap();
    let _agent = stage.agent();
    stage
        .reports("the node is reported", |storage| storage.status.is_some())
        .await;
    stage.node.state().groups[0].extents = 4;
    let name = stage.order("data", 8).await;
    stage
        .says(
            &name,
            READY,
            "False",
            "InsufficientSpace",
            "16 MiB free, 32 MiB needed",
        )
        .await;
}
