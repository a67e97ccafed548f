//! Builds the status of a LogicalVolume from an outcome. Pure.

use crds::condition::{self, HEALTHY, PROGRESSING, READY, REMOVED};
use crds::logical_volume::LogicalVolumeStatus;
use crds::quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::outcome::Outcome;

/// Returns the whole status that follows from `old` by `outcome`: server-side apply removes fields
/// that are missing. `node_uid` is the uid of the agent's Node, if it is known.
#[must_use]
pub fn build(
    old: &LogicalVolumeStatus,
    outcome: &Outcome,
    node_uid: Option<String>,
    generation: Option<i64>,
    now: &Time,
) -> LogicalVolumeStatus {
    let mut status = LogicalVolumeStatus {
        observed_generation: generation,
        ..old.clone()
    };
    let updates = [
        (READY, &outcome.ready),
        (HEALTHY, &outcome.healthy),
        (REMOVED, &outcome.removed),
        (PROGRESSING, &outcome.progressing),
    ];
    for (type_, update) in updates {
        let Some(update) = update else { continue };
        condition::set(
            &mut status.conditions,
            type_,
            update.status,
            update.reason,
            &update.message,
            generation,
            now,
        );
    }
    if let Some((uuid, size)) = &outcome.volume {
        status.uuid = Some(uuid.to_string());
        status.size = Some(quantity::format(size.0));
        status.node_uid = node_uid.or(status.node_uid);
    }
    match &outcome.removed {
        Some(removed) if removed.status => {
            status.size = None;
            status
                .conditions
                .retain(|condition| condition.type_ != HEALTHY && condition.type_ != PROGRESSING);
        }
        // The volume exists, and its removal is not requested (any more).
        None if outcome.volume.is_some() => status
            .conditions
            .retain(|condition| condition.type_ != REMOVED && condition.type_ != PROGRESSING),
        _ => {}
    }
    status
}

/// Returns whether a status has no field and no condition that `wanted` lacks.
#[must_use]
pub fn has_no_more_than(status: &LogicalVolumeStatus, wanted: &LogicalVolumeStatus) -> bool {
    let mut conditions = status.conditions.iter();
    (status.uuid.is_none() || wanted.uuid.is_some())
        && (status.size.is_none() || wanted.size.is_some())
        && (status.node_uid.is_none() || wanted.node_uid.is_some())
        && conditions.all(|found| condition::get(&wanted.conditions, &found.type_).is_some())
}

#[cfg(test)]
mod tests {
    use super::{build, has_no_more_than};
    use crate::agent::condition::ConditionUpdate;
    use crate::agent::volumes::outcome::Outcome;
    use crds::condition::{self, HEALTHY, READY, REMOVED, reason};
    use crds::logical_volume::LogicalVolumeStatus;
    use host::{Bytes, LvUuid};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    const UUID: &str = "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP";

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn update(status: bool, reason: &'static str) -> ConditionUpdate {
        ConditionUpdate {
            status,
            reason,
            message: String::new(),
        }
    }

    fn ready() -> LogicalVolumeStatus {
        let volume = Some((LvUuid::new(UUID).unwrap(), Bytes(8 << 20)));
        let outcome = Outcome {
            ready: Some(update(true, reason::READY)),
            healthy: Some(update(true, reason::HEALTHY)),
            volume,
            ..Outcome::default()
        };
        build(
            &LogicalVolumeStatus::default(),
            &outcome,
            None,
            Some(1),
            &at(1),
        )
    }

    #[test]
    fn equal_outcome_leaves_the_status_unchanged() {
        let first = ready();
        assert_eq!(
            (
                first.uuid.as_deref(),
                first.size.clone().unwrap().0.as_str()
            ),
            (Some(UUID), "8Mi")
        );
        let volume = Some((LvUuid::new(UUID).unwrap(), Bytes(8 << 20)));
        let again = Outcome {
            ready: Some(update(true, reason::READY)),
            healthy: Some(update(true, reason::HEALTHY)),
            volume,
            ..Outcome::default()
        };
        assert_eq!(build(&first, &again, None, Some(1), &at(9)), first);
    }

    #[test]
    fn failure_keeps_uuid_and_size() {
        let outcome = Outcome {
            ready: Some(update(false, reason::LOGICAL_VOLUME_MISSING)),
            ..Outcome::default()
        };
        let status = build(&ready(), &outcome, None, Some(1), &at(2));
        assert_eq!(status.uuid.as_deref(), Some(UUID));
        assert!(!condition::is_true(&status.conditions, READY));
    }

    #[test]
    fn removal_clears_the_size_and_its_cancellation_clears_the_condition() {
        let kept = Outcome {
            removed: Some(update(false, reason::IN_USE)),
            ..Outcome::default()
        };
        let kept = build(&ready(), &kept, None, Some(2), &at(2));
        assert!(
            condition::is_true(&kept.conditions, READY)
                && condition::get(&kept.conditions, REMOVED).is_some()
        );

        let volume = Some((LvUuid::new(UUID).unwrap(), Bytes(8 << 20)));
        let wanted = Outcome {
            ready: Some(update(true, reason::READY)),
            healthy: Some(update(true, reason::HEALTHY)),
            volume,
            ..Outcome::default()
        };
        let wanted = build(&kept, &wanted, None, Some(3), &at(3));
        assert!(condition::get(&wanted.conditions, REMOVED).is_none());
        assert!(condition::is_true(&wanted.conditions, HEALTHY));

        let gone = Outcome {
            ready: Some(update(false, reason::REMOVED)),
            removed: Some(update(true, reason::REMOVED)),
            ..Outcome::default()
        };
        let gone = build(&kept, &gone, None, Some(2), &at(4));
        assert!(condition::is_true(&gone.conditions, REMOVED));
        assert!(condition::get(&gone.conditions, HEALTHY).is_none());
        assert_eq!((gone.size, gone.uuid.as_deref()), (None, Some(UUID)));
    }

    #[test]
    fn fields_and_conditions_of_others_are_found() {
        let wanted = ready();
        assert!(has_no_more_than(&wanted, &wanted));
        let mut removed = wanted.clone();
        let forged = Outcome {
            removed: Some(update(false, reason::IN_USE)),
            ..Outcome::default()
        };
        removed.conditions = build(&wanted, &forged, None, Some(1), &at(2)).conditions;
        assert!(!has_no_more_than(&removed, &wanted));
        assert!(has_no_more_than(&wanted, &removed));
        let without_size = LogicalVolumeStatus {
            size: None,
            ..wanted.clone()
        };
        assert!(!has_no_more_than(&wanted, &without_size));
    }
}
