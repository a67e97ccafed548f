//! The driver's benchmark runs, and prints all of its figures.

use std::collections::BTreeMap;

use crate::fixture::{Fixture, GROUP};

/// Runs one round: its numbers mean nothing here, where other tests use the processors.
pub(crate) fn benchmark_prints_four_ratios(fixture: &Fixture) {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/bench_driver/example");
    let bench = env!("CARGO_BIN_EXE_bench-driver");
    let output = fixture.shell(&format!(
        "{bench} {} {} {example} 1",
        GROUP,
        fixture.driver()
    ));
    let last: BTreeMap<String, f64> = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    let keys: Vec<&str> = last.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "first_mount_vs_bare",
            "init_vs_true",
            "mount_vs_bare",
            "mount_vs_bash"
        ]
    );
    assert!(last.values().all(|ratio| *ratio > 0.0));
}
