//! `adopt`: creates Adoptions of logical volumes, and waits until the controller has carried them
//! out.
//!
//! `arguments` reads the command line, [`request`] checks what it requests, [`report`] reads how far
//! each Adoption is; all are pure. An Adoption has the name of its logical volume, and is applied:
//! the same command again continues it, and with further options it completes it.

mod arguments;
pub mod report;
pub mod request;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use crds::Adoption;
use futures::future::join_all;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};

use crate::progress::Progress;
use crate::snapshot::Snapshot;
use report::{AdoptEntry, AdoptReport, AdoptState, Ending};
use request::{AdoptRequest, Candidate};

/// Field manager of the Adoptions that this command applies.
const MANAGER: &str = "kubectl-flexlvm";

/// Time between two lists of Adoptions.
const POLL: Duration = Duration::from_secs(1);

/// How far a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// It shows what it would adopt.
    DryRun,
    /// It shows what it would adopt, since the confirmation `--yes` is missing.
    Unconfirmed,
    /// It creates the Adoptions, and waits for them up to this time.
    Apply(Duration),
}

/// Lists all Adoptions by name.
///
/// # Errors
/// If they can't be listed.
pub async fn list(client: &Client) -> Result<BTreeMap<String, Adoption>> {
    let api: Api<Adoption> = Api::all(client.clone());
    let listed = api.list(&ListParams::default()).await;
    let listed = listed.context("listing adoptions.flexlvm.dev")?;
    let by_name = listed.items.into_iter();
    Ok(by_name
        .map(|adoption| (adoption.name_any(), adoption))
        .collect())
}

/// Adopts what the command line requests, as far as `extent` allows.
///
/// # Errors
/// If the server can't be reached, or fails.
pub async fn adopt(
    client: &Client,
    snapshot: &Snapshot,
    request: &AdoptRequest,
    extent: Extent,
) -> Result<AdoptReport> {
    let existing = list(client).await?;
    let candidates = request::candidates(request, snapshot, &existing);
    let Extent::Apply(limit) = extent else {
        return Ok(AdoptReport::planned(&candidates, extent));
    };
    let mut entries: Vec<AdoptEntry> = Vec::new();
    let applications = candidates.iter().map(|one| apply(client, one));
    for (candidate, refusal) in candidates.iter().zip(join_all(applications).await) {
        entries.push(AdoptEntry::new(candidate, refusal?));
    }
    let ending = if snapshot.ready_controllers() == Some(0) {
        Ending::NoController
    } else if limit.is_zero() {
        Ending::NotAwaited
    } else {
        wait(client, &mut entries, limit).await?;
        Ending::Awaited
    };
    Ok(AdoptReport { entries, ending })
}

/// Creates or completes one Adoption; returns why the server refuses it.
async fn apply(client: &Client, candidate: &Candidate) -> Result<Option<String>> {
    let adoption = match &candidate.adoption {
        Ok(adoption) => adoption,
        Err(refusal) => return Ok(Some(refusal.clone())),
    };
    let api: Api<Adoption> = Api::all(client.clone());
    let params = PatchParams::apply(MANAGER);
    let name = adoption.name_any();
    match api.patch(&name, &params, &Patch::Apply(adoption)).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if [403, 409, 422].contains(&status.code) => {
            Ok(Some(status.message.clone()))
        }
        Err(error) => Err(error).with_context(|| format!("applying Adoption {name}")),
    }
}

/// Waits until no Adoption is in progress, or the time is over.
async fn wait(client: &Client, entries: &mut [AdoptEntry], limit: Duration) -> Result<()> {
    let mut progress = Progress::start();
    loop {
        let adoptions = list(client).await?;
        for entry in entries.iter_mut() {
            entry.observe(adoptions.get(&entry.adoption));
        }
        let waiting = entries
            .iter()
            .find(|entry| entry.state == AdoptState::Waiting);
        let Some(waiting) = waiting else {
            break;
        };
        let ended = entries
            .iter()
            .filter(|entry| entry.state != AdoptState::Waiting);
        progress.show(ended.count(), entries.len(), &waiting.progress());
        if progress.elapsed() >= limit {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    progress.end();
    Ok(())
}

#[cfg(test)]
mod tests;
