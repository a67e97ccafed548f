//! A snapshot of the objects that concern FlexLVM, read once per command.
//!
//! A snapshot holds no secrets: [`prune`] removes the volume keys from PersistentVolumes, and the
//! fields that can hold other secrets, before an object is stored. So no output of a command can
//! contain them.

pub mod changes;
pub mod kind;
pub mod pages;
pub mod prune;
pub mod read;

use std::collections::{BTreeMap, BTreeSet};

use crds::{LogicalVolume, NodeStorage, StorageBackend};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity, StorageClass};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Resource, ResourceExt as _};
use placement::request::Candidate;
use placement::reservations::Reservations;
use serde::de::DeserializeOwned;
use serde_json::Value;

use kind::Kind;
use prune::Prune;

/// Namespace of the controller and the agents.
pub const NAMESPACE: &str = "flexlvm-system";

/// Name of the controller's Deployment, account, ClusterRole and Lease.
pub const CONTROLLER: &str = "flexlvm-controller";

/// Name of the agents' DaemonSet, account and ClusterRole.
pub const AGENT: &str = "flexlvm-agent";

/// Objects that concern FlexLVM. Lists are empty for kinds that the command does not read.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Time of the API server, or of this machine if the server returned none.
    pub now: Timestamp,
    /// Version of the API server, as in `v1.37.2`; empty if unknown.
    pub server_version: String,
    /// Kinds that could not be listed, each with the server's reason: usually a missing permission.
    pub unreadable: BTreeMap<Kind, String>,
    /// Kinds that the server does not have: of FlexLVM before its definitions are installed, and
    /// published capacity before Kubernetes 1.24.
    pub unserved: BTreeSet<Kind>,
    /// Versions of the lists, from which watches continue; none of a bundle.
    pub versions: BTreeMap<Kind, String>,
    /// StorageBackends by name.
    pub backends: BTreeMap<String, StorageBackend>,
    /// LogicalVolumes by name.
    pub logical_volumes: BTreeMap<String, LogicalVolume>,
    /// NodeStorages by name.
    pub storages: BTreeMap<String, NodeStorage>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// PersistentVolumes with FlexLVM's driver, by name; without keys.
    pub persistent_volumes: BTreeMap<String, PersistentVolume>,
    /// Claims by `namespace/name`.
    pub claims: BTreeMap<String, PersistentVolumeClaim>,
    /// StorageClasses by name; those of other provisioners without parameters.
    pub classes: BTreeMap<String, StorageClass>,
    /// Pods by `namespace/name`: those of FlexLVM, and those with claims.
    pub pods: BTreeMap<String, Pod>,
    /// Events of FlexLVM's controller, and of kubelets about mounts.
    pub events: Vec<Event>,
    /// CSIDrivers by name.
    pub csi_drivers: BTreeMap<String, CSIDriver>,
    /// The capacities that the controller has published.
    pub capacities: Vec<CSIStorageCapacity>,
    /// FlexLVM's definitions by name.
    pub definitions: BTreeMap<String, CustomResourceDefinition>,
    /// FlexLVM's Deployments by `namespace/name`.
    pub deployments: BTreeMap<String, Deployment>,
    /// FlexLVM's DaemonSets by `namespace/name`.
    pub daemon_sets: BTreeMap<String, DaemonSet>,
    /// Leases by `namespace/name`: the controller's, and those of the nodes.
    pub leases: BTreeMap<String, Lease>,
    /// ClusterRoles.
    pub cluster_roles: Vec<ClusterRole>,
    /// ClusterRoleBindings.
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    /// Roles of FlexLVM's namespace.
    pub roles: Vec<Role>,
    /// RoleBindings of FlexLVM's namespace.
    pub role_bindings: Vec<RoleBinding>,
}

impl Snapshot {
    /// Returns true if the kind was listed, so that an absent object doesn't exist.
    #[must_use]
    pub fn is_readable(&self, kind: Kind) -> bool {
        !self.unreadable.contains_key(&kind) && !self.unserved.contains(&kind)
    }

