//! Writes what `plan.rs` found missing, and takes everything back. Only the controller that works
//! comes here.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use tokio::time::Instant;

use super::object::{self, Capacity};
use super::plan::Step;
use crate::kube::error::ApiError;
use crate::kube::names;

/// Writes under way at the same time.
const AT_ONCE: usize = 8;

/// Who writes.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    capacities: Api<CSIStorageCapacity>,
    drivers: Api<CSIDriver>,
}

impl Publisher {
    /// One that keeps the capacities in `namespace`, the controller's own.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        let (capacities, drivers) = (
            Api::namespaced(client.clone(), namespace),
            Api::all(client.clone()),
        );
        Self {
            client,
            capacities,
            drivers,
        }
    }

    /// Carries out the steps, and notes in `written` when each object was last written.
    ///
    /// # Errors
    /// The first that fails; further ones are not begun.
    pub async fn carry_out(
        &self,
        steps: Vec<Step>,
        written: &mut HashMap<String, Instant>,
    ) -> Result<(), ApiError> {
        let done = stream::iter(steps)
            .map(async |step| self.take(&step).await.map(|()| step.name().to_owned()));
        let note = |name| {
            written.insert(name, Instant::now());
            futures::future::ready(Ok(()))
        };
        done.buffer_unordered(AT_ONCE).try_for_each(note).await
    }

    async fn take(&self, step: &Step) -> Result<(), ApiError> {
        match step {
            Step::Publish(name, capacity) => self.publish(name, capacity).await,
            Step::Remove(name) => {
                let deleted = self
                    .capacities
                    .delete(name, &DeleteParams::default())
                    .await
                    .map(|_| ());
                gone(deleted.map_err(ApiError::of("delete", "CSIStorageCapacity", name)))
            }
            Step::Announce => self.announce().await,
            Step::Retract => {
                let deleted = self
                    .drivers
                    .delete(crds::GROUP, &DeleteParams::default())
                    .await
                    .map(|_| ());
                gone(deleted.map_err(ApiError::of("delete", "CSIDriver", crds::GROUP)))
            }
        }
    }

    async fn publish(&self, name: &str, capacity: &Capacity) -> Result<(), ApiError> {
        let patch = Patch::Apply(object::build(name, capacity));
        let applied = self.capacities.patch(name, &applied(), &patch).await;
        applied
            .map(|_| ())
            .map_err(ApiError::of("apply", "CSIStorageCapacity", name))
    }

    /// Writes the CSIDriver. Its owner is our ClusterRole, of the objects that `kubectl delete -k`
    /// deletes the one that is gone at once: Kubernetes then deletes the CSIDriver, whether we are
    /// still there or not. Without that ClusterRole nobody would, and so there is none.
    async fn announce(&self) -> Result<(), ApiError> {
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let role = roles.get(names::CONTROLLER).await;
        let role = role.map_err(ApiError::of("get", "ClusterRole", names::CONTROLLER))?;
        let owner = OwnerReference {
            api_version: "rbac.authorization.k8s.io/v1".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: role.name_any(),
            uid: role.uid().unwrap_or_default(),
            ..OwnerReference::default()
        };
        let patch = Patch::Apply(object::driver(owner));
        let applied = self.drivers.patch(crds::GROUP, &applied(), &patch).await;
        applied
            .map(|_| ())
            .map_err(ApiError::of("apply", "CSIDriver", crds::GROUP))
    }

    /// Takes everything back: the CSIDriver first, since with it and without capacities every node
    /// counts as full.
    ///
    /// # Errors
    /// When the API server can't be reached or refuses; part of it may then be gone.
    pub async fn withdraw(&self) -> Result<(), ApiError> {
        let driver = self.drivers.get_opt(crds::GROUP).await;
        let driver = driver.map_err(ApiError::of("get", "CSIDriver", crds::GROUP))?;
        if let Some(driver) = driver.filter(object::is_ours) {
            let this_one = Preconditions {
                uid: driver.uid(),
                resource_version: None,
            };
            let deleted = self
                .drivers
                .delete(
                    crds::GROUP,
                    &DeleteParams::default().preconditions(this_one),
                )
                .await;
            gone(
                deleted
                    .map(|_| ())
                    .map_err(ApiError::of("delete", "CSIDriver", crds::GROUP)),
            )?;
        }
        let ours =
            ListParams::default().labels(&format!("{}={}", names::MANAGED_BY, names::CONTROLLER));
        let deleted = self
            .capacities
            .delete_collection(&DeleteParams::default(), &ours)
            .await;
        gone(deleted.map(|_| ()).map_err(ApiError::of(
            "delete",
            "CSIStorageCapacity",
            "(all of ours)",
        )))
    }
}

fn applied() -> PatchParams {
    PatchParams::apply(names::CONTROLLER).force()
}

/// What is gone already is as good as deleted.
fn gone(deleted: Result<(), ApiError>) -> Result<(), ApiError> {
    match deleted {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}
