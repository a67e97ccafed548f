//! `release-node`: releases the claims whose volumes are on a lost node. The one command that
//! changes a cluster: it writes the intent (`spec.state: Abandoned`); the controller carries it out.
//!
//! [`plan`] chooses the volumes and [`ReleaseProgress`] counts, both pure; [`act`] writes and waits.

mod act;

use anyhow::{Result, anyhow, bail};
use crds::LogicalVolume;
use crds::logical_volume::State;
use kube::ResourceExt as _;
use placement::filter;
use placement::node_loss::{self, NodeLoss};
use serde::Serialize;

use crate::objects::{counted, human};
use crate::output::Report;
use crate::snapshot::Snapshot;
use crate::snapshot::kind::Kind;
use crate::table::Table;

pub use act::{ReleaseSettings, run};

/// The kinds of objects that the command reads.
pub const KINDS: [Kind; 4] = [
    Kind::LogicalVolumes,
    Kind::NodeStorages,
    Kind::Nodes,
    Kind::PersistentVolumeClaims,
];

/// A volume of the lost node, and its claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LostVolume {
    /// Name of the LogicalVolume.
    pub name: String,
    /// Namespace and name of the claim that is deleted; empty if it is gone already.
    pub claim: String,
    /// Size of the volume.
    pub size: String,
    /// Whether its release was requested before.
    pub is_abandoned: bool,
}

/// The volumes to release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleasePlan {
    /// Name of the node.
    pub node: String,
    /// Why the node counts as lost, as the end of a sentence about it.
    pub loss: String,
    /// The volumes.
    pub volumes: Vec<LostVolume>,
}

/// Chooses the volumes of a node whose claims are released.
///
/// # Errors
/// If the node is not lost, or the objects that show it can't be listed.
pub fn plan(snapshot: &Snapshot, node: &str) -> Result<ReleasePlan> {
    for kind in KINDS {
        if let Some(reason) = snapshot.unreadable.get(&kind) {
            bail!("{} can't be listed: {reason}", kind.resource());
        }
        if !snapshot.is_readable(kind) {
            bail!("the server has no {}", kind.resource());
        }
    }
    let on_node: Vec<_> = snapshot.volumes_on(node).collect();
    if on_node.is_empty() {
        bail!("no LogicalVolume is on node {node}");
    }
    let object = snapshot.nodes.get(node);
    let storage = snapshot.storages.get(node);
    let mut losses = Vec::new();
    let mut volumes = Vec::new();
    for (name, volume) in on_node {
        let loss = NodeLoss::judge(volume, object, storage).map(|loss| loss.to_string());
        // Its disk is gone for good: the admin states that.
        let is_missing =
            object.is_some_and(filter::is_up) && node_loss::is_reported_missing(volume);
        let loss = loss.or_else(|| is_missing.then(|| "lacks the volumes".to_owned()));
        if let Some(loss) = loss {
            losses.push(loss);
            volumes.push(lost_volume(snapshot, name, volume));
        }
    }
    let Some(loss) = losses.into_iter().next() else {
        return Err(not_lost(node, object.is_some_and(filter::is_up)));
    };
    Ok(ReleasePlan {
        node: node.to_owned(),
        loss,
        volumes,
    })
}

/// Returns why the volumes of a node are not released.
fn not_lost(node: &str, is_up: bool) -> anyhow::Error {
    if is_up {
        return anyhow!(
            "node {node} is Ready and has its volumes, so no claim is released: to remove the node, drain it and \
             delete it first (kubectl delete node {node})"
        );
    }
    anyhow!(
        "node {node} is not Ready, and may come back with its pods still running: if it is off for good, delete it \
         (kubectl delete node {node}), or state that it is out of service (kubectl taint node {node} \
         {}=nodeshutdown:NoExecute)",
        node_loss::OUT_OF_SERVICE
    )
}

fn lost_volume(snapshot: &Snapshot, name: &str, volume: &LogicalVolume) -> LostVolume {
    LostVolume {
        name: name.to_owned(),
        claim: claim_of(snapshot, volume).unwrap_or_default(),
        size: human(&volume.spec.size),
        is_abandoned: volume.spec.state == State::Abandoned,
    }
}

/// Returns namespace and name of the claim that a volume is bound to, while that exists.
fn claim_of(snapshot: &Snapshot, volume: &LogicalVolume) -> Option<String> {
    let claim = volume.spec.current_claim();
    let key = format!("{}/{}", claim.namespace, claim.name);
    let found = snapshot.claims.get(&key)?;
    (found.uid().as_ref() == Some(&claim.uid)).then_some(key)
}

/// How far a release is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseProgress {
    /// Number of claims that are gone.
    pub released: usize,
    /// The claims that still exist.
    pub waiting: Vec<String>,
}

impl ReleaseProgress {
    /// Compares the claims of a plan with the present objects.
    #[must_use]
    pub fn new(plan: &ReleasePlan, snapshot: &Snapshot) -> Self {
        let mut progress = Self::default();
        for volume in plan
            .volumes
            .iter()
            .filter(|volume| !volume.claim.is_empty())
        {
            let object = snapshot.logical_volumes.get(&volume.name);
            match object.and_then(|object| claim_of(snapshot, object)) {
                Some(claim) => progress.waiting.push(claim),
                None => progress.released += 1,
            }
        }
        progress
    }

    /// Returns one line about it.
    #[must_use]
    pub fn line(&self) -> String {
        const SHOWN: usize = 3;
        let all = self.released + self.waiting.len();
        if all == 0 {
            return "all claims are released".to_owned();
        }
        let done = format!("{} of {} released", self.released, counted(all, "claim"));
        if self.waiting.is_empty() {
            return done;
        }
        let shown: Vec<_> = self.waiting.iter().take(SHOWN).cloned().collect();
        let shown = shown.join(", ");
        match self.waiting.len().saturating_sub(SHOWN) {
            0 => format!("{done}; waiting for {shown}"),
            hidden => format!("{done}; waiting for {shown} and {hidden} more"),
        }
    }
}

impl Report for ReleasePlan {
    fn text(&self, _wide: bool) -> String {
        let mut table = Table::new(&["LOGICALVOLUME", "CLAIM", "SIZE", "STATE"]);
        for volume in &self.volumes {
            let state = if volume.is_abandoned {
                "Abandoned"
            } else {
                "to be released"
            };
            table.row([
                volume.name.clone(),
                volume.claim.clone(),
                volume.size.clone(),
                state.to_owned(),
            ]);
        }
        let claims = self
            .volumes
            .iter()
            .filter(|volume| !volume.claim.is_empty());
        format!(
            "{}node {} {}: {} will be deleted, and can be created again with empty volumes. The data stays on the disks \
             of the node.\n",
            table.render(),
            self.node,
            self.loss,
            counted(claims.count(), "claim")
        )
    }

    fn names(&self) -> Vec<String> {
        let all = self.volumes.iter();
        all.map(|volume| format!("logicalvolume.flexlvm.dev/{}", volume.name))
            .collect()
    }

    fn is_good(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
