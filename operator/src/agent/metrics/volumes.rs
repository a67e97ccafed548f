//! Metrics of logical volumes: of those that a LogicalVolume describes with their claims, and of all
//! others of the node's volume groups.

use std::fmt;
use std::sync::Arc;

use crds::LogicalVolume;
use crds::condition::{self, HEALTHY, READY, reason};
use host::lvm::statistics::{GroupStatistics, Ratio, VolumeStatistics};
use kube::ResourceExt as _;

use crate::agent::watches::logical_volumes::NodeVolumes;
use crate::metrics::series::{Gauge, Scrape, Value};

/// The labels of a logical volume. `claim_namespace` and `claim` are empty without a claim.
const LABELS: [&str; 4] = ["volume_group", "logical_volume", "claim_namespace", "claim"];

/// A gauge of logical volumes, and its value; `None` if it does not apply.
type VolumeGauge = (Gauge<4>, fn(&VolumeStatistics) -> Option<Value>);

/// A gauge that is always 1, with one more label, whose value is empty if it does not apply.
type StateGauge = (Gauge<5>, fn(&VolumeStatistics) -> &str);

const fn of_volume(name: &'static str, help: &'static str) -> Gauge<4> {
    Gauge::new(name, help, LABELS)
}

const fn state(name: &'static str, help: &'static str, label: &'static str) -> Gauge<5> {
    let [group, volume, namespace, claim] = LABELS;
    Gauge::new(name, help, [group, volume, namespace, claim, label])
}

const NUMBERS: [VolumeGauge; 7] = [
    (
        of_volume(
            "flexlvm_logical_volume_size_bytes",
            "Size of the logical volume.",
        ),
        |volume| volume.size.map(Value::from),
    ),
    (
        of_volume(
            "flexlvm_logical_volume_active",
            "1 if the logical volume is active, else 0.",
        ),
        |volume| Some(volume.is_active().into()),
    ),
    (
        of_volume(
            "flexlvm_logical_volume_open",
            "1 if its device is open, most often because it is mounted, else 0.",
        ),
        |volume| Some(volume.is_open().into()),
    ),
    (
        of_volume(
            "flexlvm_logical_volume_used_ratio",
            "Used part of a thin volume, thin pool, cache or snapshot.",
        ),
        |volume| ratio(volume.data_used),
    ),
    (
        of_volume(
            "flexlvm_logical_volume_snapshot_used_ratio",
            "Used part of a snapshot; a full one is lost.",
        ),
        |volume| {
            if volume.is_snapshot() {
                ratio(volume.snapshot_used)
            } else {
                None
            }
        },
    ),
    (
        of_volume(
            "flexlvm_logical_volume_raid_synced_ratio",
            "Part of a RAID whose images are in sync.",
        ),
        |volume| ratio(volume.synced),
    ),
    (
        of_volume(
            "flexlvm_logical_volume_raid_mismatches",
            "Differences between the images of a RAID that its last check found.",
        ),
        |volume| volume.mismatches.map(Value::from),
    ),
];

const STATES: [StateGauge; 3] = [
    (
        state(
            "flexlvm_logical_volume_permission",
            "Permission of the logical volume: writeable, read-only or read-only-override; always 1.",
            "permission",
        ),
        |volume| &volume.permissions,
    ),
    (
        state(
            "flexlvm_logical_volume_health",
            "Health of the logical volume: healthy, or LVM's name of the fault, such as partial; always 1.",
            "health",
        ),
        |volume| {
            if volume.health.is_empty() {
                "healthy"
            } else {
                &volume.health
            }
        },
    ),
    (
        state(
            "flexlvm_logical_volume_raid_sync_action",
            "What an active RAID does, such as idle, resync or recover; always 1.",
            "action",
        ),
        |volume| &volume.sync_action,
    ),
];

const INFO: Gauge<7> = Gauge::new(
    "flexlvm_logical_volume_info",
    "LVM's uuid and layout of the logical volume, and the thin pool that contains it; always 1.",
    [
        LABELS[0],
        LABELS[1],
        LABELS[2],
        LABELS[3],
        "uuid",
        "layout",
        "thin_pool",
    ],
);

