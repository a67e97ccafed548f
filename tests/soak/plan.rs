//! The next decision, from the seed and the model; and the actions that end all faults. Pure.

use crate::model::{
    Action, Claim, Class, DISKS, FileSystem, Model, NODES, Power, UNSERVABLE_MIB, Victim,
};
use crate::random::Random;

/// Maximum number of claims at one time: each has a pod, and three small nodes run them.
const MOST_CLAIMS: usize = 9;

/// Maximum pause before an action, in milliseconds.
const LONGEST_PAUSE_MS: u32 = 900;

/// Number of actions after which a pod probably runs: only then the soak reads and writes in it.
const STARTING_ACTIONS: u32 = 12;

/// Maximum size of a write in KiB.
const LARGEST_WRITE_KIB: u32 = 1024;

/// Maximum size of a volume in MiB that the soak still raises.
const LARGEST_MIB: u32 = 512;

/// Maximum delay from the start of an LVM process to its kill, in milliseconds.
///
/// A change of a volume takes less in a guest, so the kill comes at any of its steps.
const LONGEST_DELAY_MS: u32 = 400;

/// An action after a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) pause_ms: u32,
    pub(crate) action: Action,
}

/// Decides the next step.
pub(crate) fn next(model: &Model, random: &mut Random) -> Step {
    let pause_ms = random.below(LONGEST_PAUSE_MS);
    let candidates = candidates(model, random);
    let sum = candidates.iter().map(|candidate| candidate.weight).sum();
    let mut at = random.below(sum);
    for Candidate { weight, action } in candidates {
        if at < weight {
            return Step { pause_ms, action };
        }
        at -= weight;
    }
    unreachable!("the number is below the sum of the weights")
}

/// Returns the actions that end all faults of a model.
pub(crate) fn heal(model: &Model) -> Vec<Action> {
    let mut actions = Vec::new();
    for node in 1..=NODES {
        if model.power_of(node) == Power::Off {
            actions.push(Action::Boot { node });
        }
    }
    for node in 1..=NODES {
        if model.power_of(node) != Power::On {
            actions.push(Action::StartNode { node });
        }
    }
    if let Some((node, disk)) = model.failed {
        actions.push(Action::ReturnDisk { node, disk });
    }
    actions
}

/// An action that is possible now. Its probability is its share of the sum of the weights.
struct Candidate {
    weight: u32,
    action: Action,
}

/// Returns one candidate of each kind that is possible in this model.
fn candidates(model: &Model, random: &mut Random) -> Vec<Candidate> {
    let mut all = claims(model, random);
    all.extend(faults(model, random));
    all
}

/// Candidates on claims and pods.
fn claims(model: &Model, random: &mut Random) -> Vec<Candidate> {
    let mut all = Vec::new();
    let mut add = |weight, action| all.push(Candidate { weight, action });
    let live = model.live().count();
    if live < MOST_CLAIMS {
        let weight = if live < MOST_CLAIMS / 2 { 40 } else { 8 };
        add(weight, create(model, random));
    }
    let with_pod = numbers(model, |claim| claim.has_pod);
    if !with_pod.is_empty() {
        let claim = *random.choose(&with_pod);
        add(5, Action::StopPod { claim });
    }
    let running = numbers(model, |claim| probably_runs(model, claim));
    if !running.is_empty() {
        let claim = *random.choose(&running);
        add(5, Action::Check { claim });
    }
    let without_pod = numbers(model, |claim| !claim.has_pod);
    if !without_pod.is_empty() {
        let claim = *random.choose(&without_pod);
        add(12, Action::StartPod { claim });
    }
    // A quarter of the volume leaves space for the file system's own data.
    let writable = numbers(model, |claim| {
        probably_runs(model, claim) && claim.written_kib < claim.size_mib * 1024 / 4
    });
    if !writable.is_empty() {
        let claim = *random.choose(&writable);
        let number = model.claim(claim).writes;
        let kib = 1 + random.below(LARGEST_WRITE_KIB);
        add(30, Action::Write { claim, number, kib });
    }
    let growable = numbers(model, |claim| claim.size_mib < LARGEST_MIB);
    if !growable.is_empty() {
        let claim = *random.choose(&growable);
        let size_mib = model.claim(claim).size_mib + 8 * (1 + random.below(8));
        add(6, Action::Grow { claim, size_mib });
    }
    if live > 2 {
        let claim = *random.choose(&numbers(model, |_| true));
        add(5, Action::Delete { claim });
    }
    all
}

fn probably_runs(model: &Model, claim: &Claim) -> bool {
    claim.has_pod && claim.is_servable() && model.actions - claim.started > STARTING_ACTIONS
}

