//! Links between pages and to files of the repository, without a network.

use std::collections::BTreeMap;
use std::path::Path;

use crate::ROOT;
use crate::markdown::Page;
use crate::pages::{all, assert_none};

/// Returns the path in the repository to which a link of a page leads; `None` if it leads out of
/// the repository.
fn resolve(page: &str, target: &str) -> Option<String> {
    let mut path: Vec<&str> = page.split('/').collect();
    path.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                path.pop()?;
            }
            part => path.push(part),
        }
    }
    Some(path.join("/"))
}

/// Returns what is wrong with a link.
fn fault(pages: &BTreeMap<String, Page>, page: &str, target: &str) -> Option<String> {
    if let Some(rest) = target.strip_prefix("https://") {
        let host = rest.split('/').next().unwrap_or_default();
        let is_valid = host.contains('.') && !target.contains(char::is_whitespace);
        return (!is_valid).then(|| "is not a URL".to_owned());
    }
    if target.contains(':') {
        return Some("is neither https nor a path".to_owned());
    }
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let path = if file.is_empty() {
        page.to_owned()
    } else {
        let Some(path) = resolve(page, file) else {
            return Some("leaves the repository".to_owned());
        };
        path
    };
    if !Path::new(ROOT).join(&path).exists() {
        return Some("names no file".to_owned());
    }
    let anchor = anchor?;
    match pages.get(&path) {
        None => Some("has an anchor in a file that is no page".to_owned()),
        Some(page) if !page.anchors.contains(anchor) => Some(format!("names no heading of {path}")),
        Some(_) => None,
    }
}

#[test]
fn every_link_and_anchor_of_a_page_exists() {
    let pages = all();
    let mut faults = Vec::new();
    let mut links = 0;
    for (path, page) in &pages {
        for link in &page.links {
            links += 1;
            if let Some(fault) = fault(&pages, path, &link.target) {
                faults.push(format!("{path}:{}: {} {fault}", link.line, link.target));
            }
        }
    }
    assert!(links > 200, "only {links} links");
    assert_none(&faults);
}

#[test]
fn link_that_leads_nowhere_is_found() {
    let pages = all();
    for (target, found) in [
        ("design.md#guarantees", None),
        ("../README.md", None),
        ("https://example.com/a", None),
        ("missing.md", Some("names no file")),
        (
            "design.md#missing",
            Some("names no heading of docs/design.md"),
        ),
        ("../../outside.md", Some("leaves the repository")),
        ("http://example.com", Some("is neither https nor a path")),
        ("https://nohost", Some("is not a URL")),
    ] {
        assert_eq!(
            fault(&pages, "docs/README.md", target).as_deref(),
            found,
            "{target}"
        );
    }
}
