//! Faults of volume groups, thin pools and devices.

use host::lvm::{DuplicateDisk, VgFault};
use serde_json::{Value, json};

use super::cluster::backend;
use super::{Seed, seed};
use crate::fixture::group;

/// Returns the seed of a report of node n2 with these volume groups.
fn groups(check: &'static str, groups: Value) -> Seed {
    seed(
        check,
        [(
            "NodeStorage/n2",
            json!({"status": {"volumeGroups": groups}}),
        )],
    )
}

/// Returns the seed of a volume group that can't be used.
fn unusable(check: &'static str, reason: &str) -> Seed {
    let mut unusable = group("vg0");
    unusable["unusableReason"] = json!(reason);
    groups(check, json!([unusable]))
}

/// Returns the seed of a backend whose thin pool is in this state.
fn pool(check: &'static str, settings: Value, reported: Value) -> Seed {
    let mut with_pool = group("vg0");
    with_pool["thinPools"] = reported;
    let report = json!({"status": {"volumeGroups": [with_pool]}});
    let spec = json!({"spec": {"layout": {"type": "Thin"}, "thinPool": settings}});
    seed(
        check,
        [
            ("StorageBackend/fast", spec),
            ("NodeStorage/n1", report.clone()),
            ("NodeStorage/n2", report),
        ],
    )
}

fn reported(data: u32, metadata: u32) -> Value {
    json!([{"name": "p", "size": "50Gi", "metadataSize": "100Mi", "dataUsed": data,
        "metadataUsed": metadata, "otherVolumes": "0"}])
}

/// Returns the seed of devices of a backend on a node without the volume group.
fn device(check: &'static str, reason: &str) -> Seed {
    let device = json!({"volumeGroup": "vg0", "path": "/dev/disk/by-id/x", "inVolumeGroup": false,
        "reason": reason, "message": "why"});
    seed(
        check,
        [(
            "NodeStorage/n2",
            json!({"status": {"volumeGroups": [], "devices": [device]}}),
        )],
    )
}

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = faults();
    let mut limited = group("vg0");
    limited["logicalVolumeLimit"] = json!({"maximum": 6, "remaining": 0});
    let named = json!({"name": "p"});
    let mut broken = reported(10, 10);
    broken[0]["unusableReason"] = json!("it has failed");
    seeds.extend([
        groups("volume-group-missing", json!([])),
        seed(
            "volume-group-vanished",
            [(
                "NodeStorage/n2",
                json!({"status": {"volumeGroups": [], "missingVolumeGroups": ["vg0"]}}),
            )],
        ),
        groups("volume-group-limit", json!([limited])),
        backend("disks-too-few", json!({"layout": {"type": "RAID1"}})),
        backend(
            "layout-unsuitable",
            json!({"layout": {"type": "RAID1", "integrity": true}}),
        ),
        backend(
            "cache-disks-missing",
            json!({"layout": {"type": "Cached"}, "cache": {"devices": ["/dev/sdz"], "size": "10%"}}),
        ),
        pool("thin-pool-missing", named.clone(), json!([])),
        pool("thin-pool-unusable", named.clone(), broken),
        pool("thin-pool-data-guard", named.clone(), reported(95, 10)),
        pool("thin-pool-metadata-guard", named, reported(10, 85)),
        pool("thin-pool-no-space", json!({"size": "900Gi"}), json!([])),
        device("device-has-data", "NotBlank"),
        device("device-unusable", "InUse"),
        device("device-conflict", "Conflict"),
        device("devices-not-found", "NotFound"),
        device("volume-group-create-failed", "CreateFailed"),
    ]);
    for seed in &mut seeds {
        if seed.check == "layout-unsuitable" {
            // Extents that are too large for checksums.
            for node in ["n1", "n2"] {
                let mut large = group("vg0");
                large["extentSize"] = json!("64Mi");
                let report = json!({"status": {"volumeGroups": [large]}});
                seed.patches.push((format!("NodeStorage/{node}"), report));
            }
        }
    }
    seeds
}

/// Returns a seed for each reason of an agent, with the agent's message.
fn faults() -> Vec<Seed> {
    let lock_type = "sanlock".to_owned();
    let system_id = "other".to_owned();
    let duplicate = DuplicateDisk {
        used: "/dev/sdb".to_owned(),
        copy: "/dev/sdc".to_owned(),
    };
    let of = |check, fault: VgFault| unusable(check, &fault.to_string());
    vec![
        of("volume-group-exported", VgFault::Exported),
        of("volume-group-partial", VgFault::DisksMissing { count: 12 }),
        of("volume-group-shared", VgFault::Shared { lock_type }),
        of("volume-group-clustered", VgFault::Clustered),
        of("volume-group-read-only", VgFault::ReadOnly),
        of("volume-group-not-resizeable", VgFault::NotResizeable),
        of("volume-group-foreign", VgFault::Foreign { system_id }),
        of("volume-group-name-duplicate", VgFault::DuplicateName),
        unusable("disk-duplicate", &duplicate.to_string()),
        unusable(
            "volume-group-metadata-full",
            "its metadata area is full: 4096 bytes are free",
        ),
        unusable(
            "volume-group-metadata-rolled-back",
            crds::node_storage::METADATA_WENT_BACK,
        ),
        unusable("volume-group-unusable", "another reason"),
    ]
}
