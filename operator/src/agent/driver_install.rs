//! Installs the driver into kubelet's plugin folder, atomically and under each of its names, with
//! its settings, repairs the installation, and reports whether the kubelet has loaded it.
//!
//! The kubelet probes the folder after each change in it (`pkg/volume/flexvolume/probe.go`): it
//! must never find a folder without its driver or a partial driver, and the agent writes only if
//! there is a difference. The kubelet ignores names that begin with a dot. It reads the driver's
//! capabilities when the file is renamed into place, at its next look-up of any volume plugin:
//! within two minutes where a pod runs, as each sync of a pod looks up the plugins of its volumes.

mod files;
mod former;
mod loaded;
mod location;
mod observed;
pub mod outcomes;
mod pace;
pub mod plan;
mod readiness;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crds::condition::reason;
use flexvolume::{DriverName, DriverSettings};
use host::{Error, Exec, atomic_file};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::blocking::blocking;
use super::condition::{ConditionUpdate, ReportedError};
use super::watches::folders::Folders;
use loaded::Trial;
use location::Location;
use outcomes::InstallOutcomes;
use pace::{PAUSE, Pace};
use plan::{InstallAction, InstallPlan, Presentation};
use readiness::{Evidence, Readiness};

/// Installs the driver, and watches the installation.
pub struct DriverInstaller {
    /// Path of the driver binary.
    pub driver: PathBuf,
    /// The plugin folder that an admin sets, as the kubelet sees it; else the agent determines it.
    pub plugin_dir: Option<PathBuf>,
    /// The node's `/proc`.
    pub proc: PathBuf,
    /// The node's folder `/var/lib/flexlvm`.
    pub state: PathBuf,
    /// The node's mount table.
    pub mounts: PathBuf,
    /// The names of the driver, FlexLVM's own first.
    pub names: Vec<DriverName>,
    /// The driver's settings.
    pub settings: DriverSettings,
    /// Runs the node's programs.
    pub exec: Arc<dyn Exec>,
}

/// What the agent installs, and where.
#[derive(Clone, Debug)]
pub struct Target {
    /// Path of the driver binary.
    pub driver: PathBuf,
    /// kubelet's plugin folder, as the agent sees it.
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

impl Target {
    /// Returns the path of the driver under its own name.
    fn own_program(&self) -> PathBuf {
        let own = DriverName::own();
        self.plugins.join(own.folder()).join(own.driver())
    }
}

/// Returns the current names of the driver, and those it was installed under before.
///
/// Mounts under any of these names belong to FlexLVM.
///
/// # Errors
/// If the recorded names can't be read.
pub fn names(state: &Path, current: &[DriverName]) -> Result<Vec<DriverName>, Error> {
    let former = observed::names(state)?
        .into_iter()
        .filter(|name| !current.contains(name));
    Ok(current.iter().cloned().chain(former).collect())
}

/// Result of one pass.
#[derive(Debug, Default)]
struct Pass {
    /// `DriverInstalled`; `None` if the plugin folder is not known yet.
    driver: Option<ConditionUpdate>,
    /// `KubeletReady`; `None` if nothing is known about it.
    kubelet: Option<Readiness>,
    /// Whether a driver was installed or removed.
    is_installed: bool,
    /// Whether the attempt failed; the obstacle may be temporary.
    has_failed: bool,
    /// Whether the driver could be executed.
    trial: Option<Trial>,
    /// The folders whose changes trigger the next pass.
    watched: Vec<PathBuf>,
}

impl DriverInstaller {
    /// Installs and repairs the driver, and sends the outcomes; never returns.
    ///
    /// `unmounted` triggers the next attempt if mounted volumes prevented the last one.
    pub async fn run(self, outcomes: InstallOutcomes, unmounted: Arc<Notify>) {
        let installer = Arc::new(self);
        let mut pace = Pace::new(Instant::now());
        let mut trial = None;
        let mut watched = Vec::new();
        let mut folders = Folders::watch(Vec::new());
        loop {
            let here = installer.clone();
            let last = trial.take();
            let presentation = pace.presentation(Instant::now());
            let guess = pace.has_waited(Instant::now());
            let pass = blocking(move || Ok(here.pass(presentation, guess, last))).await;
            let pass = pass.unwrap_or_else(|error| Pass::failed(&error));
            pace.note(&pass, presentation, Instant::now());
            let is_blocked_by_mounts = outcomes.publish(&pass, pace.has_waited(Instant::now()));
            trial.clone_from(&pass.trial);
            if pass.watched == watched {
                folders.renew();
            } else {
                watched.clone_from(&pass.watched);
                folders = Folders::watch(pass.watched.clone());
                // Looks at what has changed before the folders were watched.
                continue;
            }
            // The writes of a failed attempt must not trigger the next one at once.
            if pass.has_failed {
                sleep(pace::AFTER_FAILURE).await;
            }
            let changed = async {
                tokio::select! {
                    () = folders.changed() => {}
                    () = unmounted.notified(), if is_blocked_by_mounts => {}
                }
            };
            if timeout(pace.longest(), changed).await.is_ok() {
                sleep(PAUSE).await;
            }
        }
    }

