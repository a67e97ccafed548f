//! Whether LVM has completed a RAID: its images and their metadata volumes are hidden then. Pure.
//!
//! In its first change of a volume group's metadata, `lvcreate` writes a RAID with the flag to skip
//! activation and with visible metadata volumes, which have the tags of the RAID. It then overwrites
//! the start of each metadata volume, and a second change hides them and removes the flag. LVM activates
//! no RAID with visible parts, so what is found between the two changes was never active.
//!
//! Conversions have visible metadata volumes for a moment, too: `lvconvert` of a linear volume to a RAID,
//! or to more images. LVM gives those no tags, and meanwhile the volume is linear, of level 0, or has
//! further metadata volumes that are hidden (`_lv_extend_layered_lv` and the callers of `_clear_lvs` in
//! LVM 2.02.168 to 2.03.39).

use super::names::LvName;

/// State of the internal volumes of a RAID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RaidParts {
    /// All are hidden, or the volume has none.
    #[default]
    Hidden,
    /// `lvcreate` was interrupted before the RAID could be activated for the first time: proven by
    /// LVM's metadata alone.
    NeverActive,
    /// Some are visible, and it is not proven why.
    Visible,
}

/// What the report has about a logical volume, or an internal volume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    /// The name, in brackets if LVM hides the volume.
    pub name: &'a str,
    /// LVM's attributes, see lvs(8).
    pub attributes: &'a str,
    /// LVM's names of its layout, such as `raid,raid5,raid5_ls`.
    pub layout: &'a str,
    /// The tags, separated by commas.
    pub tags: &'a str,
}

/// Levels of which each image has a metadata volume from the start.
const LEVELS: [&str; 4] = ["raid1", "raid5", "raid6", "raid10"];

impl RaidParts {
    /// Judges the logical volume `volume` by all rows of its volume group.
    pub(super) fn of(volume: Row<'_>, rows: &[Row<'_>]) -> Self {
        let mut images = 0;
        let mut visible_metadata = 0;
        let mut other_visible = 0;
        let mut other_hidden = 0;
        for row in rows.iter().filter(|row| row.is_part_of(volume.name)) {
            let is_metadata = row.is_numbered(volume.name, "_rmeta_");
            let is_image = row.is_numbered(volume.name, "_rimage_");
            match (row.is_hidden(), is_metadata, is_image) {
                (false, true, _) if row.tags == volume.tags => visible_metadata += 1,
                (false, ..) => other_visible += 1,
                (true, _, true) => images += 1,
                (true, ..) => other_hidden += 1,
            }
        }
        if visible_metadata + other_visible == 0 {
            return Self::Hidden;
        }
        let has_parts_of_new = images > 1
            && visible_metadata == images
            && other_visible == 0
            && other_hidden == 0
            && !volume.tags.is_empty();
        if has_parts_of_new && volume.is_inactive_raid_with_flag() {
            Self::NeverActive
        } else {
            Self::Visible
        }
    }
}

impl Row<'_> {
    /// Returns whether this is a part of a RAID that LVM shows by mistake, or for a moment.
    pub(super) fn is_visible_part(&self) -> bool {
        let has_name_of_part = self.name.contains("_rmeta_") || self.name.contains("_rimage_");
        has_name_of_part && !self.is_hidden()
    }

    fn is_hidden(&self) -> bool {
        self.name.starts_with('[')
    }

    fn plain_name(&self) -> &str {
        self.name.trim_matches(['[', ']'])
    }

    fn is_part_of(&self, volume: &str) -> bool {
        let name = self.plain_name();
        name != volume && LvName::owner(name) == volume
    }

    /// Returns whether the name is that of the volume with this suffix and a number.
    fn is_numbered(&self, volume: &str, suffix: &str) -> bool {
        let rest = self.plain_name().strip_prefix(volume);
        let number = rest.and_then(|rest| rest.strip_prefix(suffix));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    }

    /// Returns whether this is an inactive RAID of such a level, with the flag to skip activation,
    /// and no snapshot.
    fn is_inactive_raid_with_flag(&self) -> bool {
        let letters: Vec<char> = self.attributes.chars().collect();
        let ['r' | 'R', _, _, _, '-', '-', _, _, _, 'k', ..] = letters[..] else {
            return false;
        };
        self.layout
            .split(',')
            .any(|layout| LEVELS.contains(&layout))
    }
}

