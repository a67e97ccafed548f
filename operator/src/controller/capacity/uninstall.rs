//! Whether the controller is ended for good: an uninstallation takes the published capacity back, a
//! restart or an upgrade does not.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::timeout;

use super::act::Publisher;
use crate::kube::names;

/// How long parting may take; the kubelet waits thirty seconds.
const PARTING: Duration = Duration::from_secs(10);

/// Where the controller lives.
pub struct UninstallDetector {
    client: Client,
    namespace: String,
    /// The uid of the Deployment that it came with, if it came with one.
    deployment: Option<String>,
}

impl UninstallDetector {
    /// Looks around, once, when the controller starts.
    pub async fn find(client: &Client, namespace: &str) -> Self {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let found = timeout(PARTING, deployments.get_opt(names::CONTROLLER)).await;
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

    /// To be called by the controller that works, once it has stopped to: takes the published
    /// capacity back if the controller's namespace or Deployment is being deleted. Should that
    /// fail, Kubernetes deletes the CSIDriver when its owner is gone.
    pub async fn leave(&self) {
        let leave = async {
            if self.is_going().await {
                tracing::info!("FlexLVM is being uninstalled: the published capacity is withdrawn");
                if let Err(error) = Publisher::new(self.client.clone(), &self.namespace)
                    .withdraw()
                    .await
                {
                    tracing::warn!(
                        error = host::error::chain(&error),
                        "the published capacity is not withdrawn"
                    );
                }
            }
        };
        let _ = timeout(PARTING, leave).await;
    }

    /// An error is no answer: then everything stays.
    async fn is_going(&self) -> bool {
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
            // Another one of its name is its successor.
            Ok(Some(found)) => {
                found.uid().as_ref() == Some(uid) && found.metadata.deletion_timestamp.is_some()
            }
            Err(_) => false,
        }
    }
}
