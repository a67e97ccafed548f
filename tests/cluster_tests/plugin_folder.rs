//! A kubelet whose configuration names another plugin folder: the driver follows it.

use anyhow::Result;
use crds::NodeStorage;
use crds::condition::{self, KUBELET_READY};
use harness::cluster::Cluster;
use harness::guest::Guest;
use harness::wait::until;
use kube::Api;

use crate::app::{App, LIMIT, data, on_node, run};
use crate::cluster_alone;

/// The node whose kubelet gets another folder.
const NODE: u8 = 2;

/// The default folder.
const DEFAULT: &str = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec";

/// The other folder, as RKE2 has it.
const OTHER: &str = "/var/lib/kubelet/volumeplugins";

pub(crate) fn driver_follows_the_kubelet_to_another_plugin_folder() -> Result<()> {
    let cluster = cluster_alone();
    let node = cluster.node(NODE);
    run(async {
        has_loaded(&cluster, node, DEFAULT).await?;
        node.shell(&format!(
            "echo 'volumePluginDir: {OTHER}' >>/etc/kubelet.yaml"
        ))?;
        cluster.restart_kubelet(NODE)?;
        has_loaded(&cluster, node, OTHER).await?;
        let app = App::new(&cluster).await?;
        let volume = app.claim("flexlvm", "64Mi").await?;
        app.pod_on("app", &node.name(), data(false)).await?;
        app.runs("app").await?;
        app.write(&cluster, "app")?;
        app.end(&cluster, &volume).await?;
        is_gone(node, DEFAULT).await?;

        node.shell("sed -i /^volumePluginDir/d /etc/kubelet.yaml")?;
        cluster.restart_kubelet(NODE)?;
        has_loaded(&cluster, node, DEFAULT).await?;
        is_gone(node, OTHER).await
    })
}

/// Waits until the report on the node shows that its kubelet has loaded the driver from a folder.
async fn has_loaded(cluster: &Cluster, node: &Guest, folder: &str) -> Result<()> {
    let storages: Api<NodeStorage> = Api::all(cluster.api().client());
    let message = format!("the kubelet has loaded the driver from {folder}");
    until(&message, LIMIT, async || {
        let storage = storages.get_opt(&node.name()).await?;
        let status = storage.and_then(|storage| storage.status);
        let conditions = status.unwrap_or_default().conditions;
        let is_loaded = condition::get(&conditions, KUBELET_READY)
            .is_some_and(|ready| ready.status == "True" && ready.message == message);
        Ok(is_loaded.then_some(()))
    })
    .await
}

async fn is_gone(node: &Guest, folder: &str) -> Result<()> {
    let what = format!("the driver is removed from {folder}");
    on_node(node, &what, &format!("! test -e {folder}/flexlvm.dev~lvm"))
        .await
        .map(drop)
}
