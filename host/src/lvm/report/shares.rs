//! Assigns segments of physical volumes to the logical volumes that own them. Pure.

use super::{PvSegRow, ReportError, number, uuid};
use crate::lvm::health::MissingPart;
use crate::lvm::model::{Lv, Pv};
use crate::lvm::names::LvName;

/// Adds up the extents that each logical volume allocates from each physical volume, including
/// those of LVM's internal volumes below it; and what is on missing disks.
pub(super) fn assign(lvs: &mut [Lv], pvs: &[Pv], segments: &[PvSegRow]) -> Result<(), ReportError> {
    for segment in segments {
        let disk = uuid(segment.pv_uuid.clone())?;
        let is_missing = pvs.iter().any(|pv| pv.is_missing && pv.uuid == disk);
        let size = number(&segment.pvseg_size)?;
        // LVM prints the names of its internal volumes in brackets.
        let name = segment
            .lv_name
            .trim_start_matches('[')
            .trim_end_matches(']');
        let owner = LvName::owner(name);
        if let Ok(at) = lvs.binary_search_by(|lv| lv.name.as_str().cmp(owner))
            && let Some(lv) = lvs.get_mut(at)
        {
            lv.shares.entry(disk).or_default().0 += size;
            // A visible one is not attached yet: LVM was interrupted while it added the checksums.
            lv.integrity |= segment.lv_name.ends_with("_imeta]");
            if is_missing {
                lv.missing_images.extend(image_number(name));
                lv.missing_part = lv.missing_part.max(MissingPart::from_name(name));
            }
        }
    }
    Ok(())
}

/// Returns the number in the name of a RAID's image or its metadata, as in `a_rimage_1` and
/// `a_rimage_1_imeta`.
fn image_number(name: &str) -> Option<u32> {
    let (_, rest) = name
        .split_once("_rimage_")
        .or_else(|| name.split_once("_rmeta_"))?;
    let digits = rest.split('_').next()?;
    digits.parse().ok()
}
