//! What this node's driver is told by the agent: a small file, read in every call-out. It lies on a
//! disk that a reboot leaves alone, and not in the driver's own folder, where each change makes the
//! kubelet start the driver anew.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::Error as _;

/// Where it is.
pub const PATH: &str = "/var/lib/flexlvm/driver.json";

/// The driver's settings. Without the file, all are as [`DriverSettings::default`] has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriverSettings {
    /// Whether Kubernetes attaches volumes before it mounts them: once per node, with bind mounts
    /// for the pods.
    pub attach: bool,
    /// The name of this node's Node object: whether `attach` and `detach` are about this node.
    pub node: Option<String>,
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is there and can't be read.
    #[error("the driver's settings can't be read from {}; FlexLVM's agent writes that file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its content is none of ours.
    #[error(
        "the driver's settings in {} can't be understood; if FlexLVM's agent does not write that file anew, remove it",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl DriverSettings {
    /// The settings in this file; the defaults if there is none.
    ///
    /// # Errors
    /// When there is one, and it can't be read or understood.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        match read_file(path) {
            Ok(text) => Self::parse(&text).map_err(|source| SettingsError::Malformed {
                path: path.to_owned(),
                source,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(SettingsError::Unreadable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// From the text of the file.
    ///
    /// # Errors
    /// When it is no JSON object, or has keys that this driver does not know: it could be meant
    /// otherwise.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        // A derived parser takes arrays, too.
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err(serde_json::Error::custom("it is no JSON object"));
        }
        serde_json::from_slice(text)
    }

    /// As the text of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!(
            "{}\n",
            serde_json::json!({ "attach": self.attach, "node": self.node })
        )
    }
}

/// Anything but a file could keep `init` waiting, and with it the kubelet.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::DriverSettings;
    use proptest::prelude::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    #[test]
    fn what_is_left_out_has_a_default() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(
            DriverSettings::read(&scratch.path().join("none")).unwrap(),
            DriverSettings::default()
        );
        assert_eq!(
            DriverSettings::parse(b"{}").unwrap(),
            DriverSettings {
                attach: false,
                node: None
            }
        );
    }

    #[test]
    fn what_can_not_be_understood_is_an_error_that_names_the_file() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("driver.json");
        for bad in [
            "",
            "null",
            "[]",
            "{",
            "{}{}",
            r#"{"attach":"true"}"#,
            r#"{"attach":1}"#,
            r#"{"attach":null}"#,
            r#"{"attach":true,"attach":false}"#,
            r#"{"attach":true,"more":1}"#,
            r#"{"Attach":true}"#,
        ] {
            std::fs::write(&path, bad).unwrap();
            let error = DriverSettings::read(&path).unwrap_err().to_string();
            assert!(
                error.contains(&path.display().to_string()),
                "{bad}: {error}"
            );
        }
        let fifo = scratch.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        for path in [scratch.path(), &fifo] {
            let error = DriverSettings::read(path).unwrap_err().to_string();
            assert!(error.contains("can't be read"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_the_agent_writes_the_driver_reads(attach: bool, node in proptest::option::of("[a-z0-9.-]{1,60}")) {
            let settings = DriverSettings { attach, node };
            prop_assert_eq!(DriverSettings::parse(settings.to_json().as_bytes()).unwrap(), settings);
        }

        #[test]
        fn no_text_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = DriverSettings::parse(&text);
        }
    }
}
