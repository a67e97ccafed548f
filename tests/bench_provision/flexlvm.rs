//! FlexLVM's part: the controller as in its image, a separate process that starts when all claims
//! wait; and the agents, which are running by then.

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

use crate::environment::{Environment, NAMESPACE};

/// Wait after the last volume, for the last Events and for unnecessary writes.
const SETTLE: Duration = Duration::from_secs(3);

/// Interval between counts of the volumes.
const COUNT_EVERY: Duration = Duration::from_millis(50);

/// Enough space for all claims on each node.
const EXTENTS: u64 = 100_000;

/// The measurements of one turn.
pub(crate) struct Outcome {
    /// Time from the start of the controller until the last PersistentVolume exists.
    pub(crate) time: Duration,
    /// Requests of controller and agents since the start, until shortly after.
    pub(crate) requests: Vec<Request>,
    /// Peak memory of the controller.
    pub(crate) peak_kib: u32,
    /// CPU time of the controller.
    pub(crate) cpu: Duration,
}

pub(crate) async fn provision(environment: &Environment, program: &str) -> Result<Outcome> {
    let sites = environment
        .nodes
        .iter()
        .map(|node| Site::new(&node.name_any(), EXTENTS))
        .collect::<Result<_>>()?;
    let agents = Agents::start(environment.server.access(), sites).await?;
    environment.claim().await?;
    let kubeconfig = environment
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
    environment.server.settle().await?;
    let before = environment.server.requests()?.len();
    let begun = Instant::now();
    let mut controller = environment
        .server
        .workplace()
        .start("controller", &mut command)?;
    let volumes: Api<PersistentVolume> = Api::all(environment.client.clone());
    while count(&volumes).await? < environment.load.claims {
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
    let requests = environment.server.requests()?.split_off(before);
    let peak_kib = controller.peak_kib()?;
    let cpu = controller.cpu()?;
    drop(agents);
    Ok(Outcome {
        time,
        requests,
        peak_kib,
        cpu,
    })
}

/// Counts the volumes with a list of one item, whose metadata has the number of the remaining ones.
async fn count(volumes: &Api<PersistentVolume>) -> Result<usize> {
    let list = volumes.list(&ListParams::default().limit(1)).await?;
    let more = list.metadata.remaining_item_count.unwrap_or(0);
    Ok(list.items.len() + usize::try_from(more)?)
}
