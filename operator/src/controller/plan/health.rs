//! The Event about the health of a claim's volume. Pure.

use crds::LogicalVolume;
use crds::condition::{self, HEALTHY};
use placement::claim;

use super::{about_reference, for_tenant};
use crate::kube::events::Notice;
use crate::kube::names::event;

/// Returns true if the agent reports that the volume is not healthy.
#[must_use]
pub fn is_unhealthy(logical_volume: &LogicalVolume) -> bool {
    logical_volume.status.as_ref().is_some_and(|status| {
        condition::get(&status.conditions, HEALTHY).is_some_and(|healthy| healthy.status != "True")
    })
}

/// Returns the Event about a volume that is not healthy, or that is healthy again.
pub(super) fn notice(logical_volume: &LogicalVolume, was_unhealthy: bool) -> Option<Notice> {
    let status = logical_volume.status.as_ref()?;
    let healthy = condition::get(&status.conditions, HEALTHY)?;
    let about = claim::object_reference(logical_volume.spec.current_claim());
    if healthy.status != "True" {
        let message = for_tenant(logical_volume, healthy);
        return Some(about_reference(
            about,
            event::VOLUME_CONDITION_ABNORMAL,
            message,
        ));
    }
    if !was_unhealthy {
        return None;
    }
    let message = format!(
        "the volume on node {} is healthy again",
        logical_volume.spec.node
    );
    let notice = about_reference(about, event::VOLUME_CONDITION_NORMAL, message);
    Some(Notice {
        warning: false,
        ..notice
    })
}
