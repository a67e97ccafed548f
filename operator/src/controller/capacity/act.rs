//! Carries out the writes that `plan.rs` planned, and removes everything on uninstallation. Runs on
//! the leader only.

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

/// Number of concurrent writes.
const AT_ONCE: usize = 8;

/// Writes the published objects.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    capacities: Api<CSIStorageCapacity>,
    drivers: Api<CSIDriver>,
}

impl Publisher {
    /// Creates a publisher for capacities in `namespace`, the controller's own.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            capacities: Api::namespaced(client.clone(), namespace),
            drivers: Api::all(client.clone()),
            client,
        }
    }

    /// Carries out the steps, and records in `written` when each object was last written.
    ///
    /// # Errors
    /// The first error; further steps are not started.
    pub async fn carry_out(
        &self,
        steps: Vec<Step>,
        written: &mut HashMap<String, Instant>,
    ) -> Result<(), ApiError> {
        let done = stream::iter(steps)
            .map(async |step| self.write(&step).await.map(|()| step.name().to_owned()));
        done.buffer_unordered(AT_ONCE)
            .try_for_each(|name| {
                written.insert(name, Instant::now());
                futures::future::ready(Ok(()))
            })
            .await
    }

    async fn write(&self, step: &Step) -> Result<(), ApiError> {
        match step {
            Step::Publish(name, capacity) => self.publish(name, capacity).await,
            Step::Remove(name) => {
                let deleted = self
                    .capacities
                    .delete(name, &DeleteParams::default())
                    .await
                    .map(|_| ());
                ignore_not_found(deleted.map_err(ApiError::of(
                    "delete",
                    "CSIStorageCapacity",
                    name,
                )))
            }
            Step::WriteDriver => self.write_driver().await,
            Step::DeleteDriver => {
                let deleted = self
                    .drivers
                    .delete(crds::GROUP, &DeleteParams::default())
                    .await
                    .map(|_| ());
                ignore_not_found(deleted.map_err(ApiError::of("delete", "CSIDriver", crds::GROUP)))
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

    /// Writes the CSIDriver.
    ///
    /// Its owner is the controller's ClusterRole: of the objects that `kubectl delete -k` deletes,
    /// this one is gone at once. Kubernetes then deletes the CSIDriver, whether the controller
    /// still runs or not. Without that ClusterRole the CSIDriver would be left over, so none is
    /// written.
    async fn write_driver(&self) -> Result<(), ApiError> {
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

    /// Removes all published objects: the CSIDriver first, since with it and without capacities
    /// every node counts as full.
    ///
    /// # Errors
    /// If the API server can't be reached or rejects a request; some objects may then be removed.
    pub async fn remove_all(&self) -> Result<(), ApiError> {
        let driver = self.drivers.get_opt(crds::GROUP).await;
        let driver = driver.map_err(ApiError::of("get", "CSIDriver", crds::GROUP))?;
        if let Some(driver) = driver.filter(object::is_ours) {
            let same_object = Preconditions {
                uid: driver.uid(),
                resource_version: None,
            };
            let deleted = self
                .drivers
                .delete(
                    crds::GROUP,
                    &DeleteParams::default().preconditions(same_object),
                )
                .await;
            ignore_not_found(deleted.map(|_| ()).map_err(ApiError::of(
                "delete",
                "CSIDriver",
                crds::GROUP,
            )))?;
        }
        let ours =
            ListParams::default().labels(&format!("{}={}", names::MANAGED_BY, names::CONTROLLER));
        let deleted = self
            .capacities
            .delete_collection(&DeleteParams::default(), &ours)
            .await;
        ignore_not_found(deleted.map(|_| ()).map_err(ApiError::of(
            "delete",
            "CSIStorageCapacity",
            "(all managed by FlexLVM)",
        )))
    }
}

fn applied() -> PatchParams {
    PatchParams::apply(names::CONTROLLER).force()
}

/// Treats an object that is already gone as deleted.
fn ignore_not_found(deleted: Result<(), ApiError>) -> Result<(), ApiError> {
    match deleted {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}
