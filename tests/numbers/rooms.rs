//! The order of a crate's top-level modules, from the ground up, and the imports against it.

use std::collections::{BTreeMap, BTreeSet};

/// The number of imports that point upward in the order that has the fewest of them.
///
/// Removes modules that import nothing of what is left, then modules that nothing of what is left
/// imports; a module out of a circle goes next if the most of its imports point downward.
pub(crate) fn upward(imports: &[(String, String)]) -> usize {
    let mut weights: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut left: BTreeSet<&str> = BTreeSet::new();
    let sources: BTreeSet<&str> = imports.iter().map(|(from, _)| from.as_str()).collect();
    for (from, to) in imports {
        // Items of the crate's root are not modules.
        if sources.contains(to.as_str()) {
            *weights.entry((from, to)).or_default() += 1;
            left.extend([from.as_str(), to.as_str()]);
        }
    }
    let mut ground_up = Vec::new();
    let mut top_down = Vec::new();
    while !left.is_empty() {
        let outgoing = |room: &str| sum(&weights, |from, to| from == room && left.contains(to));
        let incoming = |room: &str| sum(&weights, |from, to| to == room && left.contains(from));
        if let Some(room) = left.iter().copied().find(|room| outgoing(room) == 0) {
            ground_up.push(room);
            left.remove(room);
        } else if let Some(room) = left.iter().copied().find(|room| incoming(room) == 0) {
            top_down.push(room);
            left.remove(room);
        } else {
            let room = left.iter().copied().max_by_key(|room| {
                (incoming(room) + weights.len() * 1000).saturating_sub(outgoing(room))
            });
            let room = room.expect("modules are left");
            ground_up.push(room);
            left.remove(room);
        }
    }
    ground_up.extend(top_down.into_iter().rev());
    let level = |room: &str| ground_up.iter().position(|it| *it == room);
    sum(&weights, |from, to| level(from) < level(to))
}

fn sum(weights: &BTreeMap<(&str, &str), usize>, counts: impl Fn(&str, &str) -> bool) -> usize {
    weights
        .iter()
        .filter(|((from, to), _)| counts(from, to))
        .map(|(_, weight)| weight)
        .sum()
}
