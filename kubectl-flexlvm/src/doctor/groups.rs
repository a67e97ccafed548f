//! Checks of volume groups and their thin pools. Pure.

use kube::ResourceExt as _;
use placement::rejection::Rejection;

use super::check::{Check, Fault, Probe};
use super::devices::{has_vanished, missing_devices};
use super::facts::{Facts, Place};

/// Beginnings of the reasons why a volume group can't be used, each with a check.
const REASONS: [&str; 10] = [
    EXPORTED,
    PARTIAL,
    SHARED,
    CLUSTERED,
    READ_ONLY,
    FIXED,
    FOREIGN,
    SAME_NAME,
    METADATA_FULL,
    crds::node_storage::METADATA_WENT_BACK,
];
const EXPORTED: &str = "it is exported";
const PARTIAL: &str = " of its disks are missing";
const SHARED: &str = "it is shared between hosts";
const CLUSTERED: &str = "it is clustered";
const READ_ONLY: &str = "it is read-only";
const FIXED: &str = "it is not resizeable";
const FOREIGN: &str = "it belongs to another host";
const SAME_NAME: &str = "two volume groups have this name";
const METADATA_FULL: &str = "its metadata area is full";
const DUPLICATE: &str = "its disk ";

pub(super) const CHECKS: &[Check] = &[
    Check::fault(
        "volume-group-missing",
        "a node has no such volume group",
        "vgs on the node; create the volume group, or correct nodeSelector or volumeGroup of the backend",
        Probe::Rule(missing_groups),
    ),
    Check::fault(
        "volume-group-vanished",
        "a volume group that was on a node is gone; it is not created anew, since its disks may return",
        "return its disks; if it is lost for good, follow docs/backends.md, volume groups that FlexLVM makes",
        Probe::Rule(vanished_groups),
    ),
    Check::fault(
        "volume-group-partial",
        "a volume group lacks a disk: nothing is created, expanded or removed in it",
        "follow docs/operations.md, a disk died",
        Probe::Group(PARTIAL),
    ),
    Check::fault(
        "volume-group-exported",
        "a volume group is exported",
        "on the node: vgimport GROUP",
        Probe::Group(EXPORTED),
    ),
    Check::fault(
        "volume-group-foreign",
        "a volume group belongs to another host, by its system ID",
        "vgexport on the host that has it, then vgimport on the node",
        Probe::Group(FOREIGN),
    ),
    Check::fault(
        "volume-group-shared",
        "a volume group is shared by a lock manager",
        "on the node: vgchange --lockstart GROUP; FlexLVM uses one host's volume groups best",
        Probe::Group(SHARED),
    ),
    Check::fault(
        "volume-group-clustered",
        "a volume group is clustered",
        "once no other host uses it: vgchange --locktype none --lockopt force GROUP",
        Probe::Group(CLUSTERED),
    ),
    Check::fault(
        "volume-group-read-only",
        "a volume group is read-only",
        "restore the flag WRITE with vgcfgbackup, an editor and vgcfgrestore",
        Probe::Group(READ_ONLY),
    ),
    Check::fault(
        "volume-group-not-resizeable",
        "a volume group permits no change of its disks",
        "on the node: vgchange --resizeable y GROUP",
        Probe::Group(FIXED),
    ),
    Check::fault(
        "volume-group-name-duplicate",
        "two volume groups of a node have the same name",
        "on the node: vgs -o vg_name,vg_uuid, then vgrename UUID NEWNAME for the one that FlexLVM does not use",
        Probe::Group(SAME_NAME),
    ),
    Check::fault(
        "disk-duplicate",
        "LVM finds a disk of a volume group twice",
        "exclude the copy (devices file, or global_filter in lvm.conf), or wipe it if it is not needed",
        Probe::Group(DUPLICATE),
    ),
    Check::fault(
        "volume-group-metadata-full",
        "the metadata area of a volume group is full",
        "remove logical volumes that are not needed, or create a volume group with a larger area (vgcreate --metadatasize)",
        Probe::Group(METADATA_FULL),
    ),
    Check::fault(
        "volume-group-metadata-rolled-back",
        "the metadata of a volume group may have gone back to an older state",
        "create, extend, unmount and reboot nothing, and follow docs/operations.md, the metadata of a volume group went back",
        Probe::Group(crds::node_storage::METADATA_WENT_BACK),
    ),
    Check::fault(
        "volume-group-unusable",
        "a volume group can't be used",
        "correct what the agent's reason names",
        Probe::Rule(other_unusable),
    ),
    Check::fault(
        "volume-group-limit",
        "a volume group has as many logical volumes as LVM allows in it",
        "on the node: vgchange --logicalvolume 0 GROUP, or remove volumes",
        Probe::Rule(volume_limit),
    ),
    Check::fault(
        "layout-unsuitable",
        "a volume group can't hold volumes of the backend's layout",
        "change layout of the backend, or use a volume group with other extents (vgchange --physicalextentsize)",
        Probe::Rule(unsuitable_layouts),
    ),
    Check::fault(
        "disks-too-few",
        "a volume group has fewer disks than the backend's layout needs",
        "on the node: vgextend GROUP DEVICE, or another layout of the backend",
        Probe::Rule(too_few_disks),
    ),
    Check::fault(
        "cache-disks-missing",
        "a volume group has none of the backend's cache disks",
        "correct cache.devices of the backend, or vgextend GROUP DEVICE on the node",
        Probe::Rule(missing_cache_disks),
    ),
    Check::fault(
        "thin-pool-missing",
        "a thin pool of an admin does not exist",
        "on the node: lvcreate --type thin-pool, or set thinPool.size of the backend, so that FlexLVM creates one",
        Probe::Rule(missing_pools),
    ),
    Check::fault(
        "thin-pool-unusable",
        "a thin pool can't be used",
        "follow docs/backends.md, thin pools: extend it, or unmount its volumes and lvconvert --repair",
        Probe::Rule(unusable_pools),
    ),
    Check::fault(
        "thin-pool-data-guard",
        "the data of a thin pool is nearly full: it gets no new volumes",
        "raise thinPool.maximumSize, or lvextend an admin's pool; delete files and run fstrim",
        Probe::Rule(guarded_data),
    ),
    Check::fault(
        "thin-pool-metadata-guard",
        "the metadata of a thin pool is nearly full: it gets no new volumes",
        "on the node: lvextend --poolmetadatasize +100M GROUP/POOL",
        Probe::Rule(guarded_metadata),
    ),
    Check::fault(
        "thin-pool-no-space",
        "a volume group has no space for the backend's thin pool",
        "lower thinPool.maximumSize of the backend, or vgextend the volume group",
        Probe::Rule(no_space_for_pool),
    ),
];

