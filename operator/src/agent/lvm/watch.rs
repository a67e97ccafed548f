//! Refreshes the cached LVM report when another program changes LVM.
//!
//! LVM rewrites its backup of a volume group with each change; inotify reports it at once, and the
//! backup shows whether it was the agent's own change, which is in the cache already. Where LVM is
//! configured not to write backups, or keeps them elsewhere, a new report once a minute finds
//! changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use host::Error;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::state::LvmState;
use crate::agent::watches::folders::Folders;
use crate::kube::backoff::Backoff;

/// Maximum time between two reports when inotify reports no change.
const LONGEST: Duration = Duration::from_mins(1);

/// Delay after a report that exceeded its time limit, which is a long wait already: the next one
/// ends as soon as LVM responds.
const AFTER_TIMEOUT: Duration = Duration::from_secs(1);

/// A command of LVM writes several files: it is taken as finished when none was written for this
/// long …
const QUIET: Duration = Duration::from_millis(300);

/// … or for this long while the agent itself changes LVM, since most writes then are its own.
const QUIET_AT_WORK: Duration = Duration::from_millis(1500);

/// Maximum delay until a change by another program is noticed while files keep changing.
const LONGEST_UNREST: Duration = Duration::from_secs(3);

/// Keeps the cached report of `lvm` current; `folder` is the node's folder `/etc/lvm`.
pub async fn run(lvm: Arc<LvmState>, folder: &Path) {
    let folders = Folders::watch(vec![folder.join("backup"), folder.join("archive")]);
    let backoff = Backoff::default();
    let mut due = Instant::now();
    loop {
        // Refreshes when due, even under constant changes.
        let is_due = tokio::select! {
            biased;
            () = sleep_until(due) => true,
            () = lvm.activity().report_wanted() => true,
            () = folders.changed() => false,
        };
        let refreshed = if is_due {
            lvm.refresh().await.map(|()| true)
        } else {
            settle(&lvm, &folders).await;
            lvm.catch_up().await
        };
        match refreshed {
            Ok(true) => {
                backoff.succeeded(&());
                due = Instant::now() + LONGEST;
            }
            Ok(false) => {}
            Err(error) => {
                let is_timeout = matches!(error, Error::Deadline { .. });
                tracing::warn!(
                    error = host::error::chain(&error),
                    "can't read LVM's report; retrying"
                );
                let wait = backoff.failed(&()).1.min(LONGEST);
                due = Instant::now() + if is_timeout { AFTER_TIMEOUT } else { wait };
            }
        }
        folders.renew();
    }
}

/// Waits until no file changes any more, up to a limit.
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
