//! The sizes of a bound volume, and which capacity its PersistentVolume may have. Pure.
//!
//! A user raises the claim's request. For a flexVolume, Kubernetes' controller manager then raises
//! the PersistentVolume's capacity, whether there is space or not, and a kubelet that mounts a
//! volume with a larger capacity than the claim's starts no pod before `expandfs` succeeds. So the
//! controller lowers a capacity that the logical volume doesn't have until it has; the wanted size
//! stays in the claim's request.
//!
//! From Kubernetes 1.34 on a user may lower the request of a growth that failed. The kubelet then
//! still requests the size in the claim's status (`allocatedResources`), which for a flexVolume no
//! other component lowers.

use crds::{LogicalVolume, quantity};
use host::Bytes;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use placement::claim;
use serde_json::{Value, json};

const STORAGE: &str = "storage";
const NODE_RESIZE_PENDING: &str = "NodeResizePending";
const NODE_RESIZE_INFEASIBLE: &str = "NodeResizeInfeasible";
const FILE_SYSTEM_RESIZE_PENDING: &str = "FileSystemResizePending";

/// The sizes of a volume according to its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The PersistentVolume's capacity.
    pub capacity: Bytes,
    /// The size in the LogicalVolume's spec.
    pub reserved: Bytes,
    /// The logical volume's size, as its agent reports.
    pub actual: Bytes,
    /// The bound claim's sizes; `None` if the claim isn't in the watch cache.
    pub claim: Option<ClaimSizes>,
}

/// The size that a claim requests, and the sizes that Kubernetes records in its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimSizes {
    /// `spec.resources.requests`.
    pub requested: Bytes,
    /// `status.capacity`; `None` before the claim is bound.
    pub capacity: Option<Bytes>,
    /// `status.allocatedResources`: the size of the last growth that began. Absent before 1.34.
    pub allocated: Option<Bytes>,
    /// Whether the kubelet has given up the growth.
    pub is_infeasible: bool,
    /// Whether the controller manager has done its part of the growth.
    pub is_pending_on_node: bool,
}

impl Sizes {
    /// Reads the sizes. `claim` counts only if it is bound to this PersistentVolume.
    #[must_use]
    pub fn new(
        volume: &PersistentVolume,
        logical_volume: &LogicalVolume,
        claim: Option<&PersistentVolumeClaim>,
    ) -> Self {
        let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
        let status = logical_volume.status.as_ref();
        let bound = claim.filter(|claim| {
            let spec = claim.spec.as_ref();
            spec.and_then(|spec| spec.volume_name.as_deref()) == Some(&volume.name_any())
        });
        Self {
            capacity: bytes(capacity.and_then(|capacity| capacity.get(STORAGE)))
                .unwrap_or_default(),
            reserved: bytes(Some(&logical_volume.spec.size)).unwrap_or(Bytes(u64::MAX)),
            actual: bytes(status.and_then(|status| status.size.as_ref())).unwrap_or_default(),
            claim: bound.and_then(ClaimSizes::new),
        }
    }

    /// Returns the size that the volume should have.
    #[must_use]
    pub fn wanted(&self) -> Bytes {
        self.claim
            .as_ref()
            .map_or(self.capacity, |claim| claim.requested)
    }

    /// Returns the capacity for the PersistentVolume while the volume can't grow, if its capacity
    /// would keep pods from starting.
    #[must_use]
    pub fn limit(&self) -> Option<Bytes> {
        let claim = self.claim.as_ref()?;
        if self.capacity <= self.actual || self.actual == Bytes(0) {
            return None;
        }
        Some(claim.capacity.unwrap_or(Bytes(u64::MAX)).min(self.actual))
    }

    /// Returns the request if the logical volume is large enough for it, and PersistentVolume or
    /// claim keep the kubelet from growing the file system to it.
    #[must_use]
    pub fn incomplete_growth(&self) -> Option<Bytes> {
        let claim = self.claim.as_ref()?;
        let is_grown = self.actual >= claim.requested;
        if !is_grown
            || claim
                .capacity
                .is_some_and(|capacity| claim.requested <= capacity)
        {
            return None;
        }
        // The controller manager raises the capacity itself, before it marks the claim.
        let was_limited = self.capacity < claim.requested && claim.is_pending_on_node;
        let exceeds = self.capacity > self.actual;
        let is_blocked = claim.is_infeasible
            || claim
                .allocated
                .is_some_and(|allocated| allocated > self.actual);
        (was_limited || exceeds || is_blocked).then_some(claim.requested)
    }
}

impl ClaimSizes {
    fn new(claim: &PersistentVolumeClaim) -> Option<Self> {
        let requested = claim::size(claim).ok()?;
        let status = claim.status.clone().unwrap_or_default();
        let statuses = status.allocated_resource_statuses.unwrap_or_default();
        let allocated = status.allocated_resources.unwrap_or_default();
        let mut conditions = status.conditions.iter().flatten();
        Some(Self {
            requested,
            capacity: bytes(status.capacity.unwrap_or_default().get(STORAGE)),
            allocated: bytes(allocated.get(STORAGE)),
            is_infeasible: statuses.get(STORAGE).map(String::as_str)
                == Some(NODE_RESIZE_INFEASIBLE),
            is_pending_on_node: conditions.any(|condition| {
                condition.type_ == FILE_SYSTEM_RESIZE_PENDING && condition.status == "True"
            }),
        })
    }

