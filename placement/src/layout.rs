//! Converts a layout of the API into LVM's terms. Pure.

use crds::ValidationError;
use crds::layout::{Layout, LayoutType};
use storage_model::{Bytes, Layout as LvmLayout, Level, Stripes};

/// Returns the layout in LVM's terms, with defaults for absent fields.
///
/// # Errors
/// The first invalid field.
pub fn to_lvm(layout: &Layout) -> Result<LvmLayout, ValidationError> {
    layout.validate()?;
    let stripes = Stripes {
        count: layout.stripes(),
        size: Bytes(layout.stripe_size()?),
    };
    let level = match layout.type_ {
        LayoutType::Linear => return Ok(LvmLayout::Linear),
        LayoutType::Striped => return Ok(LvmLayout::Striped(stripes)),
        LayoutType::Thin => return Ok(LvmLayout::Thin),
        LayoutType::Cached => return Ok(LvmLayout::Cached),
        LayoutType::Raid1 => Level::Raid1 {
            copies: layout.copies(),
        },
        LayoutType::Raid5 => Level::Raid5(stripes),
        LayoutType::Raid6 => Level::Raid6(stripes),
        LayoutType::Raid10 => Level::Raid10(stripes),
    };
    Ok(LvmLayout::Raid {
        level,
        integrity: layout.integrity.unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::{ValidationError, to_lvm};
    use serde_json::{Value, json};
    use storage_model::{Bytes, Layout, Level, Stripes};

    fn read(value: Value) -> Result<Layout, ValidationError> {
        to_lvm(&serde_json::from_value(value).unwrap())
    }

    fn stripes(count: u32) -> Stripes {
        Stripes {
            count,
            size: Bytes(64 << 10),
        }
    }

    fn raid(level: Level) -> Layout {
        Layout::Raid {
            level,
            integrity: false,
        }
    }

    #[test]
    fn every_layout_converts_to_lvm() {
        for (value, layout) in [
            (json!({}), Layout::Linear),
            (
                json!({"type": "Striped", "stripes": 4}),
                Layout::Striped(stripes(4)),
            ),
            (json!({"type": "Thin"}), Layout::Thin),
            (json!({"type": "Cached"}), Layout::Cached),
            (
                json!({"type": "RAID1", "copies": 3}),
                raid(Level::Raid1 { copies: 3 }),
            ),
            (json!({"type": "RAID5"}), raid(Level::Raid5(stripes(2)))),
            (json!({"type": "RAID6"}), raid(Level::Raid6(stripes(3)))),
            (
                json!({"type": "RAID10", "integrity": true}),
                Layout::Raid {
                    level: Level::Raid10(stripes(2)),
                    integrity: true,
                },
            ),
        ] {
            assert_eq!(read(value), Ok(layout));
        }
        let error = read(json!({"stripes": 2})).unwrap_err();
        assert_eq!(error.field, "layout.stripes");
    }
}
