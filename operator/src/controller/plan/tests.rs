//! Tests of what is done next: a volume's whole life, and each way in which it can go wrong.

mod removal;

use std::sync::Arc;
use std::time::Duration;

use crds::condition::reason;
use crds::logical_volume::{FilesystemType, ReclaimPolicy};
use serde_json::{Value, json};

use super::{ObservedObjects, PATIENCE, Plan, Step, plan};

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A volume's objects, to be changed by a test before they are looked at.
struct Story {
    claim: Option<Value>,
    class: Value,
    backend: Option<Value>,
    logical_volume: Option<Value>,
    volume: Option<Value>,
    node: bool,
    capacity_tracking_active: bool,
    pool_reservation_outdated: bool,
    waited: Duration,
}

impl Story {
    /// A claim with a selected node, and nothing made yet.
    fn new() -> Self {
        Self {
            claim: Some(
                json!({"metadata": {"name": "data", "namespace": "default", "uid": "1", "annotations": {
                "volume.beta.kubernetes.io/storage-provisioner": "flexlvm.dev", "volume.kubernetes.io/selected-node": "n1"}},
                "spec": {"storageClassName": "s", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
            ),
            class: json!({"metadata": {"name": "s"}, "provisioner": "flexlvm.dev", "parameters": {"backend": "fast"},
                "volumeBindingMode": "WaitForFirstConsumer"}),
            backend: Some(
                json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": "fast"},
                "spec": {"volumeGroup": "vg0"}}),
            ),
            logical_volume: None,
            volume: None,
            node: true,
            capacity_tracking_active: false,
            pool_reservation_outdated: false,
            waited: Duration::ZERO,
        }
    }

    /// The LogicalVolume is written; its agent has said nothing yet.
    fn promised() -> Self {
        let mut story = Self::new();
        story.logical_volume = Some(
            json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
            "metadata": {"name": "pvc-1", "labels": {"flexlvm.dev/node": "n1"}},
            "spec": {"node": "n1", "backend": "fast", "volumeGroup": "vg0", "size": "1Gi", "state": "Present",
                "claim": {"namespace": "default", "name": "data", "uid": "1"}, "storageClass": "s", "reclaimPolicy": "Delete",
                "key": "00000000000000000000000000000000",
                "filesystem": {"type": "ext4", "mountOptions": ["noatime"]}}}),
        );
        story
    }

    fn made() -> Self {
        let mut story = Self::promised();
        story.status(json!({"size": "1Gi", "uuid": "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP"}));
        story.condition("Ready", "True", reason::READY, "");
        story
    }

    /// The PersistentVolume is written and bound.
    fn bound() -> Self {
        let mut story = Self::made();
        let Step::Publish(volume) = story.step() else {
            panic!("not published")
        };
        story.volume = Some(serde_json::to_value(*volume).unwrap());
        story.phase("Bound");
        story.claim.as_mut().unwrap()["spec"]["volumeName"] = json!("pvc-1");
        story
    }

    fn released() -> Self {
        let mut story = Self::bound();
        story.claim = None;
        story.phase("Released");
        story
    }

    fn lv(&mut self) -> &mut Value {
        self.logical_volume.as_mut().unwrap()
    }

    fn pv(&mut self) -> &mut Value {
        self.volume.as_mut().unwrap()
    }

    fn status(&mut self, status: Value) {
        self.lv()["status"] = status;
    }

    fn condition(&mut self, type_: &str, status: &str, reason: &str, message: &str) {
        let condition = json!({"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = &mut self.lv()["status"];
        if status.is_null() {
            *status = json!({});
        }
        match status["conditions"].as_array_mut() {
            Some(all) => all.push(condition),
            None => status["conditions"] = json!([condition]),
        }
    }

    fn request(&mut self, size: &str) {
        self.claim.as_mut().unwrap()["spec"]["resources"]["requests"]["storage"] = json!(size);
    }

    fn phase(&mut self, phase: &str) {
        self.pv()["status"] = json!({"phase": phase});
    }

    fn plan(&self) -> Plan {
        let node =
            json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "host-1"}}});
        plan(&ObservedObjects {
            claim: self.claim.clone().map(|claim| Arc::new(from(claim))),
            class: self
                .claim
                .as_ref()
                .map(|_| crate::controller::class::read(&from(self.class.clone()), None)),
            backend: self.backend.clone().map(|backend| Arc::new(from(backend))),
            logical_volume: self.logical_volume.clone().map(|lv| Arc::new(from(lv))),
            volume: self.volume.clone().map(|volume| Arc::new(from(volume))),
            node: self.node.then(|| Arc::new(from(node))),
            in_flight: false,
            waited: self.waited,
            capacity_tracking_active: self.capacity_tracking_active,
            pool_reservation_outdated: self.pool_reservation_outdated,
        })
    }

    fn step(&self) -> Step {
        self.plan().step
    }

    /// What people are told.
    fn words(&self) -> String {
        self.plan()
            .notice
            .map(|notice| format!("{}: {}", notice.reason, notice.message))
            .unwrap_or_default()
    }
}

