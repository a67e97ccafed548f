//! What happens to the content of a removed volume.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layout::LayoutType;

/// What happens to the content of a volume that is removed, before its space is offered again.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Erase {
    /// The content stays on the disks until other volumes overwrite it. No later volume shows it.
    #[default]
    None,
    /// LVM discards the extents (TRIM), on disks that support it.
    Discard,
    /// The agent overwrites the whole volume with zeros. The condition `Progressing` of the
    /// LogicalVolume shows how far it has come.
    Zero,
}

impl Erase {
    /// Returns whether volumes of this layout can be erased.
    ///
    /// A thin pool zeroes its blocks before another volume gets them, and zeros would allocate
    /// blocks that the volume never used. A cache keeps copies that the volume does not reach.
    #[must_use]
    pub fn is_possible(layout: LayoutType) -> bool {
        !matches!(layout, LayoutType::Thin | LayoutType::Cached)
    }

    /// Returns whether it is [`Erase::None`], which is not serialized.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::None
    }
}
