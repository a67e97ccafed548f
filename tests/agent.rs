//! The agent against a real API server, with its own account's rights and simulated LVM: orders become volumes, and go;
//! whatever happens in between.

#[path = "agent/faults.rs"]
mod faults;
#[path = "agent/stage.rs"]
mod stage;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crds::condition::{self, DRIVER_INSTALLED, READY, REMOVED};
use crds::quantity;
use faults::Faults;
use harness::simulated::{EXTENT, Volume};
use harness::wait;
use host::{Error, Kind};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use operator::agent::plan::Content;
use serde_json::json;
use stage::Stage;

#[tokio::test]
async fn an_order_becomes_a_volume_with_one_command_and_one_write() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    stage.reports("the node is reported", |storage| storage.status.is_some()).await;
    let reports = stage.node.count("fullreport");
    let name = stage.order("data", 8).await;
    let object = stage.ready(&name).await;
    let volume = stage.node.volume(&name).unwrap();
    assert_eq!(volume.extents, 8);
    let key = host::Key::new("00000000000000000000000000000000").unwrap().digest();
    assert_eq!(volume.tags, [stage.tag("data"), "flexlvm.dev/claim=default/data".to_owned(), key.tag()]);
    assert_eq!(volume.content, Content::Fresh);
    let status = object.status.unwrap();
    assert_eq!((status.uuid, status.size.unwrap().0), (Some(volume.uuid), "32Mi".to_owned()));
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!((stage.node.count("lvcreate"), stage.node.count("look")), (1, 0));
    assert_eq!(stage.node.count("fullreport"), reports, "the report before is enough");
    stage.quiet().await;
    assert_eq!(stage.writes(&name), ["patch logicalvolumes/status"]);
}

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
        tokio::task::spawn_blocking(move || reached.recv_timeout(Duration::from_secs(10)).unwrap()).await.unwrap();
        drop(agent);
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.node.unhook();
        assert_eq!(stage.status(&name).await.uuid, None);
        let made = stage.node.volume(&name).unwrap();

        let _agent = stage.agent();
        let status = stage.ready(&name).await.status.unwrap();
        assert_eq!(status.uuid, Some(made.uuid));
        assert_eq!(stage.node.volume(&name).unwrap().content, Content::Fresh);
        assert_eq!(stage.node.count("lvcreate"), 1, "{verb}");
    }
}

#[tokio::test]
async fn a_report_that_is_lost_is_written_again_and_the_volume_made_once() {
    for unanswered in [false, true] {
        let stage = Stage::new(100).await;
        let faults = Faults::default();
        // What was carried out is seen in the watch, whether there was an answer or not.
        let (count, times) = if unanswered { (&faults.unanswered, 1) } else { (&faults.lost, 3) };
        count.store(times, Ordering::Relaxed);
        let _agent = stage.agent_with(faults.clone());
        let name = stage.order("data", 8).await;
        stage.ready(&name).await;
        let all_gone = wait::until("all faults are used up", Duration::from_secs(20), async || {
            Ok((count.load(Ordering::Relaxed) == 0).then_some(()))
        });
        all_gone.await.unwrap();
        assert_eq!((stage.node.count("lvcreate"), stage.node.state().groups[0].volumes.len()), (1, 1));
    }
}

#[tokio::test]
async fn a_volume_that_is_somebody_elses_is_left_alone() {
    let stage = Stage::new(100).await;
    let name = stage.volume("data");
    let foreign = Volume {
        name: name.clone(),
        uuid: "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP".to_owned(),
        extents: 20,
        tags: vec!["mine".to_owned()],
        open: false,
        content: Content::Data("ext4".to_owned()),
    };
    stage.node.change(|state| state.groups[0].volumes.push(foreign));
    let _agent = stage.agent();
    stage.order("data", 8).await;
    stage.says(&name, READY, "False", "ForeignLogicalVolume", &format!("lacks the tag {}", stage.tag("data"))).await;
    stage.change(&name, json!({"state": "AbsentIfUnused"})).await;
    stage.says(&name, REMOVED, "True", "NeverMade", "").await;
    stage.change(&name, json!({"state": "Absent"})).await;
    stage.quiet().await;
    let volume = stage.node.volume(&name).unwrap();
    assert_eq!((volume.extents, volume.content), (20, Content::Data("ext4".to_owned())));
    assert!(!stage.node.state().verbs.iter().any(|verb| verb.starts_with("lv") || verb == "mark"));
}

