//! Reconciles one volume: observes its objects, plans the next step, carries it out and writes
//! Events.
//!
//! Failures are reported, and retried later.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crds::LogicalVolume;
use jiff::Timestamp;
use kube::Client;
use tokio::time::{Instant, timeout};

use super::act::Actor;
use super::plan::{self, Plan, Step};
use super::state::ClusterState;
use crate::kube::backoff::Backoff;
use crate::kube::error::ApiError;
use crate::kube::events::Recorder;
use crate::kube::names::event;

/// Timeout of one reconcile: requests on a dead connection would never return.
const RECONCILE_TIMEOUT: Duration = Duration::from_mins(1);

/// Reconciles volumes.
pub struct Worker {
    state: Arc<ClusterState>,
    actor: Actor,
    recorder: Arc<Recorder>,
    backoff: Backoff<String>,
    /// Since when no step could be carried out for a volume.
    waiting_since: Mutex<HashMap<String, Instant>>,
    /// Since when this process has observed that a volume's node is lost.
    lost_since: Mutex<HashMap<String, Instant>>,
    /// Consecutive cancelled placements of a volume: a node may reject what fits according to its
    /// report.
    cancelled_placements: Backoff<String>,
    /// Until when a volume with a cancelled placement is not placed again.
    placement_held_until: Mutex<HashMap<String, Instant>>,
    /// When the selected node of a claim that can't be served was last removed.
    last_deselection: Mutex<HashMap<String, Instant>>,
    /// Volumes that were not healthy when they were last planned, until the Event about their
    /// recovery.
    unhealthy: Mutex<HashSet<String>>,
}

impl Worker {
    /// Creates a worker on these watch caches and reservations.
    #[must_use]
    pub fn new(client: Client, state: Arc<ClusterState>, recorder: Arc<Recorder>) -> Self {
        let actor = Actor::new(client, state.clone());
        Self {
            state,
            actor,
            recorder,
            backoff: Backoff::default(),
            waiting_since: Mutex::default(),
            lost_since: Mutex::default(),
            cancelled_placements: Backoff::default(),
            placement_held_until: Mutex::default(),
            last_deselection: Mutex::default(),
            unhealthy: Mutex::default(),
        }
    }

    /// Reconciles one volume.
    pub async fn work(&self, name: String) {
        let text = match timeout(RECONCILE_TIMEOUT, self.reconcile(&name)).await {
            Ok(Ok(())) => return self.backoff.succeeded(&name),
            Ok(Err(error)) => host::error::chain(&error),
            Err(_) => format!(
                "the API server did not answer within {} s",
                RECONCILE_TIMEOUT.as_secs()
            ),
        };
        let (failures, wait) = self.backoff.failed(&name);
        self.state.queue_statistics().failed();
        tracing::warn!(
            volume = name,
            failures,
            error = text,
            "reconciling a volume failed, retrying in {} s",
            wait.as_secs()
        );
        // A first failure is most often a restart of the API server; a second one matters to the
        // user.
        if failures > 1
            && let Some(claim) = self.state.observe(&name).claim
        {
            let notice = plan::about_claim(
                &claim,
                event::PROVISIONING_FAILED,
                format!("retrying after an error: {text}"),
            );
            let _ = self.recorder.publish(&notice).await;
        }
        self.state.requeue_after(&name, wait);
    }

    async fn reconcile(&self, name: &str) -> Result<(), ApiError> {
        let mut observed = self.state.observe(name);
        observed.in_flight = self.actor.in_flight(name, &observed);
        observed.waited = self.waiting_for(name);
        observed.lost_for = self.lost_for(name, observed.node_loss.is_some());
        observed.now = Timestamp::now();
        observed.was_unhealthy = self.was_unhealthy(name, observed.logical_volume.as_deref());
        let plan = plan::plan(&observed, &self.state.reservations());
        let plan = self.limit_deselection(name, self.placement_backoff(name, plan));
        tracing::debug!(volume = name, step = ?plan.step, "planned");
        let is_waiting = matches!(
            plan.step,
            Step::Wait(_) | Step::Deselect | Step::LimitCapacity(_)
        );
        self.set_waiting_since(name, is_waiting);
        let outcome = self.actor.act(name, &observed, plan.step).await?;
        let retry_after = if let Step::Wait(wait) = outcome.step {
            Some(wait)
        } else {
            None
        };
        self.state.set_waiting(name, retry_after.is_some());
        if let Some(notice) = outcome.notice.or(plan.notice) {
            let rest = self.recorder.publish(&notice).await?;
            match rest {
                Some(rest) => self.state.revisit_after(name, rest),
                None if notice.reason == event::VOLUME_CONDITION_NORMAL => {
                    self.unhealthy().remove(name);
                }
                None => {}
            }
        }
        if let Some(wait) = retry_after {
            self.state.revisit_after(name, wait);
        }
        Ok(())
    }

