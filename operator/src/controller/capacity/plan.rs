//! What is to be written next, from what is to be published and what is: capacities first, the
//! CSIDriver last. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::storage::v1::CSIDriver;

use super::object::{self, Capacity};

/// An object that was written is left alone for so long, whatever happens to it.
pub const QUICK: Duration = Duration::from_secs(2);

/// The same, for what nobody waits for: a number that fell, and is not nothing yet. It is a hint,
/// and each volume lowers it; a volume is to cost no write of its own here.
pub const LEISURE: Duration = Duration::from_secs(10);

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write a capacity.
    Publish(String, Capacity),
    /// Delete a capacity.
    Remove(String),
    /// Write the CSIDriver: from now on the scheduler heeds the capacities.
    Announce,
    /// Delete a CSIDriver that can't be changed into ours.
    Retract,
}

impl Step {
    /// The name of the object.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Publish(name, _) | Self::Remove(name) => name,
            Self::Announce | Self::Retract => crds::GROUP,
        }
    }
}

/// What is to be done now, in any order, and when there will be more to do if nothing is heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapacityPlan {
    /// The writes.
    pub steps: Vec<Step>,
    /// When to ask again.
    pub again: Option<Duration>,
}

impl CapacityPlan {
    /// Adds a step, or notes when it will be time for it.
    fn add(&mut self, step: Step, pace: Duration, age: &impl Fn(&str) -> Option<Duration>) {
        match age(step.name())
            .map(|age| pace.saturating_sub(age))
            .filter(|rest| !rest.is_zero())
        {
            None => self.steps.push(step),
            Some(rest) => self.again = Some(self.again.map_or(rest, |again| again.min(rest))),
        }
    }
}

/// The next writes. `found` is what is published (`None` for what can't be read), `age` how long
/// ago we last wrote an object.
#[must_use]
pub fn plan(
    wanted: &BTreeMap<String, Capacity>,
    found: &BTreeMap<String, Option<Capacity>>,
    driver: Option<&CSIDriver>,
    age: impl Fn(&str) -> Option<Duration>,
) -> CapacityPlan {
    let mut plan = CapacityPlan::default();
    for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
        plan.add(Step::Remove(name.clone()), QUICK, &age);
    }
    let mut complete = true;
    for (name, capacity) in wanted {
        match found.get(name) {
            Some(Some(old)) if old == capacity => {}
            Some(Some(old)) if old.class == capacity.class && old.host == capacity.host => {
                plan.add(
                    Step::Publish(name.clone(), capacity.clone()),
                    pace(old, capacity),
                    &age,
                );
            }
            // What it is about can't be changed; it is written anew once it is gone.
            Some(_) => {
                complete = false;
                plan.add(Step::Remove(name.clone()), QUICK, &age);
            }
            None => {
                complete = false;
                plan.add(Step::Publish(name.clone(), capacity.clone()), QUICK, &age);
            }
        }
    }
    match driver {
        Some(driver) if object::is_as_wanted(driver) => {}
        Some(driver) if driver.spec.attach_required != Some(false) => {
            plan.add(Step::Retract, QUICK, &age);
        }
        // Where a capacity is missing, the scheduler would take the node for full.
        Some(_) | None if complete => plan.add(Step::Announce, QUICK, &age),
        Some(_) | None => {}
    }
    plan
}

/// How soon a change is written: at once when more fits, or nothing any more.
fn pace(old: &Capacity, new: &Capacity) -> Duration {
    let rises = new.largest > old.largest;
    let ends = new.largest == 0 && old.largest > 0;
    if rises || ends { QUICK } else { LEISURE }
}

#[cfg(test)]
mod tests;
