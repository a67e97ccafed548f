//! A tenant of the cluster: a claim, a pod that mounts it at /data, and the pod's data.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crds::LogicalVolume;
use harness::cluster::{Cluster, POD_IMAGE};
use harness::guest::Guest;
use harness::wait::until;
use harness::{namespace, suite};
use k8s_openapi::api::core::v1::{
    Event, PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount,
};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

/// Time limit for a wait; most of it is kubelets that poll rarely, or back off for two minutes.
pub(crate) const LIMIT: Duration = harness::wait::LIMIT;

pub(crate) use harness::installation::VOLUME_GROUP;

/// A tenant, in a namespace of its own.
pub(crate) struct App {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl App {
    pub(crate) async fn new(cluster: &Cluster) -> Result<Self> {
        let client = cluster.api().client();
        let namespace = namespace::create(&client, "app").await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
        until("pods can be created", LIMIT, async || {
            Ok(accounts.get_opt("default").await?.map(drop))
        })
        .await?;
        Ok(Self { client, namespace })
    }

    /// Creates a tenant with a claim of a class and the pod `app` that mounts it, without waiting.
    /// Also returns the name of the volume.
    pub(crate) async fn with_pod(
        cluster: &Cluster,
        class: &str,
        size: &str,
    ) -> Result<(Self, String)> {
        let app = Self::new(cluster).await?;
        let volume = app.claim(class, size).await?;
        app.pod("app").await?;
        Ok((app, volume))
    }

    /// Like [`Self::with_pod`], and waits until the pod runs and has written its 8 MiB. Also
    /// returns the pod's node and the checksum.
    pub(crate) async fn with_data(
        cluster: &Cluster,
        class: &str,
        size: &str,
    ) -> Result<(Self, String, String, String)> {
        let (app, volume) = Self::with_pod(cluster, class, size).await?;
        let node = app.runs("app").await?;
        let sum = app.write(cluster, "app")?;
        Ok((app, volume, node, sum))
    }

    /// Force-deletes the pod, and deletes the claim.
    pub(crate) async fn leave(&self) -> Result<()> {
        self.delete_pod("app").await?;
        self.delete_claim().await
    }

    /// Like [`Self::leave`], and waits until nothing is left of the volume.
    pub(crate) async fn end(&self, cluster: &Cluster, volume: &str) -> Result<()> {
        self.leave().await?;
        self.gone(cluster, volume).await
    }

    pub(crate) fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn logical_volumes(&self) -> Api<LogicalVolume> {
        Api::all(self.client.clone())
    }

    pub(crate) fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    /// Creates the claim `data` of a class and returns the name of its volume.
    pub(crate) async fn claim(&self, class: &str, size: &str) -> Result<String> {
        self.claim_with(class, size, "ReadWriteOnce").await
    }

    /// Like [`Self::claim`], with an access mode.
    pub(crate) async fn claim_with(&self, class: &str, size: &str, mode: &str) -> Result<String> {
        let claim = json!({"metadata": {"name": "data"}, "spec": {"storageClassName": class,
            "accessModes": [mode], "resources": {"requests": {"storage": size}}}});
        let claim = self
            .claims()
            .create(&PostParams::default(), &serde_json::from_value(claim)?)
            .await?;
        Ok(format!("pvc-{}", claim.uid().context("a uid")?))
    }

