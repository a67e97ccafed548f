//! The key of a claim's volume: a secret in the claim's PersistentVolume, whose SHA-256 is a tag of
//! the logical volume. Pure.
//!
//! LVM's uuid can't be that secret: every container can read it in `/sys/block/*/dm/uuid`.

use std::fmt;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::tags;

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

    /// Returns the key of a message authentication code: the first half of its digits.
    #[must_use]
    pub fn from_mac(mac: &[u8; 32]) -> Self {
        let mut digits = hex(mac);
        digits.truncate(Self::DIGITS);
        Self(digits)
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

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Formats each byte as two digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::{Key, KeyDigest};

    #[test]
    fn key_matches_its_tag_and_is_never_printed() {
        let key = Key::from_mac(&[0x1a; 32]);
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
}
