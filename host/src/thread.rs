//! Work on a thread of its own, which may see another system than the rest of the process. Called by `exec::on_host` and
//! `mount::view`.

use std::io;
use std::thread::{Builder, ScopedJoinHandle, scope};

/// Does `work` on a thread that ends with it, and waits for that. A panic goes on here.
///
/// # Errors
/// When no thread can be started; `work` was not done then.
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    match scope(|scope| Builder::new().spawn_scoped(scope, work).map(ScopedJoinHandle::join))? {
        Ok(result) => Ok(result),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
