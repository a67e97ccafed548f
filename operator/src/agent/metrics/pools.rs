//! Metrics of thin pools.

use std::collections::BTreeMap;
use std::fmt;

use crds::StorageBackend;
use crds::thin_pool::{ThinPoolSettings, pool_name};
use host::lvm::statistics::{GroupStatistics, VolumeStatistics};
use kube::ResourceExt as _;

use crate::agent::watches::backends::Backends;
use crate::metrics::series::{Gauge, Scrape, Value};

/// A gauge of thin pools, and its value; `None` if it does not apply.
type PoolGauge = (Gauge<2>, fn(&Pool<'_>) -> Option<Value>);

/// A thin pool.
struct Pool<'a> {
    group: &'a GroupStatistics,
    of_lvm: &'a VolumeStatistics,
    /// The rules of the backend whose volumes are in it; `None` if it is of no backend that selects
    /// this node.
    rules: Option<ThinPoolSettings>,
}

const fn of_pool(name: &'static str, help: &'static str) -> Gauge<2> {
    Gauge::new(name, help, ["volume_group", "thin_pool"])
}

const NUMBERS: [PoolGauge; 10] = [
    (
        of_pool(
            "flexlvm_thin_pool_size_bytes",
            "Size of the thin pool's data.",
        ),
        |pool| pool.of_lvm.size.map(Value::from),
    ),
    (
        of_pool(
            "flexlvm_thin_pool_data_used_ratio",
            "Used part of its data; writes fail when it is full.",
        ),
        |pool| Some(pool.of_lvm.data_used?.as_f64().into()),
    ),
    (
        of_pool(
            "flexlvm_thin_pool_data_guard_ratio",
            "Usage of its data at which it gets no new volumes and its volumes do not grow.",
        ),
        |pool| Some(percent(pool.rules.as_ref()?.data_guard())),
    ),
    (
        of_pool(
            "flexlvm_thin_pool_metadata_size_bytes",
            "Size of its metadata.",
        ),
        |pool| pool.of_lvm.metadata_size.map(Value::from),
    ),
    (
        of_pool(
            "flexlvm_thin_pool_metadata_used_ratio",
            "Used part of its metadata; the pool fails when it is full.",
        ),
        |pool| Some(pool.of_lvm.metadata_used?.as_f64().into()),
    ),
    (
        of_pool(
            "flexlvm_thin_pool_metadata_guard_ratio",
            "Usage of its metadata at which it gets no new volumes and its volumes do not grow.",
        ),
        |pool| Some(percent(pool.rules.as_ref()?.metadata_guard())),
    ),
    (
        of_pool(
            "flexlvm_thin_pool_guarded",
            "1 if data or metadata have reached their guard, else 0.",
        ),
        |pool| pool.is_guarded().map(Value::from),
    ),
    (
        of_pool(
            "flexlvm_thin_pool_errors_when_full",
            "1 if writes fail at once when the pool is full, 0 if they wait for space first.",
        ),
        |pool| match pool.of_lvm.when_full.as_str() {
            "error" => Some(true.into()),
            "queue" => Some(false.into()),
            _ => None,
        },
    ),
    (
        of_pool(
            "flexlvm_thin_pool_logical_volumes",
            "Number of logical volumes in the pool.",
        ),
        |pool| Some(pool.volumes().count().into()),
    ),
    (
        of_pool(
            "flexlvm_thin_pool_logical_volumes_bytes",
            "Total virtual size of the logical volumes in the pool; it may exceed the pool's size.",
        ),
        |pool| {
            Some(
                pool.volumes()
                    .filter_map(|volume| volume.size)
                    .sum::<u64>()
                    .into(),
            )
        },
    ),
];

impl Pool<'_> {
    fn volumes(&self) -> impl Iterator<Item = &VolumeStatistics> {
        self.group
            .volumes
            .iter()
            .filter(|volume| volume.pool == self.of_lvm.name)
    }

    fn is_guarded(&self) -> Option<bool> {
        let rules = self.rules.as_ref()?;
        let data = self.of_lvm.data_used?;
        let metadata = self.of_lvm.metadata_used?;
        // LVM's percentages have two digits, as in the plan, which rounds them up.
        let has_full_data = data.0.div_ceil(100) >= rules.data_guard();
        Some(has_full_data || metadata.0.div_ceil(100) >= rules.metadata_guard())
    }
}

/// Writes the samples of the thin pools of these volume groups.
pub(super) fn samples(
    scrape: &mut Scrape<'_>,
    groups: &[&GroupStatistics],
    backends: &Backends,
) -> fmt::Result {
    let selected = backends.selected().borrow().clone().unwrap_or_default();
    let mut rules = BTreeMap::new();
    for backend in selected.iter() {
        if let Some((name, settings)) = pool_of(backend) {
            rules.insert((backend.spec.volume_group.as_str(), name), settings);
        }
    }
    let mut pools = Vec::new();
    for group in groups {
        for volume in group.volumes.iter().filter(|volume| volume.is_thin_pool()) {
            pools.push(Pool {
                group,
                of_lvm: volume,
                rules: rules
                    .get(&(group.name.as_str(), volume.name.clone()))
                    .cloned(),
            });
        }
    }
    for (gauge, value) in &NUMBERS {
        let mut samples = Vec::with_capacity(pools.len());
        for pool in &pools {
            if let Some(value) = value(pool) {
                samples.push(([pool.group.name.as_str(), pool.of_lvm.name.as_str()], value));
            }
        }
        scrape.gauge(gauge, samples)?;
    }
    Ok(())
}

/// Returns the thin pool of a backend, and its rules.
fn pool_of(backend: &StorageBackend) -> Option<(String, ThinPoolSettings)> {
    let settings = backend.spec.thin_pool.clone()?;
    let name = match &settings.name {
        Some(name) => name.clone(),
        None => pool_name(&backend.name_any()),
    };
    Some((name, settings))
}

fn percent(percent: u32) -> Value {
    (f64::from(percent) / 100.0).into()
}
