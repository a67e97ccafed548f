//! What the agent runs of LVM at this moment, and since when. [`hang`](super::hang) decides whether
//! it hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use host::{Cmd, Error, Output};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::hang::LvmHang;

/// A moment by two clocks: the monotonic one decides, the other one is for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the monotonic clock.
    pub monotonic: Instant,
    /// By the clock of the node.
    pub clock: Timestamp,
}

impl Moment {
    /// Returns the present moment.
    #[must_use]
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            clock: Timestamp::now(),
        }
    }
}

/// A command of LVM that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningCommand {
    /// Short form of the command line, see [`short_line`].
    pub line: String,
    /// When it was started.
    pub began: Moment,
    /// True once the agent no longer waits for it: it exceeded its time limit, and continues.
    pub is_overdue: bool,
    /// Distinguishes commands with the same line.
    id: u64,
}

/// A command of LVM that was ended at its time limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedCommand {
    /// Short form of the command line, see [`short_line`].
    pub line: String,
    /// When it was started.
    pub began: Moment,
    /// Its time limit.
    pub limit: Duration,
}

/// What the agent runs of LVM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// The commands that have not ended, the oldest first.
    pub running: Vec<RunningCommand>,
    /// The first command that was ended at its time limit since LVM has last completed one.
    pub ended_at_limit: Option<EndedCommand>,
    /// Since when the lock for LVM is held without the end of a command; `None` if it is free.
    ///
    /// Between commands, the holder of the lock reads and writes disks.
    pub lock_held: Option<Moment>,
    /// Number of commands so far.
    count: u64,
}

/// What the agent runs of LVM, and whether it hangs. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LvmActivity(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    current: watch::Sender<Activity>,
    hang: watch::Sender<Option<LvmHang>>,
    report_wanted: Notify,
}

/// The entry of a command: it is removed with the value, even after a panic, unless the command
/// continues.
struct Entry<'a> {
    all: &'a LvmActivity,
    id: u64,
}

/// The lock for LVM is held until this is dropped.
#[derive(Debug)]
pub(super) struct HeldLock(LvmActivity);

impl LvmActivity {
    /// Returns a receiver of what the agent runs.
    #[must_use]
    pub fn current(&self) -> watch::Receiver<Activity> {
        self.0.current.subscribe()
    }

    /// Returns a receiver of what hangs; `None` if nothing does.
    #[must_use]
    pub fn hang(&self) -> watch::Receiver<Option<LvmHang>> {
        self.0.hang.subscribe()
    }

    /// Returns once a new report is due, since LVM may respond again.
    pub async fn report_wanted(&self) {
        self.0.report_wanted.notified().await;
    }

    /// Runs a command of LVM by `run`, and records it meanwhile.
    pub(super) fn track(
        &self,
        cmd: &Cmd,
        run: impl FnOnce() -> Result<Output, Error>,
    ) -> Result<Output, Error> {
        let mut id = 0;
        self.0.current.send_modify(|activity| {
            id = activity.begin(short_line(cmd), Moment::now());
        });
        let entry = Entry { all: self, id };
        let done = run();
        self.0
            .current
            .send_modify(|activity| activity.end(id, &done, Moment::now()));
        drop(entry);
        done
    }

    /// Records that the lock is held.
    pub(super) fn hold_lock(&self) -> HeldLock {
        let now = Moment::now();
        self.0
            .current
            .send_modify(|activity| activity.lock_held = Some(now));
        HeldLock(self.clone())
    }

    /// Records that the command which exceeded its time limit has ended.
    pub(super) fn end_overdue(&self) {
        self.0
            .current
            .send_modify(|activity| activity.running.retain(|command| !command.is_overdue));
    }

    /// Publishes what hangs; returns whether that differs from before.
    pub(super) fn publish(&self, hang: Option<LvmHang>) -> bool {
        self.0.hang.send_if_modified(|published| {
            let is_changed = *published != hang;
            *published = hang;
            is_changed
        })
    }

    /// Requests a new report.
    pub(super) fn request_report(&self) {
        self.0.report_wanted.notify_one();
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let id = self.id;
        self.all.0.current.send_if_modified(|activity| {
            let before = activity.running.len();
            activity
                .running
                .retain(|command| command.id != id || command.is_overdue);
            activity.running.len() != before
        });
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.0
            .0
            .current
            .send_modify(|activity| activity.lock_held = None);
    }
}

impl Activity {
    /// Records a started command, and returns its id.
    pub(super) fn begin(&mut self, line: String, now: Moment) -> u64 {
        self.count = self.count.wrapping_add(1);
        self.running.push(RunningCommand {
            line,
            began: now,
            is_overdue: false,
            id: self.count,
        });
        self.count
    }

    /// Records the result of a command.
    pub(super) fn end(&mut self, id: u64, done: &Result<Output, Error>, now: Moment) {
        if let Some(held) = &mut self.lock_held {
            *held = now;
        }
        let Some(at) = self.running.iter().position(|command| command.id == id) else {
            return;
        };
        let is_blocked = self.running.iter().any(|command| command.is_overdue);
        match done {
            Err(Error::StillRunning { .. }) => {
                if is_blocked {
                    // It was refused because of the overdue one.
                    self.running.remove(at);
                } else if let Some(command) = self.running.get_mut(at) {
                    command.is_overdue = true;
                }
            }
            Err(Error::Deadline { limit, .. }) => {
                let RunningCommand { line, began, .. } = self.running.remove(at);
                self.ended_at_limit.get_or_insert(EndedCommand {
                    line,
                    began,
                    limit: *limit,
                });
            }
            Ok(_) | Err(_) => {
                self.running.remove(at);
                self.ended_at_limit = None;
            }
        }
    }

    /// Returns the time since the start of the oldest command that has not ended by itself.
    #[must_use]
    pub fn longest(&self, now: Instant) -> Duration {
        let running = self.running.iter().map(|command| command.began);
        let ended = self.ended_at_limit.iter().map(|command| command.began);
        let ages = running.chain(ended);
        ages.map(|began| now.saturating_duration_since(began.monotonic))
            .max()
            .unwrap_or_default()
    }
}

/// Formats a command for messages: its verb and, if it changes a volume, that; a whole command line
/// may have hundreds of characters.
fn short_line(cmd: &Cmd) -> String {
    let mut words = vec![cmd.program()];
    let arguments = cmd.arguments();
    words.extend(arguments.first().map(String::as_str));
    if arguments.len() > 1 {
        words.push("…");
    }
    if cmd.changes_devices() {
        words.extend(volume_of(arguments));
    }
    words.join(" ")
}

/// Returns the volume that a command creates, by its name, or changes, by `group/name`.
fn volume_of(arguments: &[String]) -> Option<&str> {
    let mut former = "";
    for argument in arguments {
        let is_path = !former.starts_with("--")
            && !argument.starts_with(['/', '-'])
            && argument.contains('/');
        if former == "--name" || is_path {
            return Some(argument);
        }
        former = argument;
    }
    None
}

#[cfg(test)]
mod tests;