#[test]
fn a_claim_becomes_an_order_a_volume_and_then_rest() {
    assert_eq!(Story::new().step(), Step::Place { bytes: 1 << 30 });
    assert!(matches!(Story::promised().step(), Step::Wait(_)));
    let Step::Publish(volume) = Story::made().step() else {
        panic!("not published")
    };
    let spec = volume.spec.unwrap();
    let flex = spec.flex_volume.unwrap();
    assert_eq!(
        (flex.driver.as_str(), flex.fs_type.as_deref()),
        ("flexlvm.dev/lvm", Some("ext4"))
    );
    assert_eq!(
        spec.mount_options, None,
        "the kubelet refuses a flexVolume with mountOptions"
    );
    assert_eq!(spec.claim_ref.unwrap().uid.as_deref(), Some("1"));
    assert_eq!(Story::bound().step(), Step::Done);
}

#[test]
fn the_affinity_names_the_hostname_label_and_not_the_node() {
    let Step::Publish(volume) = Story::made().step() else {
        panic!("not published")
    };
    let text = serde_json::to_string(&volume.spec.unwrap().node_affinity).unwrap();
    assert!(text.contains("host-1") && !text.contains("n1"), "{text}");
}

#[test]
fn small_claims_get_what_their_file_system_needs() {
    let mut story = Story::new();
    story.claim.as_mut().unwrap()["spec"]["resources"]["requests"]["storage"] = json!("1");
    story.class["parameters"]["fsType"] = json!("xfs");
    assert_eq!(
        story.step(),
        Step::Place {
            bytes: FilesystemType::Xfs.smallest_volume()
        }
    );
}