#[tokio::test]
async fn an_order_waits_for_its_volume_group() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let name = stage.order_on("data", json!({"volumeGroup": "vg1"})).await;
    let words = format!("there is no volume group vg1 on {}", stage.name);
    stage.says(&name, READY, "False", "VolumeGroupMissing", &words).await;
    stage.node.add_group("vg1", 100);
    stage.node.change(|state| state.groups[1].exported = true);
    stage.says(&name, READY, "False", "VolumeGroupUnusable", "it is exported; vgimport brings it back").await;
    let report = stage.reports("vg1 is there", |storage| groups(storage).len() == 2).await;
    assert_eq!(groups(&report)[1].unusable.as_deref(), Some("it is exported; vgimport brings it back"));
    stage.node.change(|state| state.groups[1].exported = false);
    stage.ready(&name).await;
}

#[tokio::test]
async fn what_does_not_fit_says_so_with_numbers_and_is_made_when_it_does() {
    let stage = Stage::new(10).await;
    let _agent = stage.agent();
    let name = stage.order("data", 12).await;
    let words = format!("no space in volume group vg0 on {}: 40 MiB free, 48 MiB wanted", stage.name);
    stage.says(&name, READY, "False", "InsufficientSpace", &words).await;
    stage.node.change(|state| state.groups[0].extents = 20);
    stage.ready(&name).await;

    stage.change(&name, json!({"size": "100Mi"})).await;
    let object = stage.says(&name, READY, "False", "InsufficientSpace", "32 MiB free, 52 MiB more wanted").await;
    assert_eq!(object.status.unwrap().size.unwrap().0, "48Mi", "the volume is as usable as before");
    stage.node.change(|state| state.groups[0].extents = 200);
    let object = stage.ready(&name).await;
    assert_eq!((object.status.unwrap().size.unwrap().0.as_str(), stage.node.count("lvextend")), ("100Mi", 1));
}

#[tokio::test]
async fn a_report_out_of_date_is_found_out_by_lvm() {
    let stage = Stage::new(100).await;
    // LVM keeps its backups elsewhere: nobody hears of changes.
    stage.node.state().verbs.clear();
    std::fs::remove_dir_all(stage.folder.path().join("lvm")).unwrap();
    std::fs::create_dir_all(stage.folder.path().join("lvm/backup")).unwrap();
    let _agent = stage.agent();
    stage.reports("the node is reported", |storage| storage.status.is_some()).await;
    stage.node.state().groups[0].extents = 4;
    let name = stage.order("data", 8).await;
    stage.says(&name, READY, "False", "InsufficientSpace", "16 MiB free, 32 MiB wanted").await;
}

#[tokio::test]
async fn a_released_volume_is_removed_once_nobody_has_it_open() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let name = stage.order("data", 8).await;
    stage.ready(&name).await;
    // Mounted behind our back, and LVM's report is out of date: LVM itself refuses.
    stage.node.state().groups[0].volumes[0].open = true;
    stage.node.state().groups[0].volumes[0].content = Content::Data("ext4".to_owned());
    stage.change(&name, json!({"state": "Absent"})).await;
    let object = stage.says(&name, REMOVED, "False", "InUse", "it is mounted at /mnt/data").await;
    assert!(condition::is_true(&object.status.unwrap().conditions, READY));
    stage.quiet().await;
    assert!(stage.node.volume(&name).is_some());
    stage.node.state().groups[0].volumes[0].open = false;
    let status = stage.says(&name, REMOVED, "True", "Removed", "").await.status.unwrap();
    assert_eq!((stage.node.volume(&name).is_none(), status.size), (true, None));
    assert_eq!(stage.node.count("look"), 0);
}

