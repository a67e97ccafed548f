//! Installs the driver into kubelet's plugin folder, atomically and under each of its names, with
//! its settings, and repairs the installation.
//!
//! kubelet probes the folder after each change in it (`pkg/volume/flexvolume/probe.go`): it must
//! never find a folder without its driver or a partial driver, and the agent writes only if there
//! is a difference. kubelet ignores names that begin with a dot. It reads the driver's capabilities
//! when the file is renamed into place.

mod files;
mod observed;
pub mod plan;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crds::condition::reason;
use flexvolume::{DriverName, DriverSettings};
use host::{Error, atomic_file};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::blocking::blocking;
use super::condition::{ConditionUpdate, ReportedError};
use super::watches::folders::Folders;
use plan::{InstallAction, InstallPlan};

/// Maximum time between two checks when inotify reports no change.
const LONGEST: Duration = Duration::from_mins(1);

/// Delay after a change, to let writers of several files finish.
const PAUSE: Duration = Duration::from_millis(200);

/// Delay after a failed attempt; the obstacle may be temporary.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Interval at which the driver is presented to kubelet again where other drivers are installed.
///
/// When one of them fails at its start, kubelet 1.20 loads no driver at all, and probes again only
/// what changes.
const SHOW_AGAIN: Duration = Duration::from_mins(10);

/// What the agent installs, and where.
#[derive(Clone, Debug)]
pub struct Target {
    /// Path of the driver binary.
    pub driver: PathBuf,
    /// kubelet's `--volume-plugin-dir`.
    pub plugins: PathBuf,
    /// The node's folder `/var/lib/flexlvm`.
    pub state: PathBuf,
    /// The node's mount table.
    pub mounts: PathBuf,
    /// The names of the driver, FlexLVM's own first.
    pub names: Vec<DriverName>,
    /// The driver's settings.
    pub settings: DriverSettings,
}

/// Returns the current names of the driver, and those it was installed under before.
///
/// Mounts under any of these names belong to FlexLVM.
///
/// # Errors
/// If the recorded names can't be read.
pub fn names(target: &Target) -> Result<Vec<DriverName>, Error> {
    let former = observed::names(&target.state)?
        .into_iter()
        .filter(|name| !target.names.contains(name));
    Ok(target.names.iter().cloned().chain(former).collect())
}

/// Installs and repairs the driver, and sends the outcome; never returns.
///
/// `unmounted` triggers the next attempt if mounted volumes prevented the last one.
pub async fn run(
    target: Target,
    outcome: watch::Sender<Option<ConditionUpdate>>,
    unmounted: Arc<Notify>,
) {
    let mut paths = vec![target.plugins.clone(), target.state.clone()];
    paths.extend(
        target
            .names
            .iter()
            .map(|name| target.plugins.join(name.folder())),
    );
    let folders = Folders::watch(paths);
    let mut shown = Instant::now();
    loop {
        let here = target.clone();
        let again = shown.elapsed() >= SHOW_AGAIN;
        let installed = blocking(move || install(&here, again)).await;
        // The writes of a failed attempt must not trigger the next one at once.
        let failed = installed.is_err();
        let renamed = installed.as_ref().is_ok_and(|done| done.installed);
        if again || renamed {
            shown = Instant::now();
        }
        let blocked_by_mounts = installed
            .as_ref()
            .is_ok_and(|done| done.condition.reason == reason::VOLUMES_MOUNTED);
        let new = match installed {
            Ok(done) => done.condition,
            Err(error) => {
                ReportedError::new(reason::INSTALL_FAILED, host::error::chain(&error)).into()
            }
        };
        let is_changed =
            outcome.send_if_modified(|old| old.replace(new.clone()).as_ref() != Some(&new));
        if is_changed || renamed {
            log_condition(&new);
        }
        folders.renew();
        if failed {
            sleep(AFTER_FAILURE).await;
        }
        let changed = async {
            tokio::select! {
                () = folders.changed() => {}
                () = unmounted.notified(), if blocked_by_mounts => {}
            }
        };
        if timeout(LONGEST, changed).await.is_ok() {
            sleep(PAUSE).await;
        }
    }
}

fn log_condition(condition: &ConditionUpdate) {
    let message = &condition.message;
    if condition.status {
        tracing::info!(message, "the driver is installed");
    } else {
        let reason = condition.reason;
        tracing::warn!(reason, message, "the driver is not installed as configured");
    }
}

/// Outcome of an attempt to install the driver.
#[derive(Debug)]
pub struct Installed {
    /// Whether the attempt installed or removed a driver.
    pub installed: bool,
    /// The resulting `DriverInstalled` condition.
    pub condition: ConditionUpdate,
}

/// Makes the installed drivers and their settings match `target`, as far as mounted volumes allow.
///
/// With `again`, also presents the driver to kubelet if nothing has changed but other drivers are
/// installed.
///
/// # Errors
/// If a file can't be read or written.
pub fn install(target: &Target, again: bool) -> Result<Installed, Error> {
    let seen = observed::observe(target)?;
    let InstallPlan { actions, refused } = plan::plan(&seen, &target.settings, again);
    let installed = actions
        .iter()
        .any(|action| matches!(action, InstallAction::Install(_) | InstallAction::Remove(_)));
    for action in actions {
        act(target, action)?;
    }
    Ok(Installed {
        installed,
        condition: plan::condition(target, &seen, refused),
    })
}

fn act(target: &Target, action: InstallAction) -> Result<(), Error> {
    match action {
        InstallAction::DriverSettings(settings) => atomic_file::write(
            &target.state,
            observed::SETTINGS,
            settings.to_json().as_bytes(),
        ),
        InstallAction::Names(names) => {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            atomic_file::write(
                &target.state,
                observed::NAMES,
                serde_json::json!(names).to_string().as_bytes(),
            )
        }
        InstallAction::Keep(name) => {
            files::keep(&target.plugins, &name, &target.state.join("replaced"))
        }
        InstallAction::Install(name) => files::install(&target.driver, &target.plugins, &name),
        InstallAction::Shown(settings) => atomic_file::write(
            &target.state,
            observed::SHOWN,
            settings.to_json().as_bytes(),
        ),
        InstallAction::Remove(name) => files::remove(&target.plugins, &name),
    }
}

#[cfg(test)]
mod tests;
