//! What the agent knows about the statuses of its LogicalVolumes: bridges the time until the watch
//! returns a write, and keeps the uuids of the volumes that the agent has identified.
//!
//! Only the agent of the node writes a status. But before Kubernetes 1.30 the API server also accepts
//! writes by the agents of other nodes, so a uuid that the agent has identified takes precedence over
//! the status.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crds::LogicalVolume;
use crds::logical_volume::LogicalVolumeStatus;
use host::LvUuid;
use kube::ResourceExt as _;

/// What the agent knows about the statuses, by the objects' names.
#[derive(Default)]
pub(super) struct WrittenStatuses {
    /// The last written status of each object, until the watch returns it.
    written: Mutex<HashMap<String, WrittenStatus>>,
    identified: Mutex<HashMap<String, Identified>>,
}

/// A status that the agent has written, from the API server's answer.
struct WrittenStatus {
    /// Uid of the object.
    object: Option<String>,
    version: Option<u64>,
    status: LogicalVolumeStatus,
}

/// The logical volume of an object, as the agent has found it on the node.
struct Identified {
    /// Uid of the object.
    object: Option<String>,
    uuid: LvUuid,
}

impl WrittenStatuses {
    /// Returns the status in the API server: of this object, or of the agent's own write if the
    /// watch has not returned that yet.
    pub(super) fn current(&self, object: &LogicalVolume) -> LogicalVolumeStatus {
        let name = object.name_any();
        let mut all = lock(&self.written);
        if let Some(written) = all.get(&name) {
            if written.is_newer_than(object) {
                return written.status.clone();
            }
            all.remove(&name);
        }
        object.status.clone().unwrap_or_default()
    }

    /// Returns the current status with the uuid that the agent has identified.
    pub(super) fn corrected(&self, object: &LogicalVolume) -> LogicalVolumeStatus {
        let mut status = self.current(object);
        if let Some(identified) = lock(&self.identified).get(&object.name_any())
            && identified.object == object.uid()
        {
            status.uuid = Some(identified.uuid.to_string());
        }
        status
    }

    /// Records the API server's answer to a write.
    pub(super) fn record(&self, answer: &LogicalVolume) {
        let written = WrittenStatus {
            object: answer.uid(),
            version: version(answer),
            status: answer.status.clone().unwrap_or_default(),
        };
        lock(&self.written).insert(answer.name_any(), written);
    }

    /// Records the logical volume of an object.
    pub(super) fn identify(&self, object: &LogicalVolume, uuid: &LvUuid) {
        let identified = Identified {
            object: object.uid(),
            uuid: uuid.clone(),
        };
        lock(&self.identified).insert(object.name_any(), identified);
    }

    /// Forgets a deleted object.
    pub(super) fn forget(&self, name: &str) {
        lock(&self.written).remove(name);
        lock(&self.identified).remove(name);
    }
}

impl WrittenStatus {
    /// Returns whether the watch has yet to return this write.
    fn is_newer_than(&self, object: &LogicalVolume) -> bool {
        if self.object != object.uid() {
            return false;
        }
        match (self.version, version(object)) {
            (Some(own), Some(observed)) => own > observed,
            _ => object.status.as_ref() != Some(&self.status),
        }
    }
}

/// Returns the version of an object as the number that each API server over etcd uses: a later write
/// has a larger one.
fn version(object: &LogicalVolume) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::WrittenStatuses;
    use crds::LogicalVolume;
    use host::LvUuid;
    use serde_json::json;

    const OWN: &str = "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP";
    const OTHER: &str = "zzzzzz-1234-5678-90AB-CDEF-GHIJ-KLMNOP";

    /// Returns an object of this uid and version, whose status has this LVM uuid.
    fn object(uid: &str, version: &str, lvm_uuid: &str) -> LogicalVolume {
        serde_json::from_value(json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
            "metadata": {"name": "pvc-1", "uid": uid, "resourceVersion": version},
            "spec": {"node": "node1", "backend": "b", "volumeGroup": "vg0", "size": "1Gi",
                "storageClass": "s", "claim": {"namespace": "default", "name": "data", "uid": "1"},
                "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a", "reclaimPolicy": "Delete",
                "filesystem": {"type": "ext4"}},
            "status": {"uuid": lvm_uuid},
        }))
        .unwrap()
    }

    fn current(statuses: &WrittenStatuses, object: &LogicalVolume) -> String {
        statuses.current(object).uuid.unwrap()
    }

    fn corrected(statuses: &WrittenStatuses, object: &LogicalVolume) -> String {
        statuses.corrected(object).uuid.unwrap()
    }

    #[test]
    fn own_write_counts_until_the_watch_has_caught_up() {
        let statuses = WrittenStatuses::default();
        assert_eq!(current(&statuses, &object("u", "5", OTHER)), OTHER);
        statuses.record(&object("u", "10", OWN));
        assert_eq!(current(&statuses, &object("u", "9", OTHER)), OWN);
        // The watch skips a version if there is a later one: another client has written meanwhile.
        assert_eq!(current(&statuses, &object("u", "11", OTHER)), OTHER);
        assert_eq!(current(&statuses, &object("u", "9", OTHER)), OTHER);
        // A later object of the same name.
        statuses.record(&object("u", "10", OWN));
        assert_eq!(current(&statuses, &object("v", "1", OTHER)), OTHER);
    }

    #[test]
    fn identified_uuid_takes_precedence_over_the_status() {
        let statuses = WrittenStatuses::default();
        assert_eq!(corrected(&statuses, &object("u", "1", OTHER)), OTHER);
        let uuid = LvUuid::new(OWN).unwrap();
        statuses.identify(&object("u", "1", OTHER), &uuid);
        assert_eq!(corrected(&statuses, &object("u", "2", OTHER)), OWN);
        assert_eq!(current(&statuses, &object("u", "2", OTHER)), OTHER);
        assert_eq!(corrected(&statuses, &object("v", "3", OTHER)), OTHER);
        statuses.forget("pvc-1");
        assert_eq!(corrected(&statuses, &object("u", "4", OTHER)), OTHER);
    }
}
