//! FlexLVM's Kubernetes API, group `flexlvm.dev`: the types, and the names that every part of
//! FlexLVM shares.
//!
//! In reading order:
//!
//! - [`storage_backend`]: written by an admin; with [`selector`], [`devices`], [`layout`],
//!   [`thin_pool`], [`cache`], [`portion`] and [`node_loss`] for its parts.
//! - [`logical_volume`]: written by the controller for an agent; [`share`] is a part of a disk.
//! - [`node_storage`]: reported by the agent of a node; [`orphans`] finds a claim in it.
//! - [`adoption`]: an admin's request to make an existing logical volume a volume of FlexLVM.
//! - [`condition`] and [`quantity`]: shared by all of them; [`validation`] for the error about an
//!   invalid setting.
//! - `schema`: the schemas in a form that every supported API server reads alike.

#![expect(
    unreachable_pub,
    reason = "the derive of KubeSchema declares the type once more, inside a function"
)]

pub mod adoption;
pub mod cache;
pub mod condition;
pub mod devices;
pub mod erase;
pub mod layout;
pub mod logical_volume;
pub mod node_loss;
pub mod node_storage;
pub mod orphans;
pub mod portion;
pub mod quantity;
mod schema;
pub mod selector;
pub mod share;
pub mod storage_backend;
pub mod thin_pool;
pub mod validation;

pub use adoption::{Adoption, AdoptionSpec, AdoptionStatus};
pub use erase::Erase;
pub use logical_volume::{LogicalVolume, LogicalVolumeSpec, LogicalVolumeStatus};
pub use node_loss::{NodeLoss, NodeLossPolicy};
pub use node_storage::{NodeStorage, NodeStorageSpec, NodeStorageStatus};
pub use share::Share;
pub use storage_backend::{StorageBackend, StorageBackendSpec, StorageBackendStatus};
pub use validation::ValidationError;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group, and the `provisioner` of StorageClasses.
///
/// Without a slash, so that it can also name a `CSIDriver` object: kube-scheduler then considers
/// the capacity that FlexLVM publishes.
pub const GROUP: &str = "flexlvm.dev";

/// Label of LogicalVolumes that holds the node, encoded by [`node_label_value`].
///
/// An agent watches its own objects by this label, since field selectors on custom resources exist
/// only from Kubernetes 1.31 on.
pub const NODE_LABEL: &str = "flexlvm.dev/node";

/// Finalizer of LogicalVolumes: keeps the object until its space on the node is free.
pub const FINALIZER: &str = "flexlvm.dev/logical-volume";

/// Finalizer of StorageBackends that have volumes: keeps the object until they are gone.
pub const BACKEND_FINALIZER: &str = "flexlvm.dev/storage-backend";

/// Returns every custom resource definition, for Kubernetes 1.25 and later (with CEL rules).
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        StorageBackend::crd(),
        LogicalVolume::crd(),
        NodeStorage::crd(),
        Adoption::crd(),
    ];
    for definition in &mut all {
        schema::normalize(definition);
        let label = ("app.kubernetes.io/name".to_owned(), "flexlvm".to_owned());
        definition
            .metadata
            .labels
            .get_or_insert_default()
            .extend([label]);
    }
    all
}

/// Returns the value of [`NODE_LABEL`] for a node.
///
/// Node names have up to 253 characters, label values up to 63: a longer name is truncated, and a
/// hash of the full name is appended.
#[must_use]
pub fn node_label_value(node: &str) -> String {
    const LONGEST: usize = 63;
    if node.len() <= LONGEST {
        return node.to_owned();
    }
    let head: String = node.chars().take(LONGEST - 17).collect();
    format!("{head}-{:016x}", hash(node))
}

/// Returns a hash of a name (FNV-1a).
///
/// It is the same on every machine and in every version, which std's hasher does not guarantee.
#[must_use]
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::node_label_value;

    #[test]
    fn long_node_names_have_distinct_valid_label_values() {
        let long = "n".repeat(200);
        let other = format!("{long}x");
        assert_eq!(node_label_value("node-1.example.com"), "node-1.example.com");
        assert_eq!(node_label_value(&long).len(), 63);
        assert_ne!(node_label_value(&long), node_label_value(&other));
    }
}
