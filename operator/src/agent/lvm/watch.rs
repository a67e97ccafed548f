//! Keeps what is known of LVM up to date when somebody else changes it.
//!
//! LVM rewrites its backup of a volume group with every change of it; that is heard of at once, and
//! the backup says whether it was a change of ours, which is known already. Where LVM is told not
//! to, or keeps its backups elsewhere, a look once a minute finds out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::state::LvmState;
use crate::agent::watches::folders::Folders;
use crate::kube::backoff::Backoff;

/// How long until LVM is asked without anything having been heard.
const LONGEST: Duration = Duration::from_mins(1);

/// A command of LVM writes several files: it is done when none was written for this long …
const QUIET: Duration = Duration::from_millis(300);

/// … or this long while we are at work ourselves, since most of what is written then is our own
/// doing.
const QUIET_AT_WORK: Duration = Duration::from_millis(1500);

/// But nobody else's change is overlooked for longer.
const LONGEST_UNREST: Duration = Duration::from_secs(3);

/// Refreshes what is known of `lvm`; `folder` is the node's folder `/etc/lvm`.
pub async fn run(lvm: Arc<LvmState>, folder: &Path) {
    let folders = Folders::watch(vec![folder.join("backup"), folder.join("archive")]);
    let backoff = Backoff::default();
    let mut due = Instant::now();
    loop {
        // Even if something happens all the time.
        let asked = if Instant::now() >= due || timeout_at(due, folders.changed()).await.is_err() {
            lvm.refresh().await.map(|()| true)
        } else {
            settle(&lvm, &folders).await;
            lvm.catch_up(folder).await
        };
        match asked {
            Ok(true) => {
                backoff.succeeded(&());
                due = Instant::now() + LONGEST;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(
                    error = host::error::chain(&error),
                    "LVM does not say what it has"
                );
                due = Instant::now() + backoff.failed(&()).1.min(LONGEST);
            }
        }
        folders.renew();
    }
}

/// Waits until it is quiet, but not too long.
async fn settle(lvm: &LvmState, folders: &Folders) {
    let last = Instant::now() + LONGEST_UNREST;
    loop {
        let quiet = if lvm.idle() < QUIET_AT_WORK {
            QUIET_AT_WORK
        } else {
            QUIET
        };
        if timeout_at(last.min(Instant::now() + quiet), folders.changed())
            .await
            .is_err()
        {
            return;
        }
    }
}
