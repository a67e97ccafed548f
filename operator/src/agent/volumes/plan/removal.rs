//! When a logical volume is removed, and when it is kept although it is not wanted. Called by
//! `plan`. Pure.

use crds::condition::reason;
use crds::logical_volume::State;
use host::lvm::Lv;

use super::{
    Content, Finding, Found, Seen, Step, Verdict, find, is_of_kind, pool_and_cache, unusable,
};
use crate::agent::volumes::spec::Order;

/// The next step for an order whose volume is not to be there.
pub(super) fn plan_absent(order: &Order, seen: Seen<'_>) -> Step {
    let (path, node) = (order.path(), &order.node);
    let (vg, lv) = match find(order, seen.groups) {
        Found::Ours(vg, lv) => (vg, lv),
        Found::Foreign(_) => return gone(order, seen).into(),
        Found::Renamed(now) => {
            let message = format!(
                "logical volume {path} on {node} is called {now} now, so it is kept; rename it back, or remove it by hand"
            );
            return Verdict::kept(reason::FOREIGN_LOGICAL_VOLUME, message).into();
        }
        Found::Nothing => return plan_not_found(order, seen),
    };
    if !lv.has_tag(order.identity.as_str()) {
        let message = format!(
            "logical volume {path} on {node} lacks the tag {} now, so it is kept; tag it, or remove it by hand",
            order.identity
        );
        return Verdict::kept(reason::FOREIGN_LOGICAL_VOLUME, message).into();
    }
    if let Some(fault) = &vg.fault {
        return Verdict::kept(reason::VOLUME_GROUP_UNUSABLE, unusable(order, fault)).into();
    }
    if lv.open {
        return Verdict::kept(
            reason::IN_USE,
            format!("logical volume {path} on {node} is in use, so it is not removed yet"),
        )
        .into();
    }
    if !is_of_kind(order, lv.kind) {
        let message = format!(
            "logical volume {path} on {node} has snapshots, or was converted, so it is not removed; lvs shows it"
        );
        return Verdict::kept(reason::IN_USE, message).into();
    }
    match order.state {
        State::AbsentIfUnused => plan_unused(order, lv, seen.content),
        State::Absent | State::Present => Step::Remove(lv.uuid.clone(), lv.kind),
    }
}

/// Removed only with proof that it carries nothing.
fn plan_unused(order: &Order, lv: &Lv, content: Option<&Content>) -> Step {
    let what = match content {
        _ if !lv.active => return Step::Activate(lv.uuid.clone()),
        None => return Step::Look(lv.uuid.clone()),
        Some(Content::Unformatted | Content::Formatting) => {
            return Step::Remove(lv.uuid.clone(), lv.kind);
        }
        Some(Content::Blank) if order.published.is_none() => {
            return Step::Remove(lv.uuid.clone(), lv.kind);
        }
        Some(Content::Blank) => "blank, but was marked as used",
        Some(Content::Data(what)) => what,
    };
    let message = format!(
        "logical volume {} on {} was not to be used, and is not empty ({what}), so it is kept",
        order.path(),
        order.node
    );
    Verdict::kept(reason::CARRIES_DATA, message).into()
}

/// Nothing is found. On a disk that is away it may still be.
fn plan_not_found(order: &Order, seen: Seen<'_>) -> Step {
    let group = seen
        .groups
        .iter()
        .find(|vg| vg.name == order.group.as_str());
    if let Some(vg) = group.filter(|vg| vg.fault.is_none())
        && let Some(step) = pool_and_cache::leftover(order, vg)
    {
        return step;
    }
    // Never reported, and not to be kept: if it is on a disk that is away all the same, it is
    // empty.
    let never_given_away = order.published.is_none() && order.state == State::AbsentIfUnused;
    if group.is_some() || never_given_away {
        return gone(order, seen).into();
    }
    let message = format!(
        "there is no volume group {} on {}, so nobody can say that the volume is removed",
        order.group, order.node
    );
    Verdict::kept(reason::VOLUME_GROUP_MISSING, message).into()
}

fn gone(order: &Order, seen: Seen<'_>) -> Verdict {
    let (reason, message) = if seen.removed || order.published.is_some() {
        (
            reason::REMOVED,
            format!(
                "logical volume {} is removed from {}",
                order.path(),
                order.node
            ),
        )
    } else {
        (
            reason::NEVER_MADE,
            format!(
                "logical volume {} was never made on {}",
                order.path(),
                order.node
            ),
        )
    };
    let finding = |status| {
        Some(Finding {
            status,
            reason,
            message: message.clone(),
        })
    };
    Verdict {
        ready: finding(false),
        removed: finding(true),
        volume: None,
    }
}
