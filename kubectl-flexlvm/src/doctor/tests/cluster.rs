//! Faults of installation, permissions, nodes, backends and classes.

use serde_json::{Value, json};

use super::{Seed, seed};
use crate::fixture::{CREATED, NOW, condition, group};

/// Returns the status of a node's report with one condition that is False.
pub(super) fn unready(type_: &str, reason: &str) -> Value {
    let mut conditions = vec![condition(type_, "False", reason, "why")];
    for other in ["DriverInstalled", "KubeletReady", "Ready"] {
        if other != type_ {
            conditions.push(condition(other, "True", "Ready", "Ready"));
        }
    }
    json!({"status": {"conditions": conditions}})
}

/// Returns the seed of a node's condition.
fn node(check: &'static str, type_: &str, reason: &str) -> Seed {
    seed(check, [("NodeStorage/n2", unready(type_, reason))])
}

/// Returns the seed of a backend's settings.
pub(super) fn backend(check: &'static str, spec: Value) -> Seed {
    seed(check, [("StorageBackend/fast", json!({"spec": spec}))])
}

fn class(check: &'static str, change: Value) -> Seed {
    seed(check, [("StorageClass/fast", change)])
}

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = installation();
    seeds.extend(agents());
    seeds.extend(nodes());
    seeds.extend(backends());
    seeds.extend(classes());
    seeds
}

fn installation() -> Vec<Seed> {
    vec![
        seed(
            "definition-missing",
            [(
                "CustomResourceDefinition/nodestorages.flexlvm.dev",
                Value::Null,
            )],
        ),
        // As after an upgrade that has not applied the new definition.
        seed(
            "definition-missing",
            [(
                "CustomResourceDefinition/adoptions.flexlvm.dev",
                Value::Null,
            )],
        ),
        seed(
            "definition-being-deleted",
            [(
                "CustomResourceDefinition/nodestorages.flexlvm.dev",
                json!({"metadata": {"deletionTimestamp": NOW}}),
            )],
        ),
        seed(
            "controller-missing",
            [("Deployment/flexlvm-controller", Value::Null)],
        ),
        seed(
            "controller-not-running",
            [(
                "Deployment/flexlvm-controller",
                json!({"status": {"readyReplicas": null}}),
            )],
        ),
        seed(
            "controller-not-elected",
            [(
                "Lease/flexlvm-controller",
                json!({"spec": {"renewTime": "2026-06-01T11:50:00.000000Z"}}),
            )],
        ),
    ]
}