const VOLUME_READY: Gauge<5> = state(
    "flexlvm_logical_volume_ready",
    "1 if the volume of a LogicalVolume is Ready, else 0; with the reason.",
    "reason",
);

const VOLUME_HEALTHY: Gauge<5> = state(
    "flexlvm_logical_volume_healthy",
    "1 if the volume of a LogicalVolume is Healthy, else 0; with the reason.",
    "reason",
);

/// A logical volume with the values of its labels.
struct Labelled<'a> {
    group: &'a str,
    volume: &'a VolumeStatistics,
    /// The object that describes it.
    object: Option<Arc<LogicalVolume>>,
}

impl Labelled<'_> {
    fn labels(&self) -> [&str; 4] {
        let object = self.object.as_deref();
        labels(self.group, &self.volume.name, object)
    }
}

/// Returns the values of a volume's labels.
fn labels<'a>(group: &'a str, name: &'a str, object: Option<&'a LogicalVolume>) -> [&'a str; 4] {
    let claim = object.map(|object| object.spec.current_claim());
    let namespace = claim.map_or("", |claim| &claim.namespace);
    let name_of_claim = claim.map_or("", |claim| &claim.name);
    [group, name, namespace, name_of_claim]
}

/// Writes the samples of the logical volumes of these volume groups, and of `objects`.
pub(super) fn samples(
    scrape: &mut Scrape<'_>,
    groups: &[&GroupStatistics],
    objects: &NodeVolumes,
) -> fmt::Result {
    let mut volumes = Vec::new();
    for group in groups {
        for volume in &group.volumes {
            let object = objects.get(&volume.name);
            volumes.push(Labelled {
                group: &group.name,
                volume,
                object: object.filter(|object| object.spec.volume_group == group.name),
            });
        }
    }
    for (gauge, value) in &NUMBERS {
        let mut samples = Vec::with_capacity(volumes.len());
        for volume in &volumes {
            if let Some(value) = value(volume.volume) {
                samples.push((volume.labels(), value));
            }
        }
        scrape.gauge(gauge, samples)?;
    }
    for (gauge, value) in &STATES {
        let mut samples = Vec::with_capacity(volumes.len());
        for volume in &volumes {
            let value = value(volume.volume);
            if !value.is_empty() {
                let [group, name, namespace, claim] = volume.labels();
                samples.push(([group, name, namespace, claim, value], Value::ONE));
            }
        }
        scrape.gauge(gauge, samples)?;
    }
    let infos = volumes.iter().map(|volume| {
        let [group, name, namespace, claim] = volume.labels();
        let of_lvm = volume.volume;
        let pool = of_lvm.pool.trim_matches(['[', ']']);
        let values = [
            group,
            name,
            namespace,
            claim,
            &of_lvm.uuid,
            &of_lvm.layout,
            pool,
        ];
        (values, Value::ONE)
    });
    scrape.gauge(&INFO, infos)?;
    conditions(scrape, objects)
}

/// Writes whether the volumes of these objects are Ready, and Healthy.
fn conditions(scrape: &mut Scrape<'_>, objects: &NodeVolumes) -> fmt::Result {
    let objects: Vec<_> = objects
        .all()
        .map(|object| (object.name_any(), object))
        .collect();
    for (gauge, type_) in [(&VOLUME_READY, READY), (&VOLUME_HEALTHY, HEALTHY)] {
        let samples = objects.iter().map(|(name, object)| {
            let conditions = object.status.as_ref().map(|status| &status.conditions);
            let found = conditions.and_then(|conditions| condition::get(conditions, type_));
            let reason = found.map_or("Unknown", |found| reason::known(&found.reason));
            let is_true = found.is_some_and(|found| found.status == "True");
            let [group, name, namespace, claim] =
                labels(&object.spec.volume_group, name, Some(object));
            ([group, name, namespace, claim, reason], is_true.into())
        });
        scrape.gauge(gauge, samples)?;
    }
    Ok(())
}

fn ratio(ratio: Option<Ratio>) -> Option<Value> {
    ratio.map(|ratio| ratio.as_f64().into())
}
