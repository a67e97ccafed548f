//! Tests of the next step: a volume's whole life, and each way in which it can fail.

mod fixture;
mod growth;
mod health;
mod lost_node;
mod master_key;
mod removal;

use crds::condition::reason;
use crds::logical_volume::FilesystemType;
use host::Bytes;
use placement::reservations::Reservations;
use serde_json::json;

use super::{AGENT_TIMEOUT, ObservedObjects, Orphan, PendingAdoption, Plan, Step, plan};
use fixture::Fixture;

#[test]
fn claim_is_placed_created_published_and_then_done() {
    assert_eq!(
        Fixture::new().step(),
        Step::Place {
            size: Bytes(1 << 30)
        }
    );
    assert!(matches!(Fixture::reserved().step(), Step::Wait(_)));
    let Step::Publish(volume) = Fixture::created().step() else {
        panic!("not published")
    };
    let spec = volume.0.spec.unwrap();
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
    let text = serde_json::to_string(&volume.0.spec.unwrap().node_affinity).unwrap();
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
            size: Bytes(FilesystemType::Xfs.smallest_volume())
        }
    );
}

#[test]
fn backend_limits_apply() {
    let mut fixture = Fixture::new();
    fixture.backend.as_mut().unwrap()["spec"]["volumeSize"] = json!({"minimum": "2Gi"});
    assert_eq!(
        fixture.step(),
        Step::Place {
            size: Bytes(2 << 30)
        }
    );
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
        Step::DryRunPlacement {
            size: Bytes(1 << 30)
        },
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
    assert_eq!(
        fixture.step(),
        Step::DryRunPlacement {
            size: Bytes(1 << 30)
        }
    );
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
        reason::THIN_POOL_MISSING,
        reason::THIN_POOL_UNUSABLE,
        reason::VOLUME_GROUP_MISSING,
        reason::VOLUME_GROUP_UNUSABLE,
    ] {
        let mut fixture = Fixture::reserved();
        fixture.condition("Ready", "False", found, "no space in vg0");
        assert_eq!(fixture.step(), Step::CancelPlacement, "{found}");
        assert_eq!(fixture.event(), "ProvisioningFailed: no space in vg0");
    }
    let mut fixture = Fixture::reserved();
    fixture.condition("Ready", "False", reason::METADATA_ROLLED_BACK, "device x");
    assert_eq!(fixture.step(), Step::CancelPlacement);
    assert!(!fixture.event().contains("device x"), "for admins only");
    let mut fixture = Fixture::reserved();
    fixture.condition("Ready", "False", reason::LVM_FAILED, "lvcreate failed");
    assert!(matches!(fixture.step(), Step::Wait(_)));
    assert!(fixture.event().contains("an LVM command failed"));
}

#[test]
fn agent_without_report_causes_event_after_timeout() {
    let mut fixture = Fixture::reserved();
    assert_eq!(fixture.event(), "");
    fixture.waited = AGENT_TIMEOUT;
    assert!(fixture.event().contains("agent on node n1 does not report"));
}

