//! Runs work that starts programs or waits for disks, on threads that may block.

use host::Error;
use tokio::task::spawn_blocking;

/// Runs `work` on a thread that may block, to completion even if the caller is dropped.
///
/// # Errors
/// If the work fails or panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Error::failed(format!(
            "a task of the agent panicked or was cancelled: {error}"
        )))
    })
}
