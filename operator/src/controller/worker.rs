//! One pass over one volume: see what the API says, ask `plan.rs` for the next step, have `act.rs`
//! do it, say what there is to say. Whatever goes wrong is said too, and tried again later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::time::{Instant, timeout};

use super::act::Actor;
use super::plan::{self, Plan, Step};
use super::state::ClusterState;
use crate::kube::backoff::Backoff;
use crate::kube::error::ApiError;
use crate::kube::events::Recorder;
use crate::kube::names::event;

/// One pass asks the API server a few things; on a dead connection it would wait for ever.
const LIMIT: Duration = Duration::from_mins(1);

/// Works on volumes, one pass after the other.
pub struct Worker {
    state: Arc<ClusterState>,
    actor: Actor,
    recorder: Recorder,
    backoff: Backoff<String>,
    /// Since when nothing could be done about a volume.
    waiting_since: Mutex<HashMap<String, Instant>>,
    /// Places that were taken back in a row: a node may refuse what its report promises.
    withdrawals: Backoff<String>,
    /// Until when a volume that was taken back is not placed anew.
    held: Mutex<HashMap<String, Instant>>,
    /// When the node of a claim that can't be served was last removed.
    deselected: Mutex<HashMap<String, Instant>>,
}

impl Worker {
    /// A worker in this world.
    #[must_use]
    pub fn new(client: Client, state: Arc<ClusterState>, recorder: Recorder) -> Self {
        let actor = Actor::new(client, state.clone());
        Self {
            state,
            actor,
            recorder,
            backoff: Backoff::default(),
            waiting_since: Mutex::default(),
            withdrawals: Backoff::default(),
            held: Mutex::default(),
            deselected: Mutex::default(),
        }
    }

    /// One pass over one volume.
    pub async fn work(&self, name: String) {
        let text = match timeout(LIMIT, self.pass(&name)).await {
            Ok(Ok(())) => return self.backoff.succeeded(&name),
            Ok(Err(error)) => host::error::chain(&error),
            Err(_) => format!("the API server did not answer within {} s", LIMIT.as_secs()),
        };
        let (failures, wait) = self.backoff.failed(&name);
        tracing::warn!(
            volume = name,
            failures,
            error = text,
            "will be tried again in {} s",
            wait.as_secs()
        );
        // A first failure is most often a server that restarts; a second one concerns the user.
        if failures > 1
            && let Some(claim) = self.state.observe(&name).claim
        {
            let notice = plan::about_claim(
                &claim,
                event::PROVISIONING_FAILED,
                format!("will be tried again: {text}"),
            );
            let _ = self.recorder.publish(&notice).await;
        }
        self.state.requeue_after(&name, wait);
    }

    async fn pass(&self, name: &str) -> Result<(), ApiError> {
        let mut observed = self.state.observe(name);
        observed.in_flight = self.actor.in_flight(name, &observed);
        observed.waited = self.waiting_for(name);
        let plan = self.pace_deselection(name, self.placement_backoff(name, plan::plan(&observed)));
        tracing::debug!(volume = name, step = ?plan.step, "planned");
        let is_stuck = matches!(
            plan.step,
            Step::Wait(_) | Step::Deselect | Step::LimitCapacity(_)
        );
        self.set_waiting_since(name, is_stuck);
        let outcome = self.actor.act(name, &observed, plan.step).await?;
        let waits = if let Step::Wait(wait) = outcome.step {
            Some(wait)
        } else {
            None
        };
        self.state.set_waiting(name, waits.is_some());
        if let Some(notice) = outcome.notice.or(plan.notice) {
            let rest = self.recorder.publish(&notice).await?;
            if let Some(rest) = rest {
                self.state.requeue_after(name, rest);
            }
        }
        if let Some(wait) = waits {
            self.state.requeue_after(name, wait);
        }
        Ok(())
    }

    /// Holds up the next placing of a volume that was taken back, longer each time: the node's
    /// report, which speaks for the place, may be old, and nobody is served by trying it at once
    /// again.
    fn placement_backoff(&self, name: &str, plan: Plan) -> Plan {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match plan.step {
            Step::CancelPlacement => {
                let (_, wait) = self.withdrawals.failed(&name.to_owned());
                held.insert(name.to_owned(), Instant::now() + wait);
                plan
            }
            Step::Place { .. } => {
                let rest = held
                    .get(name)
                    .map(|until| until.saturating_duration_since(Instant::now()));
                match rest.filter(|rest| !rest.is_zero()) {
                    Some(rest) => Step::Wait(rest).into(),
                    None => plan,
                }
            }
            Step::Publish(_) | Step::Done => {
                held.remove(name);
                self.withdrawals.succeeded(&name.to_owned());
                plan
            }
            _ => plan,
        }
    }

    /// Keeps [`plan::DESELECT_INTERVAL`] between two deselections of one claim.
    fn pace_deselection(&self, name: &str, plan: Plan) -> Plan {
        let mut deselected = self
            .deselected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match plan.step {
            Step::Deselect => {
                let age = deselected.get(name).map(Instant::elapsed);
                if let Some(rest) = age.and_then(|age| plan::DESELECT_INTERVAL.checked_sub(age)) {
                    return Plan {
                        step: Step::Wait(rest),
                        ..plan
                    };
                }
                deselected.insert(name.to_owned(), Instant::now());
                plan
            }
            Step::Publish(_) | Step::Done => {
                deselected.remove(name);
                plan
            }
            _ => plan,
        }
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

    fn set_waiting_since(&self, name: &str, is_stuck: bool) {
        let mut waiting_since = self
            .waiting_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if is_stuck {
            waiting_since
                .entry(name.to_owned())
                .or_insert_with(Instant::now);
        } else {
            waiting_since.remove(name);
        }
    }
}
