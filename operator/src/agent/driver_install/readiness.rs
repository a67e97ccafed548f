//! Builds the condition `KubeletReady`: whether the node's kubelet has loaded the driver, else what
//! prevents it. Pure.

use crds::condition::reason;

use super::location::{Location, ObservedKubelet};
use crate::agent::condition::ConditionUpdate;

/// What an attempt to install the driver has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    /// Where the driver is installed.
    pub(super) location: &'a Location,
    /// Whether the kubelet has loaded the installed copy.
    pub(super) is_loaded: bool,
    /// The `DriverInstalled` condition.
    pub(super) driver: &'a ConditionUpdate,
    /// Whether the plugin folder's file system is mounted `noexec`.
    pub(super) is_noexec: bool,
    /// Why the installed copy can't be executed.
    pub(super) execution_fault: Option<&'a str>,
}

/// The condition, and whether it is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Readiness {
    /// The condition `KubeletReady`.
    pub(super) condition: ConditionUpdate,
    /// False if the kubelet may just be starting, or has not probed the folder yet.
    pub(super) is_certain: bool,
}

/// The flag by which an admin sets the folder.
const OVERRIDE: &str = "the agent's --plugin-dir (FLEXLVM_PLUGIN_DIR)";

/// Returns the condition for this evidence.
pub(super) fn readiness(evidence: Evidence<'_>) -> Readiness {
    if evidence.is_loaded {
        let folder = evidence.location.folder.display();
        return Readiness {
            condition: ConditionUpdate {
                status: true,
                reason: reason::DRIVER_LOADED,
                message: format!("the kubelet has loaded the driver from {folder}"),
            },
            is_certain: true,
        };
    }
    let (reason, message) = obstacle(evidence);
    let uncertain = [
        reason::KUBELET_NOT_FOUND,
        reason::PLUGIN_FOLDER_UNKNOWN,
        reason::DRIVER_NOT_LOADED,
    ];
    Readiness {
        is_certain: !uncertain.contains(&reason),
        condition: ConditionUpdate {
            status: false,
            reason,
            message,
        },
    }
}

/// Returns reason and message for a driver that the kubelet has not loaded.
fn obstacle(evidence: Evidence<'_>) -> (&'static str, String) {
    let folder = evidence.location.folder.display();
    match &evidence.location.kubelet {
        ObservedKubelet::ReadsOther(_, other) => {
            let message = format!(
                "the kubelet looks for drivers in {}, but {OVERRIDE} is {folder}: remove that setting, or set it to the kubelet's \
                 folder",
                other.display()
            );
            return (reason::OTHER_PLUGIN_FOLDER, message);
        }
        ObservedKubelet::Unreadable(_, error) => {
            let message = format!(
                "the kubelet's plugin folder is unknown: {}; set {OVERRIDE} to the kubelet's volumePluginDir",
                host::error::chain(error)
            );
            return (reason::PLUGIN_FOLDER_UNKNOWN, message);
        }
        ObservedKubelet::NotFound | ObservedKubelet::Reads(_) => {}
    }
    if evidence.driver.reason == reason::INSTALL_FAILED {
        return (reason::INSTALL_FAILED, evidence.driver.message.clone());
    }
    if evidence.is_noexec {
        let message = format!(
            "the driver in {folder} can't be executed: its file system is mounted noexec; mount it with exec, or set \
             volumePluginDir in the kubelet's configuration to a folder on another file system, and restart the kubelet"
        );
        return (reason::DRIVER_NOT_EXECUTABLE, message);
    }
    if let Some(fault) = evidence.execution_fault {
        let message = format!("the driver in {folder} can't be executed: {fault}");
        return (reason::DRIVER_NOT_EXECUTABLE, message);
    }
    if let ObservedKubelet::NotFound = evidence.location.kubelet {
        let message = format!(
            "no kubelet is found among this node's processes, and none has loaded the driver from {folder}: start the kubelet; if \
             it is part of another program, set {OVERRIDE} to its volumePluginDir"
        );
        return (reason::KUBELET_NOT_FOUND, message);
    }
    let message = format!(
        "the kubelet has not loaded the driver that is installed in {folder}: its log has the reason (journalctl -u kubelet | grep \
         -i flexvolume); if its configuration was changed after its start, or its log names inotify or the plugin folder, \
         correct that and restart the kubelet"
    );
    (reason::DRIVER_NOT_LOADED, message)
}

