//! Reports mounts and unmounts on the node, so that a volume that waits for deletion is reconciled
//! as soon as its pod has unmounted it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::sleep;

use super::folders::poll;

/// Delay after a change: a pod that ends unmounts several volumes in a row.
const PAUSE: Duration = Duration::from_millis(200);

/// Calls `changed` after each change of the node's mount table.
pub async fn run(table: &Path, changed: impl Fn()) {
    // The kernel signals a change of this file as an exceptional condition (EPOLLPRI), see proc(5).
    let table = File::open(table).and_then(|table| poll(table.into(), Interest::PRIORITY));
    let table = match table {
        Ok(table) => table,
        Err(error) => {
            tracing::warn!(%error, "can't watch the mount table: unmounts on the node are noticed with a delay");
            return;
        }
    };
    while let Ok(mut ready) = table.ready(Interest::PRIORITY).await {
        ready.clear_ready();
        sleep(PAUSE).await;
        changed();
    }
}
