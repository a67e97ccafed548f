//! Says when something was mounted or unmounted on the node, so that a volume that waits to be
//! removed is looked at as soon as its pod has let go of it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::sleep;

use super::folders::poll;

/// A pod that ends unmounts several volumes, one after the other.
const PAUSE: Duration = Duration::from_millis(200);

/// Calls `changed` after each change of the node's mount table.
pub async fn run(table: &Path, changed: impl Fn()) {
    // The kernel calls a change of this file an urgent condition, see proc(5).
    let table = File::open(table).and_then(|table| poll(table.into(), Interest::PRIORITY));
    let table = match table {
        Ok(table) => table,
        Err(error) => {
            tracing::warn!(%error, "unmounts on the node are noticed late");
            return;
        }
    };
    while let Ok(mut ready) = table.ready(Interest::PRIORITY).await {
        ready.clear_ready();
        sleep(PAUSE).await;
        changed();
    }
}
