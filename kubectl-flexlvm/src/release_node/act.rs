//! Writes the intent into each LogicalVolume of a plan, and waits for the controller.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use crds::LogicalVolume;
use crds::logical_volume::State;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{KINDS, ReleasePlan, ReleaseProgress, plan};
use crate::output::{Format, print, render};
use crate::snapshot::read;

/// Time between two looks at the claims.
const INTERVAL: Duration = Duration::from_secs(2);

/// Number of attempts to write an object that other writers change at the same time.
const ATTEMPTS: u32 = 5;

/// Settings of the command line.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseSettings {
    /// Whether the admin has confirmed the release.
    pub yes: bool,
    /// Time to wait for the claims.
    pub timeout: Duration,
    /// Format of the plan.
    pub output: Option<Format>,
}

/// Shows what is released, and releases it after a confirmation. Returns false if claims are left.
///
/// # Errors
/// If the node is not lost, the release is not confirmed, or the API server rejects it.
pub async fn run(client: &Client, node: &str, settings: ReleaseSettings) -> Result<bool> {
    let plan = plan(&read::snapshot(client, &KINDS, None).await?, node)?;
    print(&render(&plan, settings.output)?)?;
    if !settings.yes {
        confirm(node)?;
    }
    let api: Api<LogicalVolume> = Api::all(client.clone());
    for volume in &plan.volumes {
        abandon(&api, &volume.name, node).await?;
    }
    wait(client, &plan, settings.timeout).await
}

/// Asks for the name of the node on a terminal.
fn confirm(node: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("nothing was changed: repeat the command with --yes to release the claims");
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "Type the name of the node to release them: ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim() != node {
        bail!("nothing was changed: the answer is not {node}");
    }
    Ok(())
}

/// Requests the release of one volume, unless that was done before.
async fn abandon(api: &Api<LogicalVolume>, name: &str, node: &str) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let Some(found) = api.get_opt(name).await? else {
            return Ok(());
        };
        if found.spec.state == State::Abandoned || found.spec.node != node {
            return Ok(());
        }
        let metadata = json!({"uid": found.uid(), "resourceVersion": found.resource_version()});
        let patch =
            Patch::Merge(json!({"metadata": metadata, "spec": {"state": State::Abandoned}}));
        match api.patch(name, &PatchParams::default(), &patch).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => {
                return Err(error).with_context(|| format!("releasing LogicalVolume {name}"));
            }
        }
    }
    bail!("LogicalVolume {name} changes all the time: repeat the command")
}

/// Waits until the claims are gone, with a line for each change.
async fn wait(client: &Client, plan: &ReleasePlan, timeout: Duration) -> Result<bool> {
    let end = Instant::now() + timeout;
    let mut printed = String::new();
    loop {
        let progress = ReleaseProgress::new(plan, &read::snapshot(client, &KINDS, None).await?);
        let line = progress.line();
        if line != printed {
            print(&format!("{line}\n"))?;
        }
        if progress.waiting.is_empty() {
            return Ok(true);
        }
        if Instant::now() >= end {
            print(
                "The release goes on in the cluster: a claim ends once no pod on a node uses it \
                 (kubectl describe pvc).\n",
            )?;
            return Ok(false);
        }
        printed = line;
        sleep(INTERVAL).await;
    }
}