#[test]
fn the_limits_of_the_backend_are_kept() {
    let mut story = Story::new();
    story.backend.as_mut().unwrap()["spec"]["volumeSize"] = json!({"minimum": "2Gi"});
    assert_eq!(story.step(), Step::Place { bytes: 2 << 30 });
    story.backend.as_mut().unwrap()["spec"]["volumeSize"] = json!({"maximum": "512Mi"});
    assert!(
        story
            .words()
            .contains("1 GiB is more than StorageBackend fast allows")
            && story.words().contains("512 MiB")
    );
    story.claim.as_mut().unwrap()["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] =
        json!("");
    assert!(
        story.words().contains("1 GiB is more"),
        "a scheduler that knows the limit selects no node"
    );
}

#[test]
fn a_claim_that_waits_for_its_pod_is_left_alone() {
    let mut story = Story::new();
    story.claim.as_mut().unwrap()["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove("volume.kubernetes.io/selected-node");
    assert_eq!(story.plan(), Plan::from(Step::Done));
    story.capacity_tracking_active = true;
    assert_eq!(
        story.step(),
        Step::DryRunPlacement { bytes: 1 << 30 },
        "nobody else says where there is no room"
    );
    story.class["volumeBindingMode"] = json!("Immediate");
    assert!(matches!(story.step(), Step::Place { .. }));
}

#[test]
fn a_claim_that_nobody_was_asked_about_yet_is_only_spoken_of() {
    let mut story = Story::new();
    story.claim.as_mut().unwrap()["metadata"]["annotations"] = json!({});
    assert_eq!(
        story.step(),
        Step::Done,
        "the scheduler selects a node, and then we are asked"
    );
    story.capacity_tracking_active = true;
    assert_eq!(story.step(), Step::DryRunPlacement { bytes: 1 << 30 });
    story.claim.as_mut().unwrap()["spec"]["volumeMode"] = json!("Block");
    assert!(story.words().contains("Block"));
    story.claim.as_mut().unwrap()["spec"]["volumeMode"] = json!("Filesystem");
    story.claim.as_mut().unwrap()["metadata"]["annotations"] =
        json!({"volume.kubernetes.io/selected-node": "n1"});
    assert_eq!(story.step(), Step::Done, "not before we are asked");
    story.class["volumeBindingMode"] = json!("Immediate");
    assert_eq!(story.step(), Step::Done);
}

#[test]
fn what_can_not_be_served_says_why() {
    let mut story = Story::new();
    story.backend = None;
    assert_eq!(story.words(), "", "it may be on its way");
    story.waited = super::GRACE;
    assert_eq!(
        story.words(),
        "ProvisioningFailed: StorageBackend fast, which the class names, does not exist"
    );
    let mut story = Story::new();
    story.class["parameters"]["speed"] = json!("high");
    story.waited = super::GRACE;
    assert!(story.words().contains("\"speed\""));
    assert_eq!(story.step(), Step::Deselect);
    let mut story = Story::new();
    story.claim.as_mut().unwrap()["spec"]["volumeMode"] = json!("Block");
    assert!(story.words().contains("Block"));
    assert_eq!(story.step(), Step::Deselect);
    story.claim.as_mut().unwrap()["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove("volume.kubernetes.io/selected-node");
    assert!(story.words().contains("Block"));
    assert_eq!(story.step(), Step::Wait(super::REVISIT));
}

#[test]
fn a_node_that_can_not_make_the_volume_loses_the_order() {
    for found in [
        reason::INSUFFICIENT_SPACE,
        reason::VOLUME_GROUP_MISSING,
        reason::VOLUME_GROUP_UNUSABLE,
    ] {
        let mut story = Story::promised();
        story.condition("Ready", "False", found, "no space in vg0");
        assert_eq!(story.step(), Step::CancelPlacement, "{found}");
        assert_eq!(story.words(), "ProvisioningFailed: no space in vg0");
    }
    let mut story = Story::promised();
    story.condition("Ready", "False", reason::LVM_FAILED, "lvcreate failed");
    assert!(matches!(story.step(), Step::Wait(_)));
    assert!(story.words().contains("lvcreate failed"));
}

#[test]
fn a_silent_agent_is_not_waited_for_in_silence() {
    let mut story = Story::promised();
    assert_eq!(story.words(), "");
    story.waited = PATIENCE;
    assert!(story.words().contains("agent on node n1 does not answer"));
}

#[test]
fn a_bound_volume_in_trouble_is_not_silent() {
    let mut story = Story::bound();
    story.lv()["status"]["conditions"] = json!([]);
    story.condition(
        "Ready",
        "False",
        reason::LOGICAL_VOLUME_MISSING,
        "it is not there",
    );
    assert_eq!(story.words(), "VolumeNotReady: it is not there");
    story.logical_volume = None;
    assert!(story.words().contains("has no LogicalVolume any more"));
}

#[test]
fn a_raised_capacity_makes_the_volume_grow() {
    let mut story = Story::bound();
    story.request("2Gi");
    assert_eq!(
        story.step(),
        Step::Grow(2 << 30),
        "the claim's request counts, not the capacity"
    );
    story.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    assert_eq!(story.step(), Step::Grow(2 << 30));
    story.lv()["spec"]["size"] = json!("2Gi");
    assert_eq!(story.step(), Step::Wait(PATIENCE));
    story.lv()["status"]["conditions"] = json!([]);
    story.condition("Ready", "False", reason::INSUFFICIENT_SPACE, "1 GiB free");
    assert_eq!(story.words(), "VolumeResizeFailed: 1 GiB free");
    assert_eq!(
        story.step(),
        Step::LimitCapacity(1 << 30),
        "pods start with the size that is there"
    );
    story.pv()["spec"]["capacity"]["storage"] = json!("1Gi");
    assert_eq!(story.words(), "VolumeResizeFailed: 1 GiB free");
    assert!(matches!(story.step(), Step::Wait(_)));
    story.lv()["status"]["size"] = json!("2Gi");
    story.lv()["status"]["conditions"] = json!([]);
    story.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    assert_eq!(story.step(), Step::Done);
    story.pool_reservation_outdated = true;
    assert_eq!(
        story.step(),
        Step::Grow(2 << 30),
        "to the size that it has, for its pool's sake"
    );
}

#[test]
fn a_capacity_that_a_silent_agent_does_not_make_is_limited() {
    let mut story = Story::bound();
    story.request("2Gi");
    story.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    story.lv()["spec"]["size"] = json!("2Gi");
    story.lv()["status"]["conditions"] = json!([]);
    story.waited = PATIENCE;
    assert!(story.words().contains("does not answer"));
    assert_eq!(story.step(), Step::LimitCapacity(1 << 30));
}

#[test]
fn a_lowered_request_replaces_a_growth_that_found_no_room() {
    let mut story = Story::bound();
    story.claim.as_mut().unwrap()["status"] = json!({"capacity": {"storage": "1Gi"},
        "allocatedResources": {"storage": "20Gi"},
        "allocatedResourceStatuses": {"storage": "NodeResizeInfeasible"}});
    story.request("20Gi");
    assert_eq!(story.step(), Step::Grow(20 << 30));
    story.request("2Gi");
    assert_eq!(story.step(), Step::Grow(2 << 30));
    story.lv()["spec"]["size"] = json!("2Gi");
    story.lv()["status"]["size"] = json!("2Gi");
    assert_eq!(story.step(), Step::SettleGrowth { request: 2 << 30 });
    story.claim.as_mut().unwrap()["status"] = json!({"capacity": {"storage": "1Gi"},
        "allocatedResources": {"storage": "2Gi"},
        "allocatedResourceStatuses": {"storage": "NodeResizePending"}});
    story.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    assert_eq!(story.step(), Step::Done, "the kubelet does the rest");
}

#[test]
fn an_order_that_its_agent_can_not_find_any_more_gets_its_label_back() {
    for mut story in [
        Story::promised(),
        Story::made(),
        Story::bound(),
        Story::released(),
    ] {
        for labels in [json!(null), json!({}), json!({"flexlvm.dev/node": "n2"})] {
            story.lv()["metadata"]["labels"] = labels;
            assert_eq!(story.step(), Step::Label);
        }
    }
}

#[test]
fn what_is_in_flight_is_waited_for() {
    let observed = ObservedObjects {
        in_flight: true,
        ..ObservedObjects::default()
    };
    assert!(matches!(plan(&observed).step, Step::Wait(_)));
    assert_eq!(plan(&ObservedObjects::default()).step, Step::Done);
}
