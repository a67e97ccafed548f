//! Every Rust file of the repository, tests included: its length, and whether its first line describes
//! it.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// A source file.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the repository.
    pub(crate) path: String,
    pub(crate) lines: usize,
    /// True if the file begins with a comment of the module: `//! …`.
    pub(crate) is_described: bool,
}

/// Reads all Rust files below these folders of the repository.
pub(crate) fn read(repository: &str, folders: &[&str]) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for folder in folders {
        for path in below(&Path::new(repository).join(folder))? {
            let text = std::fs::read_to_string(&path)?;
            files.push(File {
                path: path.strip_prefix(repository)?.display().to_string(),
                lines: text.lines().count(),
                is_described: text.starts_with("//! "),
            });
        }
    }
    Ok(files)
}

/// Returns the paths of all Rust files below a folder, sorted.
pub(crate) fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(below(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
