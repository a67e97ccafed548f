//! The pages of the repository.

use std::collections::BTreeMap;
use std::process::Command;

use crate::markdown::Page;
use crate::{ROOT, read};

/// Returns the paths of the repository's Markdown files, as `docs/design.md`.
///
/// From the file system and not from git: an archive of the sources has no index.
pub(crate) fn paths() -> Vec<String> {
    let output = Command::new("find")
        .args([".", "-name", "*.md", "-not", "-path", "./target/*"])
        .args(["-not", "-path", "./dist/*", "-not", "-path", "./.git/*"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success());
    let list = String::from_utf8(output.stdout).unwrap();
    let mut paths: Vec<String> = list
        .lines()
        .map(|path| path.trim_start_matches("./").to_owned())
        .collect();
    paths.sort();
    paths
}

/// Returns every page by its path.
pub(crate) fn all() -> BTreeMap<String, Page> {
    let paths = paths();
    assert!(paths.len() > 50, "only {} pages", paths.len());
    paths
        .into_iter()
        .map(|path| {
            let page = Page::parse(&read(&path));
            (path, page)
        })
        .collect()
}

/// Fails with all faults that a test found, one per line.
pub(crate) fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
