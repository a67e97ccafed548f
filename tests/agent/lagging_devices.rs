//! Devices that lag behind LVM's metadata, as after an LVM command that was killed.

use std::time::Duration;

use crds::condition::{self, HEALTHY};
use host::Error;
use serde_json::json;

use crate::fixture::Fixture;

#[tokio::test]
async fn lagging_device_is_refreshed_before_its_size_is_reported() {
    let fixture = Fixture::new(100).await;
    let agent = fixture.agent();
    let name = fixture.create_volume("data", 8).await;
    fixture.ready(&name).await;
    drop(agent);
    fixture.node.change_volume(&name, |volume| {
        volume.extents = 16;
        volume.lagging = Some(8);
        volume.suspended = true;
    });
    fixture.node.hook(|verb, _| match verb {
        "lvchange" => Err(Error::failed("lvchange is broken")),
        _ => Ok(()),
    });
    fixture.change(&name, json!({"size": "64Mi"})).await;

    let _agent = fixture.agent();
    let object = fixture
        .wait_for_not_ready(&name, "DeviceOutdated", "lvchange is broken")
        .await;
    let status = object.status.unwrap();
    assert_eq!(status.size.unwrap().0, "32Mi");
    assert!(!condition::is_true(&status.conditions, HEALTHY));
    fixture.node.unhook();
    let status = fixture.ready(&name).await.status.unwrap();
    assert_eq!(status.size.unwrap().0, "64Mi");
    assert!(condition::is_true(&status.conditions, HEALTHY));
    let volume = fixture.node.volume(&name).unwrap();
    assert_eq!((volume.suspended, volume.lagging), (false, None));
    assert_eq!(fixture.node.count("lvextend"), 0);
}

#[tokio::test]
async fn suspended_volume_is_not_ready_while_lvm_accepts_no_command() {
    let fixture = Fixture::new(100).await;
    let _agent = fixture.agent();
    let name = fixture.create_volume("data", 8).await;
    fixture.ready(&name).await;
    // A command of the agent has suspended the device, and does not end.
    fixture
        .node
        .change_volume(&name, |volume| volume.suspended = true);
    fixture.node.hook(|_, _| {
        Err(Error::StillRunning {
            command: "lvm lvextend vg0/other".to_owned(),
            time: Duration::from_secs(130),
        })
    });
    // Neither the LogicalVolume nor LVM's report changes.
    fixture
        .wait_for_not_ready(&name, "DeviceOutdated", "has not ended after 130 s")
        .await;
    fixture.node.unhook();
    fixture.ready(&name).await;
    assert!(!fixture.node.volume(&name).unwrap().suspended);
}
