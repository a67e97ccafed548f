//! The environment of one turn: an API server with nodes, a backend, a class, and waiting claims.
//! Before the clock starts, the benchmark plays the tenant and the PersistentVolume controller.

use std::fmt::Debug;

use anyhow::Result;
use crds::StorageBackend;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use harness::apiserver::ApiServer;
use harness::namespace;
use k8s_openapi::ClusterResourceScope;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Concurrent requests of either subject: the controller's number.
pub(crate) const AT_ONCE: usize = 16;

/// The namespace of FlexLVM's accounts, also used for the claims.
pub(crate) const NAMESPACE: &str = "flexlvm-system";

const NAME: &str = "bench";

/// Numbers of claims at once and of nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) claims: usize,
    pub(crate) nodes: usize,
}

/// All objects but the claims.
pub(crate) struct Environment {
    pub(crate) server: ApiServer,
    pub(crate) client: Client,
    pub(crate) load: Load,
    pub(crate) nodes: Vec<Node>,
    pub(crate) backend: StorageBackend,
    pub(crate) class: StorageClass,
}

impl Environment {
    pub(crate) async fn set(load: Load) -> Result<Self> {
        let server = ApiServer::start().await?;
        server.install()?;
        let client = server.client();
        namespace::ensure(&client, NAMESPACE).await?;
        let names = (1..=load.nodes).map(|number| format!("node{number}"));
        let node = |name: String| json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        let nodes = stream::iter(names.map(|name| create(&client, node(name))))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let backend = create(
            &client,
            json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend",
            "metadata": {"name": NAME}, "spec": {"volumeGroup": "vg0"}}),
        );
        let class = create(
            &client,
            json!({"metadata": {"name": NAME}, "provisioner": crds::GROUP,
            "parameters": {"backend": NAME}}),
        );
        let backend = backend.await?;
        let class = class.await?;
        Ok(Self {
            server,
            client,
            load,
            nodes,
            backend,
            class,
        })
    }

    /// Creates all claims in the state in which the PersistentVolume controller requests
    /// provisioning.
    pub(crate) async fn claim(&self) -> Result<Vec<PersistentVolumeClaim>> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), NAMESPACE);
        stream::iter((0..self.load.claims).map(|number: usize| {
            let claim = json!({
                "metadata": {"name": format!("data-{number}"), "annotations": {operator::kube::names::STORAGE_PROVISIONER_BETA: crds::GROUP}},
                "spec": {"storageClassName": NAME, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
            });
            let claims = &claims;
            async move {
                anyhow::Ok(
                    claims
                        .create(&PostParams::default(), &serde_json::from_value(claim)?)
                        .await?,
                )
            }
        }))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }
}

async fn create<K>(client: &Client, value: Value) -> Result<K>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + Debug,
{
    Ok(Api::all(client.clone())
        .create(&PostParams::default(), &serde_json::from_value(value)?)
        .await?)
}
