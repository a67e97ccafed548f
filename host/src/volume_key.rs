//! The keys of volumes: the master key from which the controller derives each, so that no object but
//! the PersistentVolume holds it, and the digests that a node remembers.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::error::Error;
use crate::lvm::names::LvUuid;
use crate::random::random_bytes;

pub use storage_model::key::{Key, KeyDigest};

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
        Key::from_mac(&mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
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
        fs::write(&new, digest.as_str()).map_err(Error::io("write", &new))?;
        fs::rename(&new, &path).map_err(Error::io("rename into place", &path))
    }

    /// Removes the digest of a volume that no longer exists.
    pub fn forget(&self, volume: &LvUuid) {
        // Most often there is none; one that stays takes space until the next restart.
        let _ = fs::remove_file(self.folder.join(volume.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::{KnownKeys, MasterKey};
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
