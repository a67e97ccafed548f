//! Maps LVM's error messages to error kinds. Pure.
//!
//! The kind is a hint: it improves a message and triggers an earlier check. Only a report shows the
//! actual state.

use crate::error::Kind;

/// Texts with their kinds, as LVM 2.03 prints them under `LC_ALL=C`; in lower case.
const TEXTS: [(&str, Kind); 11] = [
    ("insufficient free space", Kind::NoSpace),
    ("insufficient suitable allocatable extents", Kind::NoSpace),
    ("insufficient suitable contiguous", Kind::NoSpace),
    ("already exists in volume group", Kind::Exists),
    // lvextend, when the volume has the requested size, or a larger one.
    ("matches existing size", Kind::Exists),
    ("not larger than existing size", Kind::Exists),
    ("contains a filesystem in use", Kind::Busy),
    ("is used by another device", Kind::Busy),
    (" in use.", Kind::Busy),
    ("failed to find logical volume", Kind::NotFound),
    ("not found", Kind::NotFound),
];

/// Returns the kind that this standard error suggests.
pub(super) fn kind(stderr: &[u8]) -> Kind {
    let text = String::from_utf8_lossy(stderr).to_lowercase();
    TEXTS
        .iter()
        .find(|(words, _)| text.contains(words))
        .map_or(Kind::Failed, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::kind;
    use crate::error::Kind;

    /// Each text as printed by LVM 2.03.16.
    #[test]
    fn stderr_of_lvm_maps_to_kind() {
        for (words, expected) in [
            (
                "  Volume group \"vg0\" has insufficient free space (991 extents): 99999 required.\n",
                Kind::NoSpace,
            ),
            (
                "  Insufficient free space: 63936 extents needed, but only 959 available\n",
                Kind::NoSpace,
            ),
            (
                "  Logical Volume \"pvc-1\" already exists in volume group \"vg0\"\n",
                Kind::Exists,
            ),
            (
                "  New size (64 extents) matches existing size (64 extents).\n",
                Kind::Exists,
            ),
            (
                "  New size given (60 extents) not larger than existing size (64 extents)\n",
                Kind::Exists,
            ),
            (
                "  Logical volume vg0/pvc-1 contains a filesystem in use.\n",
                Kind::Busy,
            ),
            ("  Logical volume vg0/pvc-1 in use.\n", Kind::Busy),
            (
                "  Failed to find logical volume \"vg0/pvc-1\"\n",
                Kind::NotFound,
            ),
            (
                "  Logical volume pvc-12 not found in volume group vg0.\n",
                Kind::NotFound,
            ),
            (
                "  Volume group \"vgx\" not found\n  Cannot process volume group vgx\n",
                Kind::NotFound,
            ),
            (
                "fullreport: unrecognized option '--nonsense'\n  Error during parsing of command line.\n",
                Kind::Failed,
            ),
            ("  Volume group vg0 is exported\n", Kind::Failed),
            (
                "  Cannot change VG vg0 while PVs are missing.\n",
                Kind::Failed,
            ),
            ("", Kind::Failed),
        ] {
            assert_eq!(kind(words.as_bytes()), expected, "{words}");
        }
    }
}
