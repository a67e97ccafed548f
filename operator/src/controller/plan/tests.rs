//! Tests of the next step: a volume's whole life, and each way in which it can fail.

mod removal;

use std::sync::Arc;
use std::time::Duration;

use crds::condition::reason;
use crds::logical_volume::{FilesystemType, ReclaimPolicy};
use serde_json::{Value, json};

use super::{AGENT_TIMEOUT, ObservedObjects, Plan, Step, plan};

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A volume's objects, which a test changes before it plans.
struct Fixture {
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

impl Fixture {
    /// A claim with a selected node, and no objects yet.
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

    /// A LogicalVolume without a report from its agent.
    fn reserved() -> Self {
        let mut fixture = Self::new();
        fixture.logical_volume = Some(
            json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
            "metadata": {"name": "pvc-1", "labels": {"flexlvm.dev/node": "n1"}},
            "spec": {"node": "n1", "backend": "fast", "volumeGroup": "vg0", "size": "1Gi", "state": "Present",
                "claim": {"namespace": "default", "name": "data", "uid": "1"}, "storageClass": "s", "reclaimPolicy": "Delete",
                "key": "00000000000000000000000000000000",
                "filesystem": {"type": "ext4", "mountOptions": ["noatime"]}}}),
        );
        fixture
    }

    fn created() -> Self {
        let mut fixture = Self::reserved();
        fixture.status(json!({"size": "1Gi", "uuid": "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP"}));
        fixture.condition("Ready", "True", reason::READY, "");
        fixture
    }

    /// A bound PersistentVolume.
    fn bound() -> Self {
        let mut fixture = Self::created();
        let Step::Publish(volume) = fixture.step() else {
            panic!("not published")
        };
        fixture.volume = Some(serde_json::to_value(*volume).unwrap());
        fixture.phase("Bound");
        fixture.claim.as_mut().unwrap()["spec"]["volumeName"] = json!("pvc-1");
        fixture
    }

    fn released() -> Self {
        let mut fixture = Self::bound();
        fixture.claim = None;
        fixture.phase("Released");
        fixture
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
            class: self.claim.as_ref().map(|_| {
                Ok(crate::controller::class::read(
                    &from(self.class.clone()),
                    None,
                )?)
            }),
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

    /// Returns the reason and the message of the Event.
    fn event(&self) -> String {
        self.plan()
            .notice
            .map(|notice| format!("{}: {}", notice.reason, notice.message))
            .unwrap_or_default()
    }
}

