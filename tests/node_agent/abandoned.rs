//! A node that comes back after its claims were released, with its volumes on its disks.

use crds::LogicalVolume;
use crds::condition::{READY, REMOVED};
use crds::node_storage::DeviationKind;
use harness::wait::{LIMIT, until};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::fixture::{Fixture, GROUP};

/// Replaces the Node object, as a kubelet does that registers again; returns the new uid.
fn register_again(fixture: &Fixture) -> Option<String> {
    let nodes: Api<Node> = Api::all(fixture.client().clone());
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "node1"}})).unwrap();
    fixture.runtime().block_on(async {
        nodes
            .delete("node1", &DeleteParams::default())
            .await
            .unwrap();
        nodes
            .create(&PostParams::default(), &node)
            .await
            .unwrap()
            .uid()
    })
}

pub(crate) fn returned_node_lists_its_abandoned_volume_and_leaves_the_data(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    let sum = fixture.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt; head -c 1M /dev/urandom >/mnt/file; \
         sync; sha256sum /mnt/file"
    ));
    let uuid = fixture.lvs(&name, "lv_uuid");
    fixture.power_cut(); // which boots without an agent
    let present = register_again(fixture);
    fixture.change(&name, json!({"state": "Abandoned", "erase": "Zero"}));
    fixture.start_agent();
    fixture.wait_for_condition(&name, READY, "Abandoned", "it is kept with its data");
    fixture.wait_for_report("the volume is listed", |storage| {
        let status = storage.status.as_ref();
        let mut listed = status.into_iter().flat_map(|status| &status.deviations);
        listed.any(|one| one.kind == DeviationKind::Abandoned && one.name == name)
    });
    let objects: Api<LogicalVolume> = Api::all(fixture.client().clone());
    let is_found = async || {
        let found_on = objects
            .get(&name)
            .await?
            .status
            .unwrap_or_default()
            .node_uid;
        Ok((found_on == present).then_some(()))
    };
    let found = until("the status names the new Node", LIMIT, is_found);
    fixture.runtime().block_on(found).unwrap();
    // Another volume does not get its space, and the volume is neither mounted nor changed.
    let other = fixture.volume("64Mi");
    assert_eq!(fixture.lvs(&name, "lv_uuid"), uuid);
    assert_eq!(
        fixture.shell(&format!("grep -c {name} /proc/mounts || true")),
        "0"
    );
    let found = fixture.shell(&format!(
        "lvchange -qq -ay {GROUP}/{name}; mount /dev/{GROUP}/{name} /mnt; sha256sum /mnt/file; umount /mnt"
    ));
    assert_eq!(found, sum);
    fixture.remove(&other);
    // An admin has it removed.
    fixture.change(&name, json!({"state": "Absent", "erase": "None"}));
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");
    assert_eq!(fixture.lvs(&name, "lv_name"), "");
}
