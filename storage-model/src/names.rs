//! Validated names for command lines: checked once, here. Pure.

use std::fmt;

/// A name that LVM would refuse, or that a program could parse as something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not allowed: {why}")]
pub struct NameError {
    what: &'static str,
    value: String,
    why: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// Validates a name.
            ///
            /// # Errors
            /// When it is empty, too long, reserved, or contains a character that is not allowed.
            pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
                let value = value.into();
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(&value) {
                    Ok(()) => Ok(Self(value)),
                    Err(why) => Err(NameError {
                        what: $what,
                        value: value.chars().take(64).collect(),
                        why,
                    }),
                }
            }

            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// Suffixes by which LVM names the internal parts of a logical volume.
const RESERVED: [&str; 16] = [
    "_cdata", "_cmeta", "_corig", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare", "_rimage",
    "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig", "_cvol",
];

/// Suffix by which FlexLVM names the cache of a logical volume.
const CACHE: &str = "_cache";

name!(
    /// The name of a volume group, as defined by lvm(8).
    VgName, "volume group name", |name| plain(name, 127, &[])
);
name!(
    /// The name of a logical volume, as defined by lvm(8), without the names reserved by LVM.
    LvName, "logical volume name", |name| {
        plain(name, 127, &[])?;
        if ["snapshot", "pvmove"].iter().any(|reserved| name.starts_with(reserved))
            || RESERVED.iter().any(|reserved| name.contains(reserved))
        {
            return Err("it is reserved by LVM");
        }
        Ok(())
    }
);
name!(
    /// A tag of a logical volume, without its `@`.
    LvTag, "tag", |name| plain(name, 1024, b"/=!:#&")
);
name!(
    /// LVM's uuid of a logical volume or volume group: 32 letters and digits, with hyphens as LVM
    /// prints them.
    LvUuid, "LVM uuid", |uuid| {
        let groups: Vec<&str> = uuid.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        let mut bytes = groups.iter().flat_map(|group| group.bytes());
        let is_alphanumeric = bytes.all(|byte| byte.is_ascii_alphanumeric());
        if lengths != [6, 4, 4, 4, 4, 4, 6] || !is_alphanumeric {
            return Err("it must have the form AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAAA");
        }
        Ok(())
    }
);

impl LvName {
    /// Returns the name of the logical volume that the internal volume `part` belongs to.
    ///
    /// Returns `part` itself if it is not internal.
    #[must_use]
    pub fn owner(part: &str) -> &str {
        let at = RESERVED
            .iter()
            .filter_map(|reserved| part.find(reserved))
            .min();
        let owner = at.and_then(|at| part.get(..at)).unwrap_or(part);
        if part.contains("_cvol") {
            owner.strip_suffix(CACHE).unwrap_or(owner)
        } else {
            owner
        }
    }

    /// Returns the name of the logical volume that becomes the cache of this one.
    ///
    /// # Errors
    /// When that would be too long.
    pub fn cache(&self) -> Result<Self, NameError> {
        Self::new(format!("{self}{CACHE}"))
    }
}

impl LvUuid {
    /// Parses the 32 characters without hyphens that device-mapper's uuid contains (`LVM-`, the
    /// group's, the volume's).
    #[must_use]
    pub fn from_plain(plain: &str) -> Option<Self> {
        if plain.len() != 32 || !plain.is_ascii() {
            return None;
        }
        let mut text = String::with_capacity(38);
        for (index, character) in plain.chars().enumerate() {
            if matches!(index, 6 | 10 | 14 | 18 | 22 | 26) {
                text.push('-');
            }
            text.push(character);
        }
        Self::new(text).ok()
    }
}

fn plain(name: &str, longest: usize, also: &[u8]) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > longest {
        return Err("it is too long");
    }
    if name.starts_with('-') {
        return Err("it begins with a hyphen");
    }
    if name == "." || name == ".." {
        return Err("it is a directory reference");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+_.-".contains(&b) || also.contains(&b);
    if !name.bytes().all(allowed) {
        return Err("only letters, digits and + _ . - are allowed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{LvName, LvTag, LvUuid, VgName};
    use proptest::prelude::*;

    #[test]
    fn hostile_names_are_rejected() {
        for name in [
            "", "-rf", ".", "..", "../x", "a/b", "a b", "a\nb", "a;b", "$(id)", "ü", "--help",
        ] {
            assert!(VgName::new(name).is_err(), "{name:?}");
            assert!(LvName::new(name).is_err(), "{name:?}");
        }
        assert!(VgName::new("x".repeat(128)).is_err());
        assert!(LvName::new("snapshot1").is_err());
        assert!(LvName::new("a_rimage_0").is_err());
        assert!(LvTag::new("flexlvm.dev/claim=default/data").is_ok());
        assert!(LvTag::new("a@b").is_err());
    }

    #[test]
    fn owner_maps_internal_volume_to_its_volume() {
        let cache = LvName::new("pvc-1").unwrap().cache().unwrap();
        for (part, owner) in [
            ("pvc-1_rimage_0", "pvc-1"),
            ("pool_tdata", "pool"),
            ("pvc-1_corig", "pvc-1"),
            (&format!("{cache}_cvol"), "pvc-1"),
            ("pvc-1_cache", "pvc-1_cache"),
            ("pvc-1", "pvc-1"),
        ] {
            assert_eq!(LvName::owner(part), owner);
        }
    }

    #[test]
    fn uuid_parses_both_spellings() {
        let uuid = LvUuid::new("abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP").unwrap();
        assert_eq!(
            LvUuid::from_plain("abcdef1234567890ABCDEFGHIJKLMNOP"),
            Some(uuid)
        );
        assert_eq!(LvUuid::from_plain("short"), None);
        assert!(LvUuid::new("abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNO").is_err());
    }

    proptest! {
        #[test]
        fn accepted_names_are_safe_on_a_command_line(text in "\\PC*") {
            if let Ok(name) = LvName::new(text) {
                prop_assert!(!name.as_str().starts_with('-'));
                prop_assert!(!name.as_str().contains(['/', ' ', '\n', '\0', '\'', '"', '$', '`']));
            }
        }
    }
}
