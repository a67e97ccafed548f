//! The driver's settings on one node: a small file that the agent writes and every call-out reads.
//!
//! It is on a disk that survives a reboot, and not in the driver's own folder, where each change
//! makes the kubelet initialize the driver again.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use serde::de::Error as _;

/// Path of the settings file.
pub const PATH: &str = "/var/lib/flexlvm/driver.json";

/// The driver's settings. Without the file they are [`DriverSettings::default`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriverSettings {
    /// Whether Kubernetes attaches volumes before it mounts them: then they are mounted once per
    /// node, with a bind mount for each pod.
    pub attach: bool,
    /// Name of this node's Node object, by which `attach` and `detach` recognize their own node.
    pub node: Option<String>,
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file exists but can't be read.
    #[error("the driver's settings can't be read from {}; FlexLVM's agent writes that file", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file's content is invalid.
    #[error(
        "the driver's settings in {} are invalid; if FlexLVM's agent does not rewrite that file, remove it",
        path.display()
    )]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

impl DriverSettings {
    /// Reads the settings from this file; returns the defaults if it does not exist.
    ///
    /// # Errors
    /// When the file exists and can't be read or parsed.
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

    /// Parses the text of the file.
    ///
    /// # Errors
    /// When it is not a JSON object, or has keys that this driver does not know: ignoring those
    /// could be wrong.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        // A derived parser also accepts arrays.
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err(serde_json::Error::custom("it is not a JSON object"));
        }
        serde_json::from_slice(text)
    }

    /// Returns the settings as the text of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!(
            "{}\n",
            serde_json::json!({ "attach": self.attach, "node": self.node })
        )
    }
}

/// Reads a regular file: anything else could block `init`, and with it the kubelet.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // So that the open itself does not block, either.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::DriverSettings;
    use proptest::prelude::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    #[test]
    fn absent_file_and_keys_mean_defaults() {
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
    fn invalid_content_is_an_error_that_names_the_file() {
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
        fn driver_parses_what_the_agent_writes(attach: bool, node in proptest::option::of("[a-z0-9.-]{1,60}")) {
            let settings = DriverSettings { attach, node };
            let json = settings.to_json();
            prop_assert_eq!(DriverSettings::parse(json.as_bytes()).unwrap(), settings);
        }

        #[test]
        fn arbitrary_text_never_panics(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = DriverSettings::parse(&text);
        }
    }
}
