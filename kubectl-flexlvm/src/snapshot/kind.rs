//! The kinds of objects that a snapshot holds.

use kube::api::ListParams;
use serde::Serialize;

/// Selects the objects of FlexLVM's manifests.
const PRODUCT: &str = "app.kubernetes.io/name=flexlvm";

/// A list of objects, which takes a request per page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// All StorageBackends.
    StorageBackends,
    /// All LogicalVolumes.
    LogicalVolumes,
    /// All NodeStorages.
    NodeStorages,
    /// All Nodes.
    Nodes,
    /// All PersistentVolumes.
    PersistentVolumes,
    /// The claims of all namespaces.
    PersistentVolumeClaims,
    /// All StorageClasses.
    StorageClasses,
    /// The pods of all namespaces.
    Pods,
    /// The pods of the controller and the agents.
    SystemPods,
    /// The Events of FlexLVM's controller.
    ControllerEvents,
    /// The Events of kubelets about mounts that failed.
    MountEvents,
    /// The CSIDriver `flexlvm.dev`.
    CsiDrivers,
    /// The published capacities.
    CsiStorageCapacities,
    /// FlexLVM's definitions.
    CustomResourceDefinitions,
    /// The controller.
    Deployments,
    /// The agents.
    DaemonSets,
    /// The Lease of the controller.
    ControllerLeases,
    /// The Leases of the nodes, which their kubelets renew.
    NodeLeases,
    /// All ClusterRoles.
    ClusterRoles,
    /// All ClusterRoleBindings.
    ClusterRoleBindings,
    /// The Roles of FlexLVM's namespace.
    Roles,
    /// The RoleBindings of FlexLVM's namespace.
    RoleBindings,
}

impl Kind {
    /// The kinds that describe volumes and their place.
    pub const VOLUMES: [Self; 7] = [
        Self::StorageBackends,
        Self::LogicalVolumes,
        Self::NodeStorages,
        Self::Nodes,
        Self::PersistentVolumes,
        Self::PersistentVolumeClaims,
        Self::StorageClasses,
    ];

    /// The kinds that describe the installation.
    pub const INSTALLATION: [Self; 14] = [
        Self::SystemPods,
        Self::ControllerEvents,
        Self::MountEvents,
        Self::CsiDrivers,
        Self::CsiStorageCapacities,
        Self::CustomResourceDefinitions,
        Self::Deployments,
        Self::DaemonSets,
        Self::ControllerLeases,
        Self::NodeLeases,
        Self::ClusterRoles,
        Self::ClusterRoleBindings,
        Self::Roles,
        Self::RoleBindings,
    ];

    /// Returns the selector of the objects that concern FlexLVM.
    #[must_use]
    pub fn selector(self) -> ListParams {
        let all = ListParams::default();
        match self {
            Self::SystemPods
            | Self::CustomResourceDefinitions
            | Self::Deployments
            | Self::DaemonSets => all.labels(PRODUCT),
            Self::ControllerEvents => all.fields(&format!("source={}", crds::GROUP)),
            Self::MountEvents => all.fields("reason=FailedMount"),
            Self::CsiDrivers => all.fields(&format!("metadata.name={}", crds::GROUP)),
            _ => all,
        }
    }

    /// Returns true if changes of its objects cause a new report: not Leases, which change all the
    /// time, and not permissions.
    #[must_use]
    pub fn is_watched(self) -> bool {
        !matches!(
            self,
            Self::ControllerLeases
                | Self::NodeLeases
                | Self::ClusterRoles
                | Self::ClusterRoleBindings
                | Self::Roles
                | Self::RoleBindings
                | Self::CsiStorageCapacities
        )
    }

    /// Returns the resource as in a rule of RBAC, with its API group.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::StorageBackends => "storagebackends.flexlvm.dev",
            Self::LogicalVolumes => "logicalvolumes.flexlvm.dev",
            Self::NodeStorages => "nodestorages.flexlvm.dev",
            Self::Nodes => "nodes",
            Self::PersistentVolumes => "persistentvolumes",
            Self::PersistentVolumeClaims => "persistentvolumeclaims",
            Self::StorageClasses => "storageclasses.storage.k8s.io",
            Self::Pods | Self::SystemPods => "pods",
            Self::ControllerEvents | Self::MountEvents => "events",
            Self::CsiDrivers => "csidrivers.storage.k8s.io",
            Self::CsiStorageCapacities => "csistoragecapacities.storage.k8s.io",
            Self::CustomResourceDefinitions => "customresourcedefinitions.apiextensions.k8s.io",
            Self::Deployments => "deployments.apps",
            Self::DaemonSets => "daemonsets.apps",
            Self::ControllerLeases | Self::NodeLeases => "leases.coordination.k8s.io",
            Self::ClusterRoles => "clusterroles.rbac.authorization.k8s.io",
            Self::ClusterRoleBindings => "clusterrolebindings.rbac.authorization.k8s.io",
            Self::Roles => "roles.rbac.authorization.k8s.io",
            Self::RoleBindings => "rolebindings.rbac.authorization.k8s.io",
        }
    }
}
