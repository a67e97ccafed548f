//! The built book, in headless Chromium: errors on the console, widths, links.

mod devtools;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::ROOT;
use crate::pages::assert_none;
use devtools::Browser;

/// Widths of a page in pixels, with the name for messages: a desktop, and a narrow phone.
const WIDTHS: [(&str, u32); 2] = [("desktop", 1280), ("phone", 360)];

/// Returns, of a loaded page: the width of its content and of the window; the elements that make it
/// wider, unless they scroll in themselves; images that are missing; all ids; all links.
const INSPECT: &str = r"(() => {
    const root = document.documentElement;
    const overflow = element => getComputedStyle(element).overflowX;
    const scrolls = element => element && element !== document.body
        && (overflow(element) !== 'visible' || scrolls(element.parentElement));
    const right = element => element.getBoundingClientRect().right;
    const wide = [...document.querySelectorAll('main *')]
        .filter(element => right(element) > root.clientWidth + 1 && !scrolls(element))
        .map(element => element.tagName + ' ' + element.textContent.slice(0, 60));
    return JSON.stringify({
        content: Math.max(root.scrollWidth, document.body.scrollWidth),
        window: root.clientWidth,
        wide: wide.slice(0, 5),
        images: [...document.images].filter(image => !image.naturalWidth).map(image => image.src),
        ids: [...document.querySelectorAll('[id]')].map(element => element.id),
        links: [...document.querySelectorAll('main a[href]')].map(link => link.href),
        text: document.querySelector('main')?.textContent.trim().length ?? 0,
    });
})()";

/// Builds the book into a folder.
fn build(folder: &Path) {
    let output = Command::new(format!("{ROOT}/tests/build-book"))
        .arg(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn is_html(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "html")
}

/// Returns the pages of the built book.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(self::pages(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "html")
        {
            pages.push(path);
        }
    }
    // Parts of other pages, and the page of a server.
    pages.retain(|path| {
        !["toc.html", "404.html"]
            .iter()
            .any(|name| path.file_name().is_some_and(|file| file == *name))
    });
    pages.sort();
    pages
}

/// Returns the faults of a page at a width.
fn faults(inspected: &Value, errors: &[String]) -> Vec<String> {
    let mut faults: Vec<String> = errors
        .iter()
        .map(|error| format!("console: {error}"))
        .collect();
    let number = |name: &str| inspected[name].as_u64().unwrap();
    if number("content") > number("window") {
        faults.push(format!(
            "the page is {} pixels wide in a window of {}: {}",
            number("content"),
            number("window"),
            inspected["wide"]
        ));
    }
    if !inspected["images"].as_array().unwrap().is_empty() {
        faults.push(format!("missing images: {}", inspected["images"]));
    }
    if number("text") < 100 {
        faults.push("the page has no text".to_owned());
    }
    faults
}

fn strings(value: &Value) -> BTreeSet<String> {
    let values = value.as_array().into_iter().flatten();
    values
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Returns the links within the book that lead to no page or to no id.
fn dead_links(pages: &BTreeMap<String, Value>) -> Vec<String> {
    let mut dead = Vec::new();
    for (page, inspected) in pages {
        for link in strings(&inspected["links"]) {
            let Some(link) = link.strip_prefix("file://") else {
                continue;
            };
            let (path, id) = link.split_once('#').unwrap_or((link, ""));
            let is_known = match pages.get(path) {
                Some(target) => id.is_empty() || strings(&target["ids"]).contains(id),
                None => !is_html(Path::new(path)) && Path::new(path).exists(),
            };
            if !is_known {
                dead.push(format!("{page}: dead link {link}"));
            }
        }
    }
    dead
}

#[test]
fn every_page_of_the_book_is_readable_on_desktop_and_phone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    build(&folder);
    let mut browser = Browser::start();
    let mut all = Vec::new();
    let mut inspected = BTreeMap::new();
    let pages = pages(&folder);
    assert!(pages.len() > 40, "only {} pages", pages.len());
    for (window, width) in WIDTHS {
        browser.set_width(width);
        for page in &pages {
            let path = page.to_str().unwrap();
            let errors = browser.open(&format!("file://{path}"));
            let result = browser.evaluate(INSPECT);
            let result: Value = serde_json::from_str(result.as_str().unwrap()).unwrap();
            let name = page.strip_prefix(&folder).unwrap().display();
            let faults = faults(&result, &errors);
            all.extend(
                faults
                    .iter()
                    .map(|fault| format!("{name} ({window}): {fault}")),
            );
            inspected.insert(path.to_owned(), result);
        }
    }
    all.extend(dead_links(&inspected));
    assert_none(&all);
}

#[test]
fn faults_of_a_page_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    std::fs::write(
        &page,
        "<main><p style='width: 2000px'>wide</p><img src=missing.png>\
         <script>console.error('broken'); missing()</script></main>",
    )
    .unwrap();
    let mut browser = Browser::start();
    browser.set_width(360);
    let errors = browser.open(&format!("file://{}", page.display()));
    let inspected = browser.evaluate(INSPECT);
    let inspected: Value = serde_json::from_str(inspected.as_str().unwrap()).unwrap();
    let found = faults(&inspected, &errors).join("\n");
    for part in [
        "console: broken",
        "missing is not defined",
        "in a window of 360",
        "missing images",
        "no text",
    ] {
        assert!(found.contains(part), "{part} was not found: {found}");
    }
    let absent = json!({"links": ["file:///book/missing.html"], "ids": []});
    let pages = BTreeMap::from([("/book/a.html".to_owned(), absent)]);
    assert_eq!(dead_links(&pages).len(), 1);
}
