//! Thin pools on real LVM: created with their first volume, extended as they fill up, removed with
//! the last one; and the report of a full one.

use crds::NodeStorage;
use crds::condition::{HEALTHY, READY, REMOVED};
use crds::node_storage::ReportedThinPool;
use host::lvm::PoolCost;
use host::{Bytes, Extents};
use serde_json::{Value, json};

use super::fixture::{Fixture, KINDS};
use super::reports::creation_needs_two_lvs;

const EXTENT: Bytes = Bytes(4 << 20);

/// The name of the pool.
const POOL: &str = "flexlvm-b";

/// Returns the spec of a volume in a pool of `first` MiB that may grow to `most` MiB, on the first
/// disk.
fn thin(fixture: &Fixture, first: u64, most: u64) -> Value {
    let cost = PoolCost::new(Bytes(most << 20), None, EXTENT).unwrap();
    let disk = fixture.shell(&format!(
        "pvs --noheadings -o pv_uuid -S vg_name={KINDS} -O pv_name | head -1"
    ));
    let make = json!({"size": format!("{first}Mi"), "maximumSize": format!("{most}Mi"), "metadataSize": bytes(cost.metadata),
        "physicalVolumes": [{"uuid": disk, "size": bytes(cost.total())}]});
    json!({"volumeGroup": KINDS, "layout": {"type": "Thin"}, "thinPool": {"name": POOL, "create": make}})
}

/// Returns the spec of a volume in a pool that an admin created.
fn existing_pool(name: &str) -> Value {
    json!({"volumeGroup": KINDS, "layout": {"type": "Thin"}, "thinPool": {"name": name}})
}

fn bytes(extents: Extents) -> String {
    extents.bytes(EXTENT).0.to_string()
}

/// Returns the number of allocated extents of the volume group.
fn taken(fixture: &Fixture) -> u64 {
    let taken = fixture.shell(&format!(
        "vgs --noheadings --units b --nosuffix -o vg_extent_count,vg_free_count {KINDS}"
    ));
    let counts: Vec<u64> = taken
        .split_whitespace()
        .map(|count| count.parse().unwrap())
        .collect();
    counts[0] - counts[1]
}

fn pool_of(storage: &NodeStorage) -> Option<ReportedThinPool> {
    let groups = storage.status.clone()?.volume_groups;
    groups
        .into_iter()
        .find(|group| group.name == KINDS)?
        .thin_pools
        .into_iter()
        .find(|pool| pool.name == POOL)
}

pub(crate) fn pool_counts_in_addition_to_its_volume(fixture: &Fixture) {
    creation_needs_two_lvs(fixture, "37Mi", thin(fixture, 128, 512));
}

pub(crate) fn pool_is_created_and_removed_with_its_volumes(fixture: &Fixture) {
    let [first, second] = [(); 2].map(|()| fixture.name());
    fixture.create_volume_with(&first, "37Mi", thin(fixture, 128, 512));
    let uuid = fixture.ready(&first);
    assert_eq!(
        fixture.lvs(&first, "segtype,pool_lv"),
        format!("thin {POOL}")
    );
    assert_eq!(
        fixture.lvs(POOL, "lv_tags,lv_when_full"),
        "flexlvm.dev/thin-pool=b queue"
    );
    assert_eq!(fixture.mark_in(KINDS, &first), "unformatted");
    assert_eq!(
        taken(fixture),
        PoolCost::new(Bytes(128 << 20), None, EXTENT)
            .unwrap()
            .total()
            .0
    );
    fixture.wait_for_report(
        "the pool does not count as used by others",
        |storage: &NodeStorage| {
            let groups = storage.status.clone().unwrap_or_default().volume_groups;
            let others = groups
                .into_iter()
                .find(|group| group.name == KINDS)
                .map(|group| group.used_by_others.0);
            pool_of(storage).is_some_and(|pool| pool.size.0 == "128Mi")
                && others.as_deref() == Some("0")
        },
    );

    let device = format!("/dev/{KINDS}/{first}");
    let sum = format!("head -c 36M {device} | md5sum");
    let before = fixture.shell(&format!(
        "dd if=/dev/urandom of={device} bs=1M count=36 conv=fsync status=none; {sum}"
    ));
    fixture.create_volume_with(&second, "1Gi", thin(fixture, 128, 512));
    fixture.ready(&second);
    fixture.change(&first, json!({"size": "602Mi"}));
    fixture.reaches(&first, 604 << 20);
    assert_eq!(fixture.shell(&sum), before);
    assert_eq!(fixture.lvs(&first, "lv_uuid"), uuid);

    fixture.remove(&first);
    assert_ne!(fixture.lvs(POOL, "lv_name"), "");
    fixture.remove(&second);
    assert_eq!(fixture.lvs(POOL, "lv_name"), "");
    assert_eq!(taken(fixture), 0);
    fixture.wait_for_report("the pool is gone", |storage| pool_of(storage).is_none());
}

