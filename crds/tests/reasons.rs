//! Compares `docs/events.md` with the reasons in the code: each table must list exactly those.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::Path;

const PAGE: &str = "../docs/events.md";

/// Returns the content of a file, by its path from this crate.
fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Returns the values of the constants in a module of a source file.
fn in_code(path: &str, module: &str) -> BTreeSet<String> {
    let source = read(path);
    let start = format!("pub mod {module} {{\n");
    let (_, module) = source.split_once(&start).unwrap();
    let (module, _) = module.split_once("\n}\n").unwrap();
    module
        .lines()
        .filter_map(|line| line.split_once(": &str = \""))
        .map(|(_, value)| value.trim_end_matches("\";").to_owned())
        .collect()
}

/// Returns the reasons in the first column of the tables of these sections.
fn in_documentation(sections: &[&str]) -> BTreeSet<String> {
    let page = read(PAGE);
    let mut reasons = BTreeSet::new();
    for section in page.split("\n## ").skip(1) {
        if !sections.iter().any(|name| section.starts_with(name)) {
            continue;
        }
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        for row in rows {
            let (reason, _) = row.split_once('`').unwrap();
            assert!(
                reasons.insert(reason.to_owned()),
                "{reason} is listed twice"
            );
        }
    }
    reasons
}

#[test]
fn page_lists_the_reasons_of_events() {
    assert_eq!(
        in_documentation(&["Events"]),
        in_code("../operator/src/kube/names.rs", "event")
    );
}

#[test]
fn page_lists_the_reasons_of_conditions() {
    let sections = [
        "Conditions of a LogicalVolume",
        "Conditions of a NodeStorage",
        "Conditions of a StorageBackend",
        "Conditions of an Adoption",
    ];
    assert_eq!(
        in_documentation(&sections),
        in_code("src/condition.rs", "reason")
    );
}

#[test]
fn page_lists_the_reasons_of_devices() {
    assert_eq!(
        in_documentation(&["Devices of a backend"]),
        in_code("src/devices.rs", "reason")
    );
}
