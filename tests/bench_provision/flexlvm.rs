//! FlexLVM: the controller as its image has it, a process of its own that is started when all
//! claims wait; and the agents, which work already.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::agents::Agents;
use harness::audit::Request;
use harness::site::Site;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use crate::scene::{NAMESPACE, Scene};

/// After the last volume: for the last Events, and for whatever would be written without need.
const SETTLE: Duration = Duration::from_secs(3);

/// How often the volumes are counted.
const COUNT_EVERY: Duration = Duration::from_millis(50);

/// Room for every claim on each node.
const EXTENTS: u64 = 100_000;

/// What one turn took.
pub(crate) struct Outcome {
    /// From the start of the controller until the last PersistentVolume was there.
    pub(crate) time: Duration,
    /// The requests of controller and agents from then on, and for a while after.
    pub(crate) requests: Vec<Request>,
    /// The controller's memory at its peak.
    pub(crate) peak_kib: u32,
    /// The controller's time on a processor.
    pub(crate) cpu: Duration,
}

pub(crate) async fn provision(scene: &Scene, program: &str) -> Result<Outcome> {
    let sites = scene
        .nodes
        .iter()
        .map(|node| Site::new(&node.name_any(), EXTENTS))
        .collect::<Result<_>>()?;
    let agents = Agents::start(scene.server.access(), sites).await?;
    scene.claim().await?;
    let kubeconfig = scene
        .server
        .access()
        .kubeconfig_of(NAMESPACE, "flexlvm-controller")
        .await?;
    let mut command = Command::new(program);
    command
        .args([
            "controller",
            "--identity=bench",
            &format!("--listen={}:0", Ipv4Addr::LOCALHOST),
        ])
        .env_clear()
        .env("KUBECONFIG", kubeconfig);
    scene.server.settle().await?;
    let before = scene.server.requests()?.len();
    let begun = Instant::now();
    let mut controller = scene.server.workplace().start("controller", &mut command)?;
    let volumes: Api<PersistentVolume> = Api::all(scene.client.clone());
    while count(&volumes).await? < scene.crowd.claims {
        controller.check()?;
        let limit = Duration::from_secs(600);
        anyhow::ensure!(
            begun.elapsed() < limit,
            "not done in {limit:?}:\n{}",
            controller.last_lines(20)
        );
        tokio::time::sleep(COUNT_EVERY).await;
    }
    let time = begun.elapsed();
    tokio::time::sleep(SETTLE).await;
    let requests = scene.server.requests()?.split_off(before);
    let (peak_kib, cpu) = (controller.peak_kib()?, controller.cpu()?);
    drop(agents);
    Ok(Outcome {
        time,
        requests,
        peak_kib,
        cpu,
    })
}

/// How many there are: a list of one says how many more.
async fn count(volumes: &Api<PersistentVolume>) -> Result<usize> {
    let list = volumes.list(&ListParams::default().limit(1)).await?;
    let more = list.metadata.remaining_item_count.unwrap_or(0);
    Ok(list.items.len() + usize::try_from(more)?)
}
