//! Connects to the API server as kubectl does.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::cli::Connection;

/// Time without data after which a request fails.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// A client, and the namespace that the user means.
pub struct Access {
    /// The client.
    pub client: Client,
    /// The namespace of `--namespace`, else of the context.
    pub namespace: String,
}

/// Connects with the settings of the command line.
///
/// # Errors
/// If there is no valid kubeconfig.
pub async fn connect(connection: &Connection) -> Result<Access> {
    let options = KubeConfigOptions {
        context: connection.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = match &connection.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("reading {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &options).await?
        }
        None if connection.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await.context("finding the API server")?,
    };
    config.read_timeout = Some(READ_TIMEOUT);
    let namespace = connection.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).context("connecting to the API server")?;
    Ok(Access { client, namespace })
}
