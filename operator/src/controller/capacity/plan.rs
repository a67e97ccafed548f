//! Plans the next writes, from the wanted and the published objects: capacities first, the
//! CSIDriver last. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use host::Bytes;
use k8s_openapi::api::storage::v1::CSIDriver;

use super::object::{self, Capacity};

/// Minimum time between two writes of one object.
pub const WRITE_INTERVAL: Duration = Duration::from_secs(2);

/// Minimum time before a smaller capacity other than 0 is written.
///
/// It is only a hint, and each new volume lowers it; a volume should cost no extra write.
pub const DECREASE_INTERVAL: Duration = Duration::from_secs(10);

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write a capacity.
    Publish(String, Capacity),
    /// Delete a capacity.
    Remove(String),
    /// Write the CSIDriver, which makes the scheduler use the capacities.
    WriteDriver,
    /// Delete a CSIDriver whose immutable fields differ.
    DeleteDriver,
}

impl Step {
    /// Returns the name of the object.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Publish(name, _) | Self::Remove(name) => name,
            Self::WriteDriver | Self::DeleteDriver => crds::GROUP,
        }
    }
}

/// The writes that are due, in any order, and when the next ones are due without further changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapacityPlan {
    /// The writes.
    pub steps: Vec<Step>,
    /// When to plan again.
    pub next_due: Option<Duration>,
}

impl CapacityPlan {
    /// Adds a step, or records when it will be due.
    fn add(&mut self, step: Step, interval: Duration, age: &impl Fn(&str) -> Option<Duration>) {
        match age(step.name())
            .map(|age| interval.saturating_sub(age))
            .filter(|rest| !rest.is_zero())
        {
            None => self.steps.push(step),
            Some(rest) => self.next_due = Some(self.next_due.map_or(rest, |due| due.min(rest))),
        }
    }
}

/// Plans the next writes. `found` holds the published objects (`None` for unreadable ones), `age`
/// returns the time since an object was last written.
#[must_use]
pub fn plan(
    wanted: &BTreeMap<String, Capacity>,
    found: &BTreeMap<String, Option<Capacity>>,
    driver: Option<&CSIDriver>,
    age: impl Fn(&str) -> Option<Duration>,
) -> CapacityPlan {
    let mut plan = CapacityPlan::default();
    for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
        plan.add(Step::Remove(name.clone()), WRITE_INTERVAL, &age);
    }
    let mut complete = true;
    for (name, capacity) in wanted {
        match found.get(name) {
            Some(Some(old)) if old == capacity => {}
            Some(Some(old)) if old.class == capacity.class && old.host == capacity.host => {
                plan.add(
                    Step::Publish(name.clone(), capacity.clone()),
                    interval(old, capacity),
                    &age,
                );
            }
            // Class and node of a capacity are immutable; it is created again once it is deleted.
            Some(_) => {
                complete = false;
                plan.add(Step::Remove(name.clone()), WRITE_INTERVAL, &age);
            }
            None => {
                complete = false;
                plan.add(
                    Step::Publish(name.clone(), capacity.clone()),
                    WRITE_INTERVAL,
                    &age,
                );
            }
        }
    }
    match driver {
        Some(driver) if object::is_as_wanted(driver) => {}
        Some(driver) if driver.spec.attach_required != Some(false) => {
            plan.add(Step::DeleteDriver, WRITE_INTERVAL, &age);
        }
        // While a capacity is missing, the scheduler would treat the node as full.
        Some(_) | None if complete => plan.add(Step::WriteDriver, WRITE_INTERVAL, &age),
        Some(_) | None => {}
    }
    plan
}

/// Returns how soon a change is written: soon if the capacity rises or becomes 0.
fn interval(old: &Capacity, new: &Capacity) -> Duration {
    let rises = new.largest > old.largest;
    let becomes_zero = new.largest == Bytes(0) && old.largest > Bytes(0);
    if rises || becomes_zero {
        WRITE_INTERVAL
    } else {
        DECREASE_INTERVAL
    }
}

#[cfg(test)]
mod tests;
