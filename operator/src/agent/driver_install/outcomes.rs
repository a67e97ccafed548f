//! The conditions of the installation, on their way to the NodeStorage and to the log.

use crds::condition::reason;
use tokio::sync::watch;

use super::Pass;
use crate::agent::condition::ConditionUpdate;

/// Where the conditions of the installation are sent.
pub struct InstallOutcomes {
    driver: watch::Sender<Option<ConditionUpdate>>,
    kubelet: watch::Sender<Option<ConditionUpdate>>,
}

/// The conditions of the installation; each `None` until it is known.
pub struct InstallConditions {
    /// `DriverInstalled`.
    pub driver: watch::Receiver<Option<ConditionUpdate>>,
    /// `KubeletReady`.
    pub kubelet: watch::Receiver<Option<ConditionUpdate>>,
}

impl InstallOutcomes {
    /// Creates the two ends.
    #[must_use]
    pub fn channel() -> (Self, InstallConditions) {
        let (driver_sender, driver) = watch::channel(None);
        let (kubelet_sender, kubelet) = watch::channel(None);
        let outcomes = Self {
            driver: driver_sender,
            kubelet: kubelet_sender,
        };
        (outcomes, InstallConditions { driver, kubelet })
    }

    /// Sends the conditions of a pass, and logs those that are new. Returns whether mounted volumes
    /// prevent the installation.
    ///
    /// An uncertain `KubeletReady` replaces one that is True or unknown only with `has_waited`.
    pub(super) fn publish(&self, pass: &Pass, has_waited: bool) -> bool {
        let mut is_blocked_by_mounts = false;
        if let Some(new) = &pass.driver {
            is_blocked_by_mounts = new.reason == reason::VOLUMES_MOUNTED;
            if send(&self.driver, new) || pass.is_installed {
                log_condition(new);
            }
        }
        let is_unready = self
            .kubelet
            .borrow()
            .as_ref()
            .is_some_and(|condition| !condition.status);
        if let Some(readiness) = &pass.kubelet
            && (is_unready || readiness.is_certain || has_waited)
            && send(&self.kubelet, &readiness.condition)
        {
            log_readiness(&readiness.condition);
        }
        is_blocked_by_mounts
    }
}

/// Sends a condition; returns whether it is another one.
fn send(sender: &watch::Sender<Option<ConditionUpdate>>, new: &ConditionUpdate) -> bool {
    sender.send_if_modified(|old| old.replace(new.clone()).as_ref() != Some(new))
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

fn log_readiness(condition: &ConditionUpdate) {
    let message = &condition.message;
    if condition.status {
        tracing::info!(message, "kubelet is ready");
    } else {
        let reason = condition.reason;
        tracing::warn!(reason, message, "kubelet is not ready for new volumes");
    }
}

#[cfg(test)]
mod tests {
    use super::InstallOutcomes;
    use crate::agent::condition::ConditionUpdate;
    use crate::agent::driver_install::Pass;
    use crate::agent::driver_install::readiness::Readiness;
    use crds::condition::reason;

    fn pass(reason: &'static str, is_certain: bool) -> Pass {
        Pass {
            kubelet: Some(Readiness {
                condition: ConditionUpdate {
                    status: reason == reason::DRIVER_LOADED,
                    reason,
                    message: String::new(),
                },
                is_certain,
            }),
            ..Pass::default()
        }
    }

    #[test]
    fn uncertain_condition_waits_unless_it_is_false_already() {
        let loaded = pass(reason::DRIVER_LOADED, true);
        let restarting = pass(reason::KUBELET_NOT_FOUND, false);
        let unloaded = pass(reason::DRIVER_NOT_LOADED, false);
        let noexec = pass(reason::DRIVER_NOT_EXECUTABLE, true);
        let (outcomes, conditions) = InstallOutcomes::channel();
        let published = || {
            let condition = conditions.kubelet.borrow().clone();
            condition.map(|condition| condition.reason)
        };
        outcomes.publish(&restarting, false);
        assert_eq!(published(), None);
        outcomes.publish(&loaded, false);
        outcomes.publish(&restarting, false);
        assert_eq!(published(), Some(reason::DRIVER_LOADED));
        outcomes.publish(&restarting, true);
        assert_eq!(published(), Some(reason::KUBELET_NOT_FOUND));
        outcomes.publish(&unloaded, false);
        assert_eq!(published(), Some(reason::DRIVER_NOT_LOADED));
        outcomes.publish(&loaded, false);
        outcomes.publish(&noexec, false);
        assert_eq!(published(), Some(reason::DRIVER_NOT_EXECUTABLE));
    }
}
