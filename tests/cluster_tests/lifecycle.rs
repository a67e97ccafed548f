//! The lifecycle of a volume in a real cluster: durable data, growth, removal.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::cluster::Cluster;
use harness::wait::until;
use kube::api::Api;
use serde_json::{Value, json};

use crate::app::{App, LIMIT, VOLUME_GROUP, holders, on_node, run};
use crate::{cluster, cluster_alone};

pub(crate) fn data_survives() -> Result<()> {
    let mut cluster = cluster_alone();
    run(async {
        let app = App::new(&cluster).await?;
        let volume = app.claim("flexlvm", "64Mi").await?;
        app.pod("first").await?;
        let node = app.runs("first").await?;
        let number: u8 = node.trim_start_matches("node").parse()?;
        let sum = app.write(&cluster, "first")?;

        app.end_pod("first").await?;
        app.pod("second").await?;
        ensure!(
            app.runs("second").await? == node,
            "the second pod is on another node than the volume"
        );
        let check = "sha256sum /data/blob";
        ensure!(
            app.exec(&cluster, "second", check)? == sum,
            "other data after the pod was deleted"
        );

        cluster.restart_kubelet(number)?;
        ensure!(
            app.exec_soon(&cluster, "second", check).await? == sum,
            "other data after a kubelet restart"
        );
        let mounts = cluster.node(number).shell(&format!(
            "findmnt -rn -o TARGET | grep -c '^/var/lib/kubelet/.*{volume}$'"
        ))?;
        ensure!(
            mounts == "1",
            "mounted {mounts} times after a kubelet restart"
        );

        let before = app.container("second").await?.context("it runs")?;
        cluster.cut_power(number)?;
        cluster.power_on(number)?;
        cluster.wait_until_ready(number).await?;
        // The kubelet reports the pod's former state until its next inspection.
        until("the pod runs again", LIMIT, async || {
            Ok(app
                .container("second")
                .await?
                .filter(|now| *now != before)
                .map(drop))
        })
        .await?;
        ensure!(
            app.exec_soon(&cluster, "second", check).await? == sum,
            "other data after a power cut"
        );
        // Other tests wait until nothing is left of a volume.
        app.delete_pod("second").await?;
        app.delete_claim().await
    })
}

/// All file systems at once: the kubelet checks for growth rarely.
pub(crate) fn volumes_grow_while_mounted() -> Result<()> {
    let cluster = cluster();
    run(async {
        let mut apps = Vec::new();
        for (fs, class) in [
            ("ext4", "flexlvm"),
            ("xfs", "flexlvm-xfs"),
            ("btrfs", "flexlvm-btrfs"),
        ] {
            let app = App::new(&cluster).await?;
            app.claim(class, "320Mi").await?;
            app.pod("app").await?;
            apps.push((app, fs));
        }
        let mut growing = Vec::new();
        for (app, fs) in apps {
            app.runs("app").await?;
            let mounted = app.exec(
                &cluster,
                "app",
                "awk '$2 == \"/data\" {print $3}' /proc/mounts",
            )?;
            ensure!(mounted == fs, "{mounted} is mounted instead of {fs}");
            let sum = app.write(&cluster, "app")?;
            app.grow("640Mi").await?;
            growing.push((app, sum));
        }
        for (app, sum) in growing {
            app.has_grown(&cluster, "app", 500).await?;
            app.has_data(&cluster, "app", &sum)?;
            app.leave().await?;
        }
        Ok(())
    })
}

pub(crate) fn growth_without_space_is_reported_and_completed_later() -> Result<()> {
    let cluster = cluster_alone();
    run(async {
        let (app, volume) = App::with_pod(&cluster, "flexlvm", "64Mi").await?;
        let node = app.runs("app").await?;
        let node = cluster.node_named(&node)?;
        node.shell(&format!(
            "lvcreate -qq -y -n foreign -l 100%FREE {VOLUME_GROUP}"
        ))?;
        app.grow("256Mi").await?;
        let event = app.has_event(&["VolumeResizeFailed", "0 bytes free"]).await;
        node.shell(&format!("lvremove -qq -y {VOLUME_GROUP}/foreign"))?;
        event?;
        // The file system follows at the kubelet's next retry, which the test of growth covers.
        until("the logical volume has grown", LIMIT, async || {
            let status = app
                .logical_volumes()
                .get(&volume)
                .await?
                .status
                .unwrap_or_default();
            Ok(status.size.filter(|size| size.0 == "256Mi").map(drop))
        })
        .await?;
        app.end(&cluster, &volume).await
    })
}

