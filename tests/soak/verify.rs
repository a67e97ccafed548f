//! What must hold at the end, when all faults are over: findings from the observed state. Pure.

use std::collections::BTreeMap;
use std::fmt;

use crds::thin_pool::pool_name;

use crate::model::{Claim, Layout, Model};
use crate::observe::{Observed, ObservedLv, ObservedNode};

/// A kind of violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A volume, or an acknowledged write, is not there.
    Lost,
    /// Something is there that nothing needs, or space is unaccounted for.
    Leaked,
    /// A volume exists more than once.
    Doubled,
    /// Something does not work, without an Event or condition of a cause that remains.
    Unexplained,
}

/// A violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    message: String,
}

impl Finding {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) findings: Vec<Finding>,
    /// Servable claims that wait, for a reason that an Event has.
    pub(crate) explained: Vec<String>,
}

impl Verdict {
    fn add(&mut self, kind: Kind, message: impl Into<String>) {
        self.findings.push(Finding::new(kind, message));
    }
}

/// Names of the volumes by the number of their claim.
pub(crate) type Volumes = BTreeMap<u32, String>;

/// Compares the observed state with what was requested.
pub(crate) fn verify(model: &Model, volumes: &Volumes, observed: &Observed) -> Verdict {
    let mut verdict = Verdict::default();
    for claim in &model.claims {
        let Some(volume) = volumes.get(&claim.number) else {
            continue;
        };
        if claim.is_deleted && !claim.is_kept() {
            removed(claim, volume, observed, &mut verdict);
        } else if claim.is_deleted || served(claim, observed, &mut verdict) {
            kept(claim, volume, observed, &mut verdict);
        }
    }
    for name in observed.objects.keys() {
        if !volumes.values().any(|volume| volume == name) {
            let message = format!("LogicalVolume {name} belongs to no claim of this run");
            verdict.add(Kind::Leaked, message);
        }
    }
    for node in &observed.nodes {
        logical_volumes(node, observed, &mut verdict);
        devices(node, &mut verdict);
        space(node, observed, &mut verdict);
    }
    verdict
}

/// Checks a claim that is not deleted; returns true if it is bound.
fn served(claim: &Claim, observed: &Observed, verdict: &mut Verdict) -> bool {
    let name = claim.name();
    let Some(found) = observed.claims.get(&name) else {
        verdict.add(Kind::Lost, format!("claim {name} is gone"));
        return false;
    };
    if found.is_bound && found.capacity >= found.request {
        return true;
    }
    if found.warnings.is_empty() {
        let message = if found.is_bound {
            format!(
                "claim {name} has {} of {} bytes, without an Event",
                found.capacity, found.request
            )
        } else {
            format!("claim {name} is not bound, without an Event")
        };
        verdict.add(Kind::Unexplained, message);
    } else if claim.is_servable() {
        verdict
            .explained
            .push(format!("{name}: {}", found.warnings.join("; ")));
    }
    found.is_bound
}

/// Checks the volume of a claim that is bound, or was deleted with the policy `Retain`.
fn kept(claim: &Claim, volume: &str, observed: &Observed, verdict: &mut Verdict) {
    let name = claim.name();
    let phase = observed.volumes.get(volume).map(String::as_str);
    if claim.is_deleted && phase.is_none() && !observed.objects.contains_key(volume) {
        // Deleted before it was served.
        return;
    }
    let expected = if claim.is_deleted {
        "Released"
    } else {
        "Bound"
    };
    if phase != Some(expected) {
        let found = phase.unwrap_or("gone");
        let message = format!("PersistentVolume {volume} of {name} is {found}, not {expected}");
        verdict.add(Kind::Unexplained, message);
    }
    let Some(object) = observed.objects.get(volume) else {
        verdict.add(
            Kind::Lost,
            format!("{volume} of {name} has no LogicalVolume"),
        );
        return;
    };
    if let Some(reason) = &object.unready {
        let message = format!("LogicalVolume {volume} of {name} is not Ready: {reason}");
        verdict.add(Kind::Unexplained, message);
    }
    let holders = holders(observed, volume);
    match holders[..] {
        [Holder { node, lv }] => {
            if node != object.node || lv.uuid != object.uuid {
                let message = format!(
                    "{volume} of {name} is {} on {node}; its LogicalVolume names {} on {}",
                    lv.uuid, object.uuid, object.node
                );
                verdict.add(Kind::Lost, message);
            }
        }
        [] => verdict.add(Kind::Lost, format!("{volume} of {name} is on no node")),
        _ => {
            let nodes: Vec<&str> = holders.iter().map(|holder| holder.node).collect();
            let message = format!("{volume} of {name} is on {}", nodes.join(" and "));
            verdict.add(Kind::Doubled, message);
        }
    }
}