    /// Returns the controller's Deployment.
    #[must_use]
    pub fn controller(&self) -> Option<&Deployment> {
        self.deployments.get(&format!("{NAMESPACE}/{CONTROLLER}"))
    }

    /// Returns the number of the controller's replicas that are ready; `None` without a Deployment.
    #[must_use]
    pub fn ready_controllers(&self) -> Option<i32> {
        let status = self.controller()?.status.as_ref();
        let ready = status.and_then(|status| status.ready_replicas);
        Some(ready.unwrap_or_default())
    }

    /// Returns the agents' DaemonSet.
    #[must_use]
    pub fn agents(&self) -> Option<&DaemonSet> {
        self.daemon_sets.get(&format!("{NAMESPACE}/{AGENT}"))
    }

    /// Returns every node as a candidate for a placement. Which agents are silent only the controller
    /// observes; it reports them in the status of StorageBackends.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate<'_>> {
        let mut candidates = Vec::new();
        for (name, node) in &self.nodes {
            candidates.push(Candidate {
                node,
                storage: self.storages.get(name),
                silent_for: None,
            });
        }
        candidates
    }

    /// Returns the reservations of all volumes, as the controller computes them.
    #[must_use]
    pub fn reservations(&self) -> Reservations {
        let mut reservations = Reservations::default();
        for logical_volume in self.logical_volumes.values() {
            reservations.observe(logical_volume);
        }
        reservations
    }

    /// Returns the LogicalVolumes of a node.
    pub fn volumes_on(&self, node: &str) -> impl Iterator<Item = (&String, &LogicalVolume)> {
        let all = self.logical_volumes.iter();
        all.filter(move |(_, volume)| volume.spec.node == node)
    }

    /// Adds an object of any kind that a snapshot holds; ignores other kinds.
    ///
    /// # Errors
    /// If the object is malformed.
    pub fn add(&mut self, object: Value) -> Result<(), serde_json::Error> {
        let kind = object.get("kind").and_then(Value::as_str);
        match kind.unwrap_or_default() {
            "StorageBackend" => put(&mut self.backends, object),
            "LogicalVolume" => put(&mut self.logical_volumes, object),
            "NodeStorage" => put(&mut self.storages, object),
            "Node" => put(&mut self.nodes, object),
            "PersistentVolume" => put(&mut self.persistent_volumes, object),
            "PersistentVolumeClaim" => put(&mut self.claims, object),
            "StorageClass" => put(&mut self.classes, object),
            "Pod" => put(&mut self.pods, object),
            "CSIDriver" => put(&mut self.csi_drivers, object),
            "CustomResourceDefinition" => put(&mut self.definitions, object),
            "Deployment" => put(&mut self.deployments, object),
            "DaemonSet" => put(&mut self.daemon_sets, object),
            "Lease" => put(&mut self.leases, object),
            "Event" => push(&mut self.events, object),
            "CSIStorageCapacity" => push(&mut self.capacities, object),
            "ClusterRole" => push(&mut self.cluster_roles, object),
            "ClusterRoleBinding" => push(&mut self.cluster_role_bindings, object),
            "Role" => push(&mut self.roles, object),
            "RoleBinding" => push(&mut self.role_bindings, object),
            _ => Ok(()),
        }
    }
}

/// Returns an object's name, after its namespace if it has one: the key in a snapshot.
#[must_use]
pub fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

fn put<K>(objects: &mut BTreeMap<String, K>, object: Value) -> Result<(), serde_json::Error>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Prune,
{
    let mut object: K = serde_json::from_value(object)?;
    if object.prune() {
        objects.insert(key(&object), object);
    }
    Ok(())
}

fn push<K>(objects: &mut Vec<K>, object: Value) -> Result<(), serde_json::Error>
where
    K: DeserializeOwned + Prune,
{
    let mut object: K = serde_json::from_value(object)?;
    if object.prune() {
        objects.push(object);
    }
    Ok(())
}
