//! Creates and removes pods together, and measures the duration of each step.

use std::time::{Duration, Instant};

use anyhow::Result;
use crds::LogicalVolume;
use futures::future::try_join_all;
use harness::cluster::{Cluster, POD_IMAGE};
use harness::installation::CLASS;
use harness::namespace;
use harness::wait::until;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use serde_json::{Value, json};

/// The volume that a pod mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Storage {
    /// A claim of the sample class, which waits for its first pod.
    Claim,
    /// An emptyDir.
    EmptyDir,
    /// A claim that is served before a pod uses it (`volumeBindingMode: Immediate`).
    ImmediateClaim,
}

impl Storage {
    /// The StorageClass of the pod's claim, if it has one.
    fn class(self) -> Option<&'static str> {
        match self {
            Self::Claim => Some(CLASS),
            Self::ImmediateClaim => Some(IMMEDIATE_CLASS),
            Self::EmptyDir => None,
        }
    }
}

/// Name of the class of [`Storage::ImmediateClaim`], see [`create_immediate_class`].
const IMMEDIATE_CLASS: &str = "flexlvm-immediate";

/// Creates a copy of the sample class with `volumeBindingMode: Immediate`.
pub(crate) async fn create_immediate_class(client: Client) -> Result<()> {
    let classes: Api<StorageClass> = Api::all(client);
    let mut class = classes.get(CLASS).await?;
    class.metadata = ObjectMeta {
        name: Some(IMMEDIATE_CLASS.to_owned()),
        ..ObjectMeta::default()
    };
    class.volume_binding_mode = Some("Immediate".to_owned());
    classes.create(&PostParams::default(), &class).await?;
    Ok(())
}

/// The durations of one measurement, in seconds.
#[derive(Debug)]
pub(crate) struct Measured {
    /// From before the creation of the first pod and claim until the last pod is Ready.
    pub(crate) ready: f64,
    /// The same until the last claim is Bound; 0 without claims.
    pub(crate) bound: f64,
    /// From before the first deletion until all pods, claims and volumes are gone.
    pub(crate) gone: f64,
}

const LIMIT: Duration = Duration::from_secs(300);

/// Interval of API polls: small compared with all measurements.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Creates `count` pods in a new namespace, waits until all are Ready, and removes them.
pub(crate) async fn measure(cluster: &Cluster, storage: Storage, count: usize) -> Result<Measured> {
    let client = cluster.api().client();
    let name = namespace::create(&client, "bench").await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    until("the namespace has its account", LIMIT, async || {
        Ok(accounts.get_opt("default").await?.map(drop))
    })
    .await?;
    let pods = Workload {
        pods: Api::namespaced(client.clone(), &name),
        claims: Api::namespaced(client.clone(), &name),
        client,
    };

    let start = Instant::now();
    try_join_all((0..count).map(|number| pods.create(storage, number))).await?;
    let mut bound = 0.0;
    loop {
        if storage.class().is_some() && bound == 0.0 && pods.all_bound(count).await? {
            bound = start.elapsed().as_secs_f64();
        }
        if pods.all_ready(count).await? {
            break;
        }
        anyhow::ensure!(
            start.elapsed() < LIMIT,
            "no {count} pods are Ready after {LIMIT:?}"
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let ready = start.elapsed().as_secs_f64();

    let start = Instant::now();
    try_join_all((0..count).map(|number| pods.delete(storage, number))).await?;
    while !pods.is_empty().await? {
        anyhow::ensure!(start.elapsed() < LIMIT, "objects are left after {LIMIT:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let gone = start.elapsed().as_secs_f64();
    Ok(Measured { ready, bound, gone })
}

struct Workload {
    client: Client,
    pods: Api<Pod>,
    claims: Api<PersistentVolumeClaim>,
}

impl Workload {
    async fn create(&self, storage: Storage, number: usize) -> Result<()> {
        let name = format!("app-{number}");
        let volume = match storage.class() {
            None => json!({"name": "data", "emptyDir": {}}),
            Some(class) => {
                let claim = json!({"metadata": {"name": name}, "spec": {"storageClassName": class,
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "64Mi"}}}});
                self.claims
                    .create(&PostParams::default(), &serde_json::from_value(claim)?)
                    .await?;
                json!({"name": "data", "persistentVolumeClaim": {"claimName": name}})
            }
        };
        let pod = pod(&name, volume);
        self.pods
            .create(&PostParams::default(), &serde_json::from_value(pod)?)
            .await?;
        Ok(())
    }

    async fn delete(&self, storage: Storage, number: usize) -> Result<()> {
        let name = format!("app-{number}");
        let delete = DeleteParams::default();
        self.pods.delete(&name, &delete).await?;
        if storage.class().is_some() {
            self.claims.delete(&name, &delete).await?;
        }
        Ok(())
    }

    async fn all_bound(&self, count: usize) -> Result<bool> {
        let claims = self.claims.list(&ListParams::default()).await?.items;
        Ok(claims
            .iter()
            .filter(|claim: &&PersistentVolumeClaim| {
                let status = claim.status.as_ref();
                status.and_then(|status| status.phase.as_deref()) == Some("Bound")
            })
            .count()
            == count)
    }

    async fn all_ready(&self, count: usize) -> Result<bool> {
        let pods = self.pods.list(&ListParams::default()).await?.items;
        Ok(pods
            .iter()
            .filter(|pod: &&Pod| {
                let conditions = pod
                    .status
                    .iter()
                    .flat_map(|status| status.conditions.iter().flatten());
                conditions
                    .into_iter()
                    .any(|it| it.type_ == "Ready" && it.status == "True")
            })
            .count()
            == count)
    }

    /// Returns true if no pod, claim or volume is left.
    ///
    /// The agent removes a LogicalVolume's finalizer once the node's LV is gone.
    async fn is_empty(&self) -> Result<bool> {
        let all = ListParams::default();
        if !self.pods.list(&all).await?.items.is_empty()
            || !self.claims.list(&all).await?.items.is_empty()
        {
            return Ok(false);
        }
        let logical_volumes: Api<LogicalVolume> = Api::all(self.client.clone());
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        Ok(logical_volumes.list(&all).await?.items.is_empty()
            && volumes.list(&all).await?.items.is_empty())
    }
}

fn pod(name: &str, volume: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": false, "volumes": [volume],
        "containers": [{"name": "app", "image": POD_IMAGE, "command": ["sleep", "infinity"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}})
}