#[cfg(test)]
mod tests {
    use super::{Evidence, readiness};
    use crate::agent::condition::ConditionUpdate;
    use crate::agent::driver_install::location::{Location, ObservedKubelet};
    use crds::condition::reason;
    use host::Error;

    fn location(kubelet: ObservedKubelet) -> Location {
        Location {
            folder: "/exec".into(),
            plugins: "/proc/1/root/exec".into(),
            root: "/proc/1/root".into(),
            kubelet,
        }
    }

    fn driver(reason: &'static str) -> ConditionUpdate {
        ConditionUpdate {
            status: reason == reason::INSTALLED,
            reason,
            message: "the driver's message".to_owned(),
        }
    }

    /// Returns the evidence of an installed driver that the kubelet has not loaded.
    fn unloaded<'a>(location: &'a Location, driver: &'a ConditionUpdate) -> Evidence<'a> {
        Evidence {
            location,
            is_loaded: false,
            driver,
            is_noexec: false,
            execution_fault: None,
        }
    }

    #[test]
    fn loaded_driver_is_ready_whatever_else_is_wrong() {
        let failed = driver(reason::INSTALL_FAILED);
        for kubelet in [
            ObservedKubelet::NotFound,
            ObservedKubelet::Reads(1),
            ObservedKubelet::ReadsOther(1, "/other".into()),
        ] {
            let location = location(kubelet);
            let ready = readiness(Evidence {
                is_loaded: true,
                is_noexec: true,
                ..unloaded(&location, &failed)
            });
            assert!(ready.condition.status && ready.is_certain);
            assert_eq!(
                ready.condition.message,
                "the kubelet has loaded the driver from /exec"
            );
        }
    }

    /// Checks reason and certainty of the condition, and a part of its message.
    fn check(evidence: Evidence<'_>, reason: &str, is_certain: bool, words: &str) {
        let found = readiness(evidence);
        assert_eq!(
            (found.condition.reason, found.is_certain),
            (reason, is_certain)
        );
        assert!(!found.condition.status);
        assert!(found.condition.message.contains(words), "{found:?}");
    }

    #[test]
    fn folder_that_no_kubelet_reads_is_reported_first() {
        let failed = driver(reason::INSTALL_FAILED);
        let other = location(ObservedKubelet::ReadsOther(1, "/other".into()));
        let of_other = unloaded(&other, &failed);
        check(
            of_other,
            reason::OTHER_PLUGIN_FOLDER,
            true,
            "in /other, but",
        );
        let error = Error::failed("read /etc/k.yaml");
        let unreadable = location(ObservedKubelet::Unreadable(1, error));
        let of_unknown = unloaded(&unreadable, &failed);
        let words = "read /etc/k.yaml";
        check(of_unknown, reason::PLUGIN_FOLDER_UNKNOWN, false, words);
    }

    #[test]
    fn fault_of_the_installation_is_reported_before_a_kubelet_that_waits() {
        let installed = driver(reason::INSTALLED);
        let failed = driver(reason::INSTALL_FAILED);
        let reads = location(ObservedKubelet::Reads(1));
        let none = location(ObservedKubelet::NotFound);
        let of_failed = unloaded(&reads, &failed);
        let words = "the driver's message";
        check(of_failed, reason::INSTALL_FAILED, true, words);
        let noexec = Evidence {
            is_noexec: true,
            execution_fault: Some("x"),
            ..unloaded(&reads, &installed)
        };
        let words = "mounted noexec";
        check(noexec, reason::DRIVER_NOT_EXECUTABLE, true, words);
        let denied = Evidence {
            execution_fault: Some("exit status 126"),
            ..unloaded(&none, &installed)
        };
        let words = "exit status 126";
        check(denied, reason::DRIVER_NOT_EXECUTABLE, true, words);
    }

    #[test]
    fn kubelet_that_waits_is_uncertain() {
        let installed = driver(reason::INSTALLED);
        let mounted = driver(reason::VOLUMES_MOUNTED);
        let none = location(ObservedKubelet::NotFound);
        let of_none = unloaded(&none, &installed);
        let words = "start the kubelet";
        check(of_none, reason::KUBELET_NOT_FOUND, false, words);
        let reads = location(ObservedKubelet::Reads(1));
        let of_running = unloaded(&reads, &mounted);
        let words = "journalctl -u kubelet";
        check(of_running, reason::DRIVER_NOT_LOADED, false, words);
    }
}