#[test]
fn hanging_lvm_of_the_node_causes_event_at_once() {
    let words = "LVM does not respond on node n1";
    let mut growing = Fixture::bound();
    growing.request("2Gi");
    growing.lv()["spec"]["size"] = json!("2Gi");
    let mut cancelled = Fixture::reserved();
    cancelled.lv()["spec"]["state"] = json!("AbsentIfNeverUsed");
    let mut released = Fixture::released();
    released.lv()["spec"]["state"] = json!("Absent");
    for (mut fixture, reason) in [
        (Fixture::reserved(), "ProvisioningFailed"),
        (cancelled, "ProvisioningFailed"),
        (growing, "VolumeResizeFailed"),
        (released, "VolumeFailedDelete"),
    ] {
        assert_eq!(fixture.event(), "");
        fixture.storage = Some(
            json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "NodeStorage",
            "metadata": {"name": "n1"}, "spec": {}, "status": {"conditions": [{"type": "Ready", "status": "False",
            "reason": reason::LVM_HANGS, "message": "`lvm lvremove … vg0/pvc-of-another-tenant` has been running",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}),
        );
        let event = fixture.event();
        assert!(event.starts_with(&format!("{reason}: {words}")), "{event}");
        assert!(!event.contains("tenant"), "{event}");
        fixture.waited = AGENT_TIMEOUT;
        assert_eq!(fixture.event(), event);
    }
    assert_eq!(Fixture::created().event(), "");
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
    let reservations = Reservations::default();
    assert!(matches!(plan(&observed, &reservations).step, Step::Wait(_)));
    assert_eq!(
        plan(&ObservedObjects::default(), &reservations).step,
        Step::Done
    );
}

#[test]
fn claim_whose_class_names_another_provisioner_is_ignored() {
    let mut fixture = Fixture::new();
    fixture.class["provisioner"] = json!("other.dev");
    assert_eq!(fixture.plan(), Plan::from(Step::Done));
}

#[test]
fn words_of_lvm_stay_in_the_logical_volume() {
    let mut fixture = Fixture::reserved();
    let words = "lvcreate failed: WARNING: PV /dev/sdc of VG customers is missing";
    fixture.condition("Ready", "False", reason::LVM_FAILED, words);
    let event = fixture.event();
    assert!(
        event.contains("an LVM command failed on node n1"),
        "{event}"
    );
    assert!(
        event.contains("conditions of LogicalVolume pvc-1"),
        "{event}"
    );
    assert!(!event.contains("customers"), "{event}");
}

#[test]
fn claim_of_a_populator_waits_with_its_node_and_is_not_rejected() {
    let mut fixture = Fixture::new();
    let source = json!({"apiGroup": "hello.example.com", "kind": "Hello", "name": "x"});
    fixture.claim.as_mut().unwrap()["spec"]["dataSourceRef"] = source;
    assert!(matches!(fixture.step(), Step::Wait(_)));
    let notice = fixture.plan().notice.unwrap();
    assert!(!notice.warning);
    let phrase = "waiting for the volume populator of Hello.hello.example.com";
    assert!(notice.message.contains(phrase), "{}", notice.message);
}

#[test]
fn claim_whose_data_exist_without_object_is_not_placed() {
    let mut fixture = Fixture::new();
    fixture.orphan = Some(Orphan {
        node: "n1".to_owned(),
        path: Some("vg0/pvc-1".to_owned()),
        tag: "flexlvm.dev/claim-uid=1".to_owned(),
    });
    assert_eq!(fixture.step(), Step::Deselect);
    let event = fixture.event();
    for phrase in [
        "logical volume vg0/pvc-1 on node n1",
        "lvchange --deltag flexlvm.dev/claim-uid=1 vg0/pvc-1",
    ] {
        assert!(event.contains(phrase), "{event}");
    }
}

#[test]
fn claim_whose_data_are_among_omitted_orphans_is_not_placed() {
    let mut fixture = Fixture::new();
    fixture.orphan = Some(Orphan {
        node: "n1".to_owned(),
        path: None,
        tag: "flexlvm.dev/claim-uid=1".to_owned(),
    });
    assert_eq!(fixture.step(), Step::Deselect);
    let event = fixture.event();
    for phrase in [
        "a logical volume on node n1 carries this claim's uid",
        "`lvs -S lv_tags=flexlvm.dev/claim-uid=1` on the node finds it",
        "lvchange --deltag flexlvm.dev/claim-uid=1 GROUP/NAME",
    ] {
        assert!(event.contains(phrase), "{event}");
    }
}

#[test]
fn claim_that_an_adoption_names_gets_no_empty_volume() {
    let mut fixture = Fixture::new();
    fixture.adoption = Some(PendingAdoption {
        name: "rescue".to_owned(),
        volume: "pvc-7".to_owned(),
    });
    assert_eq!(fixture.step(), Step::Deselect);
    let event = fixture.event();
    let expected = "waiting for volume pvc-7, which Adoption rescue gives this claim";
    assert!(event.contains(expected), "{event}");
}

#[test]
fn placement_is_cancelled_after_repeated_failure_to_create_but_not_once_published() {
    let mut fixture = Fixture::reserved();
    let words = "lvcreate failed: Maximum number of logical volumes (6) reached";
    fixture.condition("Ready", "False", reason::CREATE_FAILED, words);
    assert_eq!(fixture.step(), Step::CancelPlacement);
    let event = fixture.event();
    assert!(
        event.contains("can't create the volume on node n1"),
        "{event}"
    );
    fixture.lv()["status"]["uuid"] = json!("abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP");
    assert!(matches!(fixture.step(), Step::Wait(_)));
}