    /// Creates the claim `data` and a static PersistentVolume for it on a node, named after the
    /// namespace.
    pub(crate) async fn claim_by_hand(&self, node: &str, source: Value) -> Result<()> {
        let of_node = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
        let mut volume = json!({"metadata": {"name": self.namespace}, "spec": {"capacity": {"storage": "64Mi"},
            "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [of_node]}]}}}});
        volume["spec"]["flexVolume"] = source["flexVolume"].clone();
        self.volumes()
            .create(&PostParams::default(), &serde_json::from_value(volume)?)
            .await?;
        let claim = json!({"metadata": {"name": "data"}, "spec": {"storageClassName": "", "volumeName": self.namespace,
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}});
        self.claims()
            .create(&PostParams::default(), &serde_json::from_value(claim)?)
            .await?;
        Ok(())
    }

    /// Creates a pod that mounts the claim.
    pub(crate) async fn pod(&self, name: &str) -> Result<()> {
        self.make_pod(name, json!({}), data(false)).await
    }

    /// Creates a pod that mounts any volume, on a given node.
    pub(crate) async fn pod_on(&self, name: &str, node: &str, source: Value) -> Result<()> {
        self.make_pod(name, json!({"kubernetes.io/hostname": node}), source)
            .await
    }

    async fn make_pod(&self, name: &str, nodes: Value, source: Value) -> Result<()> {
        let mut volume = source;
        volume["name"] = json!("data");
        let pod = json!({"metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 1,
            // A new namespace may lack the service account's token for a moment.
            "automountServiceAccountToken": false, "nodeSelector": nodes, "volumes": [volume],
            "containers": [{"name": "app", "image": POD_IMAGE, "command": ["sleep", "infinity"],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}});
        self.pods()
            .create(&PostParams::default(), &serde_json::from_value(pod)?)
            .await?;
        Ok(())
    }

    /// Waits until a pod runs and returns its node.
    pub(crate) async fn runs(&self, name: &str) -> Result<String> {
        let pods = self.pods();
        until(&format!("pod {name} runs"), LIMIT, async || {
            let pod = pods.get(name).await?;
            let containers = pod
                .status
                .iter()
                .flat_map(|status| status.container_statuses.iter().flatten());
            let ready = containers.into_iter().any(|container| container.ready);
            Ok(pod.spec.filter(|_| ready).and_then(|spec| spec.node_name))
        })
        .await
        .with_context(|| format!("in namespace {}", self.namespace))
    }

    /// Returns the id of a pod's container, if it is ready.
    pub(crate) async fn container(&self, pod: &str) -> Result<Option<String>> {
        let containers = self
            .pods()
            .get(pod)
            .await?
            .status
            .and_then(|status| status.container_statuses)
            .unwrap_or_default();
        Ok(containers
            .into_iter()
            .find(|container| container.ready)
            .and_then(|container| container.container_id))
    }

    /// Waits until the claim is bound.
    pub(crate) async fn bound(&self) -> Result<()> {
        let claims = self.claims();
        until("the claim is bound", LIMIT, async || {
            let claim = claims.get("data").await?;
            Ok(claim
                .status
                .filter(|status| status.phase.as_deref() == Some("Bound"))
                .map(drop))
        })
        .await
    }

    /// Runs a shell script in a pod.
    pub(crate) fn exec(&self, cluster: &Cluster, pod: &str, script: &str) -> Result<String> {
        let output = cluster.api().kubectl(&[
            "exec",
            "-n",
            &self.namespace,
            pod,
            "--",
            "sh",
            "-ec",
            script,
        ])?;
        Ok(output.trim_end().to_owned())
    }

    /// Like [`Self::exec`], with retries: a kubelet that has just started reports that its pods
    /// don't exist.
    pub(crate) async fn exec_soon(
        &self,
        cluster: &Cluster,
        pod: &str,
        script: &str,
    ) -> Result<String> {
        until(&format!("pod {pod} answers"), LIMIT, async || {
            Ok(self.exec(cluster, pod, script).ok())
        })
        .await
    }

    /// Writes 8 MiB into the volume, durably, and returns their checksum.
    pub(crate) fn write(&self, cluster: &Cluster, pod: &str) -> Result<String> {
        self.exec(
            cluster,
            pod,
            "dd if=/dev/urandom of=/data/blob bs=1M count=8 2>/dev/null; sync; sha256sum /data/blob",
        )
    }

    /// Checks that a pod reads the data with this checksum, which [`Self::write`] returned.
    pub(crate) fn has_data(&self, cluster: &Cluster, pod: &str, sum: &str) -> Result<()> {
        let found = self.exec(cluster, pod, "sha256sum /data/blob")?;
        ensure!(found == sum, "pod {pod} reads other data than was written");
        Ok(())
    }

    /// Force-deletes a pod: the object is removed at once, while the node still has to stop its
    /// containers and to unmount its volumes.
    pub(crate) async fn delete_pod(&self, name: &str) -> Result<()> {
        self.pods()
            .delete(name, &DeleteParams::default().grace_period(0))
            .await
            .map(drop)
            .context("deleting the pod")
    }

    /// Deletes a pod and waits until its node has released it.
    pub(crate) async fn end_pod(&self, name: &str) -> Result<()> {
        let pods = self.pods();
        pods.delete(name, &DeleteParams::default()).await?;
        until(&format!("pod {name} is gone"), LIMIT, async || {
            Ok(pods.get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }

    /// Deletes the claim, without waiting.
    pub(crate) async fn delete_claim(&self) -> Result<()> {
        self.claims()
            .delete("data", &DeleteParams::default())
            .await
            .map(drop)
            .context("deleting the claim")
    }

    /// Waits until nothing of a volume is left: neither objects nor, on any node, a logical volume.
    pub(crate) async fn gone(&self, cluster: &Cluster, volume: &str) -> Result<()> {
        until(&format!("nothing of {volume} is left"), LIMIT, async || {
            let objects = self.volumes().get_opt(volume).await?.is_some()
                || self.logical_volumes().get_opt(volume).await?.is_some()
                || self.claims().get_opt("data").await?.is_some();
            // A LogicalVolume that the agent observed before the claim's deletion may be created
            // before it is withdrawn.
            Ok((!objects && holders(cluster, volume)?.is_empty()).then_some(()))
        })
        .await
    }

    /// Raises the claim's request.
    pub(crate) async fn grow(&self, size: &str) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"resources": {"requests": {"storage": size}}}}));
        self.claims()
            .patch("data", &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Waits until the pod's file system has more than `mebibytes` MiB.
    pub(crate) async fn has_grown(
        &self,
        cluster: &Cluster,
        pod: &str,
        mebibytes: u64,
    ) -> Result<()> {
        until(
            &format!("the file system has more than {mebibytes} MiB"),
            LIMIT,
            async || {
                let size =
                    self.exec(cluster, pod, "df -Pm /data | tail -n 1 | awk '{print $2}'")?;
                Ok((size.parse::<u64>()? > mebibytes).then_some(()))
            },
        )
        .await
    }

    /// Returns the Events in this namespace as `reason: message`.
    pub(crate) async fn events(&self) -> Result<Vec<String>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = events.list(&ListParams::default()).await?.items;
        Ok(all
            .into_iter()
            .map(|event: Event| {
                format!(
                    "{}: {}",
                    event.reason.unwrap_or_default(),
                    event.message.unwrap_or_default()
                )
            })
            .collect())
    }

    /// Waits for an Event that contains all of these phrases.
    pub(crate) async fn has_event(&self, phrases: &[&str]) -> Result<()> {
        until(
            &format!("an Event contains {phrases:?}"),
            LIMIT,
            async || {
                let events = self.events().await?;
                Ok(events
                    .iter()
                    .any(|event| phrases.iter().all(|phrase| event.contains(phrase)))
                    .then_some(()))
            },
        )
        .await
    }
}

/// Returns the claim as the source of a pod's volume.
pub(crate) fn data(read_only: bool) -> Value {
    json!({"persistentVolumeClaim": {"claimName": "data", "readOnly": read_only}})
}

/// Returns the nodes that have a logical volume of this name, once for each.
pub(crate) fn holders(cluster: &Cluster, volume: &str) -> Result<Vec<String>> {
    let mut holders = Vec::new();
    for node in cluster.nodes() {
        let names = node.shell("lvs --noheadings -o lv_name")?;
        holders.extend(
            names
                .lines()
                .filter(|name| name.trim() == volume)
                .map(|_| node.name()),
        );
    }
    Ok(holders)
}

/// Waits until a shell script on a node succeeds and returns its output.
pub(crate) async fn on_node(node: &Guest, what: &str, script: &str) -> Result<String> {
    until(what, LIMIT, async || {
        let output = node.run(&["sh", "-ec", script])?;
        Ok((output.status == 0).then(|| output.stdout.trim_end().to_owned()))
    })
    .await
}

/// Runs a test's scenario to its end.
pub(crate) fn run(scenario: impl Future<Output = Result<()>>) -> Result<()> {
    suite::runtime().block_on(scenario)
}
