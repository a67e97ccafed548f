//! The work queue: each volume's name is worked on by one worker at a time, at most so many volumes
//! at once, and a name that is queued twice is worked on once.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _, pin_mut, select_biased};
use kube::runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::time::Instant;

/// Puts names into the queue.
#[derive(Clone, Debug)]
pub struct WorkQueue(mpsc::UnboundedSender<ScheduleRequest<String>>);

impl WorkQueue {
    /// A queue's two ends.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<ScheduleRequest<String>>) {
        let (sender, receiver) = mpsc::unbounded();
        (Self(sender), receiver)
    }

    /// Queues a name for now.
    pub fn enqueue(&self, name: &str) {
        self.requeue_after(name, Duration::ZERO);
    }

    /// Queues a name for later; sooner requests win.
    pub fn requeue_after(&self, name: &str, wait: Duration) {
        // Only when the queue has ended, with the process, is there nobody to receive.
        let _ = self.0.unbounded_send(ScheduleRequest {
            message: name.to_owned(),
            run_at: Instant::now() + wait,
        });
    }
}

/// Works on the names for as long as there are senders.
pub async fn run<F>(
    requests: mpsc::UnboundedReceiver<ScheduleRequest<String>>,
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
                running.push(work(name.clone()).map(move |()| name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{WorkQueue, run};
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    #[tokio::test]
    async fn a_name_is_never_worked_on_twice_at_once_and_no_request_is_lost() {
        let (queue, requests) = WorkQueue::channel();
        let (active, most, done) = (Cell::new(0), Cell::new(0), RefCell::new(Vec::new()));
        for _ in 0..3 {
            queue.enqueue("a");
            queue.enqueue("b");
        }
        let again = queue.clone();
        let work = |name: String| {
            let (active, most, done, again) = (&active, &most, &done, again.clone());
            async move {
                active.set(active.get() + 1);
                most.set(most.get().max(active.get()));
                if !done.borrow().contains(&name) {
                    again.enqueue(&name); // while it is worked on: to be done afterwards
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                active.set(active.get() - 1);
                done.borrow_mut().push(name);
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), run(requests, 8, work)).await;
        let mut done = done.into_inner();
        done.sort();
        assert_eq!(done, ["a", "a", "b", "b"]);
        assert_eq!(most.get(), 2);
    }
}