/// Checks that nothing of a deleted claim is left.
fn removed(claim: &Claim, volume: &str, observed: &Observed, verdict: &mut Verdict) {
    let name = claim.name();
    let left = [
        ("claim", observed.claims.contains_key(&name)),
        ("PersistentVolume", observed.volumes.contains_key(volume)),
        ("LogicalVolume", observed.objects.contains_key(volume)),
        ("logical volume", !holders(observed, volume).is_empty()),
    ];
    for (what, is_left) in left {
        if is_left {
            let message = format!("{name} was deleted, and the {what} of {volume} is left");
            verdict.add(Kind::Leaked, message);
        }
    }
}

/// A logical volume with the name of a claim's volume, and its node.
struct Holder<'a> {
    node: &'a str,
    lv: &'a ObservedLv,
}

fn holders<'a>(observed: &'a Observed, volume: &str) -> Vec<Holder<'a>> {
    let mut holders = Vec::new();
    for node in &observed.nodes {
        for lv in node.logical_volumes.iter().filter(|lv| lv.name == volume) {
            holders.push(Holder {
                node: &node.name,
                lv,
            });
        }
    }
    holders
}

/// Checks that each logical volume of a node has its object, or is the thin pool.
fn logical_volumes(node: &ObservedNode, observed: &Observed, verdict: &mut Verdict) {
    let pool = pool_name(Layout::Thin.name());
    let is_known = |lv: &ObservedLv| {
        let of_object = |(name, object): (&String, &crate::observe::ObservedObject)| {
            object.node == node.name
                && (lv.name == *name || lv.is_internal && lv.name.starts_with(&format!("{name}_")))
        };
        lv.name == pool
            || lv.is_internal && lv.name.starts_with(&format!("{pool}_"))
            || observed.objects.iter().any(of_object)
    };
    for lv in &node.logical_volumes {
        if !is_known(lv) {
            let message = format!("{} on {} has no LogicalVolume", lv.name, node.name);
            verdict.add(Kind::Leaked, message);
        }
    }
    if let Some(reason) = &node.unready {
        let message = format!("{} is not ready: {reason}", node.name);
        verdict.add(Kind::Unexplained, message);
    }
}

/// Checks that no device is left over or suspended.
fn devices(node: &ObservedNode, verdict: &mut Verdict) {
    for (uuid, name) in &node.devices {
        let mut lvs = node.logical_volumes.iter();
        if !lvs.any(|lv| lv.uuid.replace('-', "") == *uuid) {
            let message = format!("device {name} on {} has no logical volume", node.name);
            verdict.add(Kind::Leaked, message);
        }
    }
    for name in &node.suspended {
        let message = format!("device {name} on {} is suspended", node.name);
        verdict.add(Kind::Unexplained, message);
    }
}

/// Checks that the sizes of a node's volumes add up to what LVM allocated, and the free space to
/// what the agent reports.
fn space(node: &ObservedNode, observed: &Observed, verdict: &mut Verdict) {
    let volumes: u64 = observed
        .objects
        .values()
        .filter(|object| object.node == node.name)
        .map(|object| object.reserved)
        .sum();
    let pool: u64 = node
        .logical_volumes
        .iter()
        .filter(|lv| lv.is_part_of_pool)
        .map(|lv| lv.size)
        .sum();
    if volumes + pool != node.allocated {
        let message = format!(
            "on {}, LVM allocated {} bytes; LogicalVolumes reserve {volumes}, the thin pool has {pool}",
            node.name, node.allocated
        );
        verdict.add(Kind::Leaked, message);
    }
    if node.reported_free != node.free {
        let message = format!(
            "on {}, {} bytes are free, and NodeStorage reports {}",
            node.name, node.free, node.reported_free
        );
        verdict.add(Kind::Leaked, message);
    }
}

#[cfg(test)]
mod tests;
