//! Detects an uninstallation, which removes the published capacity; a restart or an upgrade does
//! not.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::timeout;

use super::act::Publisher;
use crate::kube::names;

/// Timeout on shutdown; the kubelet waits 30 s before it kills the container.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Detects whether the controller's namespace or Deployment is being deleted.
pub struct UninstallDetector {
    client: Client,
    namespace: String,
    /// The uid of the Deployment at start-up; `None` if there was none.
    deployment: Option<String>,
}

impl UninstallDetector {
    /// Looks up the Deployment, once, when the controller starts.
    pub async fn find(client: &Client, namespace: &str) -> Self {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let found = timeout(SHUTDOWN_TIMEOUT, deployments.get_opt(names::CONTROLLER)).await;
        let deployment = found
            .ok()
            .and_then(Result::ok)
            .flatten()
            .and_then(|deployment| deployment.uid());
        Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            deployment,
        }
    }

    /// Removes the published capacity if the controller's namespace or Deployment is being deleted.
    ///
    /// Call it on the leader, after its work has stopped. If this fails, Kubernetes deletes the
    /// CSIDriver when its owner is gone.
    pub async fn clean_up(&self) {
        let clean_up = async {
            if self.is_uninstalling().await {
                tracing::info!("FlexLVM is being uninstalled: removing the published capacity");
                if let Err(error) = Publisher::new(self.client.clone(), &self.namespace)
                    .remove_all()
                    .await
                {
                    tracing::warn!(
                        error = host::error::chain(&error),
                        "failed to remove the published capacity"
                    );
                }
            }
        };
        let _ = timeout(SHUTDOWN_TIMEOUT, clean_up).await;
    }

    /// Returns true if FlexLVM is being uninstalled; false after an error, so that everything
    /// stays.
    async fn is_uninstalling(&self) -> bool {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        if let Ok(namespace) = namespaces.get_opt(&self.namespace).await
            && namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())
        {
            return true;
        }
        let Some(uid) = &self.deployment else {
            return false;
        };
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        match deployments.get_opt(names::CONTROLLER).await {
            Ok(None) => true,
            // A Deployment with another uid is the successor.
            Ok(Some(found)) => {
                found.uid().as_ref() == Some(uid) && found.metadata.deletion_timestamp.is_some()
            }
            Err(_) => false,
        }
    }
}
