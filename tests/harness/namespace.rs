//! Namespaces with unique names, one per test.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Returns a name that is unique in this program and unlikely in any other.
#[must_use]
pub fn unique(prefix: &str) -> String {
    format!(
        "{prefix}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Creates a namespace with a unique name and returns the name.
pub async fn create(client: &Client, prefix: &str) -> Result<String> {
    let name = unique(prefix);
    ensure(client, &name).await?;
    Ok(name)
}

/// Creates a namespace unless it exists.
pub async fn ensure(client: &Client, name: &str) -> Result<()> {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    let namespace = Namespace {
        metadata,
        ..Namespace::default()
    };
    match Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
    {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => Ok(other.map(drop)?),
    }
}
