//! Plans the installation of the driver, and reports what prevents it. Pure.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crds::condition::reason;
use flexvolume::{DriverName, DriverSettings};

use super::Target;
use super::observed::{InstalledDriver, ObservedInstallation};
use crate::agent::condition::{ConditionUpdate, ReportedError};

/// Maximum number of mounts that a message lists.
const NAMED: usize = 3;

/// One action, in the order of [`InstallPlan::actions`].
///
/// If the execution is interrupted, the next observation shows the remaining actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstallAction {
    /// Writes the driver's settings.
    DriverSettings(DriverSettings),
    /// Records the names under which the driver is or will be installed.
    Names(BTreeSet<DriverName>),
    /// Saves a copy of another vendor's driver.
    Keep(DriverName),
    /// Renames the driver into place; the kubelet then loads it and queries its capabilities.
    Install(DriverName),
    /// Records that kubelet has loaded the driver with these settings.
    Shown(DriverSettings),
    /// Deletes the driver's folder of this name. It is never renamed: the kubelet would take it for
    /// one without a driver.
    Remove(DriverName),
}

/// When the driver is presented to the kubelet again: renamed into place although it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presentation {
    /// If its settings have changed.
    OnChange,
    /// Also if other drivers are installed.
    AmongOthers,
    /// In any case.
    Always,
}

/// Result of [`plan`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstallPlan {
    /// Actions in order of execution.
    pub actions: Vec<InstallAction>,
    /// Why some actions are not possible now.
    pub refused: Vec<ReportedError>,
}

/// Plans the actions that turn the observed installation `seen` into the `wanted` one.
///
/// Settings come first: the driver reads them when it is presented to the kubelet.
#[must_use]
pub fn plan(
    seen: &ObservedInstallation,
    wanted: &DriverSettings,
    presentation: Presentation,
) -> InstallPlan {
    let mut plan = InstallPlan::default();
    let settings = plan_settings(seen, wanted, &mut plan);
    let again = match presentation {
        Presentation::OnChange => false,
        Presentation::AmongOthers => !seen.others.is_empty(),
        Presentation::Always => true,
    };
    let show_all = again || seen.shown.as_ref() != Some(&settings);
    let names = names(seen);
    if names != seen.names {
        plan.actions.push(InstallAction::Names(names));
    }
    for (name, there) in &seen.former {
        plan_former_names(seen, name, there, show_all, &mut plan);
    }
    // The own name last: the driver under it identifies older versions under the aliases.
    for (name, there) in seen.drivers.iter().rev() {
        plan_driver(seen, name, there, show_all, &mut plan);
    }
    if seen.shown.as_ref() != Some(&settings) {
        plan.actions.push(InstallAction::Shown(settings));
    }
    // Removals last: their failure does not prevent other actions.
    plan.actions
        .sort_by_key(|action| matches!(action, InstallAction::Remove(_)));
    plan
}

/// Returns the names under which FlexLVM's driver will be installed.
fn names(seen: &ObservedInstallation) -> BTreeSet<DriverName> {
    let current = seen.drivers.iter().filter(|(name, there)| match there {
        InstalledDriver::Missing | InstalledDriver::Current | InstalledDriver::Outdated => true,
        InstalledDriver::Foreign => mounted(seen, &[name]).is_empty(),
        InstalledDriver::InTheWay(..) => false,
    });
    let former = seen.former.iter().filter(|(_, there)| is_ours(there));
    current
        .chain(former)
        .map(|(name, _)| name.clone())
        .collect()
}

fn is_ours(there: &InstalledDriver) -> bool {
    matches!(
        there,
        InstalledDriver::Missing | InstalledDriver::Current | InstalledDriver::Outdated
    )
}

/// Plans the removal of a former name once no volume is mounted under it: until then the kubelet
/// needs the driver to unmount.
fn plan_former_names(
    seen: &ObservedInstallation,
    name: &DriverName,
    there: &InstalledDriver,
    show: bool,
    plan: &mut InstallPlan,
) {
    // Replaced by another vendor's driver.
    if !is_ours(there) {
        return;
    }
    let mounted = mounted(seen, &[name]);
    if mounted.is_empty() {
        plan.actions.push(InstallAction::Remove(name.clone()));
        return;
    }
    plan_driver(seen, name, there, show, plan);
    let message = format!(
        "{name} is no longer a name of the driver, but stays installed while volumes are mounted under it: {}; {DRAIN}",
        named(&mounted)
    );
    plan.refused
        .push(ReportedError::new(reason::VOLUMES_MOUNTED, message));
}