#[test]
fn claim_is_placed_created_published_and_then_done() {
    assert_eq!(Fixture::new().step(), Step::Place { bytes: 1 << 30 });
    assert!(matches!(Fixture::reserved().step(), Step::Wait(_)));
    let Step::Publish(volume) = Fixture::created().step() else {
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
    assert_eq!(Fixture::bound().step(), Step::Done);
}

#[test]
fn affinity_uses_hostname_label_instead_of_node_name() {
    let Step::Publish(volume) = Fixture::created().step() else {
        panic!("not published")
    };
    let text = serde_json::to_string(&volume.spec.unwrap().node_affinity).unwrap();
    assert!(text.contains("host-1") && !text.contains("n1"), "{text}");
}

#[test]
fn small_claim_gets_minimum_of_file_system() {
    let mut fixture = Fixture::new();
    fixture.claim.as_mut().unwrap()["spec"]["resources"]["requests"]["storage"] = json!("1");
    fixture.class["parameters"]["fsType"] = json!("xfs");
    assert_eq!(
        fixture.step(),
        Step::Place {
            bytes: FilesystemType::Xfs.smallest_volume()
        }
    );
}

#[test]
fn backend_limits_apply() {
    let mut fixture = Fixture::new();
    fixture.backend.as_mut().unwrap()["spec"]["volumeSize"] = json!({"minimum": "2Gi"});
    assert_eq!(fixture.step(), Step::Place { bytes: 2 << 30 });
    fixture.backend.as_mut().unwrap()["spec"]["volumeSize"] = json!({"maximum": "512Mi"});
    assert!(
        fixture
            .event()
            .contains("1 GiB is more than StorageBackend fast allows")
            && fixture.event().contains("512 MiB")
    );
    fixture.claim.as_mut().unwrap()["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] =
        json!("");
    assert!(
        fixture.event().contains("1 GiB is more"),
        "without a selected node the limit is reported too"
    );
}

#[test]
fn claim_without_selected_node_waits_or_is_dry_run() {
    let mut fixture = Fixture::new();
    fixture.claim.as_mut().unwrap()["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove("volume.kubernetes.io/selected-node");
    assert_eq!(fixture.plan(), Plan::from(Step::Done));
    fixture.capacity_tracking_active = true;
    assert_eq!(
        fixture.step(),
        Step::DryRunPlacement { bytes: 1 << 30 },
        "no other component reports which nodes are full"
    );
    fixture.class["volumeBindingMode"] = json!("Immediate");
    assert!(matches!(fixture.step(), Step::Place { .. }));
}

#[test]
fn claim_without_provisioner_is_never_placed() {
    let mut fixture = Fixture::new();
    fixture.claim.as_mut().unwrap()["metadata"]["annotations"] = json!({});
    assert_eq!(
        fixture.step(),
        Step::Done,
        "the scheduler selects a node first"
    );
    fixture.capacity_tracking_active = true;
    assert_eq!(fixture.step(), Step::DryRunPlacement { bytes: 1 << 30 });
    fixture.claim.as_mut().unwrap()["spec"]["volumeMode"] = json!("Block");
    assert!(fixture.event().contains("Block"));
    fixture.claim.as_mut().unwrap()["spec"]["volumeMode"] = json!("Filesystem");
    fixture.claim.as_mut().unwrap()["metadata"]["annotations"] =
        json!({"volume.kubernetes.io/selected-node": "n1"});
    assert_eq!(
        fixture.step(),
        Step::Done,
        "not before the claim names a provisioner"
    );
    fixture.class["volumeBindingMode"] = json!("Immediate");
    assert_eq!(fixture.step(), Step::Done);
}

#[test]
fn unservable_claim_reports_reason() {
    let mut fixture = Fixture::new();
    fixture.backend = None;
    assert_eq!(
        fixture.event(),
        "",
        "it may be part of the same kubectl apply"
    );
    fixture.waited = super::GRACE;
    assert_eq!(
        fixture.event(),
        "ProvisioningFailed: StorageBackend fast, which the class names, does not exist"
    );
    let mut fixture = Fixture::new();
    fixture.class["parameters"]["speed"] = json!("high");
    fixture.waited = super::GRACE;
    assert!(fixture.event().contains("\"speed\""));
    assert_eq!(fixture.step(), Step::Deselect);
    let mut fixture = Fixture::new();
    fixture.claim.as_mut().unwrap()["spec"]["volumeMode"] = json!("Block");
    assert!(fixture.event().contains("Block"));
    assert_eq!(fixture.step(), Step::Deselect);
    fixture.claim.as_mut().unwrap()["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove("volume.kubernetes.io/selected-node");
    assert!(fixture.event().contains("Block"));
    assert_eq!(fixture.step(), Step::Wait(super::REVISIT));
}

#[test]
fn placement_is_cancelled_if_the_node_can_not_create_the_volume() {
    for found in [
        reason::INSUFFICIENT_SPACE,
        reason::VOLUME_GROUP_MISSING,
        reason::VOLUME_GROUP_UNUSABLE,
    ] {
        let mut fixture = Fixture::reserved();
        fixture.condition("Ready", "False", found, "no space in vg0");
        assert_eq!(fixture.step(), Step::CancelPlacement, "{found}");
        assert_eq!(fixture.event(), "ProvisioningFailed: no space in vg0");
    }
    let mut fixture = Fixture::reserved();
    fixture.condition("Ready", "False", reason::LVM_FAILED, "lvcreate failed");
    assert!(matches!(fixture.step(), Step::Wait(_)));
    assert!(fixture.event().contains("lvcreate failed"));
}

#[test]
fn agent_without_report_causes_event_after_timeout() {
    let mut fixture = Fixture::reserved();
    assert_eq!(fixture.event(), "");
    fixture.waited = AGENT_TIMEOUT;
    assert!(fixture.event().contains("agent on node n1 does not report"));
}

#[test]
fn fault_of_bound_volume_is_reported() {
    let mut fixture = Fixture::bound();
    fixture.lv()["status"]["conditions"] = json!([]);
    fixture.condition(
        "Ready",
        "False",
        reason::LOGICAL_VOLUME_MISSING,
        "it is not there",
    );
    assert_eq!(fixture.event(), "VolumeNotReady: it is not there");
    fixture.logical_volume = None;
    assert!(fixture.event().contains("LogicalVolume was deleted"));
}

#[test]
fn raised_request_or_capacity_grows_the_volume() {
    let mut fixture = Fixture::bound();
    fixture.request("2Gi");
    assert_eq!(
        fixture.step(),
        Step::Grow(2 << 30),
        "the claim's request counts, not the capacity"
    );
    fixture.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    assert_eq!(fixture.step(), Step::Grow(2 << 30));
    fixture.lv()["spec"]["size"] = json!("2Gi");
    assert_eq!(fixture.step(), Step::Wait(AGENT_TIMEOUT));
    fixture.lv()["status"]["conditions"] = json!([]);
    fixture.condition("Ready", "False", reason::INSUFFICIENT_SPACE, "1 GiB free");
    assert_eq!(fixture.event(), "VolumeResizeFailed: 1 GiB free");
    assert_eq!(
        fixture.step(),
        Step::LimitCapacity(1 << 30),
        "pods start with the existing size"
    );
    fixture.pv()["spec"]["capacity"]["storage"] = json!("1Gi");
    assert_eq!(fixture.event(), "VolumeResizeFailed: 1 GiB free");
    assert!(matches!(fixture.step(), Step::Wait(_)));
    fixture.lv()["status"]["size"] = json!("2Gi");
    fixture.lv()["status"]["conditions"] = json!([]);
    fixture.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    assert_eq!(fixture.step(), Step::Done);
    fixture.pool_reservation_outdated = true;
    assert_eq!(
        fixture.step(),
        Step::Grow(2 << 30),
        "the current size, for a larger reservation of its pool"
    );
}

#[test]
fn capacity_is_limited_while_the_agent_does_not_report() {
    let mut fixture = Fixture::bound();
    fixture.request("2Gi");
    fixture.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    fixture.lv()["spec"]["size"] = json!("2Gi");
    fixture.lv()["status"]["conditions"] = json!([]);
    fixture.waited = AGENT_TIMEOUT;
    assert!(fixture.event().contains("does not report"));
    assert_eq!(fixture.step(), Step::LimitCapacity(1 << 30));
}

#[test]
fn lowered_request_replaces_growth_without_space() {
    let mut fixture = Fixture::bound();
    fixture.claim.as_mut().unwrap()["status"] = json!({"capacity": {"storage": "1Gi"},
        "allocatedResources": {"storage": "20Gi"},
        "allocatedResourceStatuses": {"storage": "NodeResizeInfeasible"}});
    fixture.request("20Gi");
    assert_eq!(fixture.step(), Step::Grow(20 << 30));
    fixture.request("2Gi");
    assert_eq!(fixture.step(), Step::Grow(2 << 30));
    fixture.lv()["spec"]["size"] = json!("2Gi");
    fixture.lv()["status"]["size"] = json!("2Gi");
    assert_eq!(fixture.step(), Step::CompleteGrowth { request: 2 << 30 });
    fixture.claim.as_mut().unwrap()["status"] = json!({"capacity": {"storage": "1Gi"},
        "allocatedResources": {"storage": "2Gi"},
        "allocatedResourceStatuses": {"storage": "NodeResizePending"}});
    fixture.pv()["spec"]["capacity"]["storage"] = json!("2Gi");
    assert_eq!(fixture.step(), Step::Done, "the kubelet does the rest");
}

#[test]
fn missing_node_label_is_restored() {
    for mut fixture in [
        Fixture::reserved(),
        Fixture::created(),
        Fixture::bound(),
        Fixture::released(),
    ] {
        for labels in [json!(null), json!({}), json!({"flexlvm.dev/node": "n2"})] {
            fixture.lv()["metadata"]["labels"] = labels;
            assert_eq!(fixture.step(), Step::Label);
        }
    }
}

#[test]
fn write_in_flight_is_waited_for() {
    let observed = ObservedObjects {
        in_flight: true,
        ..ObservedObjects::default()
    };
    assert!(matches!(plan(&observed).step, Step::Wait(_)));
    assert_eq!(plan(&ObservedObjects::default()).step, Step::Done);
}
