//! The key of a claim's volume: a secret in the claim's PersistentVolume, whose SHA-256 is a tag of
//! the logical volume.
//!
//! LVM's uuid can't be that secret: every container can read it in `/sys/block/*/dm/uuid`. The
//! controller derives each key from its master key, so that no object but the PersistentVolume holds
//! it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::hex::{hex, random_bytes};
use crate::lvm::names::LvUuid;
use crate::lvm::tags;

/// A key: 32 hexadecimal digits. Never printed: `Debug` omits it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Number of hexadecimal digits of a key: 128 bits.
    const DIGITS: usize = 32;

    /// Returns the key if the text has the form of one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        is_hex(text, Self::DIGITS).then(|| Self(text.to_owned()))
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

/// The secret of the controller from which it derives the keys of all volumes. Never printed:
/// `Debug` omits it.
#[derive(Clone)]
pub struct MasterKey(Hmac<Sha256>);

impl MasterKey {
    /// Number of bytes of a master key.
    pub const LENGTH: usize = 32;

    /// Returns the master key if there are [`Self::LENGTH`] bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LENGTH {
            return None;
        }
        Hmac::new_from_slice(bytes).ok().map(Self)
    }

    /// Generates the bytes of a new, unpredictable master key.
    ///
    /// # Errors
    /// When the kernel returns no random bytes.
    pub fn generate() -> io::Result<[u8; Self::LENGTH]> {
        random_bytes()
    }

    /// Derives the key of the volume that is created for a claim: the first half of the HMAC-SHA256
    /// of the claim's uid.
    ///
    /// The API server chooses the uid, so no tenant can obtain the key of another claim's volume.
    #[must_use]
    pub fn derive(&self, claim_uid: &str) -> Key {
        let mac = self.0.clone().chain_update(claim_uid);
        let mut digits = hex(&mac.finalize().into_bytes());
        digits.truncate(Key::DIGITS);
        Key(digits)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

/// The SHA-256 of a key, 64 hexadecimal digits: identifies the key without disclosing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDigest(String);

impl KeyDigest {
    /// Returns the digest if the text has the form of one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        is_hex(text, 64).then(|| Self(text.to_owned()))
    }

    /// Returns the digest as text, for the LogicalVolume.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

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

    /// Removes the digest of a volume that no longer exists.
    pub fn forget(&self, volume: &LvUuid) {
        // Most often there is none; one that stays takes space until the next restart.
        let _ = fs::remove_file(self.folder.join(volume.as_str()));
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
    use super::{Key, KeyDigest, KnownKeys, MasterKey};
    use crate::lvm::names::LvUuid;

    /// Returns the master key of the bytes 0 to 31.
    fn master_key() -> MasterKey {
        let bytes: Vec<u8> = (0..32).collect();
        MasterKey::new(&bytes).unwrap()
    }

    #[test]
    fn derived_key_is_the_hmac_of_the_claim_uid() {
        // As computed by Python's hmac module, and by `openssl dgst -sha256 -mac HMAC`.
        let key = master_key().derive("9f0c0d4e-7a35-4a7c-9d35-0f3c1f6e2b11");
        assert_eq!(key.secret(), "c79a7c8d40d43ed8e97feb10d37534e2");
        assert_eq!(
            key.digest().as_str(),
            "b762b764b550a65c7771780923e104a4474be26078fe50b75dfe84affa413480"
        );
    }

    #[test]
    fn derived_key_depends_on_claim_and_master_key() {
        let key = master_key().derive("1");
        assert_eq!(key, master_key().derive("1"));
        assert_ne!(key, master_key().derive("2"));
        assert_ne!(key, MasterKey::new(&[0; 32]).unwrap().derive("1"));
    }

    #[test]
    fn master_key_has_32_random_bytes_and_is_never_printed() {
        let bytes = MasterKey::generate().unwrap();
        assert_ne!(bytes, MasterKey::generate().unwrap());
        assert_eq!(format!("{:?}", MasterKey::new(&bytes)), "Some(MasterKey)");
        for length in [0, 16, 31, 33, 64] {
            assert!(MasterKey::new(&vec![1; length]).is_none(), "{length}");
        }
    }

    #[test]
    fn key_matches_its_tag_and_is_never_printed() {
        let key = master_key().derive("1");
        assert_eq!(Key::new(key.secret()), Some(key.clone()));
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
            known.as_str(),
            "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a"
        );
    }

    #[test]
    fn known_keys_return_stored_digest() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KnownKeys::in_folder(folder.path());
        let volume = LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap();
        assert_eq!(keys.recall(&volume), None);
        let digest = master_key().derive("1").digest();
        keys.remember(&volume, &digest).unwrap();
        assert_eq!(keys.recall(&volume), Some(digest));
        std::fs::write(folder.path().join("keys").join(volume.as_str()), "torn").unwrap();
        assert_eq!(keys.recall(&volume), None);
    }
}
