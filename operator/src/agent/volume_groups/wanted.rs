//! The volume groups that StorageBackends request on this node, and their devices. Pure.

use std::collections::BTreeMap;

use host::{DevicePath, VgName};
use kube::ResourceExt as _;

use crate::agent::watches::backends::SelectedBackends;

/// A volume group for which StorageBackends list devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedGroup {
    /// Name of the group.
    pub group: VgName,
    /// The devices, each once: those of all its backends, in the order of the backends' names.
    pub devices: Vec<DevicePath>,
    /// Backends that list the devices.
    pub backends: Vec<String>,
}

/// Returns the groups that the selected backends request.
///
/// A backend that is invalid or being deleted requests none.
#[must_use]
pub fn wanted(selected: &SelectedBackends) -> Vec<WantedGroup> {
    let mut groups = BTreeMap::<VgName, WantedGroup>::new();
    for backend in selected {
        let spec = &backend.spec;
        if spec.devices.is_empty()
            || spec.validate().is_err()
            || backend.metadata.deletion_timestamp.is_some()
        {
            continue;
        }
        let Ok(group) = VgName::new(&spec.volume_group) else {
            continue;
        };
        let wanted = groups.entry(group.clone()).or_insert_with(|| WantedGroup {
            group: group.clone(),
            devices: Vec::new(),
            backends: Vec::new(),
        });
        wanted.backends.push(backend.name_any());
        for device in spec
            .devices
            .iter()
            .filter_map(|device| DevicePath::new(device).ok())
        {
            if !wanted.devices.contains(&device) {
                wanted.devices.push(device);
            }
        }
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::wanted;
    use crds::StorageBackend;
    use host::DevicePath;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn backend(name: &str, group: &str, devices: &[&str], more: Value) -> Arc<StorageBackend> {
        let mut object = json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": name},
            "spec": {"volumeGroup": group, "devices": devices},
        });
        for (key, value) in more.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn devices_of_all_backends_of_a_group_are_merged() {
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let selected = vec![
            backend("a", "vg1", &["/dev/x", "/dev/y"], json!({})),
            backend("b", "vg0", &["/dev/z"], json!({})),
            backend("c", "vg1", &["/dev/y", "/dev/w"], json!({})),
            backend("d", "vg2", &[], json!({})),
            backend("e", "vg3", &["/dev/v"], deleted),
            backend("f", "vg4", &["/dev/v", "/dev/v"], json!({})),
        ];
        let wanted = wanted(&selected);
        let devices = |at: usize| {
            wanted[at]
                .devices
                .iter()
                .map(DevicePath::as_str)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            wanted
                .iter()
                .map(|one| one.group.as_str())
                .collect::<Vec<_>>(),
            ["vg0", "vg1"]
        );
        assert_eq!(
            (devices(0), devices(1)),
            (vec!["/dev/z"], vec!["/dev/x", "/dev/y", "/dev/w"])
        );
        assert_eq!(wanted[1].backends, ["a", "c"]);
    }
}
