//! The chain of a claim in each state, and its last line.

use serde_json::{Value, json};

use super::{LinkState, explain};
use crate::fixture::{Objects, VOLUME, condition};
use crate::output::{Format, Report as _, render};
use crate::snapshot::kind::Kind;

/// Changes the claim to one without a volume.
fn waiting(objects: &mut Objects, spec: Value) {
    for key in ["LogicalVolume/", "PersistentVolume/"] {
        objects.remove(key);
    }
    let mut claim = json!({"spec": {"volumeName": null}, "status": {"phase": "Pending",
        "capacity": null}});
    for (key, value) in spec.as_object().unwrap() {
        claim["spec"][key] = value.clone();
    }
    objects.patch("PersistentVolumeClaim/data", claim);
}

/// Returns the last line about the claim.
fn verdict(objects: &Objects) -> String {
    let chain = explain(&objects.snapshot(), "shop", "data").unwrap();
    let text = chain.text(false);
    assert_eq!(text.lines().last(), Some(chain.verdict.as_str()));
    assert_eq!(chain.is_good(), chain.verdict.starts_with("served"));
    chain.verdict
}

#[test]
fn chain_of_served_claim_is_complete() {
    let chain = explain(&Objects::healthy().snapshot(), "shop", "data").unwrap();
    let expected = format!(
        "\
STATE   OBJECT                                                               DETAIL
ok      persistentvolumeclaim/data                                           Bound, 10 GiB requested, 10 GiB provided
ok      storageclass/fast                                                    backend fast, ext4, WaitForFirstConsumer
ok      storagebackend.flexlvm.dev/fast                                      volume group vg0, 2/2 nodes, 190 GiB free of 200 GiB
ok      logicalvolume.flexlvm.dev/{VOLUME}   10 GiB Linear on node n1
ok      node/n1                                                              Ready
ok      nodestorage.flexlvm.dev/n1                                           agent 0.1.0, LVM 2.03.16(2)
ok      vg0/{VOLUME}                         uuid abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP, disk /dev/disk/by-id/disk-1
ok      persistentvolume/{VOLUME}            Bound, 10 GiB, node label n1
ok      pod/web                                                              Running on n1
served: the claim has its volume, and nothing is wrong with it
"
    );
    assert_eq!(chain.text(false), expected);
    let name = render(&chain, Some(Format::Name)).unwrap();
    assert!(name.contains("storageclass/fast\n"), "{name}");
    let json: Value = serde_json::from_str(&render(&chain, Some(Format::Json)).unwrap()).unwrap();
    assert_eq!(json["links"][0]["state"], "Ok");
    let yaml = render(&chain, Some(Format::Yaml)).unwrap();
    let yaml: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(yaml, json);
}

