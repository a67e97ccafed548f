//! The key of a claim's volume: a secret in the claim's PersistentVolume, whose SHA-256 is a tag of
//! the logical volume.
//!
//! LVM's uuid can't be that secret: every container can read it in `/sys/block/*/dm/uuid`.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::hex::{hex, random_hex};
use crate::lvm::names::LvUuid;
use crate::lvm::tags;

/// A key: 32 hexadecimal digits. Never printed: `Debug` omits it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Returns the key if the text has the form of one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        is_hex(text, 32).then(|| Self(text.to_owned()))
    }

    /// Generates a new, unpredictable key.
    ///
    /// # Errors
    /// When the kernel returns no random bytes.
    pub fn random() -> io::Result<Self> {
        random_hex().map(Self)
    }

    /// Returns the key as text, for the PersistentVolume.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Returns the digest, which is not secret.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest(hex(&Sha256::digest(&self.0)))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// The SHA-256 of a key, 64 hexadecimal digits: identifies the key without disclosing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDigest(String);

impl KeyDigest {
    /// Formats the digest as a tag of the logical volume.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("{}{}", tags::CLAIM_KEY, self.0)
    }

    /// Finds the digest among the tags of a logical volume.
    #[must_use]
    pub fn from_tags(tags: &[String]) -> Option<Self> {
        tags.iter()
            .find_map(|tag| Self::new(tag.strip_prefix(tags::CLAIM_KEY)?))
    }

    fn new(text: &str) -> Option<Self> {
        is_hex(text, 64).then(|| Self(text.to_owned()))
    }
}

/// The node's cache of digests, which saves a query to LVM: a small file for each volume, on a file
/// system that a reboot empties.
#[derive(Clone, Debug)]
pub struct KnownKeys {
    folder: PathBuf,
}

impl KnownKeys {
    /// Returns the cache next to the locks, see [`lock::FOLDER`](crate::lock::FOLDER).
    #[must_use]
    pub fn in_folder(locks: &Path) -> Self {
        Self {
            folder: locks.join("keys"),
        }
    }

    /// Returns the cached digest of a volume's key; `None` when LVM must be queried.
    #[must_use]
    pub fn recall(&self, volume: &LvUuid) -> Option<KeyDigest> {
        KeyDigest::new(&fs::read_to_string(self.folder.join(volume.as_str())).ok()?)
    }

    /// Stores the digest of a volume's key.
    ///
    /// # Errors
    /// When it can't be written: then each mount queries LVM.
    pub fn remember(&self, volume: &LvUuid, digest: &KeyDigest) -> Result<(), Error> {
        let folder = &self.folder;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(Error::io("make", folder))?;
        let path = folder.join(volume.as_str());
        let new = folder.join(format!(".{volume}.{}", std::process::id()));
        fs::write(&new, &digest.0).map_err(Error::io("write", &new))?;
        fs::rename(&new, &path).map_err(Error::io("rename into place", &path))
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::{Key, KeyDigest, KnownKeys};
    use crate::lvm::names::LvUuid;

    #[test]
    fn key_matches_its_tag_and_is_never_printed() {
        let key = Key::random().unwrap();
        assert_eq!(Key::new(key.secret()), Some(key.clone()));
        assert_ne!(Key::random().unwrap(), key);
        let tag = key.digest().tag();
        assert_eq!(
            KeyDigest::from_tags(&["flexlvm.dev/claim-uid=1".to_owned(), tag.clone()]),
            Some(key.digest())
        );
        assert!(!tag.contains(key.secret()) && !format!("{key:?}").contains(key.secret()));
        for none in [
            "",
            "0123",
            "0123456789ABCDEF0123456789ABCDEF",
            "0123456789abcdef0123456789abcde/",
        ] {
            assert!(Key::new(none).is_none(), "{none}");
        }
        // As computed by sha256sum.
        let known = Key::new("00000000000000000000000000000000")
            .unwrap()
            .digest();
        assert_eq!(
            known.0,
            "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a"
        );
    }

    #[test]
    fn known_keys_return_stored_digest() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KnownKeys::in_folder(folder.path());
        let volume = LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap();
        assert_eq!(keys.recall(&volume), None);
        let digest = Key::random().unwrap().digest();
        keys.remember(&volume, &digest).unwrap();
        assert_eq!(keys.recall(&volume), Some(digest));
        std::fs::write(folder.path().join("keys").join(volume.as_str()), "torn").unwrap();
        assert_eq!(keys.recall(&volume), None);
    }
}
