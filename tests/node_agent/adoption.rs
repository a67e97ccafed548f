//! A volume whose objects were lost is adopted: by the real agent on real LVM, with the objects that
//! the controller's own code plans, and mounted by the driver's own code.

use std::process::ExitCode;
use std::sync::Arc;

use crds::{Adoption, LogicalVolume};
use driver::{Node, Reply};
use harness::wait::{self, until_blocking};
use host::{Key, MasterKey, System};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Api, PostParams};
use operator::controller::adoption::plan::{AdoptionStep, ObservedAdoption, plan};
use placement::reservations::Reservations;
use serde_json::{Value, json};

use crate::fixture::{Fixture, GROUP, PROGRAM};

/// The first argument that makes this program the driver in the guest.
pub(crate) const DRIVER: &str = "--driver";

/// Runs in the guest: `--driver CALL-OUT ARGUMENT…`.
pub(crate) fn run_driver(arguments: &[String]) -> ExitCode {
    let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
    let system = System::current();
    let outcome = driver::run(&arguments, &Node::current(&system));
    println!("{}", outcome.reply.to_json());
    match outcome.reply {
        Reply::Success => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The former key of all volumes of these tests.
const FORMER_KEY: &str = "00000000000000000000000000000000";

/// Returns the options that the kubelet passes to the driver.
fn for_driver(name: &str, options: Value) -> String {
    let mut options = options;
    options["kubernetes.io/fsType"] = json!("ext4");
    options["kubernetes.io/readwrite"] = json!("rw");
    options["kubernetes.io/pvOrVolumeName"] = json!(name);
    options.to_string()
}

/// Returns the next step of the controller.
fn next(
    adoption: &Adoption,
    object: Option<LogicalVolume>,
    volume: Option<&PersistentVolume>,
) -> AdoptionStep {
    let node =
        json!({"metadata": {"name": "node1", "labels": {"kubernetes.io/hostname": "node1"}}});
    let backend = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend",
        "metadata": {"name": "b"}, "spec": {"volumeGroup": GROUP}});
    let observed = ObservedAdoption {
        adoption: Arc::new(adoption.clone()),
        logical_volume: object.map(Arc::new),
        persistent_volume: volume.cloned().map(Arc::new),
        other_of_claim: None,
        claim_of_name: None,
        maker_exists: false,
        node: Some(Arc::new(serde_json::from_value(node).unwrap())),
        storage: None,
        backend: Some(Arc::new(serde_json::from_value(backend).unwrap())),
        master_key: Some(Ok(Arc::new(MasterKey::new(&[7; 32]).unwrap()))),
    };
    plan(&observed, &Reservations::default())
}

impl Fixture {
    /// Creates an Adoption of a logical volume; returns it with the agent's report.
    fn adoption(&self, name: &str) -> Adoption {
        let adoption: Adoption = serde_json::from_value(json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "Adoption", "metadata": {"name": name},
            "spec": {"node": "node1", "volumeGroup": GROUP, "logicalVolume": name},
        }))
        .unwrap();
        let adoptions: Api<Adoption> = Api::all(self.client().clone());
        let runtime = self.runtime();
        runtime
            .block_on(adoptions.create(&PostParams::default(), &adoption))
            .unwrap();
        let found = runtime.block_on(wait::until("the agent reports", wait::LIMIT, async || {
            let found = adoptions.get(name).await?;
            let status = found.status.clone().unwrap_or_default();
            let is_found = status.report.is_some_and(|report| report.volume.is_some());
            Ok(is_found.then_some(found))
        }));
        found.unwrap()
    }

    /// Creates a LogicalVolume that the controller's code built.
    fn create_built(&self, object: &LogicalVolume) {
        let volumes: Api<LogicalVolume> = Api::all(self.client().clone());
        let params = PostParams::default();
        let created = self.runtime().block_on(volumes.create(&params, object));
        created.unwrap();
    }

    /// Adopts a logical volume, with the controller's part; returns the PersistentVolume.
    fn adopt(&self, name: &str) -> PersistentVolume {
        // As kubectl applied it: node, group and name; all else is in the tags.
        let adoption = self.adoption(name);
        let step = next(&adoption, None, None);
        let AdoptionStep::CreateLogicalVolume(built) = step else {
            panic!("{step:?}");
        };
        assert_eq!(built.spec.size.0, "64Mi");
        assert_eq!(built.spec.storage_class, "s");
        self.create_built(&built);
        self.ready(name);
        let step = next(&adoption, Some(self.object(name)), None);
        let AdoptionStep::Publish(volume) = step else {
            panic!("{step:?}");
        };
        *volume.0
    }

    fn object(&self, name: &str) -> LogicalVolume {
        let volumes: Api<LogicalVolume> = Api::all(self.client().clone());
        self.runtime().block_on(volumes.get(name)).unwrap()
    }

    /// Mounts a volume as the kubelet does, which creates the folder; returns the driver's reply.
    fn mount(&self, folder: &str, options: &str) -> String {
        self.shell(&format!("mkdir -p {folder}"));
        self.driver(&format!("mount {folder} '{options}'"))
    }

    /// Calls the driver in the guest; returns its reply.
    fn driver(&self, arguments: &str) -> String {
        self.shell(&format!("{PROGRAM} {DRIVER} {arguments} || true"))
    }
}

