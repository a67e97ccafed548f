//! Which Adoption gives a claim its volume, and which one a LogicalVolume was made for.

use std::time::Duration;

use crds::adoption::AdoptingClaim;
use crds::condition::{self, ADOPTED};
use crds::logical_volume::AdoptedVolume;
use crds::{Adoption, LogicalVolume};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::sleep;

use super::ClusterState;
use crate::controller::adoption::settings;
use crate::controller::plan::PendingAdoption;
use crate::kube::error::ApiError;

/// Interval between two checks of whether the definition of Adoption is missing.
const RECHECK: Duration = Duration::from_secs(2);

/// Number of consecutive checks that prove it: an API server that starts may not serve it yet.
const CHECKS: u32 = 3;

impl ClusterState {
    /// Returns once the Adoptions have been listed, or their definition is missing: then there are
    /// none, and claims are served without.
    ///
    /// Call it once all other kinds have been listed, so that the API server serves definitions.
    pub(super) async fn adoptions_ready(&self, client: &Client) {
        tokio::select! {
            _ = self.adoptions.wait_until_ready() => {}
            () = undefined(client) => tracing::warn!(
                "the definition of Adoption is missing, so nothing can be adopted: apply the folder crds, or crds/cel"
            ),
        }
    }

    /// Returns the Adoption that gives the claim a volume, until Kubernetes has bound one to it.
    ///
    /// A new, empty volume in the meantime would take the claim away from its data.
    pub(super) fn adoption_for(&self, claim: &PersistentVolumeClaim) -> Option<PendingAdoption> {
        let wanted = AdoptingClaim {
            namespace: claim.namespace()?,
            name: claim.name_any(),
        };
        for adoption in self.adoptions.state() {
            if settings::claim(&adoption).as_ref() == Some(&wanted) && self.is_unbound(&adoption) {
                return Some(pending(&adoption));
            }
        }
        None
    }

    /// Returns true until the PersistentVolume of the Adoption was bound, or deleted.
    fn is_unbound(&self, adoption: &Adoption) -> bool {
        let name = &adoption.spec.logical_volume;
        let Some(volume) = self.persistent_volumes.get(&ObjectRef::new(name)) else {
            return !is_adopted(adoption);
        };
        let status = volume.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        matches!(phase, None | Some("" | "Pending" | "Available"))
    }

    /// Returns the Adoption that made a LogicalVolume, unless it is complete.
    pub(super) fn adoption_behind(
        &self,
        logical_volume: &LogicalVolume,
    ) -> Option<PendingAdoption> {
        let adopted = logical_volume.spec.adopted.as_ref()?;
        if !self.has_adoption(adopted) {
            return None;
        }
        let adoption = self.adoptions.get(&ObjectRef::new(&adopted.adoption))?;
        if is_adopted(&adoption) {
            return None;
        }
        Some(pending(&adoption))
    }

    /// Returns true if the Adoption that a LogicalVolume was made for still exists.
    #[must_use]
    pub fn has_adoption(&self, adopted: &AdoptedVolume) -> bool {
        let adoption = self.adoptions.get(&ObjectRef::new(&adopted.adoption));
        adoption.is_some_and(|adoption| {
            adoption.metadata.uid.as_deref() == Some(adopted.adoption_uid.as_str())
        })
    }
}

/// Returns once the API server has reported repeatedly that it has no Adoptions.
async fn undefined(client: &Client) {
    let adoptions: Api<Adoption> = Api::all(client.clone());
    let first = ListParams::default().limit(1);
    let mut missing = 0;
    while missing < CHECKS {
        sleep(RECHECK).await;
        let listed = adoptions.list(&first).await;
        match listed.map_err(ApiError::of("list", "Adoption", "")) {
            Err(error) if error.is_not_found() => missing += 1,
            _ => missing = 0,
        }
    }
}

fn pending(adoption: &Adoption) -> PendingAdoption {
    PendingAdoption {
        name: adoption.name_any(),
        volume: adoption.spec.logical_volume.clone(),
    }
}

fn is_adopted(adoption: &Adoption) -> bool {
    let status = adoption.status.as_ref();
    status.is_some_and(|status| condition::is_true(&status.conditions, ADOPTED))
}