    /// Returns the change of a claim's status that makes the kubelet grow the file system to
    /// exactly the request; `None` if no growth is recorded, or if the status already matches.
    #[must_use]
    pub fn completed_status(claim: &PersistentVolumeClaim) -> Option<Value> {
        let sizes = Self::new(claim)?;
        let allocated = sizes.allocated?;
        if allocated == sizes.requested && !sizes.is_infeasible {
            return None;
        }
        Some(json!({
            "allocatedResources": {STORAGE: quantity::format(sizes.requested)},
            "allocatedResourceStatuses": {STORAGE: NODE_RESIZE_PENDING},
        }))
    }
}

fn bytes(quantity: Option<&Quantity>) -> Option<Bytes> {
    quantity::parse(quantity?).ok().map(Bytes)
}

#[cfg(test)]
mod tests {
    use super::{Bytes, ClaimSizes, Sizes};
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use serde_json::{Value, json};

    fn sizes(capacity: u64, actual: u64, claim: ClaimSizes) -> Sizes {
        Sizes {
            capacity: Bytes(capacity),
            reserved: Bytes(actual),
            actual: Bytes(actual),
            claim: Some(claim),
        }
    }

    fn claim(requested: u64, allocated: Option<u64>) -> ClaimSizes {
        ClaimSizes {
            requested: Bytes(requested),
            capacity: Some(Bytes(64)),
            allocated: allocated.map(Bytes),
            is_infeasible: false,
            is_pending_on_node: true,
        }
    }

    #[test]
    fn capacity_above_logical_volume_is_limited_to_claim_capacity() {
        assert_eq!(sizes(2000, 64, claim(2000, None)).limit(), Some(Bytes(64)));
        assert_eq!(sizes(2000, 100, claim(2000, None)).limit(), Some(Bytes(64)));
        assert_eq!(sizes(100, 100, claim(2000, None)).limit(), None);
        let unbound = ClaimSizes {
            capacity: None,
            ..claim(2000, None)
        };
        assert_eq!(sizes(2000, 100, unbound).limit(), Some(Bytes(100)));
        let unknown = Sizes {
            claim: None,
            ..sizes(2000, 64, claim(0, None))
        };
        assert_eq!((unknown.limit(), unknown.incomplete_growth()), (None, None));
        assert_eq!(unknown.wanted(), Bytes(2000));
        assert_eq!(
            sizes(2000, 0, claim(2000, None)).limit(),
            None,
            "the agent has not reported yet"
        );
    }

    #[test]
    fn fitting_request_is_completed_if_the_kubelet_is_blocked() {
        // The capacity was limited, and the volume has grown since.
        assert_eq!(
            sizes(64, 100, claim(100, Some(100))).incomplete_growth(),
            Some(Bytes(100))
        );
        let early = ClaimSizes {
            is_pending_on_node: false,
            ..claim(100, None)
        };
        assert_eq!(
            sizes(64, 100, early).incomplete_growth(),
            None,
            "the controller manager is about to raise it"
        );
        // The request was lowered before the capacity was limited, or after.
        assert_eq!(
            sizes(2000, 100, claim(90, Some(2000))).incomplete_growth(),
            Some(Bytes(90))
        );
        assert_eq!(
            sizes(90, 100, claim(90, Some(2000))).incomplete_growth(),
            Some(Bytes(90))
        );
        let given_up = ClaimSizes {
            is_infeasible: true,
            ..claim(90, Some(95))
        };
        assert_eq!(
            sizes(95, 100, given_up).incomplete_growth(),
            Some(Bytes(90))
        );
        // The kubelet is about to grow the file system by itself.
        assert_eq!(
            sizes(100, 100, claim(100, Some(100))).incomplete_growth(),
            None
        );
        assert_eq!(
            sizes(100, 100, claim(90, Some(100))).incomplete_growth(),
            None
        );
        // There is nothing to grow, or not enough space yet.
        assert_eq!(
            sizes(64, 100, claim(64, Some(2000))).incomplete_growth(),
            None
        );
        assert_eq!(
            sizes(2000, 64, claim(100, Some(2000))).incomplete_growth(),
            None
        );
    }

    fn claim_with_status(status: Value) -> PersistentVolumeClaim {
        let spec = json!({"resources": {"requests": {"storage": "128Mi"}}});
        serde_json::from_value(json!({"spec": spec, "status": status})).unwrap()
    }

    #[test]
    fn completed_status_has_the_request() {
        let completed = json!({"allocatedResources": {"storage": "128Mi"},
            "allocatedResourceStatuses": {"storage": "NodeResizePending"}});
        for state in [
            "NodeResizeInProgress",
            "NodeResizePending",
            "NodeResizeInfeasible",
        ] {
            let status = json!({"allocatedResources": {"storage": "20Gi"},
                "allocatedResourceStatuses": {"storage": state}});
            let change = ClaimSizes::completed_status(&claim_with_status(status));
            assert_eq!(change.as_ref(), Some(&completed), "{state}");
        }
        for status in [completed, json!({})] {
            let claim = claim_with_status(status);
            assert_eq!(ClaimSizes::completed_status(&claim), None);
        }
    }
}
