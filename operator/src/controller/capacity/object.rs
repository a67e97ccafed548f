//! Builds and reads the published objects. Pure.

use std::collections::BTreeMap;

use crds::quantity;
use host::Bytes;
use k8s_openapi::api::storage::v1::{CSIDriver, CSIDriverSpec, CSIStorageCapacity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

use crate::kube::names;

/// Free capacity for volumes of a class on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The StorageClass.
    pub class: String,
    /// The value of the node's label [`names::HOSTNAME_LABEL`].
    pub host: String,
    /// The largest claim that fits; 0 if none fits. The scheduler compares claims with this.
    pub largest: Bytes,
    /// Total size of the volumes that fit.
    pub total: Bytes,
}

/// Returns the object's name for a class and a node.
///
/// Always a valid name, however long the two are, and the same after a restart.
#[must_use]
pub fn name(class: &str, node: &str) -> String {
    // Hashes with a separator that names can't contain: "a.b" and "c" differ from "a" and "b.c".
    let hash = crds::hash(&format!("{class}/{node}"));
    format!("{}.{}.{hash:016x}.{}", head(class), head(node), crds::GROUP)
}

/// Returns the beginning of a name, without a separator at its end.
fn head(name: &str) -> String {
    const SHOWN: usize = 100;
    let head: String = name.chars().take(SHOWN).collect();
    head.trim_end_matches(['.', '-']).to_owned()
}

/// Builds the CSIStorageCapacity.
#[must_use]
pub fn build(name: &str, capacity: &Capacity) -> CSIStorageCapacity {
    let host = BTreeMap::from([(names::HOSTNAME_LABEL.to_owned(), capacity.host.clone())]);
    CSIStorageCapacity {
        metadata: metadata(name),
        storage_class_name: capacity.class.clone(),
        node_topology: Some(LabelSelector {
            match_labels: Some(host),
            match_expressions: None,
        }),
        capacity: Some(quantity::format(capacity.total)),
        maximum_volume_size: Some(quantity::format(capacity.largest)),
    }
}

/// Returns the capacity that an object holds; `None` for content that FlexLVM never writes.
#[must_use]
pub fn read(object: &CSIStorageCapacity) -> Option<Capacity> {
    let LabelSelector {
        match_labels,
        match_expressions,
    } = object.node_topology.clone()?;
    let mut labels = match_labels?;
    let host = labels.remove(names::HOSTNAME_LABEL)?;
    if !labels.is_empty() || !match_expressions.unwrap_or_default().is_empty() {
        return None;
    }
    let largest = object.maximum_volume_size.as_ref()?;
    let total = object.capacity.as_ref()?;
    Some(Capacity {
        class: object.storage_class_name.clone(),
        host,
        largest: quantity::parse(largest).ok().map(Bytes)?,
        total: quantity::parse(total).ok().map(Bytes)?,
    })
}

/// Builds the CSIDriver with this owner. `preventPodSchedulingIfMissing` stays unset: no node has a
/// CSI driver of this name.
#[must_use]
pub fn driver(owner: OwnerReference) -> CSIDriver {
    CSIDriver {
        metadata: ObjectMeta {
            owner_references: Some(vec![owner]),
            ..metadata(crds::GROUP)
        },
        spec: CSIDriverSpec {
            attach_required: Some(false),
            pod_info_on_mount: Some(false),
            storage_capacity: Some(true),
            ..CSIDriverSpec::default()
        },
    }
}

/// Returns true if the CSIDriver makes the scheduler use the published capacities, and is removed
/// with FlexLVM.
#[must_use]
pub fn is_as_wanted(driver: &CSIDriver) -> bool {
    let CSIDriverSpec {
        attach_required,
        pod_info_on_mount,
        storage_capacity,
        ..
    } = &driver.spec;
    is_ours(driver)
        && !driver.owner_references().is_empty()
        && (*attach_required, *pod_info_on_mount, *storage_capacity)
            == (Some(false), Some(false), Some(true))
}

/// Returns true if FlexLVM manages the object.
#[must_use]
pub fn is_ours(object: &impl kube::ResourceExt) -> bool {
    object.labels().get(names::MANAGED_BY).map(String::as_str) == Some(names::CONTROLLER)
}

fn metadata(name: &str) -> ObjectMeta {
    let labels = BTreeMap::from([(names::MANAGED_BY.to_owned(), names::CONTROLLER.to_owned())]);
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Capacity, build, driver, is_as_wanted, name, read};
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    fn capacity() -> Capacity {
        Capacity {
            class: "fast".into(),
            host: "host-1".into(),
            largest: Bytes(1 << 30),
            total: Bytes(3 << 30),
        }
    }

    #[test]
    fn built_object_is_read_back() {
        let object = build("x", &capacity());
        assert_eq!(read(&object), Some(capacity()));
        assert_eq!(object.maximum_volume_size, Some(Quantity("1Gi".into())));
    }

    #[test]
    fn foreign_object_is_not_read() {
        let mut object = build("x", &capacity());
        object.maximum_volume_size = None;
        assert_eq!(read(&object), None);
        let mut object = build("x", &capacity());
        object.node_topology = None;
        assert_eq!(read(&object), None);
    }

    /// Returns true for a valid part of a name between two dots.
    fn is_label(text: &str) -> bool {
        let mut characters = text.chars();
        !text.is_empty()
            && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    }

    #[test]
    fn names_are_valid_and_differ() {
        let long = "n".repeat(253);
        let longer = format!("{}-{}", "n".repeat(99), "n".repeat(153));
        for (class, node) in [
            ("fast", "node-1.example.com"),
            (long.as_str(), longer.as_str()),
            ("a", "0"),
        ] {
            let name = name(class, node);
            assert!(name.len() <= 253 && name.split('.').all(is_label), "{name}");
        }
        assert_ne!(name("a.b", "c"), name("a", "b.c"));
        assert_ne!(name(&long, "c"), name(&format!("{long}x"), "c"));
    }

    #[test]
    fn is_as_wanted_detects_differences() {
        let wanted = driver(OwnerReference {
            name: "flexlvm-controller".into(),
            ..OwnerReference::default()
        });
        assert!(is_as_wanted(&wanted));
        let mut changed = wanted.clone();
        changed.spec.storage_capacity = Some(false);
        assert!(!is_as_wanted(&changed));
        let mut without_owner = wanted;
        without_owner.metadata.owner_references = None;
        assert!(!is_as_wanted(&without_owner));
    }
}
