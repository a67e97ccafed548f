//! What the work queue's metrics show: which names wait, and how long the work takes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::Priority;
use crate::metrics::Metrics;
use crate::metrics::series::{Gauge, Scrape};

/// Upper bounds of the duration of one reconcile, in seconds.
const DURATIONS: [f64; 10] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0];

const LENGTH: Gauge<0> = Gauge::new(
    "flexlvm_queue_length",
    "Volumes that are due and wait for their reconcile.",
    [],
);

const DELAYED: Gauge<0> = Gauge::new(
    "flexlvm_queue_delayed",
    "Volumes that are queued for later, most of them for a retry or a check.",
    [],
);

const LONGEST: Gauge<0> = Gauge::new(
    "flexlvm_queue_longest_wait_seconds",
    "Time since the volume that waits longest was due.",
    [],
);

const RUNNING: Gauge<0> = Gauge::new(
    "flexlvm_reconciles_running",
    "Volumes that are being reconciled.",
    [],
);

/// The waiting names and the work of a queue. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct QueueStatistics(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// When each queued name is due.
    waiting: Mutex<HashMap<String, QueuedName>>,
    running: Mutex<usize>,
    durations: Histogram,
    failures: Counter,
}

/// When a name is due, with each priority with which it is queued.
#[derive(Debug, Default)]
struct QueuedName {
    normal: Option<Instant>,
    low: Option<Instant>,
}

impl QueuedName {
    fn of(&mut self, priority: Priority) -> &mut Option<Instant> {
        match priority {
            Priority::Normal => &mut self.normal,
            Priority::Low => &mut self.low,
        }
    }

    fn due(&self) -> Option<Instant> {
        [self.normal, self.low].into_iter().flatten().min()
    }
}

/// A reconcile under way: counted until it is dropped.
#[derive(Debug)]
pub(super) struct Running {
    counts: Arc<Counts>,
    start: Instant,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            running: Mutex::default(),
            durations: Histogram::new(DURATIONS),
            failures: Counter::default(),
        }
    }
}

impl QueueStatistics {
    /// Records that a name was queued for a time; the earliest counts.
    pub(super) fn queued(&self, priority: Priority, name: &str, due: Instant) {
        let mut waiting = lock(&self.0.waiting);
        let queued = waiting.entry(name.to_owned()).or_default().of(priority);
        *queued = Some(queued.map_or(due, |earlier| earlier.min(due)));
    }

    /// Records that the reconcile of a queued name starts.
    pub(super) fn started(&self, priority: Priority, name: &str) -> Running {
        let mut waiting = lock(&self.0.waiting);
        if let Some(queued) = waiting.get_mut(name) {
            *queued.of(priority) = None;
            if queued.due().is_none() {
                waiting.remove(name);
            }
        }
        drop(waiting);
        *lock(&self.0.running) += 1;
        Running {
            counts: self.0.clone(),
            start: Instant::now(),
        }
    }

    /// Records that a reconcile failed, and is retried.
    pub fn failed(&self) {
        self.0.failures.inc();
    }

    /// Registers the metrics of the queue.
    pub fn register(&self, metrics: &Metrics) {
        metrics.register(|registry: &mut Registry| {
            registry.register(
                "flexlvm_reconcile_duration_seconds",
                "Duration of a reconcile of one volume",
                self.0.durations.clone(),
            );
            registry.register(
                "flexlvm_reconcile_failures",
                "Reconciles that failed and are retried",
                self.0.failures.clone(),
            );
        });
        let statistics = self.clone();
        metrics.compute(move |scrape| statistics.samples(scrape, Instant::now()));
    }

    fn samples(&self, scrape: &mut Scrape<'_>, now: Instant) -> fmt::Result {
        let mut longest = Duration::ZERO;
        let mut due = 0_usize;
        let mut delayed = 0_usize;
        for time in lock(&self.0.waiting).values().filter_map(QueuedName::due) {
            if time <= now {
                due += 1;
                longest = longest.max(now.duration_since(time));
            } else {
                delayed += 1;
            }
        }
        scrape.value(&LENGTH, due)?;
        scrape.value(&DELAYED, delayed)?;
        scrape.value(&LONGEST, longest.as_secs_f64())?;
        let running = *lock(&self.0.running);
        scrape.value(&RUNNING, running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.counts.running) -= 1;
        self.counts
            .durations
            .observe(self.start.elapsed().as_secs_f64());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
