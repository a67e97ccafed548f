//! When the installation is checked again, when the driver is presented to the kubelet again, and
//! how long an uncertain condition waits. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::Pass;
use super::plan::Presentation;

/// Maximum time between two checks when inotify reports no change.
const LONGEST: Duration = Duration::from_mins(1);

/// The same while the kubelet has not loaded the driver, or is not found.
const LONGEST_UNREADY: Duration = Duration::from_secs(10);

/// Delay after a change, to let writers of several files finish.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// Delay after a failed attempt; the obstacle may be temporary.
pub(super) const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Time after which an uncertain `KubeletReady` is reported as False: longer than the kubelet takes
/// to restart and to look up a volume plugin, and than the first repeated presentation takes
/// effect.
const HOLD: Duration = Duration::from_mins(4);

/// Time after which the driver is presented to the kubelet again if the kubelet has not loaded it.
const SHOW_UNLOADED: Duration = Duration::from_secs(100);

/// Interval at which the driver is presented to the kubelet again if the kubelet still has not
/// loaded it, and where other drivers are installed.
///
/// When one of them fails at its start, kubelet 1.20 loads no driver at all, and probes again only
/// what changes.
const SHOW_AGAIN: Duration = Duration::from_mins(10);

/// The times that decide when to act again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When the driver was last presented to the kubelet.
    shown: Instant,
    /// Since when the kubelet is not ready; `None` if it is.
    unready: Option<Instant>,
    /// Whether the driver was presented again since then.
    is_repeated: bool,
}

impl Pace {
    /// Returns the pace of an agent that starts now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            shown: now,
            unready: Some(now),
            is_repeated: false,
        }
    }

    /// Returns how to present the driver in a pass at this time.
    pub(super) fn presentation(&self, now: Instant) -> Presentation {
        let since_shown = now - self.shown;
        let is_overdue = self
            .unready
            .is_some_and(|since| now - since >= SHOW_UNLOADED)
            && since_shown >= SHOW_UNLOADED;
        if is_overdue && (!self.is_repeated || since_shown >= SHOW_AGAIN) {
            Presentation::Always
        } else if since_shown >= SHOW_AGAIN {
            Presentation::AmongOthers
        } else {
            Presentation::OnChange
        }
    }

    /// Notes the result of a pass.
    pub(super) fn note(&mut self, pass: &Pass, presentation: Presentation, now: Instant) {
        if pass.is_installed || presentation != Presentation::OnChange {
            self.shown = now;
        }
        if presentation == Presentation::Always {
            self.is_repeated = true;
        }
        let is_ready = pass
            .kubelet
            .as_ref()
            .is_some_and(|readiness| readiness.condition.status);
        if is_ready {
            self.unready = None;
            self.is_repeated = false;
        } else {
            self.unready.get_or_insert(now);
        }
    }

    /// Returns whether the kubelet is not ready for so long that it is neither restarting nor about
    /// to load the driver.
    pub(super) fn has_waited(&self, now: Instant) -> bool {
        self.unready.is_some_and(|since| now - since >= HOLD)
    }

    /// Returns the maximum time until the next check.
    pub(super) fn longest(&self) -> Duration {
        if self.unready.is_some() {
            LONGEST_UNREADY
        } else {
            LONGEST
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HOLD, LONGEST, LONGEST_UNREADY, Pace, Pass, SHOW_AGAIN, SHOW_UNLOADED};
    use crate::agent::condition::ConditionUpdate;
    use crate::agent::driver_install::plan::Presentation;
    use crate::agent::driver_install::readiness::Readiness;
    use std::time::Duration;
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    fn pass(is_ready: bool, is_installed: bool) -> Pass {
        Pass {
            kubelet: Some(Readiness {
                condition: ConditionUpdate {
                    status: is_ready,
                    reason: "x",
                    message: String::new(),
                },
                is_certain: is_ready,
            }),
            is_installed,
            ..Pass::default()
        }
    }

    #[test]
    fn unloaded_driver_is_presented_again_soon_and_then_rarely() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.note(&pass(false, true), Presentation::OnChange, start);
        let soon = start + SHOW_UNLOADED;
        assert_eq!(pace.presentation(soon - SECOND), Presentation::OnChange);
        assert_eq!(pace.presentation(soon), Presentation::Always);
        pace.note(&pass(false, true), Presentation::Always, soon);
        assert_eq!(
            pace.presentation(soon + SHOW_UNLOADED),
            Presentation::OnChange
        );
        assert_eq!(pace.presentation(soon + SHOW_AGAIN), Presentation::Always);
        assert!(!pace.has_waited(start + HOLD - SECOND) && pace.has_waited(start + HOLD));
        assert_eq!(pace.longest(), LONGEST_UNREADY);
    }

    #[test]
    fn loaded_driver_is_presented_among_others_only() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.note(&pass(true, true), Presentation::OnChange, start);
        assert_eq!(
            pace.presentation(start + SHOW_UNLOADED),
            Presentation::OnChange
        );
        assert_eq!(
            pace.presentation(start + SHOW_AGAIN),
            Presentation::AmongOthers
        );
        assert!(!pace.has_waited(start + HOLD));
        assert_eq!(pace.longest(), LONGEST);
        // The kubelet restarts: its patience starts then.
        let restart = start + HOLD;
        pace.note(&pass(false, false), Presentation::OnChange, restart);
        assert!(!pace.has_waited(restart + HOLD - SECOND));
        assert_eq!(
            pace.presentation(restart + SHOW_UNLOADED),
            Presentation::Always
        );
    }
}
