//! Builds the status of this node's NodeStorage, from LVM's report and the specs of its volumes.
//! Pure.

mod volumes_on_disks;

use std::collections::BTreeMap;

use crds::condition::{self, DRIVER_INSTALLED, KUBELET_READY, READY, reason};
use crds::node_storage::{
    LogicalVolumeLimit, MAX_LVS_PER_VOLUME, PhysicalVolume, ReportedThinPool, VolumeGroup,
};
use crds::{NodeStorageStatus, Share, quantity};
use host::lvm::tags::THIN_POOL;
use host::lvm::{Lv, Pv, SegmentType, Vg};
use host::{Extents, LvUuid};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::agent::condition::{ConditionUpdate, ReportedError};
use crate::agent::inventory::audit::Audit;
use crate::agent::lvm::hang::LvmHang;
use crate::agent::lvm::report::LvmReport;
use crate::agent::lvm::rollback::Rollback;
use crate::agent::volumes::spec::VolumeSpec;

/// Inputs of [`build`].
#[derive(Clone, Copy, Debug)]
pub struct ReportInputs<'a> {
    /// The cached LVM report.
    pub report: &'a LvmReport,
    /// Groups with a LogicalVolume whose logical volume is missing, by name.
    pub missing: &'a BTreeMap<String, Rollback>,
    /// The specs of this node's volumes.
    pub specs: &'a [VolumeSpec],
    /// Whether the driver is installed; `None` before the first attempt has ended.
    pub driver: Option<&'a ConditionUpdate>,
    /// Whether the kubelet has loaded the driver; `None` leaves the condition unchanged.
    pub kubelet: Option<&'a ConditionUpdate>,
    /// What of LVM hangs.
    pub hang: Option<&'a LvmHang>,
    /// Names of physical volumes' devices, each with the paths by which StorageBackends list it for
    /// caches.
    pub cache_paths: &'a BTreeMap<String, Vec<String>>,
    /// Names of physical volumes' devices, each with its stable path.
    pub stable_paths: &'a BTreeMap<String, String>,
}

/// Returns the whole status; `old` provides the times of its conditions.
///
/// A failed report and a hang leave the volume groups unchanged.
#[must_use]
pub fn build(old: &NodeStorageStatus, inputs: ReportInputs<'_>, now: &Time) -> NodeStorageStatus {
    let mut status = old.clone();
    let ready = match (inputs.hang, inputs.report.failure.clone()) {
        (Some(hang), _) => ReportedError::new(reason::LVM_HANGS, hang.to_string()).into(),
        (None, Some(failure)) => failure.into(),
        (None, None) => ConditionUpdate::ready(),
    };
    set(&mut status, READY, &ready, now);
    if let Some(driver) = inputs.driver {
        set(&mut status, DRIVER_INSTALLED, driver, now);
    }
    if let Some(kubelet) = inputs.kubelet {
        set(&mut status, KUBELET_READY, kubelet, now);
    }
    if let Some(groups) = &inputs.report.groups {
        status.volume_groups = build_groups(groups, inputs);
        keep_paths(&mut status.volume_groups, &old.volume_groups);
        status.lvm_warnings.clone_from(&inputs.report.warnings);
        let audit = Audit::new(groups, inputs.specs);
        status.audit = Some(audit.counts());
        status.further_orphans = audit.further_orphans();
        let Audit {
            orphans,
            deviations,
        } = audit.limited();
        status.orphans = orphans;
        status.deviations = deviations;
    }
    status.agent_version = Some(env!("CARGO_PKG_VERSION").to_owned());
    status.lvm_version = inputs.report.version.clone().or(status.lvm_version);
    status
}

fn set(status: &mut NodeStorageStatus, type_: &str, update: &ConditionUpdate, now: &Time) {
    condition::set(
        &mut status.conditions,
        type_,
        update.status,
        update.reason,
        &update.message,
        None,
        now,
    );
}

/// Returns whether two statuses differ in anything but the free space and the volumes on each disk,
/// which are informational and can be published with a delay: they change with each volume.
#[must_use]
pub fn differ(a: &NodeStorageStatus, b: &NodeStorageStatus) -> bool {
    without_informational(a) != without_informational(b)
}

