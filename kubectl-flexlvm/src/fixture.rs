//! Objects of a healthy cluster, for tests: two nodes, a backend, a class, a claim with its volume
//! and its pod, and FlexLVM's installation.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::snapshot::Snapshot;

/// Time of the snapshot.
pub(crate) const NOW: &str = "2026-06-01T12:00:00Z";

/// Time at which the objects were created.
pub(crate) const CREATED: &str = "2026-06-01T10:00:00Z";

/// Name of the volume.
pub(crate) const VOLUME: &str = "pvc-0b6b9d2e-0000-4000-8000-000000000001";

/// The volume's key, which no output may contain.
pub(crate) const KEY: &str = "c79a7c8d40d43ed8e97feb10d37534e2";

const UID: &str = "0b6b9d2e-0000-4000-8000-000000000001";
const UUID: &str = "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP";
const DIGEST: &str = "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a";

/// Objects by `Kind/name`.
#[derive(Clone, Debug)]
pub(crate) struct Objects(BTreeMap<String, Value>);

/// Returns a condition.
pub(crate) fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": CREATED})
}

/// Returns a volume group of 100 GiB with one disk.
pub(crate) fn group(name: &str) -> Value {
    json!({"name": name, "uuid": "u", "size": "100Gi", "extentSize": "4Mi", "usedByOthers": "0",
        "free": "90Gi", "physicalVolumes": [{"uuid": "d1", "name": "/dev/sdb",
        "path": "/dev/disk/by-id/disk-1", "size": "100Gi", "usedByOthers": "0", "free": "90Gi"}]})
}

impl Objects {
    /// Returns the objects of the healthy cluster.
    pub(crate) fn healthy() -> Self {
        let mut objects = Self(BTreeMap::new());
        for node in ["n1", "n2"] {
            objects.node(node);
        }
        objects.storage();
        objects.claim();
        objects.installation();
        objects
    }

