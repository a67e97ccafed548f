//! `explain pvc`: the chain from a claim to its pods, each part with its state, and why the claim
//! waits or fails. Pure.
//!
//! - [`waiting`]: why a claim has no volume yet.
//! - `links`: the parts of the chain.

mod links;
#[cfg(test)]
mod tests;
pub mod waiting;

use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use serde::Serialize;

use crate::output::Report;
use crate::snapshot::Snapshot;
use crate::table::Table;
use waiting::{Cause, WaitingClaim};

/// State of a part of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LinkState {
    /// It is as it should be.
    Ok,
    /// It waits for another part, or for time to pass.
    Waiting,
    /// It is at fault.
    Fault,
    /// It can't be read with the user's permissions.
    Unknown,
}

impl LinkState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Waiting => "waiting",
            Self::Fault => "fault",
            Self::Unknown => "unknown",
        }
    }
}

/// One part of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The object, as in `storageclass/fast`.
    pub object: String,
    /// Its state.
    pub state: LinkState,
    /// Why, with numbers.
    pub detail: String,
    /// The command that shows more, or corrects it.
    pub next: String,
}

/// The chain of a claim.
#[derive(Debug, Serialize)]
pub struct Chain {
    /// Namespace of the claim.
    pub namespace: String,
    /// Name of the claim.
    pub claim: String,
    /// The parts, from the claim to the pods.
    pub links: Vec<Link>,
    /// The controller's last Events about the claim, as `reason: message`.
    pub events: Vec<String>,
    /// Whether pods can use the volume.
    pub is_served: bool,
    /// The last line.
    pub verdict: String,
}

/// Explains a claim.
///
/// # Errors
/// If the claim does not exist.
pub fn explain(snapshot: &Snapshot, namespace: &str, name: &str) -> Result<Chain> {
    let key = format!("{namespace}/{name}");
    let claim = snapshot.claims.get(&key).ok_or_else(|| {
        anyhow!("persistentvolumeclaims \"{name}\" not found in namespace {namespace}")
    })?;
    let waiting = WaitingClaim::new(snapshot, claim);
    let cause = waiting.map(|waiting| waiting.cause(&snapshot.reservations()));
    let links = links::chain(snapshot, claim, cause.as_ref());
    let conclusion = conclude(&links, cause.as_ref(), namespace, name);
    Ok(Chain {
        namespace: namespace.to_owned(),
        claim: name.to_owned(),
        links,
        events: events(snapshot, namespace, name),
        is_served: conclusion.is_served,
        verdict: conclusion.text,
    })
}

/// The last line, and whether the claim is served.
struct Conclusion {
    is_served: bool,
    text: String,
}

/// Draws the conclusion: the cause of a claim without a volume, else the first fault, else the first
/// part that waits.
fn conclude(links: &[Link], cause: Option<&Cause>, namespace: &str, name: &str) -> Conclusion {
    if let Some(cause) = cause {
        // A fault before the placement explains why it waits, as a controller that does not run.
        let controller = links
            .iter()
            .find(|link| link.object.starts_with("deployment/") && link.state == LinkState::Fault);
        let text = match (cause, controller) {
            (Cause::Placeable(_), Some(link)) => {
                format!(
                    "waiting: {} {}; next: {}",
                    link.object, link.detail, link.next
                )
            }
            _ => format!(
                "waiting: {}; next: {}",
                cause.describe(),
                cause.next(namespace, name)
            ),
        };
        return Conclusion {
            is_served: false,
            text,
        };
    }
    for (state, word) in [
        (LinkState::Fault, "failed"),
        (LinkState::Waiting, "waiting"),
    ] {
        // The claim waits for what follows it.
        let rest = links.iter().skip(1).chain(links.first());
        if let Some(link) = rest.into_iter().find(|link| link.state == state) {
            return Conclusion {
                is_served: false,
                text: format!(
                    "{word}: {}: {}; next: {}",
                    link.object, link.detail, link.next
                ),
            };
        }
    }
    Conclusion {
        is_served: true,
        text: "served: the claim has its volume, and nothing is wrong with it".to_owned(),
    }
}

/// Returns the controller's Events about a claim, the newest last.
fn events(snapshot: &Snapshot, namespace: &str, name: &str) -> Vec<String> {
    let mut events: Vec<_> = snapshot
        .events
        .iter()
        .filter(|event| {
            let about = &event.involved_object;
            about.kind.as_deref() == Some("PersistentVolumeClaim")
                && about.namespace.as_deref() == Some(namespace)
                && about.name.as_deref() == Some(name)
        })
        .collect();
    events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    events
        .into_iter()
        .map(|event| {
            format!(
                "{}: {}",
                event.reason.as_deref().unwrap_or_default(),
                event.message.as_deref().unwrap_or_default()
            )
        })
        .collect()
}

impl Report for Chain {
    fn text(&self, wide: bool) -> String {
        let header: &[&str] = if wide {
            &["STATE", "OBJECT", "DETAIL", "NEXT"]
        } else {
            &["STATE", "OBJECT", "DETAIL"]
        };
        let mut table = Table::new(header);
        for link in &self.links {
            let mut cells = vec![
                link.state.as_str().to_owned(),
                link.object.clone(),
                link.detail.clone(),
            ];
            if wide {
                cells.push(link.next.clone());
            }
            table.row(cells);
        }
        let mut text = table.render();
        for event in &self.events {
            let _ = writeln!(text, "Event {event}");
        }
        text.push_str(&self.verdict);
        text.push('\n');
        text
    }

    fn names(&self) -> Vec<String> {
        self.links.iter().map(|link| link.object.clone()).collect()
    }

    fn is_good(&self) -> bool {
        self.is_served
    }
}