fn without_informational(status: &NodeStorageStatus) -> NodeStorageStatus {
    let mut status = status.clone();
    for group in &mut status.volume_groups {
        group.free = quantity::format(0_u64);
        if let Some(limit) = &mut group.logical_volume_limit {
            // As long as any volume can be created, the number is informational.
            limit.remaining = limit.remaining.min(MAX_LVS_PER_VOLUME);
        }
        for disk in &mut group.physical_volumes {
            disk.free = quantity::format(0_u64);
            disk.volumes.clear();
            disk.omitted_volumes = None;
        }
        group
            .thin_pools
            .iter_mut()
            .for_each(|pool| (pool.data_used, pool.metadata_used) = (0, 0));
    }
    status
}

fn build_groups(groups: &[Vg], inputs: ReportInputs<'_>) -> Vec<VolumeGroup> {
    let mut built: Vec<_> = groups.iter().map(|vg| build_group(vg, inputs)).collect();
    // The name is the key of the list; `unusableReason` reports groups that share a name.
    built.sort_by(|a, b| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)));
    built.dedup_by(|a, b| a.name == b.name);
    volumes_on_disks::limit(&mut built);
    built
}

/// Keeps the last known path of each disk that has none now: a missing disk is found by it.
fn keep_paths(groups: &mut [VolumeGroup], old: &[VolumeGroup]) {
    let mut known = BTreeMap::new();
    for disk in old.iter().flat_map(|group| &group.physical_volumes) {
        known.insert(&disk.uuid, &disk.path);
    }
    let disks = groups
        .iter_mut()
        .flat_map(|group| &mut group.physical_volumes);
    for disk in disks.filter(|disk| disk.path.is_none()) {
        disk.path = known.get(&disk.uuid).and_then(|path| (*path).clone());
    }
}

fn build_group(vg: &Vg, inputs: ReportInputs<'_>) -> VolumeGroup {
    let ours: Vec<_> = inputs
        .specs
        .iter()
        .filter_map(|spec| Some((spec, volume_of(spec, vg)?)))
        .collect();
    let extent = vg.extent_size;
    let reserved: u64 = ours
        .iter()
        .map(|(spec, lv)| spec.reserved(extent).0.min(total(lv)))
        .sum();
    let pools: Vec<&Lv> = vg.lvs.iter().filter(|lv| is_our_pool(lv)).collect();
    let pooled: u64 = pools.iter().map(|pool| total(pool)).sum();
    // Free extents that LVM does not allocate (`allocatable: false`) can't be reserved either.
    let used = vg.extents.0.saturating_sub(vg.available().0);
    let mut physical_volumes: Vec<_> = vg
        .pvs
        .iter()
        .map(|pv| build_physical_volume(pv, vg, &ours, &pools, inputs))
        .collect();
    physical_volumes.sort_by(|a, b| a.uuid.cmp(&b.uuid));
    VolumeGroup {
        name: vg.name.clone(),
        uuid: vg.uuid.to_string(),
        size: size(vg, vg.extents.0),
        extent_size: quantity::format(extent.0),
        used_by_others: size(vg, used.saturating_sub(reserved + pooled)),
        free: size(vg, vg.available().0),
        physical_volumes,
        thin_pools: vg
            .lvs
            .iter()
            .filter_map(|lv| build_pool(lv, vg, &ours))
            .collect(),
        logical_volume_limit: build_limit(vg),
        unusable_reason: unusable_reason(vg, inputs),
    }
}

fn build_limit(vg: &Vg) -> Option<LogicalVolumeLimit> {
    let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    Some(LogicalVolumeLimit {
        maximum: number(vg.max_lvs?),
        remaining: number(vg.remaining_lvs()?),
    })
}

/// Returns why no volumes can be created in a group: LVM refuses that, or the agent does since it
/// could overwrite volumes.
fn unusable_reason(vg: &Vg, inputs: ReportInputs<'_>) -> Option<String> {
    if let Some(fault) = &vg.fault {
        return Some(fault.to_string());
    }
    if let Some(duplicate) = &vg.change_fault {
        return Some(duplicate.to_string());
    }
    let rollback = inputs.report.rollbacks.get(&vg.uuid);
    let rollback = rollback.or_else(|| inputs.missing.get(&vg.name))?;
    Some(rollback.to_string())
}