fn agents() -> Vec<Seed> {
    let waiting = json!({"status": {"conditions": [], "containerStatuses": [{"name": "agent",
        "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}});
    vec![
        seed("agents-missing", [("DaemonSet/flexlvm-agent", Value::Null)]),
        seed("agent-missing", [("Pod/flexlvm-agent-n2", Value::Null)]),
        seed(
            "agent-not-ready",
            [(
                "Pod/flexlvm-agent-n2",
                json!({"status": {"conditions": []}}),
            )],
        ),
        seed("agent-not-reporting", [("NodeStorage/n2", Value::Null)]),
        seed("image-not-started", [("Pod/flexlvm-agent-n2", waiting)]),
        seed(
            "agent-version",
            [
                ("Node/n3", third_node()),
                (
                    "NodeStorage/n2",
                    json!({"status": {"agentVersion": "0.0.9"}}),
                ),
                (
                    "NodeStorage/n3",
                    json!({"spec": {}, "status": {"agentVersion": "0.1.0",
                    "volumeGroups": [group("vg0")], "conditions": [condition("Ready", "True", "Ready", "Ready")]}}),
                ),
                ("Pod/flexlvm-agent-n3", agent_pod()),
            ],
        ),
        seed(
            "csidriver-leftover",
            [("CSIStorageCapacity/fast-n1", Value::Null)],
        ),
        seed(
            "clock-skew",
            [(
                "Lease/n2",
                json!({"spec": {"renewTime": "2026-06-01T12:10:00.000000Z"}}),
            )],
        ),
        seed(
            "permission-missing",
            [("ClusterRole/flexlvm-agent", json!({"rules": []}))],
        ),
    ]
}

fn third_node() -> Value {
    json!({"metadata": {"labels": {"kubernetes.io/hostname": "n3"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

fn agent_pod() -> Value {
    json!({"metadata": {"namespace": "flexlvm-system", "labels":
            {"app.kubernetes.io/name": "flexlvm", "app.kubernetes.io/component": "agent"}},
        "spec": {"nodeName": "n3", "containers": []},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

fn nodes() -> Vec<Seed> {
    let down = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    let hostname =
        |value: Value| json!({"metadata": {"labels": {"kubernetes.io/hostname": value}}});
    let lvm = |version: &str| ("NodeStorage/n2", json!({"status": {"lvmVersion": version}}));
    let warns = |warning: &str| {
        (
            "NodeStorage/n2",
            json!({"status": {"lvmWarnings": [warning]}}),
        )
    };
    let orphan = json!({"claimUid": "u", "claim": "shop/old", "volumeGroup": "vg0",
        "name": "pvc-u"});
    vec![
        seed("node-gone", [("Node/n1", Value::Null)]),
        seed("node-not-ready", [("Node/n1", down)]),
        seed("hostname-duplicate", [("Node/n2", hostname(json!("n1")))]),
        seed("hostname-missing", [("Node/n2", hostname(Value::Null))]),
        node("lvm-hangs", "Ready", "LvmHangs"),
        node("lvm-failed", "Ready", "LvmFailed"),
        node("node-storage-not-ready", "Ready", "Other"),
        seed("lvm-too-old", [lvm("2.02.98(2)")]),
        seed(
            "lvm-devices-file",
            [warns("Devices file sys_wwid x PVID y not found.")],
        ),
        seed("lvm-warning", [warns("PV /dev/sdc metadata is damaged.")]),
        node("driver-not-installed", "DriverInstalled", "InstallFailed"),
        node("driver-change-waits", "DriverInstalled", "VolumesMounted"),
        node(
            "kubelet-driver-not-loaded",
            "KubeletReady",
            "DriverNotLoaded",
        ),
        node(
            "kubelet-plugin-folder-noexec",
            "KubeletReady",
            "DriverNotExecutable",
        ),
        node("kubelet-not-found", "KubeletReady", "KubeletNotFound"),
        node(
            "kubelet-plugin-folder-unknown",
            "KubeletReady",
            "PluginFolderUnknown",
        ),
        node(
            "kubelet-plugin-folder-other",
            "KubeletReady",
            "OtherPluginFolder",
        ),
        seed(
            "orphaned-volume",
            [("NodeStorage/n2", json!({"status": {"orphans": [orphan]}}))],
        ),
    ]
}

fn backends() -> Vec<Seed> {
    let conflict = condition("Ready", "False", "InvalidSpec", "devices: listed twice");
    let deleted = json!({"metadata": {"deletionTimestamp": NOW}});
    let full = |node: &str| {
        (
            format!("NodeStorage/{node}"),
            json!({"status": {"volumeGroups":
        [{"name": "vg0", "uuid": "u", "size": "10Gi", "extentSize": "4Mi", "usedByOthers": "10Gi",
            "free": "0"}]}}),
        )
    };
    let mut without_space = seed("backend-full", []);
    without_space.patches.extend(["n1", "n2"].map(full));
    let observed = json!({"metadata": {"generation": 2, "creationTimestamp": CREATED}});
    let mut spare = vec![
        backend(
            "backend-invalid",
            json!({"volumeSize": {"minimum": "2Gi", "maximum": "1Gi"}}),
        ),
        seed(
            "backend-conflict",
            [(
                "StorageBackend/fast",
                json!({"status": {"conditions": [conflict]}}),
            )],
        ),
        backend(
            "backend-without-nodes",
            json!({"nodeSelector": {"matchLabels": {"a": "b"}}}),
        ),
        seed("backend-being-deleted", [("StorageBackend/fast", deleted)]),
        seed("backend-not-observed", [("StorageBackend/fast", observed)]),
    ];
    spare.push(without_space);
    spare
}

fn classes() -> Vec<Seed> {
    let parameters = |parameters: Value| json!({"parameters": parameters});
    let topology = json!([{"matchLabelExpressions": [{"key": "zone", "values": ["z"]}]}]);
    let other = json!({"spec": {"volumeGroup": "vg0"}, "metadata": {"generation": 1},
        "status": {"observedGeneration": 1}});
    vec![
        seed(
            "class-without-backend",
            [(
                "StorageClass/other",
                json!({"provisioner": "flexlvm.dev", "parameters": {"fsType": "xfs"}}),
            )],
        ),
        class(
            "class-invalid",
            parameters(json!({"backend": "fast", "fstype": "xfs"})),
        ),
        seed(
            "class-backend-missing",
            [(
                "StorageClass/other",
                json!({"provisioner": "flexlvm.dev", "parameters": {"backend": "gone"}}),
            )],
        ),
        backend(
            "class-smallest-too-large",
            json!({"volumeSize": {"maximum": "16Mi"}}),
        ),
        class(
            "class-topology-excludes-all",
            json!({"allowedTopologies": topology}),
        ),
        seed("class-missing", [("StorageBackend/other", other)]),
    ]
}
