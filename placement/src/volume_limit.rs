//! LVM's limit on the number of logical volumes in a volume group. Pure.
//!
//! Volumes that are reserved, and not created yet, don't count: if there are more of them than the
//! limit allows, the agent reports it, and the controller places them again.

use crds::StorageBackend;
use crds::node_storage::VolumeGroup;
use kube::ResourceExt as _;
use storage_model::Layout;

use crate::rejection::Rejection;

/// Checks that LVM lets the volume group have one more volume of the backend, which has this layout.
///
/// # Errors
/// The number of logical volumes that it has, and that the volume needs.
pub(crate) fn check(
    backend: &StorageBackend,
    layout: Layout,
    group: &VolumeGroup,
) -> Result<(), Rejection> {
    let Some(limit) = group.logical_volume_limit else {
        return Ok(());
    };
    let mut needs = layout.lvs_at_creation();
    if layout == Layout::Thin && creates_pool(backend, group) {
        needs += 1;
    }
    if needs <= limit.remaining {
        return Ok(());
    }
    Err(Rejection::TooManyVolumes {
        group: group.name.clone(),
        used: limit.maximum.saturating_sub(limit.remaining),
        maximum: limit.maximum,
        needs,
    })
}

/// Returns whether an agent creates the backend's thin pool along with the volume.
fn creates_pool(backend: &StorageBackend, group: &VolumeGroup) -> bool {
    let settings = backend.spec.thin_pool.as_ref();
    let is_named = settings.is_some_and(|settings| settings.name.is_some());
    let name = pool_name(backend);
    !is_named && group.thin_pools.iter().all(|pool| pool.name != name)
}

/// Returns the name of the backend's thin pool.
pub(crate) fn pool_name(backend: &StorageBackend) -> String {
    let settings = backend.spec.thin_pool.as_ref();
    settings
        .and_then(|settings| settings.name.clone())
        .unwrap_or_else(|| crds::thin_pool::pool_name(&backend.name_any()))
}

#[cfg(test)]
mod tests {
    use crate::layout;
    use crate::rejection::Rejection;
    use crds::StorageBackend;
    use crds::node_storage::VolumeGroup;
    use serde_json::{Value, json};

    fn backend(spec: Value) -> StorageBackend {
        let mut object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend",
            "metadata": {"name": "b"}, "spec": {"volumeGroup": "vg0"}});
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn group(remaining: Option<u32>, pool: Option<&str>) -> VolumeGroup {
        let mut group = json!({"name": "vg0", "uuid": "u", "size": "1Gi", "extentSize": "4Mi",
            "usedByOthers": "0", "free": "0"});
        if let Some(remaining) = remaining {
            group["logicalVolumeLimit"] = json!({"maximum": 6, "remaining": remaining});
        }
        if let Some(name) = pool {
            group["thinPools"] = json!([{"name": name, "size": "64Mi", "metadataSize": "4Mi",
                "dataUsed": 0, "metadataUsed": 0, "otherVolumes": "0"}]);
        }
        serde_json::from_value(group).unwrap()
    }

    fn check(backend: &StorageBackend, group: &VolumeGroup) -> Result<(), Rejection> {
        let layout = layout::to_lvm(&backend.spec.layout).unwrap();
        super::check(backend, layout, group)
    }

    #[test]
    fn group_without_limit_is_accepted() {
        assert_eq!(check(&backend(json!({})), &group(None, None)), Ok(()));
    }

    #[test]
    fn rejection_names_numbers_and_remedy() {
        let linear = backend(json!({}));
        assert_eq!(check(&linear, &group(Some(1), None)), Ok(()));
        assert_eq!(
            check(&linear, &group(Some(0), None))
                .unwrap_err()
                .to_string(),
            "has 6 of 6 logical volumes (max_lv) in volume group vg0 but the volume needs 1 more \
             (raise the limit with vgchange --logicalvolume)"
        );
    }

    #[test]
    fn pool_cache_and_checksums_count_in_addition_and_images_do_not() {
        let thin = backend(json!({"layout": {"type": "Thin"}, "thinPool": {"size": "64Mi"}}));
        let named = backend(json!({"layout": {"type": "Thin"}, "thinPool": {"name": "p"}}));
        let cached = backend(json!({"layout": {"type": "Cached"},
            "cache": {"devices": ["/dev/sdc"], "size": "1Gi"}}));
        let raid = backend(json!({"layout": {"type": "RAID1"}}));
        let checksums =
            backend(json!({"layout": {"type": "RAID1", "copies": 3, "integrity": true}}));
        for (backend, pool, needs) in [
            (&thin, None, 2),
            (&thin, Some("p"), 2),
            (&thin, Some("flexlvm-b"), 1),
            (&named, None, 1),
            (&cached, None, 2),
            (&raid, None, 1),
            (&checksums, None, 4),
        ] {
            let spec = &backend.spec;
            assert!(
                check(backend, &group(Some(needs), pool)).is_ok(),
                "{spec:?}"
            );
            assert!(
                check(backend, &group(Some(needs - 1), pool)).is_err(),
                "{spec:?}"
            );
        }
    }
}
