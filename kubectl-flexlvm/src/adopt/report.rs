//! How far each requested Adoption is, and the command's last line. Pure.

use crds::Adoption;
use crds::condition::{self, ADOPTED, reason};
use serde::Serialize;

use super::Extent;
use super::request::Candidate;
use crate::objects::counted;
use crate::output::Report;
use crate::table::Table;

/// Reasons that no further waiting changes: an admin must act first.
const REFUSALS: [&str; 6] = [
    reason::CONFLICT,
    reason::INVALID_SPEC,
    reason::LOGICAL_VOLUME_NOT_FOUND,
    reason::NOT_ADOPTABLE,
    reason::VOLUME_GROUP_MISSING,
    reason::VOLUME_GROUP_UNUSABLE,
];

/// How far an Adoption is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum AdoptState {
    /// It would be created.
    Planned,
    /// It is created, and in progress.
    Waiting,
    /// Its PersistentVolume exists.
    Adopted,
    /// It is not created, or can't be carried out.
    Refused,
}

/// One requested logical volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdoptEntry {
    /// Name of the Adoption, and of the logical volume.
    pub adoption: String,
    /// The node.
    pub node: String,
    /// Volume group and name of the logical volume.
    pub path: String,
    /// Namespace and name of the claim; empty while unknown.
    pub claim: String,
    /// How far it is.
    pub state: AdoptState,
    /// What it waits for, or why it is refused; empty if there is nothing to report.
    pub message: String,
}

/// What a command has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Ending {
    /// Nothing, as `--dry-run` requests.
    DryRun,
    /// Nothing, since `--yes` is missing.
    Unconfirmed,
    /// It has created the Adoptions, and did not wait, since no controller is ready.
    NoController,
    /// It has created the Adoptions, and did not wait, as `--timeout 0` requests.
    NotAwaited,
    /// It has created the Adoptions, and waited for them.
    Awaited,
}

/// All requested logical volumes.
#[derive(Clone, Debug, Serialize)]
pub struct AdoptReport {
    /// The logical volumes.
    pub entries: Vec<AdoptEntry>,
    /// What the command has done.
    pub ending: Ending,
}

impl AdoptEntry {
    /// Returns the entry of a candidate; `refusal` is the reason why its Adoption does not exist.
    #[must_use]
    pub fn new(candidate: &Candidate, refusal: Option<String>) -> Self {
        let name = candidate.path.split_once('/').map(|(_, name)| name);
        Self {
            adoption: name.unwrap_or_default().to_owned(),
            node: candidate.node.clone(),
            path: candidate.path.clone(),
            claim: candidate.claim.clone(),
            state: match refusal {
                Some(_) => AdoptState::Refused,
                None => AdoptState::Waiting,
            },
            message: refusal.unwrap_or_default(),
        }
    }

    /// Reads how far its Adoption is; `None` if it was deleted.
    pub fn observe(&mut self, adoption: Option<&Adoption>) {
        if self.state != AdoptState::Waiting {
            return;
        }
        let Some(adoption) = adoption else {
            self.state = AdoptState::Refused;
            "its Adoption was deleted".clone_into(&mut self.message);
            return;
        };
        let status = adoption.status.clone().unwrap_or_default();
        if let Some(claim) = &status.claim {
            self.claim = format!("{}/{}", claim.namespace, claim.name);
        }
        let found = condition::get(&status.conditions, ADOPTED);
        // A complete Adoption stays complete: the controller does not examine it again.
        if found.is_some_and(|found| found.status == "True") {
            self.state = AdoptState::Adopted;
            self.message.clear();
            return;
        }
        let generation = adoption.metadata.generation;
        let Some(found) = found.filter(|it| it.observed_generation == generation) else {
            "waiting for the controller".clone_into(&mut self.message);
            return;
        };
        self.message.clone_from(&found.message);
        if REFUSALS.contains(&found.reason.as_str()) {
            self.state = AdoptState::Refused;
        }
    }

    /// Returns the logical volume with its message.
    #[must_use]
    pub fn progress(&self) -> String {
        format!("{} on {}: {}", self.path, self.node, self.message)
    }
}

