//! The whole cluster: real nodes, real LVM, Kubernetes' own control plane and kubelets.

use std::process::ExitCode;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use anyhow::Result;
use harness::cluster::{Cluster, POD_IMAGE, Plan};
use harness::guest::Hardware;
use harness::suite::{self, Test};
use harness::wait::until;
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

static CLUSTER: LazyLock<Mutex<Cluster>> = LazyLock::new(|| {
    let hardware = Hardware::default();
    let plan = Plan { nodes: 2, hardware, volume_group: Some("vg0".to_owned()), images: Vec::new() };
    Mutex::new(RUNTIME.block_on(Cluster::start(&plan)).unwrap())
});

fn main() -> ExitCode {
    suite::isolated(|| vec![Test::new("a pod outlives a kubelet restart and a power cut", a_pod_outlives_its_node)])
}

fn a_pod_outlives_its_node() -> Result<()> {
    let mut cluster = CLUSTER.lock().unwrap();
    let overrides = r#"{"spec": {"nodeName": "node1"}}"#;
    cluster.api().kubectl(&["run", "plain", "--image", POD_IMAGE, "--overrides", overrides])?;
    RUNTIME.block_on(until_running(&cluster, "plain", 0))?;
    cluster.restart_kubelet(1)?;
    RUNTIME.block_on(until_it_answers(&cluster, "plain"))?;

    cluster.cut_power(1)?;
    cluster.power_on(1)?;
    RUNTIME.block_on(cluster.wait_until_ready(1))?;
    RUNTIME.block_on(until_running(&cluster, "plain", 1))?;
    RUNTIME.block_on(until_it_answers(&cluster, "plain"))?;
    cluster.api().kubectl(&["delete", "pod", "plain", "--grace-period=1"]).map(drop)
}

async fn until_running(cluster: &Cluster, pod: &str, restarts: u32) -> Result<()> {
    let fields =
        "jsonpath={.status.phase}/{.status.containerStatuses[0].ready}/{.status.containerStatuses[0].restartCount}";
    until(&format!("pod {pod} runs after {restarts} restarts"), Duration::from_secs(120), async || {
        let state = cluster.api().kubectl(&["get", "pod", pod, "-o", fields])?;
        Ok((state == format!("Running/true/{restarts}")).then_some(()))
    })
    .await
}

/// A kubelet that has just started says of its pods that they don't exist.
async fn until_it_answers(cluster: &Cluster, pod: &str) -> Result<()> {
    until(&format!("pod {pod} answers"), Duration::from_secs(30), async || {
        let answer = cluster.api().kubectl(&["exec", pod, "--", "echo", "here"]);
        Ok(answer.is_ok_and(|answer| answer == "here\n").then_some(()))
    })
    .await
}