/// Waits until the PersistentVolume has this capacity.
async fn has_capacity(app: &App, volume: &str, size: &str) -> Result<()> {
    until(&format!("the capacity is {size}"), LIMIT, async || {
        let spec = app.volumes().get(volume).await?.spec.unwrap_or_default();
        let capacity = spec.capacity.unwrap_or_default();
        Ok(capacity
            .get("storage")
            .filter(|capacity| capacity.0 == size)
            .map(drop))
    })
    .await
}

/// Replaces the pod `app` with a new one of the same name, which must run with the same data.
async fn restart_pod(cluster: &Cluster, app: &App, sum: &str) -> Result<()> {
    app.end_pod("app").await?;
    app.pod("app").await?;
    app.runs("app").await?;
    app.has_data(cluster, "app", sum)
}

pub(crate) fn pod_restarts_while_its_volume_cannot_grow() -> Result<()> {
    let cluster = cluster_alone();
    run(async {
        let (app, volume, _, sum) = App::with_data(&cluster, "flexlvm", "64Mi").await?;
        app.grow("20Gi").await?;
        app.has_event(&["VolumeResizeFailed", "can't grow to 20 GiB"])
            .await?;
        has_capacity(&app, &volume, "64Mi").await?;
        restart_pod(&cluster, &app, &sum).await?;
        app.end(&cluster, &volume).await
    })
}

pub(crate) fn lowered_request_recovers_growth_without_space() -> Result<()> {
    let cluster = cluster_alone();
    run(async {
        let (app, volume, _, sum) = App::with_data(&cluster, "flexlvm", "64Mi").await?;
        app.grow("20Gi").await?;
        app.has_event(&["VolumeResizeFailed", "can't grow to 20 GiB"])
            .await?;
        has_capacity(&app, &volume, "64Mi").await?;
        app.grow("128Mi").await?;
        until("the claim has recovered", LIMIT, async || {
            let status = app.claims().get("data").await?.status.unwrap_or_default();
            let capacity = status.capacity.unwrap_or_default();
            let has_grown = capacity
                .get("storage")
                .is_some_and(|size| size.0 == "128Mi");
            // Newer servers have conditions about other things, too.
            let conditions = status.conditions.unwrap_or_default();
            let is_resizing = conditions
                .iter()
                .any(|condition| condition.type_.contains("Resiz"));
            let growths = status.allocated_resource_statuses.unwrap_or_default();
            Ok((has_grown && !is_resizing && growths.is_empty()).then_some(()))
        })
        .await?;
        app.has_grown(&cluster, "app", 100).await?;
        restart_pod(&cluster, &app, &sum).await?;
        has_capacity(&app, &volume, "128Mi").await?;
        app.end(&cluster, &volume).await
    })
}

