//! The controller's master key, from which it derives the keys of all volumes: in a Secret of its
//! own namespace, which it creates if there is none.
//!
//! The controller reads the Secret once, when it becomes active. Without the master key no volume is
//! placed or published; volumes that are published grow and are removed as usual.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use host::MasterKey;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use super::state::ClusterState;
use crate::kube::backoff::Backoff;
use crate::kube::error::ApiError;

/// Name of the Secret.
pub const SECRET: &str = "flexlvm-volume-keys";

/// The entry of the Secret that holds the master key.
pub const ENTRY: &str = "hmac";

/// Kubernetes' annotation that describes an object to admins.
const DESCRIPTION: &str = "kubernetes.io/description";

/// Timeout of one attempt: requests on a dead connection would never return.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The master key, or why there is none. `None` until the Secret was read.
pub type ObservedMasterKey = Option<Result<Arc<MasterKey>, MasterKeyError>>;

/// Why the controller has no master key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    /// The Secret exists, and its content is not a master key.
    #[error(
        "Secret {namespace}/{SECRET} has {length} bytes in entry {ENTRY} instead of {expected}, so no volume gets a key: \
         an admin must restore it from the backup; if there is none, delete it, and the controller creates a new one",
        expected = MasterKey::LENGTH
    )]
    Malformed {
        /// The Secret's namespace.
        namespace: String,
        /// Number of bytes in the entry; 0 without the entry.
        length: usize,
    },
    /// The Secret can't be read or created.
    #[error(
        "Secret {namespace}/{SECRET}, from which the keys of volumes are derived, can't be read or created: {cause}"
    )]
    Unreadable {
        /// The Secret's namespace.
        namespace: String,
        /// The error of the request.
        cause: String,
    },
}

/// Reads the Secret into the state, and creates it if there is none.
///
/// Repeats with a growing delay until the Secret holds a master key; then returns.
pub async fn run(client: Client, state: &ClusterState, namespace: &str) {
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    let backoff = Backoff::default();
    loop {
        let error = match load_in_time(&secrets, namespace).await {
            Ok(master_key) => return state.set_master_key(Ok(Arc::new(master_key))),
            Err(error) => error,
        };
        let (failures, wait) = backoff.failed(&());
        tracing::error!(
            failures,
            error = error.to_string(),
            "no volume can be placed or published, retrying in {} s",
            wait.as_secs()
        );
        // A first failed request is most often a restart of the API server.
        if failures > 1 || matches!(error, MasterKeyError::Malformed { .. }) {
            state.set_master_key(Err(error));
        }
        sleep(wait).await;
    }
}

async fn load_in_time(secrets: &Api<Secret>, namespace: &str) -> Result<MasterKey, MasterKeyError> {
    let cause = match timeout(TIMEOUT, load(secrets)).await {
        Ok(Ok(secret)) => return read(&secret, namespace),
        Ok(Err(error)) => host::error::chain(&error),
        Err(_) => format!(
            "the API server did not answer within {} s",
            TIMEOUT.as_secs()
        ),
    };
    Err(MasterKeyError::Unreadable {
        namespace: namespace.to_owned(),
        cause,
    })
}

/// Returns the Secret, which is created if there is none.
///
/// Of two controllers, the API server lets one create it; the other one reads the result.
async fn load(secrets: &Api<Secret>) -> Result<Secret, ApiError> {
    let found = secrets.get_opt(SECRET).await;
    if let Some(found) = found.map_err(ApiError::of("get", "Secret", SECRET))? {
        return Ok(found);
    }
    let bytes = MasterKey::generate()
        .map_err(|error| kube::Error::Service(error.into()))
        .map_err(ApiError::of("generate", "Secret", SECRET))?;
    let created = secrets.create(&PostParams::default(), &build(&bytes)).await;
    match created.map_err(ApiError::of("create", "Secret", SECRET)) {
        Ok(created) => {
            tracing::info!(
                "created Secret {SECRET}, from which the keys of volumes are derived: back it up"
            );
            Ok(created)
        }
        Err(error) if error.is_conflict() => {
            let found = secrets.get(SECRET).await;
            found.map_err(ApiError::of("get", "Secret", SECRET))
        }
        Err(error) => Err(error),
    }
}

/// Builds the Secret. No object owns it, so that only the deletion of the namespace removes it.
fn build(master_key: &[u8]) -> Secret {
    let description = "The keys of all FlexLVM volumes are derived from this Secret. Back it up, and don't delete it: \
                       see docs/operations.md.";
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/name".to_owned(),
                "flexlvm".to_owned(),
            )])),
            annotations: Some(BTreeMap::from([(
                DESCRIPTION.to_owned(),
                description.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(BTreeMap::from([(
            ENTRY.to_owned(),
            ByteString(master_key.to_vec()),
        )])),
        ..Secret::default()
    }
}

fn read(secret: &Secret, namespace: &str) -> Result<MasterKey, MasterKeyError> {
    let entry = secret.data.as_ref().and_then(|data| data.get(ENTRY));
    let bytes = entry.map(|entry| entry.0.as_slice()).unwrap_or_default();
    MasterKey::new(bytes).ok_or_else(|| MasterKeyError::Malformed {
        namespace: namespace.to_owned(),
        length: bytes.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::{ENTRY, MasterKeyError, build, read};
    use host::MasterKey;

    #[test]
    fn new_secret_is_immutable_and_holds_the_master_key() {
        let bytes = MasterKey::generate().unwrap();
        let secret = build(&bytes);
        assert_eq!(secret.immutable, Some(true));
        assert_eq!(secret.metadata.owner_references, None);
        let expected = MasterKey::new(&bytes).unwrap().derive("1");
        assert_eq!(read(&secret, "n").unwrap().derive("1"), expected);
    }

    #[test]
    fn secret_with_other_content_is_malformed() {
        let mut secret = build(&[0; 31]);
        let error = read(&secret, "flexlvm-system").unwrap_err();
        let message =
            "Secret flexlvm-system/flexlvm-volume-keys has 31 bytes in entry hmac instead of 32";
        assert!(error.to_string().starts_with(message), "{error}");
        secret.data.as_mut().unwrap().remove(ENTRY);
        let malformed = MasterKeyError::Malformed {
            namespace: "n".to_owned(),
            length: 0,
        };
        assert_eq!(read(&secret, "n").unwrap_err(), malformed);
    }
}
