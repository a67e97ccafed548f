//! Decides whether LVM hangs, and publishes it for the NodeStorage.
//!
//! [`decide`] is pure; [`run`] applies it. A command that changes devices is never killed, so it may
//! hang for as long as a disk does not respond, and all others wait for it.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::Exec;
use k8s_openapi::jiff::Timestamp;
use tokio::time::sleep_until;

use super::activity::{Activity, LvmActivity};
use crate::agent::watches::logical_volumes::NodeVolumes;

/// Time after which a command that has not ended makes the node not Ready.
///
/// Ten seconds before the NodeStorage must have the condition, 30 s after the start. A report of
/// thousands of volumes takes a second.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Interval at which the agent checks whether a command beyond its time limit has ended.
const OVERDUE_INTERVAL: Duration = Duration::from_secs(1);

/// Where the remedy is.
const REMEDY: &str = "see docs/operations.md, LVM hangs";

/// What keeps the agent from using LVM. Times are by the node's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LvmHang {
    /// A command has not ended.
    Command {
        /// Short form of its line.
        line: String,
        /// When it was started.
        since: Timestamp,
    },
    /// A command was ended at its time limit, and LVM has completed none since.
    EndedAtLimit {
        /// Short form of its line.
        line: String,
        /// When it was started.
        since: Timestamp,
        /// Its time limit.
        limit: Duration,
    },
    /// No command is running, and the holder of the lock has not released it.
    Disk {
        /// Start of the work, or end of the last command.
        since: Timestamp,
    },
}

impl Display for LvmHang {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { line, since } => write!(
                f,
                "`{line}` has been running since {}; nothing can be created, expanded or removed on this node until it ends; {REMEDY}",
                seconds(*since)
            ),
            Self::EndedAtLimit { line, since, limit } => write!(
                f,
                "`{line}`, started at {}, was ended at its time limit of {} s, and LVM has completed no command since; nothing can be created, expanded or removed on this node until LVM responds; {REMEDY}",
                seconds(*since),
                limit.as_secs()
            ),
            Self::Disk { since } => write!(
                f,
                "the agent's access to a disk or a logical volume has not returned since {}; nothing can be created, expanded or removed on this node until it returns; {REMEDY}",
                seconds(*since)
            ),
        }
    }
}

/// Returns a time without its fraction of a second.
fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What hangs; `None` if nothing does.
    pub hang: Option<LvmHang>,
    /// When to decide again if the activity does not change; `None` if the decision then stays.
    pub revisit: Option<Instant>,
}

/// Decides what hangs, of what runs for `limit` or longer.
///
/// The message about a hang stays the same while LVM retries.
#[must_use]
pub fn decide(activity: &Activity, now: Instant, limit: Duration) -> Decision {
    if let Some(ended) = &activity.ended_at_limit {
        return Decision {
            hang: Some(LvmHang::EndedAtLimit {
                line: ended.line.clone(),
                since: ended.began.clock,
                limit: ended.limit,
            }),
            revisit: None,
        };
    }
    let oldest = activity
        .running
        .iter()
        .min_by_key(|command| command.began.monotonic);
    let (began, hang) = if let Some(command) = oldest {
        let line = command.line.clone();
        let since = command.began.clock;
        (command.began, LvmHang::Command { line, since })
    } else if let Some(held) = activity.lock_held {
        (held, LvmHang::Disk { since: held.clock })
    } else {
        return Decision {
            hang: None,
            revisit: None,
        };
    };
    let due = began.monotonic + limit;
    if now >= due {
        Decision {
            hang: Some(hang),
            revisit: None,
        }
    } else {
        Decision {
            hang: None,
            revisit: Some(due),
        }
    }
}

/// Publishes what hangs; never returns.
///
/// When LVM responds again, requests a new report and queues all volumes, which may wait with
/// backoff.
pub async fn run(
    activity: LvmActivity,
    programs: Arc<dyn Exec>,
    volumes: Arc<NodeVolumes>,
    limit: Duration,
) {
    let mut current = activity.current();
    loop {
        let (decision, is_overdue) = {
            let known = current.borrow_and_update();
            let is_overdue = known.running.iter().any(|command| command.is_overdue);
            (decide(&known, Instant::now(), limit), is_overdue)
        };
        if is_overdue && !programs.is_lvm_blocked() {
            activity.end_overdue();
            continue;
        }
        let Decision { hang, revisit } = decision;
        if activity.publish(hang.clone()) {
            note(hang.as_ref(), &activity, &volumes);
        }
        let poll = is_overdue.then(|| Instant::now() + OVERDUE_INTERVAL);
        let next = revisit.into_iter().chain(poll).min();
        let wait = async {
            match next {
                Some(next) => sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = current.changed() => {}
            () = wait => {}
        }
    }
}

/// Logs a changed decision, and continues the work if LVM responds.
fn note(hang: Option<&LvmHang>, activity: &LvmActivity, volumes: &NodeVolumes) {
    if let Some(hang) = hang {
        tracing::warn!("LVM hangs: {hang}");
    } else {
        tracing::info!("LVM responds again");
        volumes.enqueue_all();
    }
    // After a command was ended, only another one shows whether LVM responds.
    if matches!(hang, None | Some(LvmHang::EndedAtLimit { .. })) {
        activity.request_report();
    }
}

#[cfg(test)]
mod tests;
