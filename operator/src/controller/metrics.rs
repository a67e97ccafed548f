//! The controller's metrics, computed at each scrape from its watch caches: the [`space`] of each
//! node, and [`volumes`] with their claims and backends.

pub mod space;
pub mod volumes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::controller::state::ClusterState;
use crate::kube::events::EventCounts;
use crate::metrics::Metrics;
use crate::metrics::series::Gauge;

const LEADER: Gauge<0> = Gauge::new(
    "flexlvm_leader",
    "1 if this controller is the active one, else 0.",
    [],
);

/// Whether this controller is the active one, as a metric.
#[derive(Clone, Debug, Default)]
pub struct Leader(Arc<AtomicBool>);

impl Leader {
    /// Registers a controller that is not active.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let leader = Self::default();
        let shown = leader.clone();
        metrics.compute(move |scrape| scrape.value(&LEADER, shown.0.load(Ordering::Relaxed)));
        leader
    }

    /// Records that the controller is active from now on.
    pub fn elected(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Registers the metrics of an active controller.
pub fn register(metrics: &Metrics, state: &Arc<ClusterState>, events: &EventCounts) {
    state.queue_statistics().register(metrics);
    state.timings().register(metrics);
    events.register(metrics);
    let state = state.clone();
    metrics.compute(move |scrape| {
        space::samples(scrape, &state)?;
        volumes::samples(scrape, &state)
    });
}

#[cfg(test)]
mod tests;
