//! Thin pools on real LVM: made with their first volume, extended as they fill up, removed with the
//! last one; and what a full one says.

use crds::NodeStorage;
use crds::condition::{READY, REMOVED};
use crds::node_storage::ReportedThinPool;
use host::lvm::PoolCost;
use host::{Bytes, Extents};
use serde_json::{Value, json};

use super::stage::{KINDS, Stage};

const EXTENT: Bytes = Bytes(4 << 20);

/// The name of the pool.
const POOL: &str = "flexlvm-b";

/// An order for a volume in a pool of so many MiB that may become so large, on the first disk.
fn thin(stage: &Stage, first: u64, most: u64) -> Value {
    let cost = PoolCost::new(Bytes(most << 20), None, EXTENT).unwrap();
    let size = |extents: Extents| extents.bytes(EXTENT).0.to_string();
    let disk = stage.shell(&format!(
        "pvs --noheadings -o pv_uuid -S vg_name={KINDS} -O pv_name | head -1"
    ));
    let make = json!({"size": format!("{first}Mi"), "maximumSize": format!("{most}Mi"), "metadataSize": size(cost.metadata),
        "physicalVolumes": [{"uuid": disk, "size": size(cost.total())}]});
    json!({"volumeGroup": KINDS, "layout": {"type": "Thin"}, "thinPool": {"name": POOL, "create": make}})
}