    fn add(&mut self, kind: &str, name: &str, mut object: Value) {
        object["kind"] = json!(kind);
        object["metadata"]["name"] = json!(name);
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = json!(CREATED);
        }
        self.0.insert(format!("{kind}/{name}"), object);
    }

    fn node(&mut self, name: &str) {
        let labels = json!({"kubernetes.io/hostname": name});
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let node = json!({"metadata": {"labels": labels}, "status": {"conditions": ready}});
        self.add("Node", name, node);
        let conditions = json!([
            condition("DriverInstalled", "True", "Installed", "installed"),
            condition("KubeletReady", "True", "DriverLoaded", "loaded"),
            condition("Ready", "True", "Ready", "Ready")
        ]);
        let status = json!({"conditions": conditions, "volumeGroups": [group("vg0")],
            "agentVersion": "0.1.0", "lvmVersion": "2.03.16(2)"});
        self.add("NodeStorage", name, json!({"spec": {}, "status": status}));
        let lease = json!({"metadata": {"namespace": "kube-node-lease"},
            "spec": {"renewTime": "2026-06-01T11:59:55.000000Z"}});
        self.add("Lease", name, lease);
        let pod = format!("flexlvm-agent-{name}");
        self.system_pod(&pod, "agent", name);
    }

    fn system_pod(&mut self, name: &str, component: &str, node: &str) {
        let labels = json!({"app.kubernetes.io/name": "flexlvm",
            "app.kubernetes.io/component": component});
        let pod = json!({"metadata": {"namespace": "flexlvm-system", "labels": labels},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        self.add("Pod", name, pod);
    }

    fn storage(&mut self) {
        let ready = condition(
            "Ready",
            "True",
            "Ready",
            "all selected nodes can provide volumes",
        );
        let status = json!({"observedGeneration": 1, "conditions": [ready], "nodes": "2/2",
            "capacity": "200Gi", "free": "190Gi", "volumes": 1});
        let backend = json!({"metadata": {"generation": 1}, "spec": {"volumeGroup": "vg0"},
            "status": status});
        self.add("StorageBackend", "fast", backend);
        let class = json!({"provisioner": "flexlvm.dev", "parameters": {"backend": "fast"},
            "volumeBindingMode": "WaitForFirstConsumer"});
        self.add("StorageClass", "fast", class);
    }

    fn claim(&mut self) {
        let claim = json!({"metadata": {"namespace": "shop", "uid": UID,
                "annotations": {"volume.kubernetes.io/storage-provisioner": "flexlvm.dev",
                    "volume.kubernetes.io/selected-node": "n1"}},
            "spec": {"storageClassName": "fast", "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "10Gi"}}, "volumeName": VOLUME},
            "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}}});
        self.add("PersistentVolumeClaim", "data", claim);
        let of = json!({"namespace": "shop", "name": "data", "uid": UID});
        let conditions = json!([
            condition("Healthy", "True", "Healthy", "healthy"),
            condition("Ready", "True", "Ready", "Ready")
        ]);
        let volume = json!({"metadata": {"labels": {"flexlvm.dev/node": "n1"}, "generation": 1},
            "spec": {"node": "n1", "backend": "fast", "volumeGroup": "vg0", "size": "10Gi",
                "physicalVolumes": [{"uuid": "d1", "size": "10Gi"}], "claim": of,
                "currentClaim": of, "keyDigest": DIGEST, "storageClass": "fast",
                "reclaimPolicy": "Delete", "filesystem": {"type": "ext4"}},
            "status": {"observedGeneration": 1, "size": "10Gi", "uuid": UUID,
                "conditions": conditions}});
        self.add("LogicalVolume", VOLUME, volume);
        self.persistent_volume(&of);
        let pod = json!({"metadata": {"namespace": "shop"}, "spec": {"nodeName": "n1",
                "containers": [], "volumes": [{"name": "data",
                    "persistentVolumeClaim": {"claimName": "data"}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        self.add("Pod", "web", pod);
    }

    fn persistent_volume(&mut self, claim: &Value) {
        let options = json!({"volumegroup": "vg0", "volumeID": VOLUME, "uuid": UUID, "key": KEY,
            "size": "10737418240"});
        let host = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]);
        let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": host}]}});
        let volume = json!({"spec": {"capacity": {"storage": "10Gi"}, "claimRef": claim,
                "nodeAffinity": affinity, "flexVolume": {"driver": "flexlvm.dev/lvm",
                    "fsType": "ext4", "options": options}},
            "status": {"phase": "Bound"}});
        self.add("PersistentVolume", VOLUME, volume);
    }

    fn installation(&mut self) {
        for name in [
            "adoptions",
            "logicalvolumes",
            "nodestorages",
            "storagebackends",
        ] {
            let names = json!({"kind": "K", "plural": name});
            let definition = json!({"spec": {"group": "flexlvm.dev", "scope": "Cluster",
                "names": names, "versions": []}});
            self.add(
                "CustomResourceDefinition",
                &format!("{name}.flexlvm.dev"),
                definition,
            );
        }
        let spec = json!({"replicas": 2, "selector": {}, "template": {}});
        let namespace = json!({"namespace": "flexlvm-system"});
        let deployment = json!({"metadata": namespace, "spec": spec, "status":
            {"readyReplicas": 2}});
        self.add("Deployment", "flexlvm-controller", deployment);
        let spec = json!({"selector": {}, "template": {}});
        let agents = json!({"metadata": namespace, "spec": spec});
        self.add("DaemonSet", "flexlvm-agent", agents);
        let lease = json!({"metadata": namespace,
            "spec": {"holderIdentity": "a", "renewTime": "2026-06-01T11:59:58.000000Z"}});
        self.add("Lease", "flexlvm-controller", lease);
        self.system_pod("flexlvm-controller-a", "controller", "n1");
        let driver = json!({"spec": {"storageCapacity": true}});
        self.add("CSIDriver", "flexlvm.dev", driver);
        let capacity = json!({"metadata": namespace, "storageClassName": "fast"});
        self.add("CSIStorageCapacity", "fast-n1", capacity);
        for manifest in [
            include_str!("../../config/rbac/controller.yaml"),
            include_str!("../../config/rbac/agent.yaml"),
        ] {
            for document in manifest.split("\n---\n") {
                let object: Value = serde_saphyr::from_str(document).unwrap();
                let kind = object["kind"].as_str().unwrap().to_owned();
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                self.add(&kind, &name, object);
            }
        }
    }

    /// Changes an object by a merge patch; `null` removes it, and an unknown one is added.
    pub(crate) fn patch(&mut self, key: &str, patch: Value) {
        if patch.is_null() {
            self.0.remove(key).unwrap();
            return;
        }
        if let Some(object) = self.0.get_mut(key) {
            merge(object, patch);
        } else {
            let (kind, name) = key.split_once('/').unwrap();
            self.add(kind, name, patch);
        }
    }

    /// Adds a copy of an object, with another name and the occurrences of some texts replaced.
    pub(crate) fn copy(&mut self, key: &str, name: &str, texts: &[(&str, &str)]) {
        let mut text = self.0.get(key).unwrap().to_string();
        for (from, to) in texts {
            text = text.replace(from, to);
        }
        let (kind, _) = key.split_once('/').unwrap();
        self.add(kind, name, serde_json::from_str(&text).unwrap());
    }

    /// Removes objects whose keys begin with this.
    pub(crate) fn remove(&mut self, beginning: &str) {
        self.0.retain(|key, _| !key.starts_with(beginning));
    }

    /// Returns the snapshot of these objects.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            now: NOW.parse().unwrap(),
            server_version: "v1.37.2".to_owned(),
            ..Snapshot::default()
        };
        for object in self.0.values() {
            let added = snapshot.add(object.clone());
            added.unwrap_or_else(|error| panic!("{error}: {object}"));
        }
        snapshot
    }
}

fn merge(object: &mut Value, patch: Value) {
    let Value::Object(fields) = patch else {
        *object = patch;
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    for (key, value) in fields {
        let object = object.as_object_mut().unwrap();
        if value.is_null() {
            object.remove(&key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}
