//! What is to be done so that the driver is installed, and what keeps us from it. Pure.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crds::condition::reason;
use flexvolume::{DriverName, DriverSettings};

use super::Target;
use super::observed::{InstalledDriver, ObservedInstallation};
use crate::agent::volumes::outcome::ConditionUpdate;

/// So many mounts are named where they are in the way.
const NAMED: usize = 3;

/// Something to do, in the order of [`InstallPlan::actions`]. Whenever that is cut short, what is left to do
/// shows at the next look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstallAction {
    /// Write the driver's settings.
    DriverSettings(DriverSettings),
    /// Note under which names the driver is installed, or is about to be.
    Names(BTreeSet<DriverName>),
    /// Put a copy of somebody else's driver where it can be found again.
    Keep(DriverName),
    /// Rename the driver into place; the kubelet then asks it what it can do.
    Install(DriverName),
    /// Note that the kubelet knows of these settings.
    Shown(DriverSettings),
    /// Delete the driver's folder of this name. Never moved away: the kubelet would take it for one
    /// without a driver.
    Remove(DriverName),
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstallPlan {
    /// In this order.
    pub actions: Vec<InstallAction>,
    /// What is not done, and why: reasons and sentences.
    pub refused: Vec<(&'static str, String)>,
}

/// What is to be done so that what is `seen` becomes what is `wanted`. Settings come first: the
/// driver reads them when it is shown to the kubelet, which with `again` is done even if nothing
/// has changed, where others have drivers, too.
#[must_use]
pub fn plan(seen: &ObservedInstallation, wanted: &DriverSettings, again: bool) -> InstallPlan {
    let mut plan = InstallPlan::default();
    let settings = plan_settings(seen, wanted, &mut plan);
    let show_all = seen.shown.as_ref() != Some(&settings) || (again && !seen.others.is_empty());
    let names = names(seen);
    if names != seen.names {
        plan.actions.push(InstallAction::Names(names));
    }
    for (name, there) in &seen.former {
        plan_former_names(seen, name, there, show_all, &mut plan);
    }
    // Our own name last: by it an older version under the other names is known.
    for (name, there) in seen.drivers.iter().rev() {
        plan_driver(seen, name, there, show_all, &mut plan);
    }
    if seen.shown.as_ref() != Some(&settings) {
        plan.actions.push(InstallAction::Shown(settings));
    }
    // Last: what fails there keeps nothing else from being done.
    plan.actions
        .sort_by_key(|action| matches!(action, InstallAction::Remove(_)));
    plan
}

/// Under which names there will be a driver of ours.
fn names(seen: &ObservedInstallation) -> BTreeSet<DriverName> {
    let will_be = |(name, there): &&(DriverName, InstalledDriver)| match there {
        InstalledDriver::Missing | InstalledDriver::Current | InstalledDriver::Outdated => true,
        InstalledDriver::Foreign => mounted(seen, &[name]).is_empty(),
        InstalledDriver::InTheWay(..) => false,
    };
    let left = |(_, there): &&(DriverName, InstalledDriver)| is_ours(there);
    let names = seen
        .drivers
        .iter()
        .filter(will_be)
        .chain(seen.former.iter().filter(left));
    names.map(|(name, _)| name.clone()).collect()
}

fn is_ours(there: &InstalledDriver) -> bool {
    matches!(
        there,
        InstalledDriver::Missing | InstalledDriver::Current | InstalledDriver::Outdated
    )
}

/// A name that the driver is no longer to have goes with the last volume that is mounted under it:
/// until then the kubelet needs the driver, to unmount.
fn plan_former_names(
    seen: &ObservedInstallation,
    name: &DriverName,
    there: &InstalledDriver,
    show: bool,
    plan: &mut InstallPlan,
) {
    // Somebody else's by now.
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
        "the driver is no longer to be called {name}, and stays under that name while volumes of it are mounted: {}; {DRAIN}",
        named(&mounted)
    );
    plan.refused.push((reason::VOLUMES_MOUNTED, message));
}

/// The settings that hold from now on. The kubelet knows a volume by another name in each mode: it
/// would neither unmount nor detach what was mounted in the other.
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
            "the driver keeps working with attach: {attach}, and does not change to attach: {} while volumes are mounted: {}; {DRAIN}",
            wanted.attach,
            named(&mounted)
        );
        plan.refused.push((reason::VOLUMES_MOUNTED, message));
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

const DRAIN: &str =
    "cordon and drain this node, and the agent goes on by itself once they are unmounted";

/// In which mode volumes are mounted. Where the settings are lost, the mounts tell: only with
/// `attach` is there a folder that all pods share.
fn current_mode(seen: &ObservedInstallation, mounted: &[&PathBuf]) -> Option<bool> {
    let shared = || {
        seen.mounted
            .iter()
            .any(|(folder, point)| folder.pod.is_none() && mounted.contains(&point))
    };
    let told = seen.settings.as_ref().map(|settings| settings.attach);
    told.or_else(|| (!mounted.is_empty()).then(shared))
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
                "{} is not {thing}: remove it, and the driver is installed",
                path.display()
            );
            plan.refused.push((reason::INSTALL_FAILED, message));
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
                "driver {name} is somebody else's, and is not replaced while volumes of it are mounted: {}; {DRAIN}",
                named(&mounted)
            );
            plan.refused.push((reason::VOLUMES_MOUNTED, message));
        }
    }
}

/// Where volumes of these drivers are mounted.
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

/// How things stand once everything is done that was not refused.
#[must_use]
pub fn condition(
    target: &Target,
    seen: &ObservedInstallation,
    refused: Vec<(&'static str, String)>,
) -> ConditionUpdate {
    let broken: Vec<_> = seen
        .others
        .iter()
        .filter(|other| other.broken)
        .map(|other| other.folder.as_str())
        .collect();
    let reason = refused
        .first()
        .map_or(reason::INSTALLED, |(reason, _)| reason);
    let status = refused.is_empty();
    let mut sentences: Vec<_> = refused.into_iter().map(|(_, sentence)| sentence).collect();
    if status {
        let names: Vec<_> = target.names.iter().map(ToString::to_string).collect();
        let (plugins, attach) = (target.plugins.display(), target.settings.attach);
        sentences.push(format!(
            "driver {} is in {plugins}, with attach: {attach}",
            names.join(" and ")
        ));
    }
    if !broken.is_empty() {
        sentences.push(format!(
            "{} there is without a program: while it is, a kubelet may load no driver at all; remove or repair it",
            broken.join(" and ")
        ));
    }
    ConditionUpdate {
        status,
        reason,
        message: sentences.join("; "),
    }
}
