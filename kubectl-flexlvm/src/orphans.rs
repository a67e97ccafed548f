//! `orphans`: logical volumes of claims without an object, and volumes that no claim uses. Pure.

use crds::logical_volume::State;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::objects::human;
use crate::output::Report;
use crate::snapshot::Snapshot;
use crate::snapshot::kind::Kind;
use crate::table::Table;

/// A volume that no claim uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unused {
    /// Why it is in the list.
    pub kind: UnusedKind,
    /// The node.
    pub node: String,
    /// Volume group and name of the logical volume.
    pub path: String,
    /// Namespace and name of the claim that it belonged to; its uid if the name is unknown.
    pub claim: String,
    /// Its size; empty if unknown.
    pub size: String,
    /// The commands that use it, or remove it.
    pub to_do: String,
}

/// Why no claim uses a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum UnusedKind {
    /// No LogicalVolume describes the logical volume.
    Orphan,
    /// The volume was retained when its claim was deleted.
    Retained,
    /// The volume's node is gone.
    NodeGone,
    /// Its claim was released while its node was lost.
    Abandoned,
}

/// All volumes that no claim uses.
#[derive(Debug, Serialize)]
pub struct UnusedVolumes(pub Vec<Unused>);

/// Finds volumes that no claim uses.
#[must_use]
pub fn unused(snapshot: &Snapshot) -> UnusedVolumes {
    let mut all = Vec::new();
    for (node, storage) in &snapshot.storages {
        for orphan in storage.status.iter().flat_map(|status| &status.orphans) {
            let path = format!("{}/{}", orphan.volume_group, orphan.name);
            all.push(Unused {
                kind: UnusedKind::Orphan,
                node: node.clone(),
                claim: orphan.claim.clone().unwrap_or(orphan.claim_uid.clone()),
                size: String::new(),
                to_do: format!(
                    "to use its data: kubectl flexlvm adopt {node} {path}; to free it, on the node: lvchange --deltag flexlvm.dev/claim-uid={} {path}",
                    orphan.claim_uid
                ),
                path,
            });
        }
    }
    for (name, volume) in &snapshot.logical_volumes {
        let Some(kind) = kind(snapshot, volume) else {
            continue;
        };
        let claim = volume.spec.current_claim();
        all.push(Unused {
            kind,
            node: volume.spec.node.clone(),
            path: format!("{}/{name}", volume.spec.volume_group),
            claim: format!("{}/{}", claim.namespace, claim.name),
            size: human(&volume.spec.size),
            to_do: match kind {
                UnusedKind::NodeGone => {
                    "if the node does not come back: docs/operations.md, a node is lost".to_owned()
                }
                UnusedKind::Abandoned => format!(
                    "to give up its data, or to adopt it once its node is back: kubectl delete logicalvolumes.flexlvm.dev {name}; see docs/operations.md, a lost node comes back"
                ),
                _ => format!(
                    "to remove it with its data: kubectl patch logicalvolumes.flexlvm.dev {name} --type merge -p '{{\"spec\": {{\"state\": \"Absent\"}}}}'"
                ),
            },
        });
    }
    UnusedVolumes(all)
}

/// Returns why no claim uses a volume; `None` if one does, or if it is being removed.
fn kind(snapshot: &Snapshot, volume: &crds::LogicalVolume) -> Option<UnusedKind> {
    if volume.spec.state == State::Abandoned {
        return Some(UnusedKind::Abandoned);
    }
    let has_node = snapshot.nodes.contains_key(&volume.spec.node);
    if !has_node && snapshot.is_readable(Kind::Nodes) {
        return Some(UnusedKind::NodeGone);
    }
    let claim = volume.spec.current_claim();
    let key = format!("{}/{}", claim.namespace, claim.name);
    let claim = snapshot
        .claims
        .get(&key)
        .filter(|found| found.uid().as_deref() == Some(claim.uid.as_str()));
    let is_used = claim.is_some() || !snapshot.is_readable(Kind::PersistentVolumeClaims);
    if is_used || volume.spec.state != State::Present {
        return None;
    }
    Some(UnusedKind::Retained)
}

impl Report for UnusedVolumes {
    fn text(&self, wide: bool) -> String {
        if self.0.is_empty() {
            return "No volumes without a claim found.\n".to_owned();
        }
        let mut header = vec!["KIND", "NODE", "VOLUME", "CLAIM", "SIZE"];
        if wide {
            header.push("TO-DO");
        }
        let mut table = Table::new(&header);
        for unused in &self.0 {
            let mut cells = vec![
                format!("{:?}", unused.kind),
                unused.node.clone(),
                unused.path.clone(),
                unused.claim.clone(),
                unused.size.clone(),
            ];
            if wide {
                cells.push(unused.to_do.clone());
            }
            table.row(cells);
        }
        table.render()
    }

    fn names(&self) -> Vec<String> {
        let all = self.0.iter();
        all.map(|unused| format!("logicalvolume/{}", unused.path))
            .collect()
    }

    fn is_good(&self) -> bool {
        true
    }
}
