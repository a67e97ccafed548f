//! A volume's objects as JSON, in each state of its life.

use std::sync::Arc;
use std::time::Duration;

use crds::LogicalVolume;
use crds::condition::reason;
use host::MasterKey;
use jiff::Timestamp;
use placement::node_loss::NodeLoss;
use placement::reservations::Reservations;
use serde_json::{Value, json};

use crate::controller::master_key::ObservedMasterKey;
use crate::controller::plan::{ObservedObjects, Orphan, PendingAdoption, Plan, Step, plan};

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The volume's key: of claim uid 1, derived from a master key of zeros.
pub(super) const KEY: &str = "41e0a9448f91edba4b05c6c2fc0edb1d";

const KEY_DIGEST: &str = "e8437855115cb85d1185b95d8b1e5a143bba557d188faf987108f4e520c5418f";

/// A volume's objects, which a test changes before it plans.
pub(super) struct Fixture {
    pub(super) claim: Option<Value>,
    pub(super) class: Value,
    pub(super) backend: Option<Value>,
    pub(super) logical_volume: Option<Value>,
    pub(super) volume: Option<Value>,
    pub(super) node: bool,
    pub(super) capacity_tracking_active: bool,
    pub(super) storage: Option<Value>,
    pub(super) orphan: Option<Orphan>,
    pub(super) adoption: Option<PendingAdoption>,
    pub(super) master_key: ObservedMasterKey,
    pub(super) waited: Duration,
    pub(super) was_unhealthy: bool,
    pub(super) node_loss: Option<NodeLoss>,
    pub(super) lost_for: Duration,
    pub(super) now: Timestamp,
}

impl Fixture {
    /// A claim with a selected node, and no objects yet.
    pub(super) fn new() -> Self {
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
            storage: None,
            orphan: None,
            adoption: None,
            master_key: Some(Ok(Arc::new(MasterKey::new(&[0; 32]).unwrap()))),
            waited: Duration::ZERO,
            was_unhealthy: false,
            node_loss: None,
            lost_for: Duration::ZERO,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// A LogicalVolume without a report from its agent.
    pub(super) fn reserved() -> Self {
        let mut fixture = Self::new();
        fixture.logical_volume = Some(
            json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
            "metadata": {"name": "pvc-1", "labels": {"flexlvm.dev/node": "n1"}},
            "spec": {"node": "n1", "backend": "fast", "volumeGroup": "vg0", "size": "1Gi", "state": "Present",
                "claim": {"namespace": "default", "name": "data", "uid": "1"},
                "currentClaim": {"namespace": "default", "name": "data", "uid": "1"}, "storageClass": "s", "reclaimPolicy": "Delete",
                "keyDigest": KEY_DIGEST,
                "filesystem": {"type": "ext4", "mountOptions": ["noatime"]}}}),
        );
        fixture
    }

    pub(super) fn created() -> Self {
        let mut fixture = Self::reserved();
        fixture.status(json!({"size": "1Gi", "uuid": "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP"}));
        fixture.condition("Ready", "True", reason::READY, "");
        fixture
    }

    /// A bound PersistentVolume.
    pub(super) fn bound() -> Self {
        let mut fixture = Self::created();
        let Step::Publish(volume) = fixture.step() else {
            panic!("not published")
        };
        fixture.volume = Some(serde_json::to_value(volume.0).unwrap());
        fixture.phase("Bound");
        fixture.claim.as_mut().unwrap()["spec"]["volumeName"] = json!("pvc-1");
        fixture
    }

    pub(super) fn released() -> Self {
        let mut fixture = Self::bound();
        fixture.claim = None;
        fixture.phase("Released");
        fixture
    }

    pub(super) fn lv(&mut self) -> &mut Value {
        self.logical_volume.as_mut().unwrap()
    }

    pub(super) fn pv(&mut self) -> &mut Value {
        self.volume.as_mut().unwrap()
    }

    pub(super) fn status(&mut self, status: Value) {
        self.lv()["status"] = status;
    }

    pub(super) fn condition(&mut self, type_: &str, status: &str, reason: &str, message: &str) {
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

    pub(super) fn request(&mut self, size: &str) {
        self.claim.as_mut().unwrap()["spec"]["resources"]["requests"]["storage"] = json!(size);
    }

    pub(super) fn phase(&mut self, phase: &str) {
        self.pv()["status"] = json!({"phase": phase});
    }

    pub(super) fn plan(&self) -> Plan {
        let node = json!({"metadata": {"name": "n1", "uid": "n1-uid", "labels": {"kubernetes.io/hostname": "host-1"}}});
        let logical_volume = self.logical_volume.clone().map(from::<LogicalVolume>);
        let mut reservations = Reservations::default();
        if let Some(logical_volume) = &logical_volume {
            reservations.observe(logical_volume);
        }
        let observed = ObservedObjects {
            claim: self.claim.clone().map(|claim| Arc::new(from(claim))),
            class: self
                .claim
                .as_ref()
                .map(|_| placement::class::read_ours(&from(self.class.clone()), None)),
            backend: self.backend.clone().map(|backend| Arc::new(from(backend))),
            logical_volume: logical_volume.map(Arc::new),
            persistent_volume: self.volume.clone().map(|volume| Arc::new(from(volume))),
            node: self.node.then(|| Arc::new(from(node))),
            in_flight: false,
            waited: self.waited,
            was_unhealthy: self.was_unhealthy,
            capacity_tracking_active: self.capacity_tracking_active,
            storage: self.storage.clone().map(|storage| Arc::new(from(storage))),
            orphan: self.orphan.clone(),
            adoption: self.adoption.clone(),
            master_key: self.master_key.clone(),
            volume_backend: self.backend.clone().map(|backend| Arc::new(from(backend))),
            node_loss: self.node_loss,
            lost_for: self.lost_for,
            now: self.now,
        };
        plan(&observed, &reservations)
    }

    pub(super) fn step(&self) -> Step {
        self.plan().step
    }

    /// A bound volume of a lost node, whose backend releases claims after an hour.
    pub(super) fn lost() -> Self {
        let mut fixture = Self::bound();
        fixture.node = false;
        fixture.node_loss = Some(NodeLoss::Deleted);
        fixture.backend.as_mut().unwrap()["spec"]["nodeLoss"] = json!({"policy": "Release"});
        fixture
    }

    /// Returns the reason and the message of the Event.
    pub(super) fn event(&self) -> String {
        self.plan()
            .notice
            .map(|notice| format!("{}: {}", notice.reason, notice.message))
            .unwrap_or_default()
    }
}
