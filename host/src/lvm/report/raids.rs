//! Finds the RAIDs of a volume group that LVM has not completed, by their visible parts. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::LvRow;
use crate::lvm::names::LvName;
use crate::lvm::raid_parts::{RaidParts, Row};

/// Returns the state of the RAIDs with visible parts, by their names.
pub(super) fn parts(lvs: &[LvRow]) -> BTreeMap<String, RaidParts> {
    let rows: Vec<Row<'_>> = lvs.iter().map(LvRow::row).collect();
    let visible = rows.iter().filter(|row| row.is_visible_part());
    let owners: BTreeSet<&str> = visible.map(|row| LvName::owner(row.name)).collect();
    let volumes = rows.iter().filter(|row| owners.contains(row.name));
    volumes
        .map(|volume| (volume.name.to_owned(), RaidParts::of(*volume, &rows)))
        .collect()
}

impl LvRow {
    pub(super) fn row(&self) -> Row<'_> {
        Row {
            name: &self.lv_name,
            attributes: &self.lv_attr,
            layout: &self.lv_layout,
            tags: &self.lv_tags,
        }
    }
}
