//! A check of the doctor, and what it finds. Pure.

use crds::condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use super::facts::Facts;
use crate::objects::{storage_conditions, volume_conditions};

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Severity {
    /// Claims wait, volumes can't be used, or data is at risk.
    Fault,
    /// Works, but not as it should.
    Warning,
}

impl Severity {
    /// Returns the severity as the reports spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "Fault",
            Self::Warning => "Warning",
        }
    }
}

/// One kind of fault, and how to find it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Check {
    /// Name of the check, as in `volume-group-missing`.
    pub id: &'static str,
    /// How bad its fault is.
    pub severity: Severity,
    /// The fault in one sentence, without an object.
    pub title: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// How the fault is found.
    #[serde(skip)]
    pub probe: Probe,
}

/// How a check finds its fault.
#[derive(Clone, Copy, Debug)]
pub enum Probe {
    /// By a rule.
    Rule(fn(&Facts<'_>) -> Vec<Fault>),
    /// By the reason of a condition of LogicalVolumes that is not True; holds the type and the
    /// reason.
    Volume(&'static str, &'static str),
    /// By the reason of a condition of NodeStorages that is not True; holds the type and the reason.
    Node(&'static str, &'static str),
    /// By the beginning of the reason why a volume group can't be used.
    Group(&'static str),
}

/// An object that has the fault of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The object, as in `node/n1`.
    pub object: String,
    /// What is wrong with it, with numbers.
    pub detail: String,
}

impl Fault {
    /// Creates a fault of an object.
    pub fn new(object: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            object: object.into(),
            detail: detail.into(),
        }
    }
}

/// A fault that was found, with its check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    /// How bad the fault is.
    pub severity: Severity,
    /// The object, as in `node/n1`.
    pub object: String,
    /// The fault in one sentence.
    pub title: &'static str,
    /// What is wrong with the object, with numbers.
    pub detail: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    /// Creates the finding; `OBJECT` and `NAME` in the remedy become the object and its name.
    #[must_use]
    pub fn new(check: &Check, fault: Fault) -> Self {
        let (_, name) = fault.object.split_once('/').unwrap_or(("", &fault.object));
        let remedy = check
            .remedy
            .replace("OBJECT", &fault.object)
            .replace("NAME", name);
        Self {
            check: check.id,
            severity: check.severity,
            object: fault.object,
            title: check.title,
            detail: fault.detail,
            remedy,
        }
    }

    /// Returns the finding as text; with the name of its check if `wide`.
    #[must_use]
    pub fn text(&self, wide: bool) -> String {
        let check = if wide {
            format!(" [{}]", self.check)
        } else {
            String::new()
        };
        format!(
            "{}{check}: {}: {}\n  {}\n  To do: {}\n",
            self.severity.as_str(),
            self.object,
            self.title,
            self.detail,
            self.remedy
        )
    }
}

impl Check {
    /// Creates the check for a fault.
    pub(super) const fn fault(
        id: &'static str,
        title: &'static str,
        remedy: &'static str,
        probe: Probe,
    ) -> Self {
        Self {
            id,
            severity: Severity::Fault,
            title,
            remedy,
            probe,
        }
    }

    /// Creates the check for something that works, but not as it should.
    pub(super) const fn warning(
        id: &'static str,
        title: &'static str,
        remedy: &'static str,
        probe: Probe,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::fault(id, title, remedy, probe)
        }
    }

    /// Returns the objects that have the fault.
    #[must_use]
    pub fn run(&self, facts: &Facts<'_>) -> Vec<Fault> {
        match self.probe {
            Probe::Rule(rule) => rule(facts),
            Probe::Volume(type_, reason) => volumes(facts, type_, reason),
            Probe::Node(type_, reason) => nodes(facts, type_, reason),
            Probe::Group(beginning) => groups(facts, beginning),
        }
    }
}

/// Returns the condition if it is not True and has this reason.
fn untrue<'a>(conditions: &'a [Condition], type_: &str, reason: &str) -> Option<&'a Condition> {
    let condition = condition::get(conditions, type_)?;
    (condition.status != "True" && condition.reason == reason).then_some(condition)
}

/// Finds volumes with a condition, on nodes whose agents can report.
fn volumes(facts: &Facts<'_>, type_: &str, reason: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, volume) in &facts.snapshot.logical_volumes {
        let Some(condition) = untrue(volume_conditions(volume), type_, reason) else {
            continue;
        };
        // The node's own finding explains its volumes.
        if facts.is_lost(&volume.spec.node) {
            continue;
        }
        let claim = volume.spec.current_claim();
        let detail = format!(
            "on {}, claim {}/{}: {}",
            volume.spec.node, claim.namespace, claim.name, condition.message
        );
        faults.push(Fault::new(
            format!("logicalvolume.flexlvm.dev/{name}"),
            detail,
        ));
    }
    faults
}

/// Finds nodes with a condition.
fn nodes(facts: &Facts<'_>, type_: &str, reason: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, storage) in &facts.snapshot.storages {
        if facts.is_lost(name) {
            continue;
        }
        if let Some(condition) = untrue(storage_conditions(storage), type_, reason) {
            faults.push(Fault::new(format!("node/{name}"), &condition.message));
        }
    }
    faults
}

/// Finds volume groups that can't be used for a reason, and that a backend or a volume needs.
fn groups(facts: &Facts<'_>, beginning: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for unusable in &facts.unusable_groups {
        let reason = unusable
            .reason
            .trim_start_matches(|c: char| c.is_ascii_digit());
        if reason.starts_with(beginning) {
            let detail = format!("volume group {}: {}", unusable.group, unusable.reason);
            faults.push(Fault::new(format!("node/{}", unusable.node), detail));
        }
    }
    faults
}