    /// Delays the next placement of a volume after a cancelled one, longer each time: the node's
    /// report, which led to that node, may be outdated, and an immediate retry would choose it
    /// again.
    fn placement_backoff(&self, name: &str, plan: Plan) -> Plan {
        let mut placement_held_until = self
            .placement_held_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match plan.step {
            Step::CancelPlacement => {
                let (_, wait) = self.cancelled_placements.failed(&name.to_owned());
                placement_held_until.insert(name.to_owned(), Instant::now() + wait);
                plan
            }
            Step::Place { .. } => {
                let rest = placement_held_until
                    .get(name)
                    .map(|until| until.saturating_duration_since(Instant::now()));
                match rest.filter(|rest| !rest.is_zero()) {
                    Some(rest) => Step::Wait(rest).into(),
                    None => plan,
                }
            }
            Step::Publish(_) | Step::Done => {
                placement_held_until.remove(name);
                self.cancelled_placements.succeeded(&name.to_owned());
                plan
            }
            _ => plan,
        }
    }

    /// Keeps [`plan::DESELECT_INTERVAL`] between two deselections of one claim.
    fn limit_deselection(&self, name: &str, plan: Plan) -> Plan {
        let mut last_deselection = self
            .last_deselection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match plan.step {
            Step::Deselect => {
                let age = last_deselection.get(name).map(Instant::elapsed);
                if let Some(rest) = age.and_then(|age| plan::DESELECT_INTERVAL.checked_sub(age)) {
                    return Plan {
                        step: Step::Wait(rest),
                        ..plan
                    };
                }
                last_deselection.insert(name.to_owned(), Instant::now());
                plan
            }
            Step::Publish(_) | Step::Done => {
                last_deselection.remove(name);
                plan
            }
            _ => plan,
        }
    }

    /// Returns true if the volume is not healthy, or was not when it was last planned.
    ///
    /// That is lost with this process: then no Event reports the recovery, but the condition does.
    fn was_unhealthy(&self, name: &str, logical_volume: Option<&LogicalVolume>) -> bool {
        let mut unhealthy = self.unhealthy();
        match logical_volume {
            None => {
                unhealthy.remove(name);
            }
            Some(logical_volume) if plan::is_unhealthy(logical_volume) => {
                unhealthy.insert(name.to_owned());
            }
            Some(_) => {}
        }
        unhealthy.contains(name)
    }

    fn unhealthy(&self) -> MutexGuard<'_, HashSet<String>> {
        self.unhealthy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns for how long this process has observed that the volume's node is lost.
    fn lost_for(&self, name: &str, is_lost: bool) -> Duration {
        let mut lost_since = self
            .lost_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !is_lost {
            lost_since.remove(name);
            return Duration::ZERO;
        }
        let since = lost_since
            .entry(name.to_owned())
            .or_insert_with(Instant::now);
        since.elapsed()
    }

    fn waiting_for(&self, name: &str) -> Duration {
        let waiting_since = self
            .waiting_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        waiting_since
            .get(name)
            .map(Instant::elapsed)
            .unwrap_or_default()
    }

    fn set_waiting_since(&self, name: &str, is_waiting: bool) {
        let mut waiting_since = self
            .waiting_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if is_waiting {
            waiting_since
                .entry(name.to_owned())
                .or_insert_with(Instant::now);
        } else {
            waiting_since.remove(name);
        }
    }
}
