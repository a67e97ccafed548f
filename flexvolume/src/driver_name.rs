//! Names under which the driver is installed: `vendor/driver`, as PersistentVolumes spell them.
//! The agent installs the driver; the driver takes its name from its folder. Pure.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A driver name that the kubelet accepts.
///
/// The kubelet derives it from the folder's name, with `~` for `/`, and both must be qualified
/// names (`pkg/volume/plugins.go`, `initProbedPlugin`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverName {
    vendor: String,
    driver: String,
}

/// Why the kubelet would not load a driver of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the driver name {name:?} can't be used: {why}")]
pub struct DriverNameError {
    name: String,
    why: &'static str,
}

impl DriverNameError {
    fn new(name: &str, why: &'static str) -> Self {
        Self {
            name: name.chars().take(64).collect(),
            why,
        }
    }
}

const LONGEST_VENDOR: usize = 253;
const LONGEST_DRIVER: usize = 63;

impl DriverName {
    /// Returns FlexLVM's own name.
    #[must_use]
    pub fn own() -> Self {
        Self {
            vendor: crate::VENDOR.to_owned(),
            driver: crate::NAME.to_owned(),
        }
    }

    /// Returns FlexLVM's own name followed by the aliases, without duplicates.
    #[must_use]
    pub fn with_aliases(aliases: &[Self]) -> Vec<Self> {
        let mut names = vec![Self::own()];
        for alias in aliases {
            if !names.contains(alias) {
                names.push(alias.clone());
            }
        }
        names
    }

    /// Returns the name under which this program is installed, from its path
    /// `<vendor>~<driver>/<driver>`.
    ///
    /// Returns FlexLVM's own name for any other path.
    #[must_use]
    pub fn from_program(path: &Path) -> Self {
        // The kernel appends to the name of a file that was replaced meanwhile: `lvm (deleted)`.
        let file = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let file = file.strip_suffix(" (deleted)").unwrap_or(file);
        path.parent()
            .and_then(|folder| Self::from_folder(folder.file_name()?.to_str()?))
            .filter(|name| name.driver == file)
            .unwrap_or_else(Self::own)
    }

    /// Returns the vendor's part.
    #[must_use]
    pub fn vendor(&self) -> &str {
        &self.vendor
    }

    /// Returns the driver's part, which is also the name of its file.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Returns the folder's name, in the kubelet's plugin folder and among a pod's volumes.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("{}~{}", self.vendor, self.driver)
    }

    /// Returns the driver name for a folder's name, or `None` if it is not valid.
    #[must_use]
    pub fn from_folder(folder: &str) -> Option<Self> {
        let (vendor, driver) = folder.split_once('~')?;
        format!("{vendor}/{driver}").parse().ok()
    }
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vendor, self.driver)
    }
}

impl FromStr for DriverName {
    type Err = DriverNameError;

    fn from_str(name: &str) -> Result<Self, DriverNameError> {
        let Some((vendor, driver)) = name.split_once('/') else {
            return Err(DriverNameError::new(
                name,
                "it must have the form vendor/driver",
            ));
        };
        if vendor.len() > LONGEST_VENDOR || !vendor.split('.').all(is_label) {
            return Err(DriverNameError::new(
                name,
                "the vendor must be a DNS name: lower-case letters, digits, hyphens and dots",
            ));
        }
        if driver.len() > LONGEST_DRIVER || !is_qualified(driver) {
            return Err(DriverNameError::new(
                name,
                "the driver must be 1 to 63 letters, digits and - _ . with a letter or digit at both ends",
            ));
        }
        Ok(Self {
            vendor: vendor.to_owned(),
            driver: driver.to_owned(),
        })
    }
}

fn is_label(label: &str) -> bool {
    has_plain_ends(label)
        && label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_qualified(name: &str) -> bool {
    has_plain_ends(name)
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn has_plain_ends(text: &str) -> bool {
    [text.bytes().next(), text.bytes().last()]
        .iter()
        .all(|end| end.is_some_and(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::DriverName;
    use std::path::Path;

    #[test]
    fn program_path_determines_the_name() {
        for (path, name) in [
            ("/exec/kubernetes.io~lvm/lvm", "kubernetes.io/lvm"),
            ("/exec/kubernetes.io~lvm/lvm (deleted)", "kubernetes.io/lvm"),
            ("/exec/flexlvm.dev~lvm/lvm", "flexlvm.dev/lvm"),
            ("/exec/kubernetes.io~lvm/other", "flexlvm.dev/lvm"),
            ("/target/debug/flexlvm-driver", "flexlvm.dev/lvm"),
            ("/lvm", "flexlvm.dev/lvm"),
            ("", "flexlvm.dev/lvm"),
        ] {
            assert_eq!(
                DriverName::from_program(Path::new(path)).to_string(),
                name,
                "{path:?}"
            );
        }
    }

    #[test]
    fn parses_names_that_the_kubelet_accepts() {
        for (name, folder) in [
            ("kubernetes.io/lvm", "kubernetes.io~lvm"),
            ("a/B_c.d-1", "a~B_c.d-1"),
        ] {
            let parsed: DriverName = name.parse().unwrap();
            assert_eq!(
                (parsed.to_string(), parsed.folder()),
                (name.to_owned(), folder.to_owned())
            );
            assert_eq!(DriverName::from_folder(folder), Some(parsed));
        }
        assert_eq!(DriverName::own().to_string(), crate::DRIVER);
        assert_eq!(DriverName::own().folder(), crate::FOLDER);
    }

    #[test]
    fn rejects_names_that_the_kubelet_rejects() {
        let long = format!("a/{}", "x".repeat(64));
        for name in [
            "", "/", "lvm", "a/", "/b", "a/b/c", "A/b", "a~b/c", "a/b~c", "../b", "a/..", "a/.b",
            "a/b.", "-a/b", "a./b", "a..b/c", "a b/c", "a/b c", "a/b\n", "ä/b", &long,
        ] {
            assert!(name.parse::<DriverName>().is_err(), "{name:?}");
        }
        assert_eq!(DriverName::from_folder("lvm"), None);
    }

    #[test]
    fn aliases_are_deduplicated() {
        let alias: DriverName = "kubernetes.io/lvm".parse().unwrap();
        let names = DriverName::with_aliases(&[alias.clone(), DriverName::own(), alias.clone()]);
        assert_eq!(names, [DriverName::own(), alias]);
    }
}
