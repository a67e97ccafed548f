//! Thin and cached volumes, in a volume group that the agent creates for them.

use anyhow::{Result, ensure};
use harness::cluster::Cluster;
use harness::guest::Guest;
use serde_json::{Value, json};

use crate::app::{App, data, on_node, run};
use crate::cluster;

/// The node of the volume group.
const NODE: &str = "node1";

/// The volume group, created of a large disk and a fast one.
const GROUP: &str = "made";

const LARGE: &str = "/dev/ubdd";
const FAST: &str = "/dev/ubde";

/// Creates, or changes, a backend for the group, and its StorageClass.
fn apply(cluster: &Cluster, name: &str, rules: Value) -> Result<()> {
    let selector = json!({"matchLabels": {"kubernetes.io/hostname": NODE}});
    let mut spec = json!({"volumeGroup": GROUP, "nodeSelector": selector});
    spec.as_object_mut()
        .into_iter()
        .zip(rules.as_object())
        .for_each(|(spec, rules)| spec.extend(rules.clone()));
    let backend = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": name}, "spec": spec});
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": "flexlvm.dev", "parameters": {"backend": name}, "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true});
    let all = json!({"apiVersion": "v1", "kind": "List", "items": [backend, class]});
    let file = cluster
        .api()
        .workplace()
        .write(&format!("{name}.json"), all.to_string())?;
    cluster
        .api()
        .kubectl(&["apply", "-f", &file.display().to_string()])
        .map(drop)
}

pub(crate) fn thin_and_cached_volumes_wait_for_their_volume_group() -> Result<()> {
    let cluster = cluster();
    let node = cluster.node_named(NODE)?;
    let thin_rules =
        json!({"layout": {"type": "Thin"}, "thinPool": {"size": "64Mi", "maximumSize": "256Mi"}});
    let cached_rules =
        json!({"layout": {"type": "Cached"}, "cache": {"devices": [FAST], "size": "25%"}});
    run(async {
        apply(&cluster, "thin", thin_rules.clone())?;
        apply(&cluster, "cached", cached_rules)?;
        let mut apps = Vec::new();
        for (class, size) in [("thin", "128Mi"), ("cached", "128Mi")] {
            let app = App::new(&cluster).await?;
            let volume = app.claim(class, size).await?;
            app.pod_on("app", NODE, data(false)).await?;
            app.has_event(&["ProvisioningFailed", "has no volume group made"])
                .await?;
            apps.push((app, volume));
        }
        let mut with_devices = thin_rules;
        with_devices["devices"] = json!([LARGE, FAST]);
        apply(&cluster, "thin", with_devices)?;
        let mut sums = Vec::new();
        for ((app, volume), kind) in apps.iter().zip(["thin", "cache"]) {
            ensure!(
                app.runs("app").await? == NODE,
                "{volume} is not in its volume group"
            );
            sums.push(app.write(&cluster, "app")?);
            let found = node.shell(&format!("lvs --noheadings -o segtype {GROUP}/{volume}"))?;
            ensure!(found.trim() == kind, "{volume} is {found}, not {kind}");
        }

        outgrow_the_pool(&cluster, node, &apps[0].0).await?;
        for ((app, volume), sum) in apps.iter().zip(&sums) {
            ensure!(
                app.exec(&cluster, "app", "sha256sum /data/blob")? == *sum,
                "other data in {volume}"
            );
            app.leave().await?;
        }
        for (app, volume) in &apps {
            app.gone(&cluster, volume).await?;
        }
        on_node(
            node,
            "nothing is left in the group",
            &format!("test -z \"$(lvs -a --noheadings {GROUP})\""),
        )
        .await?;
        cluster
            .api()
            .kubectl(&["delete", "storagebackend,storageclass", "thin", "cached"])
            .map(drop)
    })
}

/// Writes more than the pool's initial size, and less than its maximum.
async fn outgrow_the_pool(cluster: &Cluster, node: &Guest, thin: &App) -> Result<()> {
    thin.exec(
        cluster,
        "app",
        "dd if=/dev/urandom of=/data/more bs=1M count=60 2>/dev/null; sync",
    )?;
    let data = thin.exec(cluster, "app", "sha256sum /data/more")?;
    let size = format!("lvs --noheadings --units m --nosuffix -o lv_size {GROUP}/flexlvm-thin");
    on_node(
        node,
        "the pool is larger",
        &format!("test $({size} | cut -d. -f1) -gt 64"),
    )
    .await?;
    ensure!(
        thin.exec(cluster, "app", "sha256sum /data/more")? == data,
        "other data in the thin volume"
    );
    Ok(())
}