    /// Returns what to install into this folder.
    fn target(&self, plugins: &Path) -> Target {
        Target {
            driver: self.driver.clone(),
            plugins: plugins.to_owned(),
            state: self.state.clone(),
            mounts: self.mounts.clone(),
            names: self.names.clone(),
            settings: self.settings.clone(),
        }
    }

    /// Installs the driver where the kubelet reads it, and determines whether the kubelet has
    /// loaded it.
    ///
    /// With `guess`, installs it into the default folder if no kubelet is found.
    fn pass(&self, presentation: Presentation, guess: bool, trial: Option<Trial>) -> Pass {
        let last = match former::folders(&self.state) {
            Ok(folders) => folders.last().cloned(),
            Err(error) => return Pass::failed(&error),
        };
        let set = self.plugin_dir.as_deref();
        match location::locate(&self.proc, set, last.as_deref(), guess) {
            Ok(Some(location)) => self.install_at(&location, presentation, trial),
            Ok(None) => Pass::default(),
            Err(error) => Pass::failed(&error),
        }
    }

    fn install_at(
        &self,
        location: &Location,
        presentation: Presentation,
        trial: Option<Trial>,
    ) -> Pass {
        let target = self.target(&location.plugins);
        let installed = former::record(&self.state, &location.folder)
            .and_then(|()| install(&target, presentation));
        let has_failed = installed.is_err();
        let (mut driver, is_installed) = match installed {
            Ok(done) => (done.condition, done.installed),
            Err(error) => (failure(location, &error), false),
        };
        driver.message = location.on_node(&driver.message);
        let mut pass = Pass {
            is_installed,
            has_failed,
            watched: watched(&target, location),
            ..Pass::default()
        };
        match self.readiness(&target, location, &driver, trial) {
            Ok((readiness, trial)) => {
                if readiness.condition.status
                    && let Err(error) = former::clean(self, location)
                {
                    let error = location.on_node(&host::error::chain(&error));
                    driver.message = format!("{}; {error}", driver.message);
                }
                pass.kubelet = Some(readiness);
                pass.trial = trial;
            }
            Err(error) => driver = failure(location, &error),
        }
        pass.driver = Some(driver);
        pass
    }

    /// Returns whether the kubelet has loaded the driver, and the result of its execution if it has
    /// not.
    fn readiness(
        &self,
        target: &Target,
        location: &Location,
        driver: &ConditionUpdate,
        last: Option<Trial>,
    ) -> Result<(Readiness, Option<Trial>), Error> {
        let is_loaded = loaded::is_loaded(&self.proc, target, location)?;
        let trial = if is_loaded {
            None
        } else {
            loaded::try_to_execute(&*self.exec, target, last)?
        };
        let fault = trial.as_ref().and_then(|trial| trial.fault.as_ref());
        let fault = fault.map(|fault| location.on_node(fault));
        let evidence = Evidence {
            location,
            is_loaded,
            driver,
            is_noexec: !is_loaded && loaded::is_noexec(target),
            execution_fault: fault.as_deref(),
        };
        Ok((readiness::readiness(evidence), trial))
    }
}

impl Pass {
    fn failed(error: &Error) -> Self {
        Self {
            driver: Some(
                ReportedError::new(reason::INSTALL_FAILED, host::error::chain(error)).into(),
            ),
            has_failed: true,
            ..Self::default()
        }
    }
}

/// Returns the condition of a failed installation.
fn failure(location: &Location, error: &Error) -> ConditionUpdate {
    let folder = location.folder.display();
    let message = if is_read_only(error) {
        format!(
            "the driver can't be installed in {folder}, which is on a read-only file system: set volumePluginDir in the kubelet's \
             configuration (or its flag --volume-plugin-dir) to a writable folder, such as /var/lib/kubelet/volumeplugins, and \
             restart the kubelet; the agent follows"
        )
    } else {
        host::error::chain(error)
    };
    ReportedError::new(reason::INSTALL_FAILED, message).into()
}

fn is_read_only(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    source
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == ErrorKind::ReadOnlyFilesystem)
}

/// Returns the folders whose changes concern the installation.
fn watched(target: &Target, location: &Location) -> Vec<PathBuf> {
    let mut paths = vec![
        target.plugins.clone(),
        target.state.clone(),
        loaded::stamps(location),
    ];
    paths.extend(
        target
            .names
            .iter()
            .map(|name| target.plugins.join(name.folder())),
    );
    paths
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
/// # Errors
/// If a file can't be read or written.
pub fn install(target: &Target, presentation: Presentation) -> Result<Installed, Error> {
    let seen = observed::observe(target)?;
    let InstallPlan { actions, refused } = plan::plan(&seen, &target.settings, presentation);
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