#[tokio::test]
async fn a_volume_that_was_not_to_be_used_is_removed_only_if_it_was_not() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let (unused, used) = (stage.order("unused", 8).await, stage.order("used", 8).await);
    stage.ready(&unused).await;
    stage.ready(&used).await;
    stage.node.change_volume(&used, |volume| volume.content = Content::Data("xfs".to_owned()));
    for name in [&unused, &used] {
        stage.change(name, json!({"state": "AbsentIfUnused"})).await;
    }
    stage.says(&unused, REMOVED, "True", "Removed", "").await;
    stage.says(&used, REMOVED, "False", "CarriesData", "is not empty (xfs), so it is kept").await;
    assert_eq!((stage.node.volume(&unused).is_none(), stage.node.volume(&used).is_some()), (true, true));
}

#[tokio::test]
async fn deleting_the_object_removes_nothing() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let name = stage.order("data", 8).await;
    stage.ready(&name).await;
    stage.logical_volumes().delete(&name, &DeleteParams::default()).await.unwrap();
    let object = stage.says(&name, REMOVED, "False", "StillWanted", "is kept").await;
    assert!(condition::is_true(&object.status.unwrap().conditions, READY));
    assert!(stage.is_deleted(&name).await && stage.node.volume(&name).is_some());
    assert_eq!(stage.node.count("lvremove"), 0);
}

#[tokio::test]
async fn a_volume_that_vanished_is_missed_and_not_made_anew() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let name = stage.order("data", 8).await;
    stage.ready(&name).await;
    let gone = stage.node.change(|state| state.groups[0].volumes.remove(0));
    stage.says(&name, READY, "False", "LogicalVolumeMissing", "not made anew").await;
    assert_eq!(stage.node.count("lvcreate"), 1);
    stage.node.change(|state| state.groups[0].volumes.push(gone));
    stage.ready(&name).await;
}

#[tokio::test]
async fn the_node_is_reported_at_once_when_it_changes_and_not_for_each_volume() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let report = stage.reports("the node is reported", |storage| storage.status.is_some()).await;
    let owner = report.metadata.owner_references.unwrap().remove(0);
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Node", stage.name.as_str()));
    let group = report.status.clone().unwrap().volume_groups.remove(0);
    let numbers = [&group.size, &group.extent_size, &group.other_use, &group.free].map(|size| size.0.as_str());
    assert_eq!(numbers, ["400Mi", "4Mi", "0", "400Mi"]);
    stage.reports("the driver is installed", |storage| holds(storage, DRIVER_INSTALLED)).await;

    let before = stage.writes(&stage.name).iter().filter(|write| write.contains("nodestorages")).count();
    for number in 0..10 {
        stage.order(&format!("v{number}"), 2).await;
    }
    for number in 0..10 {
        stage.ready(&stage.volume(&format!("v{number}"))).await;
    }
    stage.quiet().await;
    let after = stage.writes(&stage.name).iter().filter(|write| write.contains("nodestorages")).count();
    assert_eq!(after, before, "{:?}", stage.writes(&stage.name));

    // vgextend, and somebody else's volume.
    let begin = Instant::now();
    stage.node.change(|state| {
        state.groups[0].extents = 150;
        let volume =
            Volume { tags: Vec::new(), name: "other".to_owned(), extents: 5, ..state.groups[0].volumes[0].clone() };
        state.groups[0].volumes.push(volume);
    });
    let grown = |storage: &crds::NodeStorage| groups(storage).first().is_some_and(|group| group.size.0 == "600Mi");
    let group = groups(&stage.reports("the group has grown", grown).await).remove(0);
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!([group.other_use.0.as_str(), group.free.0.as_str()], ["20Mi", "500Mi"]);
}

#[tokio::test]
async fn free_space_is_reported_at_leisure() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    stage.ready(&stage.order("data", 25).await).await;
    let begin = Instant::now();
    stage
        .reports("the free space is brought up to date", |storage| {
            groups(storage).first().is_some_and(|group| group.free.0 == "300Mi")
        })
        .await;
    assert!(begin.elapsed() > Duration::from_secs(5));
}

