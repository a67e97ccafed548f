//! The steps of an Adoption, and why it waits.

use std::sync::Arc;

use crds::condition::reason;
use host::MasterKey;
use placement::reservations::Reservations;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{AdoptionProgress, AdoptionStep, ObservedAdoption, plan, settings};

const UUID: &str = "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP";

fn from<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// The objects of an Adoption as JSON, which a test changes before it plans.
struct Fixture {
    adoption: Value,
    logical_volume: Option<Value>,
    persistent_volume: Option<Value>,
    backend: Option<Value>,
    other_of_claim: Option<String>,
    claim_of_name: Option<Value>,
    maker_exists: bool,
    has_node: bool,
}

impl Fixture {
    /// An Adoption whose agent has reported a logical volume with all tags.
    fn tagged() -> Self {
        let tags = [
            "flexlvm.dev/claim-uid=1",
            "flexlvm.dev/claim=shop/data",
            "flexlvm.dev/volume=backend=fast:class=gold:fs=xfs:mount=noatime:size=536870912",
        ];
        Self {
            adoption: json!({
                "apiVersion": "flexlvm.dev/v1alpha1", "kind": "Adoption",
                "metadata": {"name": "a", "uid": "7", "generation": 2},
                "spec": {"node": "n1", "volumeGroup": "vg0", "logicalVolume": "pvc-1"},
                "status": {"report": {"generation": 2, "volume": {
                    "uuid": UUID, "size": "1Gi", "storage": "Plain", "tags": tags,
                    "physicalVolumes": [{"uuid": "d1", "size": "1Gi"}]}}},
            }),
            logical_volume: None,
            persistent_volume: None,
            backend: Some(
                json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend",
                "metadata": {"name": "fast"}, "spec": {"volumeGroup": "vg0"}}),
            ),
            other_of_claim: None,
            claim_of_name: None,
            maker_exists: true,
            has_node: true,
        }
    }

    /// An Adoption of a logical volume without tags, whose admin states what is missing.
    fn untagged() -> Self {
        let mut fixture = Self::tagged();
        fixture.adoption["status"]["report"]["volume"]["tags"] = json!(["flexlvm.dev/static"]);
        let spec = &mut fixture.adoption["spec"];
        spec["backend"] = json!("fast");
        spec["storageClass"] = json!("gold");
        spec["filesystem"] = json!({"type": "ext4"});
        spec["claim"] = json!({"namespace": "shop", "name": "data"});
        fixture
    }

    /// The LogicalVolume that the plan creates, Ready.
    fn created() -> Self {
        let mut fixture = Self::tagged();
        let AdoptionStep::CreateLogicalVolume(built) = fixture.plan() else {
            panic!("no LogicalVolume");
        };
        let mut object = serde_json::to_value(*built).unwrap();
        object["status"] = json!({"uuid": UUID, "size": "1Gi", "conditions": [{"type": "Ready", "status": "True",
            "reason": "Ready", "message": "Ready", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        fixture.logical_volume = Some(object);
        fixture
    }

    fn plan(&self) -> AdoptionStep {
        let node =
            json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "host-1"}}});
        let observed = ObservedAdoption {
            adoption: Arc::new(from(&self.adoption)),
            logical_volume: self
                .logical_volume
                .as_ref()
                .map(|value| Arc::new(from(value))),
            persistent_volume: self
                .persistent_volume
                .as_ref()
                .map(|value| Arc::new(from(value))),
            other_of_claim: self.other_of_claim.clone(),
            claim_of_name: self.claim_of_name.as_ref().map(from),
            maker_exists: self.maker_exists,
            node: self.has_node.then(|| Arc::new(from(&node))),
            storage: None,
            backend: self.backend.as_ref().map(|value| Arc::new(from(value))),
            master_key: Some(Ok(Arc::new(MasterKey::new(&[0; 32]).unwrap()))),
        };
        plan(&observed, &Reservations::default())
    }

    fn progress(&self) -> AdoptionProgress {
        match self.plan() {
            AdoptionStep::Report(progress) => progress,
            other => panic!("{other:?}"),
        }
    }

    /// Returns the spec of the LogicalVolume to create.
    fn spec(&self) -> Value {
        match self.plan() {
            AdoptionStep::CreateLogicalVolume(built) => {
                assert_eq!(built.metadata.name.as_deref(), Some("pvc-1"));
                serde_json::to_value(&built.spec).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn logical_volume_is_built_from_the_tags() {
    let spec = Fixture::tagged().spec();
    let claim = json!({"namespace": "shop", "name": "data", "uid": "1"});
    assert_eq!(
        spec,
        json!({
            "node": "n1", "backend": "fast", "volumeGroup": "vg0", "layout": {"type": "Linear"}, "size": "1Gi",
            "physicalVolumes": [{"uuid": "d1", "size": "1Gi"}], "state": "Present", "claim": claim,
            "currentClaim": claim, "storageClass": "gold", "reclaimPolicy": "Retain",
            // Of the key that is derived from the uid of the claim, as before the loss.
            "keyDigest": "e8437855115cb85d1185b95d8b1e5a143bba557d188faf987108f4e520c5418f",
            "filesystem": {"type": "xfs", "mountOptions": ["noatime"]}, "accessModes": ["ReadWriteOnce"],
            "adopted": {"uuid": UUID, "adoption": "a", "adoptionUid": "7", "createdSize": "512Mi"},
        })
    );
}

#[test]
fn volume_of_an_admin_gets_an_identity_of_its_own() {
    let spec = Fixture::untagged().spec();
    assert_eq!(
        spec["claim"],
        json!({"namespace": "shop", "name": "data", "uid": "7"})
    );
    assert_eq!(spec["adopted"].get("createdSize"), None);
}

#[test]
fn fields_of_the_adoption_take_precedence_over_tags() {
    let mut fixture = Fixture::tagged();
    let spec = &mut fixture.adoption["spec"];
    spec["storageClass"] = json!("silver");
    spec["claim"] = json!({"namespace": "shop", "name": "other"});
    spec["reclaimPolicy"] = json!("Delete");
    let spec = fixture.spec();
    assert_eq!(spec["storageClass"], "silver");
    assert_eq!(spec["claim"]["name"], "other");
    assert_eq!(spec["claim"]["uid"], "1");
    assert_eq!(spec["reclaimPolicy"], "Delete");
}

#[test]
fn existing_persistent_volume_keeps_its_key() {
    let mut fixture = Fixture::tagged();
    let key = "00000000000000000000000000000000";
    let volume = |uuid: &str| {
        json!({"metadata": {"name": "pvc-1"}, "spec": {"flexVolume": {"driver": "flexlvm.dev/lvm",
            "options": {"uuid": uuid, "key": key}}}})
    };
    fixture.persistent_volume = Some(volume(UUID));
    let digest = host::Key::new(key).unwrap().digest();
    assert_eq!(fixture.spec()["keyDigest"], digest.as_str());
    fixture.persistent_volume = Some(volume("another"));
    assert_eq!(fixture.progress().reason, reason::CONFLICT);
}

#[test]
fn missing_settings_are_named() {
    for field in ["backend", "storageClass", "filesystem", "claim"] {
        let mut fixture = Fixture::untagged();
        fixture.adoption["spec"]
            .as_object_mut()
            .unwrap()
            .remove(field);
        if field == "backend" {
            fixture.backend = None;
        }
        let progress = fixture.progress();
        assert_eq!(progress.reason, reason::INVALID_SPEC);
        let expected = format!("spec.{field}: must be set");
        assert!(
            progress.message.starts_with(&expected),
            "{}",
            progress.message
        );
    }
}

#[test]
fn adoption_waits_for_a_report_about_its_present_spec() {
    let mut fixture = Fixture::tagged();
    fixture.adoption["metadata"]["generation"] = json!(3);
    assert_eq!(fixture.progress().reason, reason::AGENT_NOT_REPORTING);
    fixture.adoption["status"]["report"] = json!({"generation": 3, "problem":
        {"reason": "LogicalVolumeNotFound", "message": "n1 has no logical volume vg0/pvc-1"}});
    let progress = fixture.progress();
    assert_eq!(progress.reason, reason::LOGICAL_VOLUME_NOT_FOUND);
    assert_eq!(progress.message, "n1 has no logical volume vg0/pvc-1");
}

#[test]
fn claim_of_the_last_report_stays_while_the_agent_reports_no_volume() {
    let claim = |adoption: &Value| settings::claim(&from(adoption)).map(|claim| claim.name);
    let mut adoption = Fixture::tagged().adoption;
    assert_eq!(claim(&adoption).as_deref(), Some("data"));
    adoption["status"]["claim"] = json!({"namespace": "shop", "name": "data"});
    // The admin edits the Adoption; the agent has yet to report on that.
    adoption["metadata"]["generation"] = json!(3);
    assert_eq!(claim(&adoption).as_deref(), Some("data"));
    adoption["status"]["report"] = json!({"generation": 3, "problem":
        {"reason": "VolumeGroupUnusable", "message": "a disk is missing"}});
    assert_eq!(claim(&adoption).as_deref(), Some("data"));
    // But not the one that the admin has removed from the spec.
    let mut adoption = Fixture::untagged().adoption;
    adoption["status"]["claim"] = json!({"namespace": "shop", "name": "data"});
    adoption["spec"]["claim"] = Value::Null;
    assert_eq!(claim(&adoption), None);
}

#[test]
fn nothing_is_created_beside_other_objects() {
    let mut fixture = Fixture::tagged();
    fixture.other_of_claim = Some("pvc-2".to_owned());
    assert_eq!(fixture.progress().reason, reason::CONFLICT);

    let mut fixture = Fixture::tagged();
    fixture.claim_of_name = Some(json!({"namespace": "shop", "name": "data", "uid": "1"}));
    assert!(matches!(
        fixture.plan(),
        AdoptionStep::CreateLogicalVolume(_)
    ));
    fixture.claim_of_name = Some(json!({"namespace": "bank", "name": "data", "uid": "1"}));
    assert_eq!(fixture.progress().reason, reason::CONFLICT);

    let mut fixture = Fixture::created();
    fixture.adoption["metadata"]["uid"] = json!("8");
    let progress = fixture.progress();
    assert_eq!(progress.reason, reason::CONFLICT);
    assert!(
        progress.message.contains("claim shop/data on node n1"),
        "{}",
        progress.message
    );
}

#[test]
fn adoption_continues_one_that_was_deleted_before_its_end() {
    let mut fixture = Fixture::created();
    fixture.adoption["metadata"]["uid"] = json!("8");
    fixture.maker_exists = false;
    let AdoptionStep::Publish(volume) = fixture.plan() else {
        panic!("no PersistentVolume");
    };
    fixture.persistent_volume = Some(serde_json::to_value(&*volume.0).unwrap());
    assert!(fixture.progress().is_adopted);
    // But not one of another claim, or of another logical volume.
    fixture.adoption["spec"]["uuid"] = json!("000000-1234-5678-90AB-CDEF-GHIJ-KLMNOP");
    assert_eq!(fixture.progress().reason, reason::CONFLICT);
    fixture.adoption["spec"]["uuid"] = json!(UUID);
    fixture.adoption["spec"]["claim"] = json!({"namespace": "bank", "name": "data"});
    assert_eq!(fixture.progress().reason, reason::CONFLICT);
}

#[test]
fn nothing_is_created_for_a_node_that_is_gone() {
    let mut fixture = Fixture::tagged();
    fixture.has_node = false;
    assert_eq!(fixture.progress().reason, reason::AGENT_NOT_REPORTING);
}

/// Otherwise the key of a volume that exists could become that of another one.
#[test]
fn volume_of_a_claim_needs_the_name_of_its_claim() {
    let mut fixture = Fixture::tagged();
    fixture.adoption["spec"]["logicalVolume"] = json!("pvc-rescued");
    let progress = fixture.progress();
    assert_eq!(progress.reason, reason::INVALID_SPEC);
    assert!(
        progress.message.contains("lvrename vg0/pvc-rescued pvc-1"),
        "{}",
        progress.message
    );
    // Except for the uid of the Adoption itself, which began before.
    fixture.adoption["status"]["report"]["volume"]["tags"][0] = json!("flexlvm.dev/claim-uid=7");
    assert!(matches!(
        fixture.plan(),
        AdoptionStep::CreateLogicalVolume(_)
    ));
}

#[test]
fn layout_must_fit_what_lvm_reports() {
    let mut fixture = Fixture::tagged();
    fixture.adoption["status"]["report"]["volume"]["storage"] = json!("RAID");
    let progress = fixture.progress();
    assert_eq!(progress.reason, reason::INVALID_SPEC);
    assert!(progress.message.contains("Linear"), "{}", progress.message);
}

#[test]
fn ready_volume_is_published_for_the_claim_by_its_name() {
    let AdoptionStep::Publish(volume) = Fixture::created().plan() else {
        panic!("no PersistentVolume");
    };
    let spec = volume.0.spec.clone().unwrap();
    let claim = spec.claim_ref.unwrap();
    assert_eq!(
        (claim.namespace.as_deref(), claim.name.as_deref(), claim.uid),
        (Some("shop"), Some("data"), None)
    );
    let options = spec.flex_volume.unwrap().options.unwrap();
    assert_eq!(options["uuid"], UUID);
    // The format marker is where it was when the volume was created.
    assert_eq!(options["size"], "536870912");
    assert_eq!(spec.capacity.unwrap()["storage"].0, "1Gi");
    assert_eq!(
        spec.persistent_volume_reclaim_policy.as_deref(),
        Some("Retain")
    );

    let mut fixture = Fixture::created();
    fixture.persistent_volume = Some(serde_json::to_value(&*volume.0).unwrap());
    let progress = fixture.progress();
    assert!(progress.is_adopted && progress.reason == reason::ADOPTED);
}

#[test]
fn lost_persistent_volume_is_made_for_the_claim_that_the_volume_was_handed_to() {
    let mut fixture = Fixture::created();
    let object = fixture.logical_volume.as_mut().unwrap();
    object["spec"]["currentClaim"] = json!({"namespace": "bank", "name": "ledger", "uid": "9"});
    fixture.adoption["metadata"]["uid"] = json!("8");
    fixture.maker_exists = false;
    fixture.adoption["spec"]["claim"] = json!({"namespace": "bank", "name": "ledger"});
    let AdoptionStep::Publish(volume) = fixture.plan() else {
        panic!("no PersistentVolume");
    };
    let claim = volume.0.spec.clone().unwrap().claim_ref.unwrap();
    assert_eq!(
        (claim.namespace.as_deref(), claim.name.as_deref(), claim.uid),
        (Some("bank"), Some("ledger"), None)
    );
}

#[test]
fn access_modes_that_no_persistent_volume_can_have_are_named() {
    let mut fixture = Fixture::tagged();
    for (modes, sentence) in [
        (
            json!(["ReadWriteOnce", "ReadWriteTwice"]),
            "spec.accessModes: ReadWriteTwice is",
        ),
        (
            json!(["ReadWriteOncePod", "ReadWriteOnce"]),
            "spec.accessModes: ReadWriteOncePod excludes",
        ),
    ] {
        fixture.adoption["spec"]["accessModes"] = modes;
        let progress = fixture.progress();
        assert_eq!(progress.reason, reason::INVALID_SPEC);
        let message = progress.message;
        assert!(message.starts_with(sentence), "{message}");
    }
    fixture.adoption["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    assert_eq!(fixture.spec()["accessModes"], json!(["ReadWriteOncePod"]));
}

#[test]
fn volume_that_is_not_ready_shows_its_reason() {
    let mut fixture = Fixture::created();
    let object = fixture.logical_volume.as_mut().unwrap();
    object["status"]["conditions"][0]["status"] = json!("False");
    object["status"]["conditions"][0]["reason"] = json!("NotAdoptable");
    object["status"]["conditions"][0]["message"] = json!("it is a snapshot");
    let progress = fixture.progress();
    assert_eq!(progress.reason, reason::NOT_ADOPTABLE);
    assert_eq!(progress.message, "it is a snapshot");
}
