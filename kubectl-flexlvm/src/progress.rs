//! Progress of a command that waits, on standard error: a bar on a terminal, elsewhere a line for
//! each change.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Columns of the bar.
const BAR: usize = 20;

/// Columns of a line on a terminal, at most: a longer one would not be overwritten by the next.
const COLUMNS: usize = 79;

/// Shows the progress of one command.
pub struct Progress {
    started: Instant,
    is_terminal: bool,
    shown: String,
}

impl Progress {
    /// Starts the clock of a progress.
    #[must_use]
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            is_terminal: std::io::stderr().is_terminal(),
            shown: String::new(),
        }
    }

    /// Returns the time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows how many of all steps are done, and what is in progress.
    pub fn show(&mut self, done: usize, all: usize, note: &str) {
        let text = if self.is_terminal {
            bar(done, all, self.elapsed(), note)
        } else {
            format!("{done}/{all} {note}")
        };
        if text == self.shown {
            return;
        }
        let line = if self.is_terminal {
            format!("\r{text:COLUMNS$}")
        } else {
            format!("{}\n", text.trim_end())
        };
        write(&line);
        self.shown = text;
    }

    /// Removes the bar.
    pub fn end(self) {
        if self.is_terminal && !self.shown.is_empty() {
            write(&format!("\r{:COLUMNS$}\r", ""));
        }
    }
}

fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // Nothing useful can be done if standard error is closed.
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}

/// Returns the bar with its numbers, cut to the columns of a line.
fn bar(done: usize, all: usize, time: Duration, note: &str) -> String {
    let filled = (BAR * done).checked_div(all).unwrap_or(BAR).min(BAR);
    let text = format!(
        "[{}{}] {done}/{all} {}s {note}",
        "#".repeat(filled),
        ".".repeat(BAR - filled),
        time.as_secs()
    );
    let whole = text.split('\n').next().unwrap_or_default();
    whole.chars().take(COLUMNS).collect()
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, bar};
    use std::time::Duration;

    #[test]
    fn bar_is_filled_in_proportion_and_fits_on_a_line() {
        let time = Duration::from_secs(7);
        let half = bar(1, 2, time, "vg0/pvc-1 on n1");
        assert_eq!(half, "[##########..........] 1/2 7s vg0/pvc-1 on n1");
        assert!(bar(0, 0, time, "").starts_with("[####################] 0/0"));
        assert!(bar(3, 2, time, "").starts_with("[####################] 3/2"));
        let long = bar(0, 1, time, &"x".repeat(200));
        assert_eq!(long.chars().count(), COLUMNS);
        assert!(!bar(0, 1, time, "a\nb").contains('\n'));
    }
}
