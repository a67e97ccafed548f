//! The work queue of volume names.
//!
//! One worker handles a name at a time, a limited number of names is handled concurrently, and a
//! name that is queued twice is handled once. [`statistics`] counts both for metrics.

pub mod statistics;

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _, pin_mut, select_biased};
use kube::runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::time::Instant;

use statistics::QueueStatistics;

/// Puts names into the queue.
#[derive(Clone, Debug)]
pub struct WorkQueue {
    sender: mpsc::UnboundedSender<ScheduleRequest<String>>,
    statistics: QueueStatistics,
}

impl WorkQueue {
    /// Creates the sender and the receiver of a queue.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<ScheduleRequest<String>>) {
        let (sender, receiver) = mpsc::unbounded();
        let queue = Self {
            sender,
            statistics: QueueStatistics::default(),
        };
        (queue, receiver)
    }

    /// Returns what is counted about the queue.
    #[must_use]
    pub fn statistics(&self) -> QueueStatistics {
        self.statistics.clone()
    }

    /// Queues a name.
    pub fn enqueue(&self, name: &str) {
        self.requeue_after(name, Duration::ZERO);
    }

    /// Queues a name after a delay; of several requests the earliest wins.
    pub fn requeue_after(&self, name: &str, wait: Duration) {
        let run_at = Instant::now() + wait;
        self.statistics.queued(name, run_at);
        // Fails only when the queue has ended, with the process.
        let _ = self.sender.unbounded_send(ScheduleRequest {
            message: name.to_owned(),
            run_at,
        });
    }
}

/// Handles the names for as long as there are senders; counts them in `statistics`, which are those
/// of the queue.
pub async fn run<F>(
    requests: mpsc::UnboundedReceiver<ScheduleRequest<String>>,
    statistics: QueueStatistics,
    at_once: usize,
    work: impl Fn(String) -> F,
) where
    F: Future<Output = ()>,
{
    let queue = scheduler(requests);
    pin_mut!(queue);
    let busy = RefCell::new(HashSet::new());
    let mut running = FuturesUnordered::new();
    loop {
        let next = queue.as_mut().hold_unless(|name| {
            let busy = busy.borrow();
            busy.len() < at_once && !busy.contains(name)
        });
        let mut next = next.fuse();
        select_biased! {
            done = running.select_next_some() => {
                let done: String = done;
                busy.borrow_mut().remove(&done);
            }
            name = next.next() => {
                let Some(name) = name else { return };
                busy.borrow_mut().insert(name.clone());
                let counted = statistics.started(&name);
                running.push(work(name.clone()).map(move |()| {
                    drop(counted);
                    name
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{WorkQueue, run};
    use crate::metrics::{Format, Metrics};
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    #[tokio::test]
    async fn name_runs_once_at_a_time_and_no_request_is_lost() {
        let (queue, requests) = WorkQueue::channel();
        let active = Cell::new(0);
        let most = Cell::new(0);
        let done = RefCell::new(Vec::new());
        for _ in 0..3 {
            queue.enqueue("a");
            queue.enqueue("b");
        }
        let again = queue.clone();
        let work = |name: String| {
            let active = &active;
            let most = &most;
            let done = &done;
            let again = again.clone();
            async move {
                active.set(active.get() + 1);
                most.set(most.get().max(active.get()));
                if !done.borrow().contains(&name) {
                    again.enqueue(&name); // queued while it runs, so it runs again afterwards
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                active.set(active.get() - 1);
                done.borrow_mut().push(name);
            }
        };
        let work = run(requests, queue.statistics(), 8, work);
        let _ = tokio::time::timeout(Duration::from_secs(2), work).await;
        let mut done = done.into_inner();
        done.sort();
        assert_eq!(done, ["a", "a", "b", "b"]);
        assert_eq!(most.get(), 2);
    }

    #[tokio::test]
    async fn metrics_count_due_and_delayed_names() {
        let (queue, requests) = WorkQueue::channel();
        let metrics = Metrics::of_controller();
        queue.statistics().register(&metrics);
        queue.enqueue("a");
        queue.requeue_after("a", Duration::from_mins(1));
        queue.requeue_after("b", Duration::from_mins(1));
        queue.enqueue("c");
        queue.statistics().failed();
        let text = metrics.text(Format::OpenMetrics).unwrap();
        assert!(text.contains("\nflexlvm_queue_length 2\n"), "{text}");
        assert!(text.contains("\nflexlvm_queue_delayed 1\n"), "{text}");
        assert!(
            text.contains("\nflexlvm_reconcile_failures_total 1\n"),
            "{text}"
        );

        let statistics = queue.statistics();
        let work = run(requests, statistics.clone(), 8, |_| std::future::ready(()));
        let _ = tokio::time::timeout(Duration::from_millis(100), work).await;
        let metrics = Metrics::of_controller();
        statistics.register(&metrics);
        let text = metrics.text(Format::OpenMetrics).unwrap();
        assert!(text.contains("\nflexlvm_queue_length 0\n"), "{text}");
        assert!(text.contains("\nflexlvm_reconciles_running 0\n"), "{text}");
        assert!(
            text.contains("\nflexlvm_reconcile_duration_seconds_count 2\n"),
            "{text}"
        );
    }
}
