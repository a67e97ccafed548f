//! One pass over one volume: see what the API says, ask `plan.rs` for the next step, have `act.rs`
//! do it, say what there is to say. Whatever goes wrong is said too, and tried again later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::time::{Instant, timeout};

use super::act::Actor;
use super::plan::{self, Plan, Step};
use super::state::World;
use crate::kube::backoff::Retries;
use crate::kube::error::ApiError;
use crate::kube::events::Recorder;
use crate::kube::names::event;

/// One pass asks the API server a few things; on a dead connection it would wait for ever.
const LIMIT: Duration = Duration::from_mins(1);

/// Works on volumes, one pass after the other.
pub struct Worker {
    world: Arc<World>,
    actor: Actor,
    recorder: Recorder,
    retries: Retries<String>,
    /// Since when nothing could be done about a volume.
    stuck: Mutex<HashMap<String, Instant>>,
    /// Places that were taken back in a row: a node may refuse what its report promises.
    withdrawals: Retries<String>,
    /// Until when a volume that was taken back is not placed anew.
    held: Mutex<HashMap<String, Instant>>,
    /// When the node of a claim that can't be served was last removed.
    deselected: Mutex<HashMap<String, Instant>>,
}

impl Worker {
    /// A worker in this world.
    #[must_use]
    pub fn new(client: Client, world: Arc<World>, recorder: Recorder) -> Self {
        let actor = Actor::new(client, world.clone());
        Self {
            world,
            actor,
            recorder,
            retries: Retries::default(),
            stuck: Mutex::default(),
            withdrawals: Retries::default(),
            held: Mutex::default(),
            deselected: Mutex::default(),
        }
    }

    /// One pass over one volume.
    pub async fn work(&self, name: String) {
        let text = match timeout(LIMIT, self.pass(&name)).await {
            Ok(Ok(())) => return self.retries.succeeded(&name),
            Ok(Err(error)) => host::error::chain(&error),
            Err(_) => format!("the API server did not answer within {} s", LIMIT.as_secs()),
        };
        let (failures, wait) = self.retries.failed(&name);
        tracing::warn!(
            volume = name,
            failures,
            error = text,
            "will be tried again in {} s",
            wait.as_secs()
        );
        // A first failure is most often a server that restarts; a second one concerns the user.
        if failures > 1
            && let Some(claim) = self.world.see(&name).claim
        {
            let notice = plan::about_claim(
                &claim,
                event::PROVISIONING_FAILED,
                format!("will be tried again: {text}"),
            );
            let _ = self.recorder.publish(&notice).await;
        }
        self.world.wake_after(&name, wait);
    }

    async fn pass(&self, name: &str) -> Result<(), ApiError> {
        let mut seen = self.world.see(name);
        seen.in_flight = self.actor.in_flight(name, &seen);
        seen.waited = self.stuck_for(name);
        let plan = self.pace_deselection(name, self.brake(name, plan::plan(&seen)));
        tracing::debug!(volume = name, step = ?plan.step, "planned");
        let is_stuck = matches!(
            plan.step,
            Step::Wait(_) | Step::Deselect | Step::LimitCapacity(_)
        );
        self.set_stuck(name, is_stuck);
        let outcome = self.actor.act(name, &seen, plan.step).await?;
        let waits = if let Step::Wait(wait) = outcome.step {
            Some(wait)
        } else {
            None
        };
        self.world.set_waiting(name, waits.is_some());
        if let Some(notice) = outcome.notice.or(plan.notice) {
            let rest = self.recorder.publish(&notice).await?;
            if let Some(rest) = rest {
                self.world.wake_after(name, rest);
            }
        }
        if let Some(wait) = waits {
            self.world.wake_after(name, wait);
        }
        Ok(())
    }

    /// Holds up the next placing of a volume that was taken back, longer each time: the node's
    /// report, which speaks for the place, may be old, and nobody is served by trying it at once
    /// again.
    fn brake(&self, name: &str, plan: Plan) -> Plan {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match plan.step {
            Step::Withdraw => {
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
                match age.and_then(|age| plan::DESELECT_INTERVAL.checked_sub(age)) {
                    Some(rest) => Plan {
                        step: Step::Wait(rest),
                        ..plan
                    },
                    None => {
                        deselected.insert(name.to_owned(), Instant::now());
                        plan
                    }
                }
            }
            Step::Publish(_) | Step::Done => {
                deselected.remove(name);
                plan
            }
            _ => plan,
        }
    }

    fn stuck_for(&self, name: &str) -> Duration {
        let stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        stuck.get(name).map(Instant::elapsed).unwrap_or_default()
    }

    fn set_stuck(&self, name: &str, is_stuck: bool) {
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        if is_stuck {
            stuck.entry(name.to_owned()).or_insert_with(Instant::now);
        } else {
            stuck.remove(name);
        }
    }
}
