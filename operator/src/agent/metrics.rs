//! The agent's metrics, computed at each scrape from the last LVM report and the agent's caches:
//! [`groups`], [`disks`], [`volumes`], [`pools`], and what concerns the whole [`node`].

pub mod disks;
pub mod groups;
pub mod node;
pub mod pools;
pub mod volumes;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use host::lvm::LvmStatistics;
use host::lvm::statistics::GroupStatistics;
use tokio::sync::watch;

use crate::agent::condition::ConditionUpdate;
use crate::agent::inventory::publish::Reporter;
use crate::agent::lvm::state::LvmState;
use crate::agent::watches::backends::Backends;
use crate::agent::watches::logical_volumes::NodeVolumes;
use crate::metrics::Metrics;
use crate::metrics::series::Scrape;

/// What the metrics are computed from.
pub(crate) struct Sources {
    pub(crate) lvm: Arc<LvmState>,
    pub(crate) volumes: Arc<NodeVolumes>,
    pub(crate) backends: Arc<Backends>,
    /// The condition `DriverInstalled`.
    pub(crate) driver: watch::Receiver<Option<ConditionUpdate>>,
    /// The condition `KubeletReady`.
    pub(crate) kubelet: watch::Receiver<Option<ConditionUpdate>>,
}

/// Registers the metrics of the node that a reporter publishes, and of the agent's queue.
pub fn register(metrics: &Metrics, reporter: &Reporter) {
    let sources = Sources {
        lvm: reporter.lvm.clone(),
        volumes: reporter.volumes.clone(),
        backends: reporter.backends.clone(),
        driver: reporter.installation.driver.clone(),
        kubelet: reporter.installation.kubelet.clone(),
    };
    sources.register(metrics);
}

impl Sources {
    /// Registers the metrics that are computed from these sources.
    pub(crate) fn register(self, metrics: &Metrics) {
        self.volumes.queue.statistics().register(metrics);
        metrics.register(|registry| {
            registry.register(
                "flexlvm_lvm_lock_wait_seconds",
                "Wait for the lock that serializes the agent's work with LVM",
                self.lvm.lock_waits().durations(),
            );
        });
        metrics.compute(move |scrape| self.samples(scrape));
    }

    fn samples(&self, scrape: &mut Scrape<'_>) -> fmt::Result {
        let taken = self.lvm.statistics();
        let groups = unique(&taken.statistics);
        groups::samples(scrape, &groups)?;
        disks::samples(scrape, &groups)?;
        volumes::samples(scrape, &groups, &self.volumes)?;
        pools::samples(scrape, &groups, &self.backends)?;
        node::samples(scrape, self, taken.taken)
    }
}

/// Returns the volume groups, without further ones of the same name: their samples could not be
/// distinguished.
fn unique(statistics: &LvmStatistics) -> Vec<&GroupStatistics> {
    let mut names = BTreeSet::new();
    let mut groups = Vec::new();
    for group in &statistics.groups {
        if names.insert(group.name.as_str()) {
            groups.push(group);
        }
    }
    groups
}

#[cfg(test)]
mod tests;