pub(crate) fn mounted_volume_is_not_removed_before_unmount() -> Result<()> {
    let cluster = cluster();
    run(async {
        let (app, volume, node, sum) = App::with_data(&cluster, "flexlvm", "64Mi").await?;
        let node = cluster.node_named(&node)?;
        node.shell(&format!(
            "mkdir -p /mnt/held && mount /dev/{VOLUME_GROUP}/{volume} /mnt/held"
        ))?;
        app.leave().await?;

        until("the volume is reported as in use", LIMIT, async || {
            let conditions = app
                .logical_volumes()
                .get(&volume)
                .await?
                .status
                .unwrap_or_default()
                .conditions;
            Ok(conditions
                .iter()
                .any(|condition| condition.reason == "InUse")
                .then_some(()))
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        ensure!(
            holders(&cluster, &volume)?.len() == 1,
            "the volume was removed although it is mounted"
        );
        let held = node.shell("sha256sum /mnt/held/blob")?;
        ensure!(
            held.split(' ').next() == sum.split(' ').next(),
            "the data has changed: {held}, {sum}"
        );

        node.shell("umount /mnt/held")?;
        app.gone(&cluster, &volume).await
    })
}

pub(crate) fn growth_of_volume_group_is_reported_within_five_seconds() -> Result<()> {
    let cluster = cluster_alone();
    run(async {
        let node = cluster.node(1);
        let storages: Api<crds::NodeStorage> = Api::all(cluster.api().client());
        let size = async || -> Result<String> {
            let status = storages.get("node1").await?.status.context("no status")?;
            let group = status
                .volume_groups
                .into_iter()
                .find(|group| group.name == VOLUME_GROUP);
            Ok(group.context("no volume group")?.size.0)
        };
        // Removes the second disk and adds it again.
        let before = size().await?;
        node.shell(&format!("vgreduce -qq {VOLUME_GROUP} /dev/ubdc"))?;
        until("the report has shrunk", LIMIT, async || {
            Ok((size().await? != before).then_some(()))
        })
        .await?;
        node.shell(&format!("vgextend -qq {VOLUME_GROUP} /dev/ubdc"))?;
        let grown = async || Ok((size().await? == before).then_some(()));
        until("the report has grown", Duration::from_secs(5), grown).await
    })
}

pub(crate) fn claim_without_space_waits_with_reason() -> Result<()> {
    let cluster = cluster();
    run(async {
        let (app, volume) = App::with_pod(&cluster, "flexlvm", "100Gi").await?;
        app.has_event(&["ProvisioningFailed", "100 GiB from StorageBackend flexlvm"])
            .await?;
        ensure!(
            app.logical_volumes().get_opt(&volume).await?.is_none(),
            "a logical volume was created"
        );
        app.leave().await
    })
}

/// Returns the source of a pod's volume that names another tenant's; with a uuid also with a wrong
/// key.
fn volume_by_name(volume: &str, uuid: Option<&str>) -> Value {
    let mut options = json!({"volumegroup": VOLUME_GROUP, "volumeID": volume, "size": "67108864"});
    if let Some(uuid) = uuid {
        options["uuid"] = json!(uuid);
        options["key"] = json!("0123456789abcdef0123456789abcdef");
    }
    json!({"flexVolume": {"driver": "flexlvm.dev/lvm", "options": options}})
}

pub(crate) fn pod_cannot_mount_volume_of_another_tenant_by_name() -> Result<()> {
    let cluster = cluster();
    run(async {
        let (owner, volume, node, sum) = App::with_data(&cluster, "flexlvm", "64Mi").await?;

        let intruder = App::new(&cluster).await?;
        // A container can read each volume's uuid in /sys/block/*/dm/uuid, but not its key.
        let uuid = cluster.api().kubectl(&[
            "get",
            "logicalvolume",
            &volume,
            "-o",
            "jsonpath={.status.uuid}",
        ])?;
        intruder
            .pod_on("unnamed", &node, volume_by_name(&volume, None))
            .await?;
        intruder
            .pod_on(
                "guessed",
                &node,
                volume_by_name(&volume, Some("abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP")),
            )
            .await?;
        intruder
            .pod_on(
                "informed",
                &node,
                volume_by_name(&volume, Some(uuid.trim())),
            )
            .await?;
        intruder.has_event(&["FailedMount", "uuid"]).await?;
        intruder
            .has_event(&["FailedMount", "is not the key"])
            .await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        for pod in ["unnamed", "guessed", "informed"] {
            let phase = intruder
                .pods()
                .get(pod)
                .await?
                .status
                .and_then(|status| status.phase);
            ensure!(
                phase.as_deref() == Some("Pending"),
                "pod {pod} is {phase:?}"
            );
            intruder.delete_pod(pod).await?;
        }
        owner.has_data(&cluster, "app", &sum)?;
        owner.leave().await?;
        on_node(
            cluster.node_named(&node)?,
            "it is unmounted",
            &format!("! findmnt -rn -o TARGET | grep {volume}"),
        )
        .await?;
        owner.gone(&cluster, &volume).await
    })
}