#[test]
fn absent_claim_is_an_error() {
    let error = explain(&Objects::healthy().snapshot(), "shop", "other").unwrap_err();
    let expected = "persistentvolumeclaims \"other\" not found in namespace shop";
    assert_eq!(error.to_string(), expected);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn waiting_claim_has_the_controllers_reason_and_the_next_command() {
    let no_node = json!({"metadata": {"annotations":
        {"volume.kubernetes.io/selected-node": null}}});
    let size = |size: &str| json!({"resources": {"requests": {"storage": size}}});
    for (spec, patches, phrases) in [
        (
            json!({}),
            vec![],
            [
                "node n1 has space for 10 GiB",
                "logs deployment/flexlvm-controller",
            ],
        ),
        (
            json!({}),
            vec![("PersistentVolumeClaim/data", no_node)],
            [
                "waits for the claim's first pod",
                "kubectl -n shop get pods",
            ],
        ),
        (
            size("1Ti"),
            vec![],
            [
                "no node can provide 1 TiB from StorageBackend fast: n1 has 100 GiB free of 100 GiB in volume group vg0",
                "kubectl flexlvm capacity 1Ti --backend fast",
            ],
        ),
        (
            json!({"accessModes": ["ReadWriteMany"]}),
            vec![],
            [
                "spec.accessModes ReadWriteMany is not supported",
                "edit pvc data",
            ],
        ),
        (
            json!({}),
            vec![("StorageBackend/fast", Value::Null)],
            [
                "StorageBackend fast, which the class names, does not exist",
                "get storagebackends",
            ],
        ),
        (
            json!({}),
            vec![(
                "StorageClass/fast",
                json!({"parameters": {"fstype": "xfs"}}),
            )],
            ["unknown parameter \"fstype\"", "get storageclasses"],
        ),
        (
            json!({}),
            vec![("Deployment/flexlvm-controller", json!({"status": null}))],
            [
                "deployment/flexlvm-controller 0 replicas are ready",
                "describe deployment",
            ],
        ),
    ] {
        let mut objects = Objects::healthy();
        waiting(&mut objects, spec);
        for (key, patch) in patches {
            objects.patch(key, patch);
        }
        let verdict = verdict(&objects);
        assert!(verdict.starts_with("waiting: "), "{verdict}");
        for phrase in phrases {
            assert!(verdict.contains(phrase), "{phrase}: {verdict}");
        }
    }
}

#[test]
fn first_fault_of_the_chain_is_the_verdict() {
    let volume = format!("LogicalVolume/{VOLUME}");
    let published = format!("PersistentVolume/{VOLUME}");
    let degraded = json!({"status": {"conditions": [
        condition("Healthy", "False", "Degraded", "disk d1 is missing"),
        condition("Ready", "True", "Ready", "Ready")]}});
    let hangs = json!({"status": {"conditions": [
        condition("Ready", "False", "LvmHangs", "`lvm lvs` has been running")]}});
    let down = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    let grown = json!({"spec": {"resources": {"requests": {"storage": "500Gi"}}}});
    let mounting = json!({"status": {"phase": "Pending", "conditions": []}});
    let event = json!({"metadata": {"namespace": "shop"}, "reason": "FailedMount",
        "message": "mkfs.ext4 is not installed", "involvedObject":
            {"kind": "Pod", "namespace": "shop", "name": "web"}});
    for (patches, expected) in [
        (
            vec![(volume.as_str(), degraded)],
            "failed: logicalvolume.flexlvm.dev/pvc-",
        ),
        (vec![("Node/n1", down)], "failed: node/n1: not Ready"),
        (
            vec![("NodeStorage/n1", hangs)],
            "failed: nodestorage.flexlvm.dev/n1: agent 0.1.0, LVM 2.03.16(2); LvmHangs",
        ),
        (
            vec![(
                published.as_str(),
                json!({"spec": {"flexVolume": {"options": {"uuid": "x"}}}}),
            )],
            "failed: persistentvolume/pvc-",
        ),
        (
            vec![("Pod/web", mounting), ("Event/web", event)],
            "failed: pod/web: Pending on n1; FailedMount: mkfs.ext4 is not installed",
        ),
        (
            vec![(volume.as_str(), Value::Null)],
            "failed: logicalvolume.flexlvm.dev/pvc-",
        ),
        (
            vec![("PersistentVolumeClaim/data", grown)],
            &format!(
                "waiting: logicalvolume.flexlvm.dev/{VOLUME}: 10 GiB Linear on node n1; it can't \
                 grow to 500 GiB: node n1 has 90 GiB free of 100 GiB in volume group vg0"
            ),
        ),
        (
            vec![(volume.as_str(), json!({"spec": {"state": "Absent"}}))],
            "waiting: logicalvolume.flexlvm.dev/pvc-",
        ),
    ] {
        let mut objects = Objects::healthy();
        for (key, patch) in patches {
            objects.patch(key, patch);
        }
        let verdict = verdict(&objects);
        assert!(verdict.starts_with(expected), "{expected}: {verdict}");
        assert!(verdict.contains("; next: kubectl "), "{verdict}");
    }
}

#[test]
fn tenant_without_permissions_gets_no_wrong_reason() {
    let mut objects = Objects::healthy();
    waiting(&mut objects, json!({}));
    objects.remove("StorageClass/");
    let mut snapshot = objects.snapshot();
    snapshot
        .unreadable
        .insert(Kind::StorageClasses, "forbidden".to_owned());
    let chain = explain(&snapshot, "shop", "data").unwrap();
    let expected = "waiting: the reason depends on storageclasses.storage.k8s.io";
    assert!(chain.verdict.starts_with(expected), "{}", chain.verdict);
    let faults = chain.links.iter().filter(|it| it.state == LinkState::Fault);
    assert_eq!(faults.count(), 0, "{}", chain.text(false));
}

#[test]
fn unreadable_volumes_are_no_fault() {
    let mut objects = Objects::healthy();
    objects.remove("PersistentVolume/");
    let mut snapshot = objects.snapshot();
    snapshot
        .unreadable
        .insert(Kind::PersistentVolumes, "forbidden".to_owned());
    let chain = explain(&snapshot, "shop", "data").unwrap();
    assert!(
        chain
            .links
            .iter()
            .any(|link| link.state == LinkState::Unknown)
    );
    assert!(chain.is_served, "{}", chain.verdict);
}