/// `ours` are FlexLVM's volumes in the group, `pools` its thin pools.
fn build_physical_volume(
    pv: &Pv,
    vg: &Vg,
    ours: &[(&VolumeSpec, &Lv)],
    pools: &[&Lv],
    inputs: ReportInputs<'_>,
) -> PhysicalVolume {
    let extent = vg.extent_size;
    let reserved: u64 = ours
        .iter()
        .map(|(spec, lv)| spec.reserved_on(&pv.uuid, extent).0.min(on(lv, &pv.uuid)))
        .sum();
    let pooled: u64 = pools.iter().map(|pool| on(pool, &pv.uuid)).sum();
    let used = pv.extents.0.saturating_sub(pv.available().0);
    PhysicalVolume {
        uuid: pv.uuid.to_string(),
        name: pv.name.clone(),
        path: inputs.stable_paths.get(&pv.name).cloned(),
        missing: pv.is_missing.then_some(true),
        size: size(vg, pv.extents.0),
        used_by_others: size(vg, used.saturating_sub(reserved + pooled)),
        free: size(vg, pv.available().0),
        cache_paths: inputs
            .cache_paths
            .get(&pv.name)
            .cloned()
            .unwrap_or_default(),
        volumes: volumes_on_disks::find(pv, vg, ours),
        omitted_volumes: None,
    }
}

/// Returns whether an agent created this thin pool.
///
/// Its space is or was reserved: it never counts as used by others.
fn is_our_pool(lv: &Lv) -> bool {
    lv.segment_type == SegmentType::ThinPool && lv.tags.iter().any(|tag| tag.starts_with(THIN_POOL))
}

/// Returns the name with which an agent created this pool, if it has another one now.
fn original_name(pool: &Lv) -> Option<String> {
    let mut tags = pool.tags.iter();
    let backend = tags.find_map(|tag| tag.strip_prefix(THIN_POOL))?;
    Some(crds::thin_pool::pool_name(backend)).filter(|name| *name != pool.name)
}

fn build_pool(lv: &Lv, vg: &Vg, ours: &[(&VolumeSpec, &Lv)]) -> Option<ReportedThinPool> {
    let state = lv.state.as_ref()?;
    let in_it = vg
        .lvs
        .iter()
        .filter(|volume| volume.pool.as_deref() == Some(lv.name.as_str()));
    let others = in_it
        .filter(|volume| ours.iter().all(|(_, own)| own.uuid != volume.uuid))
        .map(|volume| volume.size);
    let mut shares = Vec::new();
    if is_our_pool(lv) {
        shares.extend(lv.shares.iter().map(|(uuid, extents)| Share {
            uuid: uuid.to_string(),
            size: size(vg, extents.0),
        }));
    }
    Some(ReportedThinPool {
        name: lv.name.clone(),
        original_name: original_name(lv),
        size: quantity::format(lv.size.0),
        metadata_size: quantity::format(state.metadata.0),
        data_used: state.data_used,
        metadata_used: state.metadata_used,
        other_volumes: quantity::format(others.sum::<host::Bytes>()),
        physical_volumes: shares,
        unusable_reason: state.fault.as_ref().map(ToString::to_string),
    })
}

/// Returns the volume of a spec in a volume group; extents up to its reservation do not count as
/// used by others.
///
/// Extents are reserved whether they are allocated yet or not: so creating or removing a volume
/// changes nothing in the published inventory. Whether the status has the right uuid does not
/// matter: the extents are reserved by the spec.
fn volume_of<'a>(spec: &VolumeSpec, vg: &'a Vg) -> Option<&'a Lv> {
    if spec.group.as_str() != vg.name {
        return None;
    }
    vg.lv(spec.name.as_str())
        .filter(|lv| lv.has_tag(spec.identity.as_str()))
}

/// Returns a number of extents as a quantity.
fn size(vg: &Vg, extents: u64) -> Quantity {
    quantity::format(Extents(extents).bytes(vg.extent_size).0)
}

fn on(lv: &Lv, uuid: &LvUuid) -> u64 {
    lv.shares.get(uuid).map_or(0, |extents| extents.0)
}

fn total(lv: &Lv) -> u64 {
    lv.shares.values().map(|extents| extents.0).sum()
}

#[cfg(test)]
pub(in crate::agent) mod tests;