pub(crate) fn pool_grows_as_it_fills_up(fixture: &Fixture) {
    let name = fixture.name();
    fixture.create_volume_with(&name, "200Mi", thin(fixture, 64, 128));
    fixture.ready(&name);
    // Three quarters full: after growth by a fifth, less than 70 % is in use.
    fixture.shell(&format!(
        "dd if=/dev/zero of=/dev/{KINDS}/{name} bs=1M count=48 conv=fsync status=none"
    ));
    fixture.wait_for_report("the pool has grown", |storage| {
        pool_of(storage).is_some_and(|pool| pool.size.0 == "80Mi")
    });
    // More than its maximum, in one write: writers wait for the reserved space, and no longer.
    fixture.shell(&format!(
        "dd if=/dev/zero of=/dev/{KINDS}/{name} bs=1M count=110 conv=fsync status=none"
    ));
    fixture.wait_for_report("the pool has its maximum size", |storage| {
        pool_of(storage).is_some_and(|pool| pool.size.0 == "128Mi")
    });
    fixture.remove(&name);
    assert_eq!(taken(fixture), 0);
}

pub(crate) fn full_pool_is_reported_with_instructions(fixture: &Fixture) {
    let [name, another] = [(); 2].map(|()| fixture.name());
    fixture.create_volume_with(&name, "200Mi", thin(fixture, 64, 64));
    fixture.ready(&name);
    assert_eq!(fixture.lvs(POOL, "lv_when_full"), "error");
    fixture.shell(&format!(
        "! dd if=/dev/zero of=/dev/{KINDS}/{name} bs=1M count=80 conv=fsync status=none 2>/dev/null"
    ));
    fixture.wait_for_report("the pool is full", |storage| {
        pool_of(storage).is_some_and(|pool: ReportedThinPool| {
            pool.data_used == 100
                && pool
                    .unusable_reason
                    .is_some_and(|why| why.contains("lvextend"))
        })
    });
    fixture.wait_for_condition(&name, HEALTHY, "PoolFull", "extend it with lvextend");
    fixture.ready(&name);
    fixture.create_volume_with(&another, "32Mi", thin(fixture, 64, 64));
    fixture.wait_for_condition(
        &another,
        READY,
        "ThinPoolUnusable",
        "its data space is full and writes fail; extend it with lvextend",
    );
    fixture.shell(&format!("lvextend -qq -L 96M {KINDS}/{POOL}"));
    fixture.ready(&another);
    fixture.wait_for_condition(&name, HEALTHY, "Healthy", "");
    for name in [&name, &another] {
        fixture.remove(name);
    }
    assert_eq!(taken(fixture), 0);
}

pub(crate) fn pool_of_admin_is_left_unchanged(fixture: &Fixture) {
    fixture.shell(&format!(
        "lvcreate -qq -y --type thin-pool -l 16 -n pool0 {KINDS}"
    ));
    let before = taken(fixture);
    let [missing, name] = [(); 2].map(|()| fixture.name());
    fixture.create_volume_with(&missing, "32Mi", existing_pool("pool1"));
    fixture.wait_for_condition(
        &missing,
        READY,
        "ThinPoolMissing",
        "thin pool kinds/pool1 on node1 does not exist",
    );
    fixture.create_volume_with(&name, "32Mi", existing_pool("pool0"));
    fixture.ready(&name);
    assert_eq!(
        (fixture.lvs(&name, "pool_lv"), taken(fixture)),
        ("pool0".to_owned(), before)
    );
    fixture.remove(&name);
    fixture.change(&missing, json!({"state": "Absent"}));
    fixture.wait_for_condition(&missing, REMOVED, "NeverCreated", "");
    assert_ne!(fixture.lvs("pool0", "lv_name"), "");
    fixture.shell(&format!("lvremove -qq -y {KINDS}/pool0"));
}

/// Tests sizes in MiB at which the model rounds.
pub(crate) fn allocation_of_pool_matches_cost_model(fixture: &Fixture) {
    let sizes = [1_u64, 333, 4100];
    let costs = sizes.map(|size| PoolCost::new(Bytes(size << 20), None, EXTENT).unwrap());
    let counts = fixture.shell(&costs.iter().map(|cost: &PoolCost| {
        format!(
            "lvcreate -qq -y --type thin-pool --poolmetadataspare n --poolmetadatasize {}b --chunksize 64k -l {} -n model {KINDS}
             vgs --noheadings -o vg_extent_count,vg_free_count {KINDS}; lvremove -qq -y {KINDS}/model",
            cost.metadata.bytes(EXTENT).0,
            cost.data.0
        )
    }).collect::<Vec<_>>().join("\n"));
    let counts = counts.lines().map(|line| {
        line.split_whitespace()
            .map(|count| count.parse::<u64>().unwrap())
            .collect::<Vec<_>>()
    });
    let counts: Vec<u64> = counts.map(|counts| counts[0] - counts[1]).collect();
    assert_eq!(counts, costs.map(|cost| cost.total().0));
}
