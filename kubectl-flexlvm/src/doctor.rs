//! `doctor`: compares a snapshot with a table of faults. Each check is a pure function that names
//! the objects that have its fault.
//!
//! One cause has one finding: a check leaves out what another check explains, as the volumes of a
//! volume group that is missing.
//!
//! In reading order:
//!
//! - [`check`]: a check, and what it finds.
//! - [`facts`]: a snapshot, with what several checks derive from it.
//! - `installation`, `permissions`, `classes`, `backends`, `nodes`, `groups`,
//!   `devices`, `volumes`,
//!   `published`, `claims`: the checks.

mod backends;
pub mod check;
mod claims;
mod classes;
mod devices;
pub mod facts;
mod groups;
mod installation;
mod nodes;
mod permissions;
mod published;
#[cfg(test)]
mod tests;
mod volumes;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::objects::counted;
use crate::output::Report;
use crate::snapshot::Snapshot;
use crate::snapshot::kind::Kind;
use crate::table::Table;
use check::{Check, Finding, Severity};
use facts::Facts;

/// Returns all checks, in the order in which an admin should correct their faults.
#[must_use]
pub fn checks() -> Vec<Check> {
    [
        installation::CHECKS,
        permissions::CHECKS,
        nodes::CHECKS,
        groups::CHECKS,
        devices::CHECKS,
        backends::CHECKS,
        classes::CHECKS,
        volumes::CHECKS,
        published::CHECKS,
        claims::CHECKS,
    ]
    .concat()
}

/// Everything that is wrong in a cluster.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// The findings, the first one to correct first.
    pub findings: Vec<Finding>,
    /// Resources that could not be listed, with the server's reason: their checks were left out.
    pub unreadable: BTreeMap<&'static str, String>,
    /// Number of checks that ran.
    pub checks: usize,
    /// Whether FlexLVM's own objects can't be listed, so that their absence means nothing.
    pub is_blind: bool,
}

/// Runs all checks.
#[must_use]
pub fn diagnose(snapshot: &Snapshot) -> Diagnosis {
    let facts = Facts::new(snapshot);
    let checks = checks();
    let mut findings = Vec::new();
    for check in &checks {
        for fault in check.run(&facts) {
            findings.push(Finding::new(check, fault));
        }
    }
    // Stable: within a severity the order of the checks stays.
    findings.sort_by_key(|finding| finding.severity);
    let mut unreadable = BTreeMap::new();
    for (kind, reason) in &snapshot.unreadable {
        unreadable.insert(kind.resource(), reason.clone());
    }
    let own = [
        Kind::StorageBackends,
        Kind::LogicalVolumes,
        Kind::NodeStorages,
    ];
    Diagnosis {
        findings,
        unreadable,
        checks: checks.len(),
        is_blind: own
            .iter()
            .any(|kind| snapshot.unreadable.contains_key(kind)),
    }
}

impl Diagnosis {
    /// Returns the number of findings of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let found = self.findings.iter();
        found.filter(|finding| finding.severity == severity).count()
    }

    /// Returns the last line: `healthy`, or the first thing to do.
    #[must_use]
    pub fn verdict(&self) -> String {
        let faults = self.count(Severity::Fault);
        let warnings = self.count(Severity::Warning);
        let counts = format!(
            "{}, {}",
            counted(faults, "fault"),
            counted(warnings, "warning")
        );
        let worst = self.findings.first();
        match worst.filter(|finding| finding.severity == Severity::Fault) {
            Some(first) => format!("{counts}; first: {}: {}", first.object, first.remedy),
            None if self.is_blind => {
                "unknown: FlexLVM's objects can't be listed; a cluster admin can bind the ClusterRole flexlvm-viewer"
                    .to_owned()
            }
            None if warnings > 0 => format!("healthy, with {}", counted(warnings, "warning")),
            None if !self.unreadable.is_empty() => {
                "healthy, as far as the permissions allow to see".to_owned()
            }
            None => "healthy".to_owned(),
        }
    }

    /// Returns the lines about resources that could not be listed.
    #[must_use]
    pub fn unreadable_lines(&self) -> String {
        let mut text = String::new();
        for (resource, reason) in &self.unreadable {
            let _ = writeln!(text, "not checked: {resource}: {reason}");
        }
        text
    }
}

impl Report for Diagnosis {
    fn text(&self, wide: bool) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            text.push_str(&finding.text(wide));
        }
        text.push_str(&self.unreadable_lines());
        text.push_str(&self.verdict());
        text.push('\n');
        text
    }

    fn names(&self) -> Vec<String> {
        let found = self.findings.iter();
        found.map(|finding| finding.object.clone()).collect()
    }

    fn is_good(&self) -> bool {
        self.count(Severity::Fault) == 0 && !self.is_blind
    }
}

/// The table of all checks, for `doctor --list`.
#[derive(Debug, Serialize)]
pub struct CheckList(pub Vec<Check>);

impl Report for CheckList {
    fn text(&self, _wide: bool) -> String {
        let mut table = Table::new(&["CHECK", "SEVERITY", "FAULT"]);
        for check in &self.0 {
            table.row([
                check.id.to_owned(),
                check.severity.as_str().to_owned(),
                check.title.to_owned(),
            ]);
        }
        table.render()
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|check| check.id.to_owned()).collect()
    }

    fn is_good(&self) -> bool {
        true
    }
}
