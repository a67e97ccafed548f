//! Puts the driver into the kubelet's plugin folder, whole or not at all, under each of its names,
//! tells it how to work, and keeps both so.
//!
//! The kubelet probes the folder with every change in it (`pkg/volume/flexvolume/probe.go`): it
//! must never find a folder without its driver or half a driver in it, and nothing is written when
//! nothing has to change. Names that begin with a dot are none of its business. What the driver
//! says of itself the kubelet hears when the file is renamed into place.

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
use super::volumes::outcome::ConditionUpdate;
use super::watches::folders::Folders;
use plan::{InstallAction, InstallPlan};

/// How long until a look without anything having been heard.
const LONGEST: Duration = Duration::from_mins(1);

/// Others may write several files.
const PAUSE: Duration = Duration::from_millis(200);

/// After an attempt that failed: whatever was in the way may go by itself.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Where others have drivers, ours is shown to the kubelet so often. When one of them fails at its
/// start, a kubelet of 1.20 loads none at all, and looks again only at what changes.
const SHOW_AGAIN: Duration = Duration::from_mins(10);

/// What is to be installed, and where.
#[derive(Clone, Debug)]
pub struct Target {
    /// The driver's binary.
    pub driver: PathBuf,
    /// The kubelet's `--volume-plugin-dir`.
    pub plugins: PathBuf,
    /// The node's folder `/var/lib/flexlvm`.
    pub state: PathBuf,
    /// The node's mount table.
    pub mounts: PathBuf,
    /// The names of the driver, FlexLVM's own first.
    pub names: Vec<DriverName>,
    /// How the driver is to work.
    pub settings: DriverSettings,
}

/// The names under which the driver is to be installed, and those under which it was and perhaps
/// is: what is mounted under any of them is ours.
///
/// # Errors
/// When what is remembered can't be read.
pub fn names(target: &Target) -> Result<Vec<DriverName>, Error> {
    let former = observed::names(&target.state)?
        .into_iter()
        .filter(|name| !target.names.contains(name));
    Ok(target.names.iter().cloned().chain(former).collect())
}

/// Installs the driver and repairs it for ever; says how that went. `unmounted` wakes it when
/// volumes were in the way.
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
        let (here, again) = (target.clone(), shown.elapsed() >= SHOW_AGAIN);
        let installed = blocking(move || install(&here, again)).await;
        // What a failed attempt wrote and removed must not wake us to the next one at once.
        let failed = installed.is_err();
        if again || installed.as_ref().is_ok_and(|done| done.installed) {
            shown = Instant::now();
        }
        let in_the_way = installed
            .as_ref()
            .is_ok_and(|done| done.condition.reason == reason::VOLUMES_MOUNTED);
        let (new, renamed) = condition(installed);
        let news = outcome.send_if_modified(|old| old.replace(new.clone()).as_ref() != Some(&new));
        if news || renamed {
            log_condition(&new);
        }
        folders.renew();
        if failed {
            sleep(AFTER_FAILURE).await;
        }
        let changed = async {
            tokio::select! {
                () = folders.changed() => {}
                () = unmounted.notified(), if in_the_way => {}
            }
        };
        if timeout(LONGEST, changed).await.is_ok() {
            sleep(PAUSE).await;
        }
    }
}

fn condition(installed: Result<Installed, Error>) -> (ConditionUpdate, bool) {
    installed.map_or_else(
        |error| {
            let message = host::error::chain(&error);
            (
                ConditionUpdate {
                    status: false,
                    reason: reason::INSTALL_FAILED,
                    message,
                },
                false,
            )
        },
        |done| (done.condition, done.installed),
    )
}

fn log_condition(
    ConditionUpdate {
        status,
        reason,
        message,
    }: &ConditionUpdate,
) {
    if *status {
        tracing::info!(message, "the driver is installed");
    } else {
        tracing::warn!(reason, message, "the driver is not as it should be");
    }
}

/// How an attempt went.
#[derive(Debug)]
pub struct Installed {
    /// Whether something had to be installed, or removed.
    pub installed: bool,
    /// How things stand.
    pub condition: ConditionUpdate,
}

/// Makes the installed drivers the same as the one in `target`, with its settings, as far as
/// nothing is in the way; with `again`, shows it to the kubelet even if nothing has changed, where
/// others have drivers, too.
///
/// # Errors
/// When something can't be read or written.
pub fn install(target: &Target, again: bool) -> Result<Installed, Error> {
    let seen = observed::observe(target)?;
    let InstallPlan { actions, refused } = plan::plan(&seen, &target.settings, again);
    let installs = |action: &InstallAction| {
        matches!(action, InstallAction::Install(_) | InstallAction::Remove(_))
    };
    let installed = actions.iter().any(installs);
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
