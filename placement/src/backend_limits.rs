//! Whether a class's backend allows a volume of the requested size, and which size the volume gets.
//! Pure.

use crds::storage_backend::VolumeLimits;
use crds::{StorageBackend, ValidationError, quantity};
use storage_model::Bytes;

use crate::class::Class;

/// The reason why a backend provides no volume of a size, however much space there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The class's backend doesn't exist. Holds its name.
    #[error("StorageBackend {0}, which the class names, does not exist")]
    NotFound(String),
    /// The class's backend is being deleted. Holds its name.
    #[error("StorageBackend {0}, which the class names, is being deleted")]
    BeingDeleted(String),
    /// A setting of the class's backend is invalid.
    #[error("StorageBackend {backend}: {error}")]
    Invalid {
        /// The backend's name.
        backend: String,
        /// What is invalid.
        error: ValidationError,
    },
    /// The backend allows no volume of the size.
    #[error(
        "{} is more than StorageBackend {backend} allows for one volume (volumeSize.maximum: {})",
        quantity::human(*size),
        quantity::human(*maximum)
    )]
    TooLarge {
        /// The volume's size.
        size: Bytes,
        /// The backend's name.
        backend: String,
        /// Maximum size of its volumes.
        maximum: Bytes,
    },
}

/// Returns the size of a volume for a request: at least the minimum of its file system and its
/// backend.
///
/// # Errors
/// If the backend can't be used, or if the size exceeds the backend's maximum.
pub fn size(
    requested: Bytes,
    class: &Class,
    backend: Option<&StorageBackend>,
) -> Result<Bytes, BackendError> {
    let limits = limits(class, backend)?;
    let size = requested
        .max(Bytes(limits.minimum))
        .max(Bytes(class.filesystem.type_.smallest_volume()));
    let maximum = Bytes(limits.maximum);
    if size <= maximum {
        return Ok(size);
    }
    Err(BackendError::TooLarge {
        size,
        backend: class.backend.clone(),
        maximum,
    })
}

/// Validates the class's backend, and returns the limits of its volumes' sizes.
fn limits(class: &Class, backend: Option<&StorageBackend>) -> Result<VolumeLimits, BackendError> {
    let name = class.backend.clone();
    let Some(backend) = backend else {
        return Err(BackendError::NotFound(name));
    };
    if backend.metadata.deletion_timestamp.is_some() {
        return Err(BackendError::BeingDeleted(name));
    }
    backend
        .spec
        .validate()
        .and_then(|()| backend.spec.limits())
        .map_err(|error| BackendError::Invalid {
            backend: name,
            error,
        })
}