/// Returns the places whose rejection has a message, each as a fault of the node.
fn rejected(facts: &Facts<'_>, is: impl Fn(&Rejection) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for place in &facts.places {
        if let Err(rejection) = &place.space
            && is(rejection)
        {
            faults.push(Fault::new(
                format!("node/{}", place.node.name_any()),
                describe(place, rejection),
            ));
        }
    }
    faults
}

fn describe(place: &Place<'_>, rejection: &Rejection) -> String {
    format!(
        "for StorageBackend {}, it {rejection}",
        place.backend.name_any()
    )
}

/// Finds nodes without a volume group for which no other check has the reason.
fn missing_groups(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for place in &facts.places {
        let Err(rejection @ Rejection::NoVolumeGroup(group, _)) = &place.space else {
            continue;
        };
        let node = place.node.name_any();
        if has_vanished(facts, &node, group) || !missing_devices(facts, &node, group).is_empty() {
            continue;
        }
        faults.push(Fault::new(
            format!("node/{node}"),
            describe(place, rejection),
        ));
    }
    faults
}

fn vanished_groups(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (node, storage) in &facts.snapshot.storages {
        let missing = storage
            .status
            .iter()
            .flat_map(|it| &it.missing_volume_groups);
        for group in missing.filter(|_| !facts.is_lost(node)) {
            let volumes = facts.snapshot.volumes_on(node);
            let volumes = volumes.filter(|(_, volume)| volume.spec.volume_group == *group);
            let detail = format!("volume group {group}, with {} volumes", volumes.count());
            faults.push(Fault::new(format!("node/{node}"), detail));
        }
    }
    faults
}

/// Finds volume groups that can't be used for a reason without a check of its own.
fn other_unusable(facts: &Facts<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for unusable in &facts.unusable_groups {
        let reason = unusable
            .reason
            .trim_start_matches(|c: char| c.is_ascii_digit());
        let is_known = REASONS.iter().any(|known| reason.starts_with(known));
        if !is_known && !reason.starts_with(DUPLICATE) {
            let detail = format!("volume group {}: {}", unusable.group, unusable.reason);
            faults.push(Fault::new(format!("node/{}", unusable.node), detail));
        }
    }
    faults
}

fn volume_limit(facts: &Facts<'_>) -> Vec<Fault> {
    rejected(facts, |it| matches!(it, Rejection::TooManyVolumes { .. }))
}

fn unsuitable_layouts(facts: &Facts<'_>) -> Vec<Fault> {
    rejected(facts, |it| matches!(it, Rejection::Unsuitable { .. }))
}

fn too_few_disks(facts: &Facts<'_>) -> Vec<Fault> {
    rejected(facts, |it| matches!(it, Rejection::TooFewDisks { .. }))
}

fn missing_cache_disks(facts: &Facts<'_>) -> Vec<Fault> {
    rejected(facts, |it| matches!(it, Rejection::NoCacheDisks(_)))
}

fn missing_pools(facts: &Facts<'_>) -> Vec<Fault> {
    rejected(facts, |it| matches!(it, Rejection::NoPool(..)))
}

fn unusable_pools(facts: &Facts<'_>) -> Vec<Fault> {
    rejected(facts, |it| matches!(it, Rejection::PoolUnusable(..)))
}

fn guarded_data(facts: &Facts<'_>) -> Vec<Fault> {
    rejected(facts, |it| {
        matches!(it, Rejection::PoolGuarded { what: "data", .. })
    })
}

fn guarded_metadata(facts: &Facts<'_>) -> Vec<Fault> {
    rejected(facts, |it| {
        matches!(
            it,
            Rejection::PoolGuarded {
                what: "metadata",
                ..
            }
        )
    })
}

fn no_space_for_pool(facts: &Facts<'_>) -> Vec<Fault> {
    rejected(facts, |it| matches!(it, Rejection::NoSpaceForPool { .. }))
}
