//! The documentation: links, names of commands and flags, examples, and the book that is built from
//! it, in a browser.

mod backup;
mod browser;
mod commands;
mod examples;
mod flags;
mod links;
mod markdown;
mod pages;
mod summary;

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Returns the text of a file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/{path}"))
        .unwrap_or_else(|error| panic!("reading {path}: {error}"))
}
