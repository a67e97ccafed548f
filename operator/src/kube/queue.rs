//! The work queue of volume names.
//!
//! One worker handles a name at a time, a limited number of names is handled concurrently, and a
//! name that is queued twice with one priority is handled once. Names with low priority are handled
//! while none with normal priority is due, and leave a part of the workers free: a new name never
//! waits for the many that are only looked at again. [`statistics`] counts both for metrics.

pub mod statistics;

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _, select_biased};
use kube::runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::time::Instant;

use statistics::QueueStatistics;

/// How urgent a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Its object has changed, or a step of it failed.
    Normal,
    /// It waits, and something has changed that it may depend on.
    Low,
}

/// Puts names into the queue.
#[derive(Clone, Debug)]
pub struct WorkQueue {
    normal: Sender,
    low: Sender,
    statistics: QueueStatistics,
}

type Sender = mpsc::UnboundedSender<ScheduleRequest<String>>;
type Receiver = mpsc::UnboundedReceiver<ScheduleRequest<String>>;

/// The receiving end of a queue, for [`run`].
#[derive(Debug)]
pub struct Requests {
    normal: Receiver,
    low: Receiver,
}

impl Requests {
    /// Returns the next request, those of normal priority first.
    #[cfg(test)]
    pub fn try_next(&mut self) -> Option<ScheduleRequest<String>> {
        let request = self.normal.try_recv().or_else(|_| self.low.try_recv());
        request.ok()
    }
}

impl WorkQueue {
    /// Creates the sender and the receiver of a queue.
    #[must_use]
    pub fn channel() -> (Self, Requests) {
        let (normal, normal_receiver) = mpsc::unbounded();
        let (low, low_receiver) = mpsc::unbounded();
        let queue = Self {
            normal,
            low,
            statistics: QueueStatistics::default(),
        };
        let requests = Requests {
            normal: normal_receiver,
            low: low_receiver,
        };
        (queue, requests)
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
        self.request(Priority::Normal, name, wait);
    }

    /// Queues a name with low priority after a delay; of several such requests the earliest wins.
    pub fn revisit_after(&self, name: &str, wait: Duration) {
        self.request(Priority::Low, name, wait);
    }

    fn request(&self, priority: Priority, name: &str, wait: Duration) {
        let run_at = Instant::now() + wait;
        self.statistics.queued(priority, name, run_at);
        let sender = match priority {
            Priority::Normal => &self.normal,
            Priority::Low => &self.low,
        };
        // Fails only when the queue has ended, with the process.
        let _ = sender.unbounded_send(ScheduleRequest {
            message: name.to_owned(),
            run_at,
        });
    }
}

/// Returns how many names may be handled while one of low priority starts, itself included: a
/// quarter of the workers is for the others.
fn limit_of_low(at_once: usize) -> usize {
    at_once.saturating_sub(at_once.div_ceil(4)).max(1)
}

/// Handles the names for as long as there are senders; counts them in `statistics`, which are those
/// of the queue.
pub async fn run<F>(
    requests: Requests,
    statistics: QueueStatistics,
    at_once: usize,
    work: impl Fn(String) -> F,
) where
    F: Future<Output = ()>,
{
    // Boxed because they are large, and a part of the futures of agent and controller.
    let mut normal = Box::pin(scheduler(requests.normal));
    let mut low = Box::pin(scheduler(requests.low));
    let busy = RefCell::new(HashSet::new());
    let mut running = FuturesUnordered::new();
    loop {
        let may_start = |name: &String, limit: usize| {
            let busy = busy.borrow();
            busy.len() < limit && !busy.contains(name)
        };
        let next_normal = normal.as_mut().hold_unless(|name| may_start(name, at_once));
        let next_low = low
            .as_mut()
            .hold_unless(|name| may_start(name, limit_of_low(at_once)));
        let mut next_normal = next_normal.fuse();
        let mut next_low = next_low.fuse();
        let (priority, name) = select_biased! {
            done = running.select_next_some() => {
                let done: String = done;
                busy.borrow_mut().remove(&done);
                continue;
            }
            name = next_normal.next() => (Priority::Normal, name),
            name = next_low.next() => (Priority::Low, name),
        };
        let Some(name) = name else { return };
        busy.borrow_mut().insert(name.clone());
        let counted = statistics.started(priority, &name);
        running.push(work(name.clone()).map(move |()| {
            drop(counted);
            name
        }));
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
    async fn new_name_does_not_wait_for_many_that_are_revisited() {
        let (queue, requests) = WorkQueue::channel();
        for number in 0..200 {
            queue.revisit_after(&format!("waiting-{number}"), Duration::ZERO);
        }
        let started = RefCell::new(Vec::new());
        let new = queue.clone();
        let work = |name: String| {
            started.borrow_mut().push(name);
            if started.borrow().len() == 20 {
                new.enqueue("new");
            }
            tokio::time::sleep(Duration::from_millis(5))
        };
        let work = run(requests, queue.statistics(), 8, work);
        let _ = tokio::time::timeout(Duration::from_secs(1), work).await;
        let started = started.into_inner();
        assert_eq!(started.len(), 201, "none is lost");
        // After those that were at work, and that started within the millisecond in which it became
        // due.
        let place = started.iter().position(|name| name == "new").unwrap();
        assert!(place < 40, "it was number {place}");
    }

    #[tokio::test]
    async fn name_of_both_priorities_runs_once_at_a_time() {
        let (queue, requests) = WorkQueue::channel();
        queue.revisit_after("a", Duration::ZERO);
        queue.enqueue("a");
        let active = Cell::new(0);
        let runs = Cell::new(0);
        let work = |_| {
            let active = &active;
            let runs = &runs;
            async move {
                active.set(active.get() + 1);
                assert_eq!(active.get(), 1);
                tokio::time::sleep(Duration::from_millis(5)).await;
                active.set(active.get() - 1);
                runs.set(runs.get() + 1);
            }
        };
        let work = run(requests, queue.statistics(), 1, work);
        let _ = tokio::time::timeout(Duration::from_millis(200), work).await;
        assert_eq!(runs.get(), 2);
    }

    #[tokio::test]
    async fn metrics_count_due_and_delayed_names() {
        let (queue, requests) = WorkQueue::channel();
        let metrics = Metrics::of_controller();
        queue.statistics().register(&metrics);
        queue.enqueue("a");
        queue.requeue_after("a", Duration::from_mins(1));
        queue.requeue_after("b", Duration::from_mins(1));
        queue.revisit_after("c", Duration::from_mins(1)); // the earlier time counts
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
