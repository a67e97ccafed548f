//! The programs that are changing block devices, and LVM's other commands. The former are never
//! killed, and the latter may survive SIGKILL. While one of them continues beyond its time limit, no
//! LVM command is started.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::Error;

/// All running programs that change devices, and LVM commands.
#[derive(Clone, Debug, Default)]
pub(super) struct DeviceChanges(Arc<Mutex<Vec<Arc<RunningChange>>>>);

/// A running program that changes devices, or LVM command.
#[derive(Debug)]
pub(super) struct RunningChange {
    command: String,
    began: Instant,
    /// Set when the caller stopped waiting for the program.
    is_abandoned: AtomicBool,
}

/// The entry of a running program. The thread that waits for the program's end owns it, and drops it
/// then.
#[derive(Debug)]
pub(super) struct DeviceChange {
    all: DeviceChanges,
    running: Arc<RunningChange>,
}

impl DeviceChanges {
    /// Records a program, before it starts.
    pub(super) fn begin(&self, command: String) -> DeviceChange {
        let running = Arc::new(RunningChange {
            command,
            began: Instant::now(),
            is_abandoned: AtomicBool::new(false),
        });
        self.lock().push(running.clone());
        DeviceChange {
            all: self.clone(),
            running,
        }
    }

    /// Checks that no program continues beyond its time limit.
    ///
    /// # Errors
    /// `StillRunning`, and no other.
    pub(super) fn refuse_while_abandoned(&self) -> Result<(), Error> {
        for running in self.lock().iter() {
            if running.is_abandoned.load(Ordering::Relaxed) {
                return Err(running.still_running());
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<RunningChange>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningChange {
    /// Records that the caller stops waiting for the program, and returns the caller's error.
    pub(super) fn abandon(&self) -> Error {
        self.is_abandoned.store(true, Ordering::Relaxed);
        self.still_running()
    }

    fn still_running(&self) -> Error {
        Error::StillRunning {
            command: self.command.clone(),
            time: self.began.elapsed(),
        }
    }
}

impl DeviceChange {
    /// Returns what the caller needs to stop waiting.
    pub(super) fn running(&self) -> Arc<RunningChange> {
        self.running.clone()
    }
}

impl Drop for DeviceChange {
    fn drop(&mut self) {
        self.all
            .lock()
            .retain(|other| !Arc::ptr_eq(other, &self.running));
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceChanges;
    use crate::error::Error;

    #[test]
    fn only_an_abandoned_change_refuses_others_until_its_end() {
        let changes = DeviceChanges::default();
        let first = changes.begin("lvm lvextend a".to_owned());
        let second = changes.begin("lvm lvcreate b".to_owned());
        assert!(changes.refuse_while_abandoned().is_ok());
        drop(second.running().abandon());
        let error = changes.refuse_while_abandoned().unwrap_err();
        assert!(
            matches!(&error, Error::StillRunning { command, .. } if command == "lvm lvcreate b"),
            "{error}"
        );
        drop(first);
        assert!(changes.refuse_while_abandoned().is_err());
        drop(second);
        assert!(changes.refuse_while_abandoned().is_ok());
    }
}
