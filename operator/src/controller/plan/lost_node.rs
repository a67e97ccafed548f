//! Plans what happens to a volume whose node is lost. Pure.
//!
//! The plan for the volume itself comes first: a lost node only counts while there is nothing else
//! to do. `abandoned.rs` plans the steps after [`Step::Abandon`].

use std::cmp;
use std::time::Duration;

use crds::logical_volume::State;
use crds::{LogicalVolume, NodeLoss as NodeLossSettings};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use placement::claim;
use placement::node_loss::NodeLoss;

use super::published::is_released;
use super::{ObservedObjects, Plan, REVISIT, Step, about_reference};
use crate::kube::events::Notice;
use crate::kube::names::event;

/// Minimum time for which this process itself must observe that a node is lost, unless the grace
/// period is shorter.
///
/// The recorded time may be that of an earlier loss: another controller observed that the node came
/// back, and etcd was restored to a moment before. Then the Nodes register again within minutes.
const MIN_OBSERVED: Duration = Duration::from_mins(5);

/// Returns the plan for a volume, given the plan for the case that its node is not lost.
pub(super) fn plan_loss(
    logical_volume: &LogicalVolume,
    observed: &ObservedObjects,
    plan: Plan,
) -> Plan {
    if !is_idle(&plan.step, observed) {
        return plan;
    }
    let lost_since = logical_volume.spec.node_lost_time.as_ref();
    let Some(loss) = observed.node_loss else {
        return match lost_since {
            Some(_) => Step::SetNodeLost(None).into(),
            None => plan,
        };
    };
    let backend = observed.volume_backend.as_deref();
    let settings = backend.and_then(|backend| backend.spec.node_loss.as_ref());
    let grace_period = settings.and_then(NodeLossSettings::grace_period);
    if !has_something_to_release(logical_volume, observed) {
        return plan;
    }
    let Some(grace_period) = grace_period else {
        return Plan {
            notice: waiting_notice(logical_volume, observed, loss).or(plan.notice),
            step: Step::Wait(REVISIT),
        };
    };
    let Some(lost_since) = lost_since else {
        return Step::SetNodeLost(Some(Time(observed.now))).into();
    };
    let rest = rest(grace_period, lost_since, observed);
    if rest.is_zero() {
        return Step::Abandon.into();
    }
    Plan {
        notice: grace_notice(logical_volume, observed, loss, rest).or(plan.notice),
        step: Step::Wait(cmp::min(rest, REVISIT)),
    }
}

/// Returns whether a step does nothing, or grows a volume that its node can't grow.
fn is_idle(step: &Step, observed: &ObservedObjects) -> bool {
    match step {
        Step::Done | Step::Wait(_) => true,
        Step::Grow(_) | Step::LimitCapacity(_) | Step::CompleteGrowth { .. } => {
            observed.node_loss.is_some()
        }
        _ => false,
    }
}

/// Returns whether the loss of the node keeps a claim, or an object that is being removed, waiting.
///
/// A retained volume without a claim waits for nothing: the policy keeps it.
fn has_something_to_release(logical_volume: &LogicalVolume, observed: &ObservedObjects) -> bool {
    let is_released = observed
        .persistent_volume
        .as_deref()
        .is_some_and(is_released);
    observed.claim.is_some() || is_released || logical_volume.spec.state != State::Present
}

/// Returns the rest of the grace period.
///
/// A clock that went back only makes it longer.
fn rest(grace_period: Duration, lost_since: &Time, observed: &ObservedObjects) -> Duration {
    let passed = observed.now.duration_since(lost_since.0);
    let passed = Duration::try_from(passed).unwrap_or_default();
    let recorded = grace_period.saturating_sub(passed);
    let own = cmp::min(grace_period, MIN_OBSERVED).saturating_sub(observed.lost_for);
    cmp::max(recorded, own)
}

/// Returns the Event about a claim that waits for an admin.
fn waiting_notice(
    logical_volume: &LogicalVolume,
    observed: &ObservedObjects,
    loss: NodeLoss,
) -> Option<Notice> {
    let node = &logical_volume.spec.node;
    let message = format!(
        "node {node} {loss}, and the data of the claim's volume is on its disks, so the claim waits until the node \
         returns; if it does not, an admin can release the claim by `kubectl flexlvm release-node {node}`; created \
         again, it gets an empty volume"
    );
    about_loss(logical_volume, observed, message)
}

/// Returns the Event about a claim that is released after the grace period.
fn grace_notice(
    logical_volume: &LogicalVolume,
    observed: &ObservedObjects,
    loss: NodeLoss,
    rest: Duration,
) -> Option<Notice> {
    let node = &logical_volume.spec.node;
    // A number that changes with each pass would write the Event anew.
    let end = observed.now.checked_add(rest).ok()?;
    let end = end.strftime("%Y-%m-%d %H:%M UTC");
    let message = format!(
        "node {node} {loss}, and the data of the claim's volume is on its disks: if the node does not return before \
         {end}, the claim is deleted (nodeLoss of StorageBackend {}), so that it can be created again with an empty volume",
        logical_volume.spec.backend
    );
    about_loss(logical_volume, observed, message)
}

/// Returns a warning about the claim; `None` if it is gone.
fn about_loss(
    logical_volume: &LogicalVolume,
    observed: &ObservedObjects,
    message: String,
) -> Option<Notice> {
    observed.claim.as_ref()?;
    let about = claim::object_reference(logical_volume.spec.current_claim());
    Some(about_reference(about, event::NODE_LOST, message))
}
