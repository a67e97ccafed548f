//! Volumes in thin pools and with caches: what their orders say, and that neither pool nor fast
//! disk is promised twice.

use crds::LogicalVolume;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::stage::Stage;

fn disk(uuid: &str, size: &str, cache_paths: &[&str]) -> Value {
    json!({"uuid": uuid, "name": format!("/dev/{uuid}"), "size": size, "usedByOthers": "0", "free": "0", "cachePaths": cache_paths})
}

async fn node_with(stage: &Stage, size: &str, disks: Value) {
    stage.node("n1", 1000).await;
    let group = json!([{"name": "vg0", "uuid": "u", "size": size, "extentSize": "4Mi", "usedByOthers": "0", "free": "0", "physicalVolumes": disks}]);
    stage.report(&stage.name("n1"), group).await;
    stage.class(json!({})).await;
}

#[tokio::test]
async fn forty_thin_claims_share_one_pool_for_thirty_two_until_more_is_allowed() {
    let stage = Stage::new().await;
    node_with(&stage, "1000Mi", json!([disk("a", "1000Mi", &[])])).await;
    let pool = json!({"size": "128Mi", "maximumSize": "512Mi", "overprovision": "2"});
    stage
        .change_backend(json!({"layout": {"type": "Thin"}, "thinPool": pool}))
        .await;
    for number in 0..40 {
        stage.claim(&format!("c{number}"), "32Mi", None).await;
    }
    stage
        .told(&[
            "ProvisioningFailed",
            "has 0 bytes unallocated in thin pool flexlvm-",
            "512 MiB, overprovision 2.00",
        ])
        .await;
    stage.quiet().await;
    let made = stage.made().await;
    assert_eq!(made.len(), 32);
    for lv in made {
        let pool = lv.spec.thin_pool.unwrap();
        let plan = pool.create.unwrap();
        assert!(
            lv.spec.physical_volumes.is_empty()
                && pool.name == format!("flexlvm-{}", stage.namespace)
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
    stage
        .change_backend(json!({"thinPool": {"overprovision": "2.5"}}))
        .await;
    for _ in 0..50 {
        if stage.made().await.len() == 40 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{} are made", stage.made().await.len());
}

#[tokio::test]
async fn a_thin_pool_is_promised_more_when_its_backend_allows_it_and_there_is_room() {
    let stage = Stage::new().await;
    node_with(&stage, "1000Mi", json!([disk("a", "1000Mi", &[])])).await;
    stage
        .change_backend(json!({"layout": {"type": "Thin"}, "thinPool": {"size": "128Mi", "maximumSize": "256Mi"}}))
        .await;
    let name = format!(
        "pvc-{}",
        stage.claim("c", "32Mi", None).await.uid().unwrap()
    );
    stage.agent_makes(&name).await;
    stage
        .wait(
            &stage.volumes(),
            &name,
            "the PersistentVolume is written",
            |_| true,
        )
        .await;
    // The agent has not created these volumes yet, so they don't report the pool's size. They are
    // placed before the backend changes: placed later, they would reserve the larger pool themselves.
    for number in 0..4 {
        let claim = stage.claim(&format!("c{number}"), "32Mi", None).await;
        let name = format!("pvc-{}", claim.uid().unwrap());
        stage
            .wait(
                &stage.logical_volumes(),
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
    stage
        .change_backend(json!({"thinPool": {"maximumSize": "2000Mi"}}))
        .await;
    stage.quiet().await;
    assert!(
        stage.made().await.iter().all(|lv| most(lv) == "256Mi"),
        "there is no room for more"
    );
    let group = json!({"name": "vg0", "uuid": "u", "size": "4000Mi", "extentSize": "4Mi", "usedByOthers": "0", "free": "0",
        "physicalVolumes": [disk("a", "4000Mi", &[])]});
    stage.report(&stage.name("n1"), json!([group])).await;
    let grown = |lv: &LogicalVolume| most(lv) == "2000Mi";
    let lv = stage
        .wait(&stage.logical_volumes(), &name, "more is promised", grown)
        .await;
    assert_eq!(lv.spec.size.0, "32Mi", "the volume itself stays as it is");
}

#[tokio::test]
async fn caches_are_promised_on_fast_disks_and_volumes_on_the_others() {
    let stage = Stage::new().await;
    node_with(
        &stage,
        "576Mi",
        json!([
            disk("slow", "512Mi", &[]),
            disk("fast", "64Mi", &["/dev/fast"])
        ]),
    )
    .await;
    let cache = json!({"devices": ["/dev/fast"], "size": "25%", "mode": "WriteBack"});
    stage
        .change_backend(json!({"layout": {"type": "Cached"}, "cache": cache}))
        .await;
    for number in 0..6 {
        stage.claim(&format!("c{number}"), "64Mi", None).await;
    }
    stage
        .told(&[
            "ProvisioningFailed",
            "has 0 bytes free on the cache disks of volume group vg0 but the cache needs 16 MiB",
        ])
        .await;
    stage.quiet().await;
    let made = stage.made().await;
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