impl AdoptReport {
    /// Returns the report of a command that changes nothing.
    #[must_use]
    pub fn planned(candidates: &[Candidate], extent: Extent) -> Self {
        let mut entries = Vec::new();
        for candidate in candidates {
            let mut entry = AdoptEntry::new(candidate, candidate.adoption.clone().err());
            if entry.state == AdoptState::Waiting {
                entry.state = AdoptState::Planned;
            }
            entries.push(entry);
        }
        let ending = match extent {
            Extent::Unconfirmed => Ending::Unconfirmed,
            Extent::DryRun | Extent::Apply(_) => Ending::DryRun,
        };
        Self { entries, ending }
    }

    fn of(&self, state: AdoptState) -> impl Iterator<Item = &AdoptEntry> {
        self.entries.iter().filter(move |one| one.state == state)
    }

    /// Returns the last line: what was done, and the next command.
    fn verdict(&self) -> String {
        let all = counted(self.entries.len(), "volume");
        if self.entries.is_empty() {
            return "no orphans found: nothing to adopt".to_owned();
        }
        let refused: Vec<&AdoptEntry> = self.of(AdoptState::Refused).collect();
        match refused.as_slice() {
            [] => {}
            [one] => return format!("refused: 1 of {all}; {}", one.progress()),
            many => return format!("refused: {} of {all}", many.len()),
        }
        match self.ending {
            Ending::DryRun => format!("would adopt {all}; nothing was changed"),
            Ending::Unconfirmed => {
                format!("would adopt {all}; nothing was changed: to adopt, add --yes")
            }
            Ending::NotAwaited => format!(
                "created: {}; next: kubectl get adoptions.flexlvm.dev",
                counted(self.entries.len(), "Adoption")
            ),
            Ending::NoController => format!(
                "created: {}; no controller is ready, so nothing is adopted yet; next: kubectl -n flexlvm-system scale deployment/flexlvm-controller --replicas=2",
                counted(self.entries.len(), "Adoption")
            ),
            Ending::Awaited => match self.of(AdoptState::Waiting).next() {
                None => format!("adopted: {all}"),
                Some(waiting) => format!(
                    "waiting: {} of {all}; {}; next: kubectl describe adoptions.flexlvm.dev {}",
                    self.of(AdoptState::Waiting).count(),
                    waiting.progress(),
                    waiting.adoption
                ),
            },
        }
    }
}

impl Report for AdoptReport {
    fn text(&self, wide: bool) -> String {
        let mut header = vec!["STATE", "NODE", "VOLUME", "CLAIM"];
        if wide {
            header.push("MESSAGE");
        }
        let mut table = Table::new(&header);
        for entry in &self.entries {
            let mut cells = vec![
                format!("{:?}", entry.state),
                entry.node.clone(),
                entry.path.clone(),
                entry.claim.clone(),
            ];
            if wide {
                cells.push(entry.message.clone());
            }
            table.row(cells);
        }
        let rows = if table.is_empty() {
            String::new()
        } else {
            table.render()
        };
        let mut text = rows;
        let refused: Vec<&AdoptEntry> = self.of(AdoptState::Refused).collect();
        // The last line has the reason of a single one.
        if refused.len() > 1 && !wide {
            for entry in refused {
                text.push_str(&entry.progress());
                text.push('\n');
            }
        }
        text + &self.verdict() + "\n"
    }

    fn names(&self) -> Vec<String> {
        let created = self.entries.iter();
        created
            .map(|entry| format!("adoption.flexlvm.dev/{}", entry.adoption))
            .collect()
    }

    fn is_good(&self) -> bool {
        let good = match self.ending {
            Ending::DryRun => AdoptState::Planned,
            Ending::NoController | Ending::NotAwaited => AdoptState::Waiting,
            Ending::Unconfirmed | Ending::Awaited => AdoptState::Adopted,
        };
        let is_good =
            |entry: &AdoptEntry| entry.state == good || entry.state == AdoptState::Adopted;
        self.entries.iter().all(is_good)
    }
}