fn taken(stage: &Stage) -> u64 {
    let taken = stage.shell(&format!(
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

pub(crate) fn a_pool_lives_and_dies_with_its_volumes(stage: &Stage) {
    let [first, second] = [(); 2].map(|()| stage.name());
    stage.order_with(&first, "37Mi", thin(stage, 128, 512));
    let uuid = stage.ready(&first);
    assert_eq!(stage.lvs(&first, "segtype,pool_lv"), format!("thin {POOL}"));
    assert_eq!(
        stage.lvs(POOL, "lv_tags,lv_when_full"),
        "flexlvm.dev/thin-pool=b queue"
    );
    assert_eq!(stage.mark_in(KINDS, &first), "fresh");
    assert_eq!(
        taken(stage),
        PoolCost::new(Bytes(128 << 20), None, EXTENT)
            .unwrap()
            .total()
            .0
    );
    let reported = |storage: &NodeStorage| {
        let groups = storage.status.clone().unwrap_or_default().volume_groups;
        let others = groups
            .into_iter()
            .find(|group| group.name == KINDS)
            .map(|group| group.used_by_others.0);
        pool_of(storage).is_some_and(|pool| pool.size.0 == "128Mi")
            && others.as_deref() == Some("0")
    };
    stage.reports("the pool is no others' use", reported);

    let device = format!("/dev/{KINDS}/{first}");
    let sum = format!("head -c 36M {device} | md5sum");
    let before = stage.shell(&format!(
        "dd if=/dev/urandom of={device} bs=1M count=36 conv=fsync status=none; {sum}"
    ));
    stage.order_with(&second, "1Gi", thin(stage, 128, 512));
    stage.ready(&second);
    stage.change(&first, json!({"size": "602Mi"}));
    stage.reaches(&first, 604 << 20);
    assert_eq!(stage.shell(&sum), before);
    assert_eq!(stage.lvs(&first, "lv_uuid"), uuid);

    stage.remove(&first);
    assert_ne!(stage.lvs(POOL, "lv_name"), "");
    stage.remove(&second);
    assert_eq!(stage.lvs(POOL, "lv_name"), "");
    assert_eq!(taken(stage), 0);
    stage.reports("the pool is gone", |storage| pool_of(storage).is_none());
}

pub(crate) fn a_pool_grows_as_it_fills_up(stage: &Stage) {
    let name = stage.name();
    stage.order_with(&name, "200Mi", thin(stage, 64, 128));
    stage.ready(&name);
    // Three quarters: the next size, by a fifth, has less than 70 % in use.
    stage.shell(&format!(
        "dd if=/dev/zero of=/dev/{KINDS}/{name} bs=1M count=48 conv=fsync status=none"
    ));
    stage.reports("the pool has grown", |storage| {
        pool_of(storage).is_some_and(|pool| pool.size.0 == "80Mi")
    });
    // More than it may ever have, in one go: writers wait for what is promised, and no longer.
    stage.shell(&format!(
        "dd if=/dev/zero of=/dev/{KINDS}/{name} bs=1M count=110 conv=fsync status=none"
    ));
    stage.reports("the pool is as large as it may be", |storage| {
        pool_of(storage).is_some_and(|pool| pool.size.0 == "128Mi")
    });
    stage.remove(&name);
    assert_eq!(taken(stage), 0);
}

pub(crate) fn a_full_pool_says_so_and_what_to_do(stage: &Stage) {
    let [name, another] = [(); 2].map(|()| stage.name());
    stage.order_with(&name, "200Mi", thin(stage, 64, 64));
    stage.ready(&name);
    assert_eq!(stage.lvs(POOL, "lv_when_full"), "error");
    stage.shell(&format!(
        "! dd if=/dev/zero of=/dev/{KINDS}/{name} bs=1M count=80 conv=fsync status=none 2>/dev/null"
    ));
    let is_full = |pool: ReportedThinPool| {
        pool.data_used == 100
            && pool
                .unusable_reason
                .is_some_and(|why| why.contains("lvextend"))
    };
    stage.reports("the pool is full", |storage| {
        pool_of(storage).is_some_and(is_full)
    });
    stage.order_with(&another, "32Mi", thin(stage, 64, 64));
    stage.says(
        &another,
        READY,
        "ThinPoolUnusable",
        "its data space is full and writes fail; extend it with lvextend",
    );
    stage.shell(&format!("lvextend -qq -L 96M {KINDS}/{POOL}"));
    stage.ready(&another);
    for name in [&name, &another] {
        stage.remove(name);
    }
    assert_eq!(taken(stage), 0);
}

pub(crate) fn an_admins_pool_is_left_as_it_is(stage: &Stage) {
    stage.shell(&format!(
        "lvcreate -qq -y --type thin-pool -l 16 -n pool0 {KINDS}"
    ));
    let before = taken(stage);
    let [missing, name] = [(); 2].map(|()| stage.name());
    let named = |pool: &str| json!({"volumeGroup": KINDS, "layout": {"type": "Thin"}, "thinPool": {"name": pool}});
    stage.order_with(&missing, "32Mi", named("pool1"));
    stage.says(
        &missing,
        READY,
        "ThinPoolMissing",
        "thin pool kinds/pool1 on node1 does not exist",
    );
    stage.order_with(&name, "32Mi", named("pool0"));
    stage.ready(&name);
    assert_eq!(
        (stage.lvs(&name, "pool_lv"), taken(stage)),
        ("pool0".to_owned(), before)
    );
    stage.remove(&name);
    stage.change(&missing, json!({"state": "Absent"}));
    stage.says(&missing, REMOVED, "NeverCreated", "");
    assert_ne!(stage.lvs("pool0", "lv_name"), "");
    stage.shell(&format!("lvremove -qq -y {KINDS}/pool0"));
}

/// Sizes in MiB at which something rounds.
pub(crate) fn a_pool_takes_what_the_model_says(stage: &Stage) {
    let sizes = [1_u64, 333, 4100];
    let costs = sizes.map(|size| PoolCost::new(Bytes(size << 20), None, EXTENT).unwrap());
    let make = |cost: &PoolCost| {
        format!(
            "lvcreate -qq -y --type thin-pool --poolmetadataspare n --poolmetadatasize {}b --chunksize 64k -l {} -n model {KINDS}
             vgs --noheadings -o vg_extent_count,vg_free_count {KINDS}; lvremove -qq -y {KINDS}/model",
            cost.metadata.bytes(EXTENT).0,
            cost.data.0
        )
    };
    let counts = stage.shell(&costs.iter().map(make).collect::<Vec<_>>().join("\n"));
    let counts = counts.lines().map(|line| {
        line.split_whitespace()
            .map(|count| count.parse::<u64>().unwrap())
            .collect::<Vec<_>>()
    });
    let counts: Vec<u64> = counts.map(|counts| counts[0] - counts[1]).collect();
    assert_eq!(counts, costs.map(|cost| cost.total().0));
}
