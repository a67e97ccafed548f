//! The table of contents of the book.

use std::collections::BTreeSet;

use crate::markdown::Page;
use crate::pages::{assert_none, paths};
use crate::read;

#[test]
fn summary_lists_every_page_once() {
    let mut faults = Vec::new();
    let mut listed = BTreeSet::new();
    for link in Page::parse(&read("docs/SUMMARY.md")).links {
        if !listed.insert(format!("docs/{}", link.target)) {
            faults.push(format!("docs/SUMMARY.md lists {} twice", link.target));
        }
    }
    for path in paths() {
        let is_page = path.starts_with("docs/") && path != "docs/SUMMARY.md";
        if is_page && !listed.contains(&path) {
            faults.push(format!("docs/SUMMARY.md lacks {path}"));
        }
    }
    assert_none(&faults);
}

#[test]
fn decision_has_its_title_and_number_in_the_summary() {
    let summary = read("docs/SUMMARY.md");
    let mut faults = Vec::new();
    for path in paths() {
        let Some(file) = path.strip_prefix("docs/decisions/0") else {
            continue;
        };
        let text = read(&path);
        let title = text.lines().next().unwrap().trim_start_matches("# ");
        let entry = format!("- [{title}](decisions/0{file})");
        if !summary.contains(&entry) {
            faults.push(format!("docs/SUMMARY.md lacks {entry}"));
        }
    }
    assert_none(&faults);
}