#[tokio::test]
async fn lvm_that_fails_is_said_and_makes_no_volume_worse() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    let good = stage.order("good", 8).await;
    stage.ready(&good).await;
    stage.node.hook(|_, _| Err(Error::refused(Kind::Failed, "lvm is broken")));
    let bad = stage.order("bad", 8).await;
    stage.says(&bad, READY, "False", "LvmFailed", "lvm is broken").await;
    stage.node.change(|_| ());
    stage.reports("LVM is broken", |storage| !holds(storage, READY)).await;
    assert!(condition::is_true(&stage.status(&good).await.conditions, READY));
    stage.node.unhook();
    stage.ready(&bad).await;
    let version = |storage: &crds::NodeStorage| storage.status.clone().unwrap_or_default().lvm_version;
    let works =
        |storage: &crds::NodeStorage| holds(storage, READY) && version(storage).as_deref() == Some("2.03.16(2)");
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
    let status = stage.says(&name, READY, "False", "LvmFailed", "lvextend is broken").await.status.unwrap();
    assert_eq!((status.size.unwrap().0.as_str(), status.uuid), ("32Mi", Some(stage.node.volume(&name).unwrap().uuid)));
    stage.node.unhook();
    assert_eq!(stage.ready(&name).await.status.unwrap().size.unwrap().0, "64Mi");
}

#[tokio::test]
async fn a_report_that_was_deleted_is_written_again() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    stage.reports("the driver is installed", |storage| holds(storage, DRIVER_INSTALLED)).await;
    stage.storages().delete(&stage.name, &DeleteParams::default()).await.unwrap();
    stage.node.change(|state| state.groups[0].extents = 120);
    let whole = |storage: &crds::NodeStorage| {
        storage.metadata.owner_references.is_some()
            && holds(storage, DRIVER_INSTALLED)
            && groups(storage).first().is_some_and(|group| group.size.0 == "480Mi")
    };
    stage.reports("it is whole again", whole).await;
}

#[tokio::test]
async fn only_orders_for_this_node_that_can_be_carried_out_are() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    stage.order_on("other", json!({"node": "elsewhere"})).await;
    let small = stage.order_on("small", json!({"size": "1Ki"})).await;
    stage.says(&small, READY, "False", "InvalidSpec", "spec.size: 1 KiB is too small").await;
    stage.change(&small, json!({"state": "AbsentIfUnused"})).await;
    stage.says(&small, REMOVED, "True", "NeverMade", "").await;
    stage.quiet().await;
    assert_eq!(stage.node.count("lvcreate"), 0);
    assert_eq!(stage.writes(&stage.volume("other")), [""; 0]);
}

#[tokio::test]
async fn the_driver_is_installed_and_repaired() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    stage.reports("the driver is installed", |storage| holds(storage, DRIVER_INSTALLED)).await;
    let driver = stage.plugins().join("flexlvm.dev~lvm/lvm");
    let is_whole = async || Ok((std::fs::read_to_string(&driver).unwrap_or_default() == "the driver").then_some(()));
    assert!(is_whole().await.is_ok_and(|is: Option<()>| is.is_some()));
    for damage in 0..3 {
        match damage {
            0 => std::fs::write(&driver, "broken").unwrap(),
            1 => std::fs::remove_file(&driver).unwrap(),
            _ => std::fs::remove_dir_all(driver.parent().unwrap()).unwrap(),
        }
        wait::until("it is repaired", Duration::from_secs(5), is_whole).await.unwrap();
    }
    std::fs::remove_dir_all(driver.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/nowhere", driver.parent().unwrap()).unwrap();
    let report = stage.reports("it says what is in the way", |storage| !holds(storage, DRIVER_INSTALLED)).await;
    let conditions = report.status.unwrap().conditions;
    assert!(condition::get(&conditions, DRIVER_INSTALLED).unwrap().message.contains("is not a folder: remove it"));
}