/// Plans the settings and returns those in effect.
///
/// The kubelet uses a different volume name in each attach mode: it would neither unmount nor
/// detach volumes that were mounted in the other mode.
fn plan_settings(
    seen: &ObservedInstallation,
    wanted: &DriverSettings,
    plan: &mut InstallPlan,
) -> DriverSettings {
    let all = seen.drivers.iter().chain(&seen.former);
    let ours = all
        .filter(|(_, there)| *there != InstalledDriver::Foreign)
        .map(|(name, _)| name);
    let mounted = mounted(seen, &ours.collect::<Vec<_>>());
    let attach = current_mode(seen, &mounted).unwrap_or(wanted.attach);
    if attach != wanted.attach && !mounted.is_empty() {
        let message = format!(
            "the driver stays at attach: {attach}, and does not change to attach: {} while volumes are mounted: {}; {DRAIN}",
            wanted.attach,
            named(&mounted)
        );
        plan.refused
            .push(ReportedError::new(reason::VOLUMES_MOUNTED, message));
    }
    let attach = if mounted.is_empty() {
        wanted.attach
    } else {
        attach
    };
    let settings = DriverSettings {
        attach,
        ..wanted.clone()
    };
    if seen.settings.as_ref() != Some(&settings) {
        plan.actions
            .push(InstallAction::DriverSettings(settings.clone()));
    }
    settings
}

const DRAIN: &str = "cordon and drain this node; the agent continues once they are unmounted";

/// Returns the attach mode in which volumes are mounted.
///
/// If the settings are lost, the mounts show it: only with `attach` there are node-wide mounts.
fn current_mode(seen: &ObservedInstallation, mounted: &[&PathBuf]) -> Option<bool> {
    let recorded = seen.settings.as_ref().map(|settings| settings.attach);
    recorded.or_else(|| {
        if mounted.is_empty() {
            return None;
        }
        let has_shared_mount = seen
            .mounted
            .iter()
            .any(|(folder, point)| folder.pod.is_none() && mounted.contains(&point));
        Some(has_shared_mount)
    })
}

fn plan_driver(
    seen: &ObservedInstallation,
    name: &DriverName,
    there: &InstalledDriver,
    show: bool,
    plan: &mut InstallPlan,
) {
    match there {
        InstalledDriver::Current if !show => {}
        InstalledDriver::Missing | InstalledDriver::Current | InstalledDriver::Outdated => {
            plan.actions.push(InstallAction::Install(name.clone()));
        }
        InstalledDriver::InTheWay(path, thing) => {
            let message = format!(
                "{} is not {thing}: remove it, then the agent installs the driver",
                path.display()
            );
            plan.refused
                .push(ReportedError::new(reason::INSTALL_FAILED, message));
        }
        InstalledDriver::Foreign => {
            let mounted = mounted(seen, &[name]);
            if mounted.is_empty() {
                plan.actions.extend([
                    InstallAction::Keep(name.clone()),
                    InstallAction::Install(name.clone()),
                ]);
                return;
            }
            let message = format!(
                "driver {name} is another vendor's, and is not replaced while its volumes are mounted: {}; {DRAIN}",
                named(&mounted)
            );
            plan.refused
                .push(ReportedError::new(reason::VOLUMES_MOUNTED, message));
        }
    }
}

/// Returns the mount points of these drivers' volumes.
fn mounted<'a>(seen: &'a ObservedInstallation, names: &[&DriverName]) -> Vec<&'a PathBuf> {
    seen.mounted
        .iter()
        .filter(|(folder, _)| names.contains(&&folder.driver))
        .map(|(_, point)| point)
        .collect()
}

fn named(mounted: &[&PathBuf]) -> String {
    let mut points: Vec<_> = mounted
        .iter()
        .take(NAMED)
        .map(|point| point.display().to_string())
        .collect();
    if let Some(more) = mounted.len().checked_sub(NAMED).filter(|more| *more > 0) {
        points.push(format!("{more} more"));
    }
    points.join(", ")
}

/// Returns the `DriverInstalled` condition after the execution of all actions that were possible.
#[must_use]
pub fn condition(
    target: &Target,
    seen: &ObservedInstallation,
    refused: Vec<ReportedError>,
) -> ConditionUpdate {
    let broken: Vec<_> = seen
        .others
        .iter()
        .filter(|other| other.broken)
        .map(|other| other.folder.as_str())
        .collect();
    let reason = refused
        .first()
        .map_or(reason::INSTALLED, |error| error.reason);
    let status = refused.is_empty();
    let mut sentences: Vec<_> = refused.into_iter().map(|error| error.message).collect();
    if status {
        let names: Vec<_> = target.names.iter().map(ToString::to_string).collect();
        let plugins = target.plugins.display();
        let attach = target.settings.attach;
        sentences.push(format!(
            "driver {} is installed in {plugins}, with attach: {attach}",
            names.join(" and ")
        ));
    }
    if !broken.is_empty() {
        sentences.push(format!(
            "folder {} contains no executable driver: until it is repaired or removed, kubelet may load no driver at all",
            broken.join(" and ")
        ));
    }
    ConditionUpdate {
        status,
        reason,
        message: sentences.join("; "),
    }
}
