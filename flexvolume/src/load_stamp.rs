//! The load stamp: a small file that the driver's `init` writes and the agent reads, as the proof
//! that a kubelet has loaded the driver.
//!
//! It is on a file system that a reboot empties, as a reboot also ends the kubelet, and where the
//! driver's locks are: a driver that can't write there can't mount either. Its name contains the
//! process that called `init`, since a controller manager on the same host calls it, too.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::DriverSettings;

/// Folder of the load stamps.
pub const FOLDER: &str = "/run/flexlvm/loaded";

/// Content of a load stamp.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LoadStamp {
    /// Path of the driver's file, as the process that started it sees it.
    pub program: PathBuf,
    /// The file that was started.
    pub file: FileIdentity,
    /// The settings that `init` reported.
    pub settings: DriverSettings,
    /// Version of the driver.
    pub version: String,
}

/// Identifies one copy of the driver: each installation renames a new file into place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// The inode.
    pub inode: u64,
    /// Time of the last change of the content, in nanoseconds: an inode is reused. Only compared
    /// for equality.
    pub modified: i64,
}

impl FileIdentity {
    /// Returns the identity of the file at this path.
    ///
    /// # Errors
    /// When the file can't be examined.
    pub fn read(path: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        Ok(Self {
            inode: meta.ino(),
            modified: meta
                .mtime()
                .wrapping_mul(1_000_000_000)
                .wrapping_add(meta.mtime_nsec()),
        })
    }
}

impl LoadStamp {
    /// Returns the name of the stamp of a process that called `init`.
    #[must_use]
    pub fn file_name(process: u32) -> String {
        format!("{process}.json")
    }

    /// Returns the process that called `init`, from the name of its stamp.
    #[must_use]
    pub fn process(file_name: &str) -> Option<u32> {
        file_name.strip_suffix(".json")?.parse().ok()
    }

    /// Parses the text of a stamp.
    ///
    /// # Errors
    /// When it is not a stamp of this version's form.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// Returns the text of the stamp.
    #[must_use]
    pub fn to_json(&self) -> String {
        let DriverSettings { attach, node } = &self.settings;
        let value = serde_json::json!({
            "program": self.program.to_string_lossy(),
            "file": self.file,
            "settings": {"attach": attach, "node": node},
            "version": self.version,
        });
        format!("{value}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{FileIdentity, LoadStamp};
    use crate::DriverSettings;

    #[test]
    fn agent_parses_what_the_driver_writes() {
        for attach in [false, true] {
            let stamp = LoadStamp {
                program: "/exec/flexlvm.dev~lvm/lvm".into(),
                file: FileIdentity {
                    inode: 7,
                    modified: -1,
                },
                settings: DriverSettings {
                    attach,
                    node: attach.then(|| "node1".to_owned()),
                },
                version: "0.1.0".to_owned(),
            };
            assert_eq!(LoadStamp::parse(stamp.to_json().as_bytes()).unwrap(), stamp);
        }
        for text in ["", "{", "[]", "{}"] {
            assert!(LoadStamp::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn name_has_the_process() {
        assert_eq!(LoadStamp::process(&LoadStamp::file_name(812)), Some(812));
        for name in [".812.json.tmp", "812", "x.json", "-1.json"] {
            assert_eq!(LoadStamp::process(name), None, "{name}");
        }
    }

    #[test]
    fn replaced_file_has_another_identity() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
        std::fs::write(&old, "driver").unwrap();
        let before = FileIdentity::read(&old).unwrap();
        std::fs::write(&new, "driver").unwrap();
        std::fs::rename(&new, &old).unwrap();
        assert_ne!(FileIdentity::read(&old).unwrap(), before);
        assert!(FileIdentity::read(&new).is_err());
    }
}
