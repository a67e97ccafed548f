//! The path of a block device: one definition for the API (`crds`) and the node (`host`), which
//! don't depend on each other. Pure.

use std::fmt;

/// The path of a block device below `/dev`: no `.`, `..` or empty components, no trailing slash,
/// and only visible ASCII characters.
///
/// Two different paths may lead to one device, as the links below `/dev/disk` do; only the node
/// can resolve them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevicePath(String);

/// Why a text is not the path of a device; follows the text in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DevicePathError {
    /// It is not below `/dev`.
    #[error("does not begin with /dev/")]
    NotBelowDev,
    /// It exceeds [`DevicePath::LONGEST`].
    #[error("is too long")]
    TooLong,
    /// It has a component that is empty, `.` or `..`.
    #[error("is not a plain path below /dev")]
    NotPlain,
    /// It has a character that is no visible ASCII character.
    #[error("has characters that no device path has")]
    NotVisible,
}

impl DevicePath {
    /// Maximum length in bytes.
    pub const LONGEST: usize = 255;

    /// Pattern of a schema that every path matches.
    ///
    /// It accepts components that are empty, `.` or `..`, too. An object with such a path would be
    /// rejected at every later change if an API server had stored it before.
    pub const PATTERN: &str = r"^/dev/[!-~]+$";

    /// Parses a path.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn new(text: impl Into<String>) -> Result<Self, DevicePathError> {
        let text = text.into();
        let Some(below) = text.strip_prefix("/dev/") else {
            return Err(DevicePathError::NotBelowDev);
        };
        if text.len() > Self::LONGEST {
            return Err(DevicePathError::TooLong);
        }
        if below.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(DevicePathError::NotPlain);
        }
        if !below.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(DevicePathError::NotVisible);
        }
        Ok(Self(text))
    }

    /// Returns the path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path relative to `/dev`.
    #[must_use]
    pub fn below_dev(&self) -> &str {
        self.0.strip_prefix("/dev/").unwrap_or(&self.0)
    }
}

impl fmt::Display for DevicePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{DevicePath, DevicePathError};
    use proptest::prelude::*;

    #[test]
    fn device_paths_are_plain_paths_below_dev() {
        for path in [
            "/dev/sdb",
            "/dev/disk/by-id/nvme-A_B:1.2",
            "/dev/disk/by-partlabel/a\\x20b",
            "/dev/...",
            "/dev/.a",
        ] {
            let parsed = DevicePath::new(path).unwrap();
            assert_eq!(parsed.as_str(), path);
            assert_eq!(format!("/dev/{}", parsed.below_dev()), path);
        }
        for (path, error) in [
            ("", DevicePathError::NotBelowDev),
            ("sdb", DevicePathError::NotBelowDev),
            ("-/dev/sdb", DevicePathError::NotBelowDev),
            ("/dev", DevicePathError::NotBelowDev),
            ("//dev/sdb", DevicePathError::NotBelowDev),
            ("/etc/passwd", DevicePathError::NotBelowDev),
            ("/dev/", DevicePathError::NotPlain),
            ("/dev//sdb", DevicePathError::NotPlain),
            ("/dev/sdb/", DevicePathError::NotPlain),
            ("/dev/disk//by-id/a", DevicePathError::NotPlain),
            ("/dev/../etc", DevicePathError::NotPlain),
            ("/dev/./sdb", DevicePathError::NotPlain),
            ("/dev/disk/..", DevicePathError::NotPlain),
            ("/dev/a b", DevicePathError::NotVisible),
            ("/dev/a\n", DevicePathError::NotVisible),
            ("/dev/ä", DevicePathError::NotVisible),
        ] {
            assert_eq!(DevicePath::new(path), Err(error), "{path:?}");
        }
        let long = format!("/dev/{}", "x".repeat(DevicePath::LONGEST));
        assert_eq!(DevicePath::new(long), Err(DevicePathError::TooLong));
    }

    proptest! {
        #[test]
        fn parsed_path_stays_below_dev(text in "(/dev)?[/.a-c]{0,12}") {
            if let Ok(path) = DevicePath::new(text) {
                let mut depth = 0;
                for part in path.below_dev().split('/') {
                    prop_assert!(!part.is_empty());
                    depth += 1;
                }
                let path = std::path::Path::new(path.as_str());
                prop_assert_eq!(path.components().count(), depth + 2);
                prop_assert!(path.components().all(|part| part.as_os_str() != ".."));
            }
        }
    }
}