#[cfg(test)]
mod tests {
    use super::{RaidParts, Row};

    const TAGS: &str = "flexlvm.dev/claim-uid=1,flexlvm.dev/logicalvolume-uid=2";
    const NEW: Row<'static> = Row {
        name: "a",
        attributes: "rwi---r--k",
        layout: "raid,raid1",
        tags: TAGS,
    };

    fn part(name: &'static str, tags: &'static str) -> Row<'static> {
        Row {
            name,
            attributes: "ewi---r---",
            layout: "linear",
            tags,
        }
    }

    /// The rows that `lvcreate` of a RAID1 leaves if it is killed while it clears the metadata.
    fn interrupted() -> Vec<Row<'static>> {
        vec![
            NEW,
            part("[a_rimage_0]", ""),
            part("[a_rimage_1]", ""),
            part("a_rmeta_0", TAGS),
            part("a_rmeta_1", TAGS),
            part("ab_rmeta_0", "other"),
            part("[lvol0_pmspare]", ""),
        ]
    }

    #[test]
    fn interrupted_creation_is_proven() {
        assert_eq!(RaidParts::of(NEW, &interrupted()), RaidParts::NeverActive);
        for layout in ["raid,raid5,raid5_ls", "raid,raid6,raid6_zr", "raid,raid10"] {
            let new = Row { layout, ..NEW };
            assert_eq!(RaidParts::of(new, &interrupted()), RaidParts::NeverActive);
        }
    }

    #[test]
    fn complete_volumes_have_no_visible_parts() {
        let mut rows = interrupted();
        rows[3].name = "[a_rmeta_0]";
        rows[4].name = "[a_rmeta_1]";
        assert_eq!(RaidParts::of(NEW, &rows), RaidParts::Hidden);
        assert!(!rows[3].is_visible_part() && !NEW.is_visible_part());
        assert!(rows[5].is_visible_part());
        assert_eq!(RaidParts::of(NEW, &[NEW]), RaidParts::Hidden);
    }

    #[test]
    fn one_difference_is_no_proof() {
        for volume in [
            Row {
                attributes: "rwi-a-r--k",
                ..NEW
            },
            Row {
                attributes: "rwi--or--k",
                ..NEW
            },
            Row {
                attributes: "rwi---r---",
                ..NEW
            },
            Row {
                attributes: "owi---r--k",
                ..NEW
            },
            Row {
                attributes: "-wi------k",
                ..NEW
            },
            Row {
                layout: "raid,raid0",
                ..NEW
            },
            Row {
                layout: "raid,raid0,raid0_meta",
                ..NEW
            },
            Row { layout: "", ..NEW },
            Row { tags: "", ..NEW },
            Row {
                tags: "flexlvm.dev/claim-uid=1",
                ..NEW
            },
        ] {
            let parts = RaidParts::of(volume, &interrupted());
            assert_eq!(parts, RaidParts::Visible, "{volume:?}");
        }
    }

    /// As `lvconvert` of LVM 2.03.16 leaves them if it is killed.
    #[test]
    fn interrupted_conversions_are_no_proof() {
        let another_image = [part("[a_rmeta_2]", TAGS), part("a_rmeta_2", "")];
        for further in another_image {
            let rows = [interrupted(), vec![further]].concat();
            assert_eq!(RaidParts::of(NEW, &rows), RaidParts::Visible, "{further:?}");
        }
        for (at, name) in [
            (3, "[a_rmeta_0]"),
            (1, "a_rimage_0"),
            (1, "[a_rimage_0_iorig]"),
            (4, "a_rmeta_1_extracted"),
            (4, "b"),
        ] {
            let mut rows = interrupted();
            rows[at].name = name;
            assert_eq!(RaidParts::of(NEW, &rows), RaidParts::Visible, "{name}");
        }
        let mut untagged = interrupted();
        untagged[3].tags = "";
        assert_eq!(RaidParts::of(NEW, &untagged), RaidParts::Visible);
    }
}