#[tokio::test]
async fn fifty_orders_cost_fifty_commands_and_fifty_writes() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    stage.reports("the node is reported", |storage| storage.status.is_some()).await;
    let reports = stage.node.count("fullreport");
    for number in 0..50 {
        stage.order(&format!("v{number}"), 2).await;
    }
    for number in 0..50 {
        stage.ready(&stage.volume(&format!("v{number}"))).await;
    }
    assert_eq!(stage.node.count("lvcreate"), 50);
    let reports = stage.node.count("fullreport") - reports;
    assert!(reports <= 5, "{reports} reports");
    let reports = stage.node.count("fullreport");
    // Real commands take their time.
    stage.node.hook(|_, after| {
        if !after {
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    });
    for number in 0..50 {
        stage.change(&stage.volume(&format!("v{number}")), json!({"state": "Absent"})).await;
    }
    for number in 0..50 {
        stage.says(&stage.volume(&format!("v{number}")), REMOVED, "True", "Removed", "").await;
    }
    assert_eq!((stage.node.count("lvremove"), stage.node.state().groups[0].volumes.len()), (50, 0));
    assert_eq!(stage.writes(&stage.volume("v")).len(), 100);
    let reports = stage.node.count("fullreport") - reports;
    assert!(reports <= 25, "{reports} reports: those who wait for one share it");
}

#[tokio::test]
async fn those_who_wait_cost_nothing() {
    let stage = Stage::new(100).await;
    let _agent = stage.agent();
    for number in 0..30 {
        stage.order_on(&format!("v{number}"), json!({"volumeGroup": "vg1"})).await;
    }
    for number in 0..30 {
        stage.says(&stage.volume(&format!("v{number}")), READY, "False", "VolumeGroupMissing", "").await;
    }
    stage.quiet().await;
    let reports = stage.node.count("fullreport");
    stage.node.change(|state| state.groups[0].extents = 120);
    stage.quiet().await;
    stage.quiet().await;
    let reports = stage.node.count("fullreport") - reports;
    assert!((1..=3).contains(&reports), "{reports} reports");
    assert_eq!(stage.writes(&stage.volume("v")).len(), 30);
}

#[tokio::test]
async fn an_agent_may_write_reports_and_nothing_else() {
    let stage = Stage::new(100).await;
    let name = stage.order("data", 8).await;
    let client = stage.agents_client().await;
    let volumes: kube::Api<crds::LogicalVolume> = kube::Api::all(client.clone());
    let object = volumes.get(&name).await.unwrap();
    let patch = Patch::Merge(json!({"spec": {"state": "Absent"}}));
    let spec = volumes.patch(&name, &PatchParams::default(), &patch).await.map(drop);
    let finalizers = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let finalizers = volumes.patch(&name, &PatchParams::default(), &finalizers).await.map(drop);
    let create = volumes.create(&PostParams::default(), &object).await.map(drop);
    let delete = volumes.delete(&name, &DeleteParams::default()).await.map(drop);
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client);
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let node = nodes.patch(&stage.name, &PatchParams::default(), &label).await.map(drop);
    for refused in [spec, finalizers, create, delete, node] {
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
    }
    // Through the status alone the spec can't be reached either.
    let sneak = Patch::Merge(json!({"spec": {"state": "Absent"}, "metadata": {"finalizers": null}, "status": {}}));
    volumes.patch_status(&name, &PatchParams::default(), &sneak).await.unwrap();
    let after = volumes.get(&name).await.unwrap();
    assert_eq!((after.spec, after.metadata.finalizers), (object.spec, object.metadata.finalizers));
}

fn groups(storage: &crds::NodeStorage) -> Vec<crds::node_storage::VolumeGroup> {
    storage.status.clone().unwrap_or_default().volume_groups
}

fn holds(storage: &crds::NodeStorage, type_: &str) -> bool {
    condition::is_true(&storage.status.clone().unwrap_or_default().conditions, type_)
}

#[test]
fn the_simulated_extents_are_as_large_as_the_tests_say() {
    assert_eq!(quantity::format(EXTENT).0, "4Mi");
}
