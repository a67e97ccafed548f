//! The plugin folder of the node's kubelet, and the condition `KubeletReady`.

use std::time::Duration;

use crds::NodeStorage;
use crds::condition::{self, DRIVER_INSTALLED, KUBELET_READY};
use harness::wait;

use super::fixture::{Fixture, LIMIT, is_condition_true};

const OWN: &str = "flexlvm.dev~lvm/lvm";

/// Returns true if `KubeletReady` has this status, and its message contains these words.
fn is_kubelet(storage: &NodeStorage, status: &str, words: &str) -> bool {
    let conditions = storage.status.clone().unwrap_or_default().conditions;
    condition::get(&conditions, KUBELET_READY)
        .is_some_and(|ready| ready.status == status && ready.message.contains(words))
}

/// Waits until a file of the node exists, or is gone.
async fn wait_for_file(fixture: &Fixture, path: &str, exists: bool) {
    let path = fixture.site.on_node(path);
    let what = format!("{}: {exists}", path.display());
    wait::until(&what, LIMIT, async || {
        Ok((path.exists() == exists).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn driver_follows_the_kubelet() {
    let mut fixture = Fixture::new(100).await;
    fixture.site.plugin_dir = None;
    let site = &fixture.site;
    site.start_kubelet(812, "--volume-plugin-dir=/first")
        .unwrap();
    let _agent = fixture.agent();
    wait_for_file(&fixture, &format!("/first/{OWN}"), true).await;
    fixture
        .wait_for_report("the driver is installed", |storage| {
            is_condition_true(storage, DRIVER_INSTALLED)
        })
        .await;
    site.load_driver(812, "/first").unwrap();
    fixture
        .wait_for_report("the kubelet has loaded the driver", |storage| {
            is_kubelet(storage, "True", "loaded the driver from /first")
        })
        .await;

    site.stop_kubelet(812).unwrap();
    site.start_kubelet(813, "--volume-plugin-dir=/second")
        .unwrap();
    // The agent checks once a minute; a change in its folder makes it check at once.
    std::fs::write(site.on_node("/first/x"), "").unwrap();
    wait_for_file(&fixture, &format!("/second/{OWN}"), true).await;
    wait_for_file(&fixture, &format!("/first/{OWN}"), true).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    site.load_driver(813, "/second").unwrap();
    wait_for_file(&fixture, "/first/flexlvm.dev~lvm", false).await;
    fixture
        .wait_for_report("the kubelet has loaded it there", |storage| {
            is_kubelet(storage, "True", "loaded the driver from /second")
        })
        .await;
}

#[tokio::test]
async fn folder_that_no_kubelet_reads_is_reported() {
    let fixture = Fixture::new(100).await;
    let site = &fixture.site;
    site.start_kubelet(812, "--volume-plugin-dir=/elsewhere")
        .unwrap();
    let _agent = fixture.agent();
    fixture
        .wait_for_report("the other folder is reported", |storage| {
            is_condition_true(storage, DRIVER_INSTALLED)
                && is_kubelet(storage, "False", "looks for drivers in /elsewhere, but")
        })
        .await;
}
