//! Layouts: no disk, pool or cache disk is reserved twice, and the specs of the LogicalVolumes name
//! the disks that the agent uses.

use crds::{LogicalVolume, Share};
use serde_json::{Value, json};

use crate::fixture::{Fixture, disk, vg0_of_disks, volume_of};

/// Returns a disk with the paths by which a backend may name it for caches.
fn disk_of_paths(uuid: &str, size: &str, cache_paths: &[&str]) -> Value {
    let mut disk = disk(uuid, size);
    disk["cachePaths"] = json!(cache_paths);
    disk
}

/// Returns the uuids and sizes of shares of disks.
fn shares(shares: &[Share]) -> Vec<(&str, &str)> {
    shares
        .iter()
        .map(|share| (share.uuid.as_str(), share.size.0.as_str()))
        .collect()
}

/// Creates a fixture whose node `n1` has a volume group of this size on these disks.
async fn with_disks(size: &str, disks: Value) -> Fixture {
    let fixture = Fixture::new().await;
    fixture.node("n1", 1000).await;
    let group = vg0_of_disks(size, disks);
    fixture.report(&fixture.name("n1"), group).await;
    fixture.class(json!({})).await;
    fixture
}

#[tokio::test]
async fn fifty_raid1_claims_on_disks_for_nine_create_nine_volumes() {
    // Each image of 32 MiB takes an additional extent for its metadata; next to the large disk,
    // five and four images fit.
    let disks = [disk("a", "640Mi"), disk("b", "200Mi"), disk("c", "160Mi")];
    let fixture = with_disks("1000Mi", json!(disks)).await;
    fixture
        .change_backend(json!({"layout": {"type": "RAID1"}}))
        .await;
    for number in 0..50 {
        fixture.claim(&format!("c{number}"), "32Mi", None).await;
    }
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "with 36 MiB free in volume group vg0 but raid1 needs 2",
        ])
        .await;
    fixture.quiet().await;
    let created = fixture.own_logical_volumes().await;
    assert_eq!(created.len(), 9);
    for lv in created {
        let sizes: Vec<&str> = shares(&lv.spec.physical_volumes)
            .into_iter()
            .map(|(_, size)| size)
            .collect();
        assert_eq!(sizes, ["36Mi", "36Mi"]);
        assert_eq!(lv.spec.size.0, "32Mi");
    }
}

#[tokio::test]
async fn thin_claims_share_pool_up_to_overprovision_limit() {
    let fixture = with_disks("1000Mi", json!([disk("a", "1000Mi")])).await;
    let pool = json!({"size": "128Mi", "maximumSize": "512Mi", "overprovision": "2"});
    fixture
        .change_backend(json!({"layout": {"type": "Thin"}, "thinPool": pool}))
        .await;
    for number in 0..40 {
        fixture.claim(&format!("c{number}"), "32Mi", None).await;
    }
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "has 0 bytes unallocated in thin pool flexlvm-",
            "512 MiB, overprovision 2.00",
        ])
        .await;
    fixture.quiet().await;
    let created = fixture.own_logical_volumes().await;
    assert_eq!(created.len(), 32);
    for lv in created {
        let pool = lv.spec.thin_pool.unwrap();
        let plan = pool.create.unwrap();
        assert!(
            lv.spec.physical_volumes.is_empty()
                && pool.name == format!("flexlvm-{}", fixture.namespace)
        );
        let sizes = [
            &plan.size,
            &plan.maximum_size,
            &plan.metadata_size,
            &plan.physical_volumes[0].size,
        ];
        assert_eq!(
            sizes.map(|size| size.0.as_str()),
            ["128Mi", "512Mi", "4Mi", "516Mi"]
        );
    }
    fixture
        .change_backend(json!({"thinPool": {"overprovision": "2.5"}}))
        .await;
    fixture.wait_for_volume_count(40).await;
}

/// Returns the maximum size of the pool that a thin volume reserves.
fn pool_maximum(lv: &LogicalVolume) -> String {
    let pool = lv.spec.thin_pool.clone().unwrap();
    pool.create.unwrap().maximum_size.0
}

#[tokio::test]
async fn thin_pool_reservation_is_raised_when_backend_allows_it() {
    let fixture = with_disks("1000Mi", json!([disk("a", "1000Mi")])).await;
    fixture
        .change_backend(json!({"layout": {"type": "Thin"}, "thinPool": {"size": "128Mi", "maximumSize": "256Mi"}}))
        .await;
    let name = volume_of(&fixture.claim("c", "32Mi", None).await);
    fixture.agent_creates(&name).await;
    fixture.wait_for_persistent_volume(&name).await;
    // The agent has not created these volumes yet, so it does not report the pool's size. They are
    // placed before the backend changes: placed later, they would reserve the larger pool
    // themselves.
    for number in 0..4 {
        let claim = fixture.claim(&format!("c{number}"), "32Mi", None).await;
        fixture.wait_for_logical_volume(&volume_of(&claim)).await;
    }
    fixture
        .change_backend(json!({"thinPool": {"maximumSize": "2000Mi"}}))
        .await;
    fixture.quiet().await;
    assert!(
        fixture
            .own_logical_volumes()
            .await
            .iter()
            .all(|lv| pool_maximum(lv) == "256Mi"),
        "no space for more"
    );
    let group = vg0_of_disks("4000Mi", json!([disk("a", "4000Mi")]));
    fixture.report(&fixture.name("n1"), group).await;
    let lv = fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "more is reserved",
            |lv: &LogicalVolume| pool_maximum(lv) == "2000Mi",
        )
        .await;
    assert_eq!(lv.spec.size.0, "32Mi", "the volume itself keeps its size");
}

#[tokio::test]
async fn caches_are_placed_on_fast_disks_and_volumes_on_others() {
    let fast = disk_of_paths("fast", "64Mi", &["/dev/fast"]);
    let fixture = with_disks("576Mi", json!([disk("slow", "512Mi"), fast])).await;
    let cache = json!({"devices": ["/dev/fast"], "size": "25%", "mode": "WriteBack"});
    fixture
        .change_backend(json!({"layout": {"type": "Cached"}, "cache": cache}))
        .await;
    for number in 0..6 {
        fixture.claim(&format!("c{number}"), "64Mi", None).await;
    }
    fixture
        .wait_for_event(&[
            "ProvisioningFailed",
            "has 0 bytes free on the cache disks of volume group vg0 but the cache needs 16 MiB",
        ])
        .await;
    fixture.quiet().await;
    let created = fixture.own_logical_volumes().await;
    assert_eq!(created.len(), 4);
    for lv in created {
        let cache = lv.spec.cache.unwrap();
        assert_eq!(shares(&lv.spec.physical_volumes), [("slow", "64Mi")]);
        assert_eq!(shares(&cache.physical_volumes), [("fast", "16Mi")]);
        assert_eq!(
            [cache.size.0.as_str(), cache.mode.as_str()],
            ["16Mi", "writeback"]
        );
    }
}
