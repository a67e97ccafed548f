//! Reads a snapshot from the API server: a list per kind, all at once, with no request per volume.

use std::fmt::Debug;

use anyhow::{Context as _, Result, anyhow};
use futures::future::{BoxFuture, FutureExt as _, join_all};
use http::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::client::Body;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::kind::Kind;
use super::prune::Prune;
use super::{NAMESPACE, Snapshot, key, pages};

/// Namespace of the nodes' Leases.
const NODE_LEASES: &str = "kube-node-lease";

/// The objects of a list.
struct Listed {
    /// Adds them to a snapshot.
    add: Box<dyn FnOnce(&mut Snapshot) + Send>,
    /// Version of the list, from which a watch continues.
    version: String,
}

/// Reads the objects of these kinds. With a namespace, claims and pods are read of that one only.
///
/// Kinds that may not be listed, and kinds that the server doesn't have, are recorded.
///
/// # Errors
/// If the server can't be reached, or fails.
pub async fn snapshot(
    client: &Client,
    kinds: &[Kind],
    namespace: Option<&str>,
) -> Result<Snapshot> {
    let mut snapshot = Snapshot {
        now: Timestamp::now(),
        ..Snapshot::default()
    };
    let lists = kinds.iter().map(|kind| {
        let list = list(client, *kind, namespace);
        async move { (*kind, list.await) }
    });
    let (version, lists) = futures::future::join(version(client), join_all(lists)).await;
    let version = version.context("reaching the API server")?;
    snapshot.server_version = version.git;
    if let Some(time) = version.time {
        snapshot.now = time;
    }
    for (kind, list) in lists {
        match list {
            Ok(listed) => {
                snapshot.versions.insert(kind, listed.version);
                (listed.add)(&mut snapshot);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                snapshot.unserved.insert(kind);
            }
            Err(kube::Error::Api(status)) if status.code == 403 => {
                snapshot.unreadable.insert(kind, status.message.clone());
            }
            Err(error) => {
                return Err(anyhow!(error)).with_context(|| format!("listing {}", kind.resource()));
            }
        }
    }
    Ok(snapshot)
}

/// Version and time of the API server.
struct ServerVersion {
    git: String,
    /// `None` if the answer has no valid date.
    time: Option<Timestamp>,
}

/// Requests the server's version; the response has the server's time.
async fn version(client: &Client) -> Result<ServerVersion> {
    let request = http::Request::get("/version").body(Body::empty())?;
    let answer = client.send(request).await?;
    anyhow::ensure!(
        answer.status().is_success(),
        "the API server answers {} to a request for its version",
        answer.status()
    );
    let date = answer.headers().get(DATE);
    let date = date.and_then(|date| date.to_str().ok());
    let time = date
        .and_then(|date| rfc2822::parse(date).ok())
        .map(|date| date.timestamp());
    let body = answer.into_body().collect_bytes().await?;
    let body: serde_json::Value = serde_json::from_slice(&body)?;
    let git = body.get("gitVersion").and_then(serde_json::Value::as_str);
    Ok(ServerVersion {
        git: git.unwrap_or_default().to_owned(),
        time,
    })
}

/// Lists the objects of one kind.
fn list(
    client: &Client,
    kind: Kind,
    namespace: Option<&str>,
) -> BoxFuture<'static, Result<Listed, kube::Error>> {
    let client = client.clone();
    let selector = kind.selector();
    match kind {
        Kind::StorageBackends => of(Api::all(client), selector, |s| &mut s.backends),
        Kind::LogicalVolumes => of(Api::all(client), selector, |s| &mut s.logical_volumes),
        Kind::NodeStorages => of(Api::all(client), selector, |s| &mut s.storages),
        Kind::Nodes => of(Api::all(client), selector, |s| &mut s.nodes),
        Kind::PersistentVolumes => of(Api::all(client), selector, |s| &mut s.persistent_volumes),
        Kind::PersistentVolumeClaims => {
            let claims: Api<PersistentVolumeClaim> = within(client, namespace);
            of(claims, selector, |s| &mut s.claims)
        }
        Kind::StorageClasses => of(Api::all(client), selector, |s| &mut s.classes),
        Kind::Pods => {
            let pods: Api<Pod> = within(client, namespace);
            of(pods, selector, |s| &mut s.pods)
        }
        Kind::SystemPods => of(ours(client), selector, |s| &mut s.pods),
        Kind::ControllerEvents | Kind::MountEvents => {
            of_unnamed(Api::all(client), selector, |s| &mut s.events)
        }
        Kind::CsiDrivers => of(Api::all(client), selector, |s| &mut s.csi_drivers),
        Kind::CsiStorageCapacities => of_unnamed(ours(client), selector, |s| &mut s.capacities),
        Kind::CustomResourceDefinitions => of(Api::all(client), selector, |s| &mut s.definitions),
        Kind::Deployments => of(ours(client), selector, |s| &mut s.deployments),
        Kind::DaemonSets => of(ours(client), selector, |s| &mut s.daemon_sets),
        Kind::ControllerLeases => of(ours(client), selector, |s| &mut s.leases),
        Kind::NodeLeases => {
            let leases: Api<Lease> = Api::namespaced(client, NODE_LEASES);
            of(leases, selector, |s| &mut s.leases)
        }
        Kind::ClusterRoles => of_unnamed(Api::all(client), selector, |s| &mut s.cluster_roles),
        // Not by label: an admin may bind the accounts to roles of their own.
        Kind::ClusterRoleBindings => {
            of_unnamed(Api::all(client), selector, |s| &mut s.cluster_role_bindings)
        }
        Kind::Roles => of_unnamed(ours(client), selector, |s| &mut s.roles),
        Kind::RoleBindings => of_unnamed(ours(client), selector, |s| &mut s.role_bindings),
    }
}

/// Returns the objects of one namespace, or of all.
fn within<K>(client: Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

/// Returns the objects in FlexLVM's namespace.
fn ours<K>(client: Client) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(client, NAMESPACE)
}

/// Lists objects for a map by name.
fn of<K>(
    api: Api<K>,
    params: ListParams,
    into: fn(&mut Snapshot) -> &mut std::collections::BTreeMap<String, K>,
) -> BoxFuture<'static, Result<Listed, kube::Error>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Prune + Send + 'static,
{
    async move {
        let listed = pages::list(&api, &params).await?;
        let add = move |snapshot: &mut Snapshot| {
            for object in listed.objects {
                into(snapshot).insert(key(&object), object);
            }
        };
        Ok(Listed {
            add: Box::new(add),
            version: listed.version,
        })
    }
    .boxed()
}

/// Lists objects whose names do not matter.
fn of_unnamed<K>(
    api: Api<K>,
    params: ListParams,
    into: fn(&mut Snapshot) -> &mut Vec<K>,
) -> BoxFuture<'static, Result<Listed, kube::Error>>
where
    K: Clone + DeserializeOwned + Debug + Prune + Send + 'static,
{
    async move {
        let listed = pages::list(&api, &params).await?;
        let add = move |snapshot: &mut Snapshot| into(snapshot).extend(listed.objects);
        Ok(Listed {
            add: Box::new(add),
            version: listed.version,
        })
    }
    .boxed()
}
