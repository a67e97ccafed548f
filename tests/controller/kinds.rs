//! Thin pools and caches: the specs of their LogicalVolumes, and that neither pool nor fast disk is
//! reserved twice.

use crds::LogicalVolume;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::fixture::Fixture;

fn disk(uuid: &str, size: &str, cache_paths: &[&str]) -> Value {
    json!({"uuid": uuid, "name": format!("/dev/{uuid}"), "size": size, "usedByOthers": "0", "free": "0", "cachePaths": cache_paths})
}

async fn node_with(fixture: &Fixture, size: &str, disks: Value) {
    fixture.node("n1", 1000).await;
    let group = json!([{"name": "vg0", "uuid": "u", "size": size, "extentSize": "4Mi", "usedByOthers": "0", "free": "0", "physicalVolumes": disks}]);
    fixture.report(&fixture.name("n1"), group).await;
    fixture.class(json!({})).await;
}

#[tokio::test]
async fn thin_claims_share_pool_up_to_overprovision_limit() {
    let fixture = Fixture::new().await;
    node_with(&fixture, "1000Mi", json!([disk("a", "1000Mi", &[])])).await;
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
    let made = fixture.own_logical_volumes().await;
    assert_eq!(made.len(), 32);
    for lv in made {
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
    for _ in 0..50 {
        if fixture.own_logical_volumes().await.len() == 40 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{} are created", fixture.own_logical_volumes().await.len());
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "the steps of one test")]
async fn thin_pool_reservation_is_raised_when_backend_allows_it() {
    let fixture = Fixture::new().await;
    node_with(&fixture, "1000Mi", json!([disk("a", "1000Mi", &[])])).await;
    fixture
        .change_backend(json!({"layout": {"type": "Thin"}, "thinPool": {"size": "128Mi", "maximumSize": "256Mi"}}))
        .await;
    let name = format!(
        "pvc-{}",
        fixture.claim("c", "32Mi", None).await.uid().unwrap()
    );
    fixture.agent_creates(&name).await;
    fixture
        .wait(
            &fixture.volumes(),
            &name,
            "the PersistentVolume is created",
            |_| true,
        )
        .await;
    // The agent has not created these volumes yet, so it does not report the pool's size. They are
    // placed before the backend changes: placed later, they would reserve the larger pool
    // themselves.
    for number in 0..4 {
        let claim = fixture.claim(&format!("c{number}"), "32Mi", None).await;
        let name = format!("pvc-{}", claim.uid().unwrap());
        fixture
            .wait(
                &fixture.logical_volumes(),
                &name,
                "the volume is placed",
                |_| true,
            )
            .await;
    }
    let most = |lv: &LogicalVolume| {
        lv.spec
            .thin_pool
            .clone()
            .unwrap()
            .create
            .unwrap()
            .maximum_size
            .0
    };
    fixture
        .change_backend(json!({"thinPool": {"maximumSize": "2000Mi"}}))
        .await;
    fixture.quiet().await;
    assert!(
        fixture
            .own_logical_volumes()
            .await
            .iter()
            .all(|lv| most(lv) == "256Mi"),
        "no space for more"
    );
    let group = json!({"name": "vg0", "uuid": "u", "size": "4000Mi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0",
        "physicalVolumes": [disk("a", "4000Mi", &[])]});
    fixture.report(&fixture.name("n1"), json!([group])).await;
    let lv = fixture
        .wait(
            &fixture.logical_volumes(),
            &name,
            "more is reserved",
            |lv: &LogicalVolume| most(lv) == "2000Mi",
        )
        .await;
    assert_eq!(lv.spec.size.0, "32Mi", "the volume itself keeps its size");
}

#[tokio::test]
async fn caches_are_placed_on_fast_disks_and_volumes_on_others() {
    let fixture = Fixture::new().await;
    node_with(
        &fixture,
        "576Mi",
        json!([
            disk("slow", "512Mi", &[]),
            disk("fast", "64Mi", &["/dev/fast"])
        ]),
    )
    .await;
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
    let made = fixture.own_logical_volumes().await;
    assert_eq!(made.len(), 4);
    for lv in made {
        let cache = lv.spec.cache.unwrap();
        let share = |share: &crds::Share| (share.uuid.clone(), share.size.0.clone());
        assert_eq!(
            lv.spec
                .physical_volumes
                .iter()
                .map(share)
                .collect::<Vec<_>>(),
            [("slow".into(), "64Mi".into())]
        );
        assert_eq!(
            cache.physical_volumes.iter().map(share).collect::<Vec<_>>(),
            [("fast".into(), "16Mi".into())]
        );
        assert_eq!(
            (cache.size.0.as_str(), cache.mode.as_str()),
            ("16Mi", "writeback")
        );
    }
}
