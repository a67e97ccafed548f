//! A namespace for one test, with a name that no other test has.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A name that is new in this program and unlikely in any other.
#[must_use]
pub fn unique(prefix: &str) -> String {
    format!(
        "{prefix}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Creates a namespace with a new name and returns the name.
pub async fn create(client: &Client, prefix: &str) -> Result<String> {
    let name = unique(prefix);
    ensure(client, &name).await?;
    Ok(name)
}

/// Creates a namespace unless it is there.
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
