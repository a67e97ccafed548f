//! Metrics of the node as a whole: LVM's reports, orphans, the driver and the kubelet.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crds::node_storage::AuditCounts;
use tokio::sync::watch;

use super::Sources;
use crate::agent::condition::ConditionUpdate;
use crate::agent::inventory::audit::Audit;
use crate::agent::volumes::spec::VolumeSpec;
use crate::metrics::series::{Gauge, Scrape, Value};

const REPORT_AGE: Gauge<0> = Gauge::new(
    "flexlvm_lvm_report_age_seconds",
    "Age of the LVM report that the series of volume groups, volumes and pools show.",
    [],
);

const REPORT_FAILED: Gauge<0> = Gauge::new(
    "flexlvm_lvm_report_failed",
    "1 if LVM's last report failed, else 0.",
    [],
);

const COMMAND_RUNNING: Gauge<0> = Gauge::new(
    "flexlvm_lvm_command_running_seconds",
    "Time since the start of the oldest LVM command that has not ended by itself; 0 if there is none.",
    [],
);

const LOCK_WAITING: Gauge<0> = Gauge::new(
    "flexlvm_lvm_lock_waiting",
    "Tasks that wait for the lock that serializes the agent's work with LVM.",
    [],
);

const WARNINGS: Gauge<0> = Gauge::new(
    "flexlvm_lvm_warnings",
    "Messages that LVM printed with its last report; the NodeStorage has the texts.",
    [],
);

const UNUSABLE: Gauge<1> = Gauge::new(
    "flexlvm_volume_group_unusable",
    "1 if no volume can be created in the volume group, else 0; the NodeStorage has the reason.",
    ["volume_group"],
);

const ORPHANS: Gauge<1> = Gauge::new(
    "flexlvm_orphaned_volumes",
    "Logical volumes of claims that no LogicalVolume describes.",
    ["volume_group"],
);

const AUDITED: Gauge<1> = Gauge::new(
    "flexlvm_deviating_volumes",
    "Volumes whose LogicalVolume and logical volume do not match, and retained or abandoned ones without a claim; the NodeStorage lists them.",
    ["kind"],
);

const DRIVER: Gauge<0> = Gauge::new(
    "flexlvm_driver_installed",
    "1 if the FlexVolume driver of the agent's version is installed, else 0.",
    [],
);

const KUBELET: Gauge<0> = Gauge::new(
    "flexlvm_kubelet_ready",
    "1 if the kubelet has loaded the driver, else 0: then the node gets no new volumes.",
    [],
);

/// Writes the samples of the node; `taken` is the time of the last LVM report.
pub(super) fn samples(
    scrape: &mut Scrape<'_>,
    sources: &Sources,
    taken: Option<Instant>,
) -> fmt::Result {
    let report = sources.lvm.report().borrow().clone();
    let age = taken.map(|taken| ([], taken.elapsed().as_secs_f64().into()));
    scrape.gauge(&REPORT_AGE, age)?;
    scrape.value(&REPORT_FAILED, report.failure.is_some())?;
    let running = sources.lvm.activity().current();
    let longest = running.borrow().longest(Instant::now());
    scrape.value(&COMMAND_RUNNING, longest.as_secs_f64())?;
    scrape.value(&LOCK_WAITING, sources.lvm.lock_waits().waiting())?;
    scrape.value(&WARNINGS, report.warnings.len())?;
    let groups = report.groups.unwrap_or_default();
    let mut specs = Vec::new();
    for object in sources.volumes.all() {
        let status = object.status.clone().unwrap_or_default();
        specs.extend(VolumeSpec::read(&object, &status));
    }
    let mut orphaned: BTreeMap<String, usize> = BTreeMap::new();
    let mut unusable: BTreeMap<&str, bool> = BTreeMap::new();
    for group in groups.iter() {
        orphaned.insert(group.name.clone(), 0);
        *unusable.entry(&group.name).or_default() |= group.fault.is_some();
    }
    let audit = Audit::new(&groups, &specs);
    for orphan in &audit.orphans {
        *orphaned.entry(orphan.volume_group.clone()).or_default() += 1;
    }
    let unusable = unusable
        .iter()
        .map(|(name, value)| ([*name], (*value).into()));
    scrape.gauge(&UNUSABLE, unusable)?;
    let orphaned = orphaned
        .iter()
        .map(|(name, count)| ([name.as_str()], (*count).into()));
    scrape.gauge(&ORPHANS, orphaned)?;
    scrape.gauge(&AUDITED, audited(audit.counts()))?;
    scrape.gauge(&DRIVER, condition(&sources.driver))?;
    scrape.gauge(&KUBELET, condition(&sources.kubelet))
}

/// Returns a sample for each kind of deviation.
fn audited(counts: AuditCounts) -> [([&'static str; 1], Value); 5] {
    let AuditCounts {
        orphaned,
        missing,
        foreign,
        retained,
        abandoned,
    } = counts;
    [
        ("orphaned", orphaned),
        ("missing", missing),
        ("foreign", foreign),
        ("retained", retained),
        ("abandoned", abandoned),
    ]
    .map(|(kind, count)| ([kind], u64::from(count).into()))
}

/// Returns the sample of a condition; `None` until it is known.
fn condition(
    condition: &watch::Receiver<Option<ConditionUpdate>>,
) -> Option<([&'static str; 0], Value)> {
    let is_true = condition.borrow().as_ref()?.status;
    Some(([], is_true.into()))
}
