//! The agent's copy of LVM's report.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::condition::reason;
use host::lvm::Vg;
use host::{Error, LvUuid};

use super::observe::Observation;
use super::rollback::Rollback;
use crate::agent::condition::ReportedError;
use crate::agent::error;

/// The agent's copy of LVM's report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LvmReport {
    /// The volume groups of the last successful report, with the agent's own changes since. `None`
    /// before the first.
    pub groups: Option<Arc<Vec<Vg>>>,
    /// The groups whose metadata went back, by their uuids, as of the last successful report.
    pub rollbacks: Arc<BTreeMap<LvUuid, Rollback>>,
    /// What LVM warned of in the last successful report.
    pub warnings: Vec<String>,
    /// LVM's version; `None` before LVM has reported it.
    pub version: Option<String>,
    /// Error of the last report, if it failed.
    pub failure: Option<ReportedError>,
}

impl LvmReport {
    /// Takes over a new report or its failure, which leaves the groups unchanged.
    pub(super) fn update(&mut self, observed: &Result<Observation, Error>) {
        match observed {
            Ok(Observation {
                report, rollbacks, ..
            }) => {
                self.groups = Some(Arc::new(report.groups.clone()));
                self.rollbacks = Arc::new(rollbacks.clone());
                self.warnings.clone_from(&report.warnings);
                self.failure = None;
            }
            Err(error) => {
                let message = error::message(error);
                self.failure = Some(ReportedError::new(reason::LVM_FAILED, message));
            }
        }
    }

    /// Returns whether the state of LVM differs. Volumes are planned by it; messages of LVM may
    /// differ with each report.
    pub(super) fn differs_from(&self, old: &Self) -> bool {
        (&self.groups, &self.rollbacks, &self.failure)
            != (&old.groups, &old.rollbacks, &old.failure)
    }
}
