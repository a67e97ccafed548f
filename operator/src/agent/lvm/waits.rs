//! Counts and times the waits for the lock for LVM, for metrics.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of the wait for the lock, in seconds.
const WAITS: [f64; 8] = [0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];

/// The waits for the lock.
#[derive(Debug)]
pub struct LockWaits {
    waiting: AtomicUsize,
    durations: Histogram,
}

/// A wait under way: counted until it is dropped.
pub(super) struct LockWait<'a> {
    waits: &'a LockWaits,
    start: Instant,
}

impl Default for LockWaits {
    fn default() -> Self {
        Self {
            waiting: AtomicUsize::default(),
            durations: Histogram::new(WAITS),
        }
    }
}

impl LockWaits {
    /// Returns the number of tasks that wait for the lock.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns the durations of all waits.
    #[must_use]
    pub fn durations(&self) -> Histogram {
        self.durations.clone()
    }

    /// Starts a wait.
    pub(super) fn start(&self) -> LockWait<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        LockWait {
            waits: self,
            start: Instant::now(),
        }
    }
}

impl Drop for LockWait<'_> {
    fn drop(&mut self) {
        self.waits.waiting.fetch_sub(1, Ordering::Relaxed);
        let waited = self.start.elapsed().as_secs_f64();
        self.waits.durations.observe(waited);
    }
}