pub(crate) fn volume_without_objects_is_adopted_and_mounted_with_its_data(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    let uuid = fixture.lvs(&name, "lv_uuid");
    let pod = fixture.pod("adopted");
    let folder = format!("/var/lib/kubelet/pods/{pod}/volumes/flexlvm.dev~lvm/{name}");
    let former = json!({"volumegroup": GROUP, "volumeID": name, "uuid": uuid, "key": FORMER_KEY,
        "size": (64 << 20).to_string()});
    let former = for_driver(&name, former);
    let mounted = fixture.mount(&folder, &former);
    assert!(mounted.contains("Success"), "{mounted}");
    // An odd length, and more than a page cache of the driver would have.
    let sum = format!("sha256sum <{folder}/file");
    let before = fixture.shell(&format!(
        "head -c 7654321 /dev/urandom >{folder}/file; sync; {sum}"
    ));
    fixture.driver(&format!("unmount {folder}"));
    fixture.delete_object(&name);
    let claim = name.trim_start_matches("pvc-").to_owned();
    fixture.wait_for_report("the volume is an orphan", |storage| {
        let status = storage.status.clone().unwrap_or_default();
        status
            .orphans
            .iter()
            .any(|orphan| orphan.claim_uid == claim)
            && status.audit.is_some_and(|audit| audit.orphaned > 0)
    });

    let volume = fixture.adopt(&name);
    assert_eq!(fixture.lvs(&name, "lv_uuid"), uuid);
    let source = volume.spec.as_ref().unwrap().flex_volume.as_ref().unwrap();
    let options = serde_json::to_value(source.options.as_ref().unwrap()).unwrap();
    let key = Key::new(options["key"].as_str().unwrap()).unwrap();

    // The key of the lost PersistentVolume no longer opens the volume, and the new one does.
    let refused = fixture.mount(&folder, &former);
    assert!(refused.contains("is not the key of"), "{refused}");
    let mounted = fixture.mount(&folder, &for_driver(&name, options));
    assert!(mounted.contains("Success"), "{mounted}");
    assert_eq!(fixture.shell(&sum), before);
    let tags = fixture.lvs(&name, "lv_tags");
    assert!(tags.contains(&key.digest().tag()), "{tags}");
    assert!(tags.contains(&fixture.object_tag(&name)), "{tags}");
    assert_eq!(tags.matches("flexlvm.dev/").count(), 5, "{tags}");
    assert_eq!(fixture.mark(&name), "none");

    fixture.driver(&format!("unmount {folder}"));
    fixture.delete_pod("adopted");
    fixture.remove(&name);
    let gone = until_blocking("the report has no orphan", wait::LIMIT, || {
        let status = fixture.storage().status.unwrap_or_default();
        Ok(status.orphans.is_empty().then_some(()))
    });
    gone.unwrap();
}
