//! The objects that are published: built, and read back.
//! Pure.

use std::collections::BTreeMap;

use crds::quantity;
use k8s_openapi::api::storage::v1::{CSIDriver, CSIDriverSpec, CSIStorageCapacity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

use crate::kube::names;

/// How much volumes of a class find on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The StorageClass.
    pub class: String,
    /// The value of the node's label [`names::HOSTNAME_LABEL`].
    pub host: String,
    /// The largest claim that one volume can be made for, in bytes; 0 when none can be made. The
    /// scheduler looks at this.
    pub largest: u64,
    /// What volumes can have altogether, in bytes.
    pub total: u64,
}

/// The name of the object for a class and a node: legal, however long the two are, and the same
/// whoever asks.
#[must_use]
pub fn name(class: &str, node: &str) -> String {
    const SHOWN: usize = 100;
    let head = |text: &str| {
        text.chars()
            .take(SHOWN)
            .collect::<String>()
            .trim_end_matches(['.', '-'])
            .to_owned()
    };
    // "a.b" and "c" are another pair than "a" and "b.c".
    let hash = crds::hash(&format!("{class}/{node}"));
    format!("{}.{}.{hash:016x}.{}", head(class), head(node), crds::GROUP)
}

/// The object.
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

/// What an object says, if it is one that we could have written.
#[must_use]
pub fn read(object: &CSIStorageCapacity) -> Option<Capacity> {
    let LabelSelector {
        match_labels,
        match_expressions,
    } = object.node_topology.clone()?;
    let mut labels = match_labels?;
    let host = labels.remove(names::HOSTNAME_LABEL)?;
    let bytes = |quantity: &Option<_>| quantity::parse(quantity.as_ref()?).ok();
    (labels.is_empty() && match_expressions.unwrap_or_default().is_empty()).then_some(())?;
    let (largest, total) = (
        bytes(&object.maximum_volume_size)?,
        bytes(&object.capacity)?,
    );
    Some(Capacity {
        class: object.storage_class_name.clone(),
        host,
        largest,
        total,
    })
}

/// The CSIDriver, owned by what goes with FlexLVM. `preventPodSchedulingIfMissing` stays unset: no
/// node has a CSI driver of this name.
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

/// Whether the CSIDriver makes the scheduler heed what we publish, and goes with FlexLVM.
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

/// Whether an object is one of ours.
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
    use super::{Capacity, build, driver, is_as_wanted, name, read};
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    fn capacity() -> Capacity {
        Capacity {
            class: "fast".into(),
            host: "host-1".into(),
            largest: 1 << 30,
            total: 3 << 30,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let object = build("x", &capacity());
        assert_eq!(read(&object), Some(capacity()));
        assert_eq!(object.maximum_volume_size, Some(Quantity("1Gi".into())));
    }

    #[test]
    fn what_somebody_else_wrote_is_not_taken_for_ours() {
        let mut object = build("x", &capacity());
        object.maximum_volume_size = None;
        assert_eq!(read(&object), None);
        let mut object = build("x", &capacity());
        object.node_topology = None;
        assert_eq!(read(&object), None);
    }

    #[test]
    fn names_are_legal_and_differ() {
        let (long, longer) = (
            "n".repeat(253),
            format!("{}-{}", "n".repeat(99), "n".repeat(153)),
        );
        for (class, node) in [
            ("fast", "node-1.example.com"),
            (long.as_str(), longer.as_str()),
            ("a", "0"),
        ] {
            let name = name(class, node);
            let part = |part: &str| {
                let ends = [part.chars().next(), part.chars().last()];
                part.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                    && ends.iter().flatten().all(|end| *end != '-')
            };
            assert!(
                name.len() <= 253 && name.split('.').all(|text| !text.is_empty() && part(text)),
                "{name}"
            );
        }
        assert_ne!(name("a.b", "c"), name("a", "b.c"));
        assert_ne!(name(&long, "c"), name(&format!("{long}x"), "c"));
    }

    #[test]
    fn a_driver_that_differs_is_noticed() {
        let wanted = driver(OwnerReference {
            name: "flexlvm-controller".into(),
            ..OwnerReference::default()
        });
        assert!(is_as_wanted(&wanted));
        let mut changed = wanted.clone();
        changed.spec.storage_capacity = Some(false);
        assert!(!is_as_wanted(&changed));
        let mut orphan = wanted;
        orphan.metadata.owner_references = None;
        assert!(!is_as_wanted(&orphan));
    }
}