/// Creates a claim of any class; one of twenty requests more than a node has.
fn create(model: &Model, random: &mut Random) -> Action {
    let class = *random.choose(&Class::all());
    let is_servable = random.below(20) > 0 || model.live().any(|claim| !claim.is_servable());
    let additional = match class.file_system {
        FileSystem::Ext4 => random.below(88),
        FileSystem::Xfs => random.below(32),
    };
    let size_mib = if is_servable {
        class.file_system.smallest_mib() + additional
    } else {
        UNSERVABLE_MIB
    };
    Action::Create { class, size_mib }
}

/// The numbers of the claims that are not deleted and meet a condition.
fn numbers(model: &Model, is: impl Fn(&Claim) -> bool) -> Vec<u32> {
    model
        .live()
        .filter(|claim| is(claim))
        .map(|claim| claim.number)
        .collect()
}

/// Candidates that cause faults and end them: one node without power, and one failed disk, at a
/// time.
fn faults(model: &Model, random: &mut Random) -> Vec<Candidate> {
    let mut all = Vec::new();
    let mut add = |weight, action| all.push(Candidate { weight, action });
    let node = 1 + u8::try_from(random.below(NODES.into())).expect("it is small");
    let disk = 1 + u8::try_from(random.below(DISKS.into())).expect("it is small");
    let delay_ms = random.below(LONGEST_DELAY_MS);
    if model.power_of(node) == Power::On {
        for (weight, victim) in [
            (5, Victim::Controller),
            (6, Victim::Agent),
            (3, Victim::Kubelet),
            (12, Victim::Lvm),
        ] {
            add(
                weight,
                Action::Kill {
                    node,
                    victim,
                    delay_ms,
                },
            );
        }
    }
    match (1..=NODES).find(|node| model.power_of(*node) != Power::On) {
        None => add(2, Action::CutPower { node }),
        Some(node) if model.power_of(node) == Power::Off => add(25, Action::Boot { node }),
        Some(node) => add(20, Action::StartNode { node }),
    }
    match model.failed {
        Some((node, disk)) => add(8, Action::ReturnDisk { node, disk }),
        None if model.power_of(node) == Power::On => add(2, Action::FailDisk { node, disk }),
        None => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::mem::discriminant;

    use super::{MOST_CLAIMS, heal, next};
    use crate::model::{Action, Model, Power};
    use crate::random::Random;

    /// Plans this number of steps and applies them.
    fn run(seed: u64, count: usize) -> (Vec<Action>, Model) {
        let mut random = Random::new(seed);
        let mut model = Model::new();
        let actions = (0..count)
            .map(|_| {
                let action = next(&model, &mut random).action;
                model.apply(&action);
                action
            })
            .collect();
        (actions, model)
    }

    #[test]
    fn seed_replays_the_same_actions() {
        assert_eq!(run(7, 500).0, run(7, 500).0);
        assert_ne!(run(7, 500).0, run(8, 500).0);
    }

    #[test]
    fn every_kind_of_action_is_planned_within_two_minutes() {
        for seed in 0..20 {
            let mut kinds = BTreeMap::new();
            for action in run(seed, 200).0 {
                *kinds
                    .entry(format!("{:?}", discriminant(&action)))
                    .or_insert(0) += 1;
            }
            assert!(kinds.len() >= 11, "seed {seed}: {} kinds", kinds.len());
        }
    }

    #[test]
    fn plan_acts_on_what_exists_only() {
        let mut random = Random::new(3);
        let mut model = Model::new();
        for _ in 0..5000 {
            let action = next(&model, &mut random).action;
            match action {
                Action::Write { claim, .. } | Action::StopPod { claim } => {
                    assert!(model.claim(claim).has_pod);
                }
                Action::StartPod { claim } => {
                    assert!(!model.claim(claim).has_pod && !model.claim(claim).is_deleted);
                }
                Action::Grow { claim, size_mib } => {
                    assert!(size_mib > model.claim(claim).size_mib);
                }
                Action::Kill { node, .. } | Action::FailDisk { node, .. } => {
                    assert_eq!(model.power_of(node), Power::On);
                }
                _ => {}
            }
            model.apply(&action);
            assert!(model.live().count() <= MOST_CLAIMS);
            let off = model.power.iter().filter(|power| **power != Power::On);
            assert!(off.count() <= 1);
        }
    }

    #[test]
    fn heal_ends_all_faults() {
        for seed in 0..200 {
            let mut model = run(seed, 100).1;
            for action in heal(&model) {
                model.apply(&action);
            }
            assert!(heal(&model).is_empty(), "seed {seed}");
        }
    }
}
