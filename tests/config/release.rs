//! The documents of a release: SBOM and release notes.

mod krew;

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::{ROOT, read};

/// Runs a script of the folder `release` and returns its stdout.
fn run(script: &str, arguments: &[&str]) -> Result<String, String> {
    let program = format!("{ROOT}/release/{script}");
    let output = Command::new(program).args(arguments).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn sbom_lists_the_linked_crates_with_license_and_checksum() {
    let text = run("sbom", &[]).unwrap();
    assert_eq!(
        run("sbom", &[]).unwrap(),
        text,
        "the same commit has the same SBOM"
    );
    let sbom: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(sbom["bomFormat"], "CycloneDX");
    let components = sbom["components"].as_array().unwrap();
    let mut references = BTreeSet::from(["flexlvm"]);
    let mut names = BTreeSet::new();
    for component in components {
        assert!(
            references.insert(component["bom-ref"].as_str().unwrap()),
            "{component}"
        );
        names.insert(component["name"].as_str().unwrap());
        let license = component["licenses"][0]["expression"].as_str().unwrap();
        assert!(
            !license.contains('/') && license != "NOASSERTION",
            "{component}"
        );
        if !component["purl"].is_null() {
            let checksum = component["hashes"][0]["content"].as_str().unwrap();
            assert_eq!(checksum.len(), 64, "{component}");
        }
    }
    for linked in ["operator", "driver", "host", "kube-client", "rustls"] {
        assert!(names.contains(linked), "{linked}");
    }
    for for_tests in ["tests", "proptest", "insta", "tempfile"] {
        assert!(!names.contains(for_tests), "{for_tests}");
    }
    for dependency in sbom["dependencies"].as_array().unwrap() {
        for reference in dependency["dependsOn"].as_array().unwrap() {
            assert!(
                references.contains(reference.as_str().unwrap()),
                "{dependency}"
            );
        }
    }
}

#[test]
fn release_notes_are_the_section_of_the_version() {
    let notes = run("notes", &[env!("CARGO_PKG_VERSION")]).unwrap();
    assert!(notes.starts_with("### Added\n"), "{notes}");
    assert!(read("CHANGELOG.md").contains(&notes));
    assert!(!notes.contains("\n## "));
    let missing = run("notes", &["9.9.9"]).unwrap_err();
    assert!(
        missing.contains("CHANGELOG.md has no section 9.9.9"),
        "{missing}"
    );
}
