//! Finds physical volumes that LVM has found on several devices: its report has one device for each,
//! and only its messages name the others. Pure.

use super::uuid;
use crate::lvm::duplicate_disk::DuplicateDisk;
use crate::lvm::model::Vg;
use crate::lvm::names::LvUuid;

/// Marks the volume groups in which LVM changes nothing because of a duplicate physical volume;
/// returns whether there are any.
pub(in crate::lvm) fn mark_duplicates(vgs: &mut [Vg], stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr);
    let mut is_marked = false;
    for (copy, uuid) in text.lines().filter_map(unused_device) {
        for vg in &mut *vgs {
            let Some(pv) = vg.pv(&uuid) else {
                continue;
            };
            vg.change_fault = Some(DuplicateDisk {
                used: pv.name.clone(),
                copy: copy.to_owned(),
            });
            is_marked = true;
        }
    }
    is_marked
}

/// Parses `WARNING: Not using device DEVICE for PV UUID.`, the text since LVM 2.02.169.
fn unused_device(line: &str) -> Option<(&str, LvUuid)> {
    let rest = line
        .trim()
        .strip_prefix("WARNING: Not using device ")?
        .strip_suffix('.')?;
    let (device, id) = rest.split_once(" for PV ")?;
    Some((device, uuid(id.to_owned()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::unused_device;

    #[test]
    fn message_names_device_and_physical_volume() {
        let uuid = "abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP";
        let line = format!("  WARNING: Not using device /dev/sdb for PV {uuid}.");
        let (device, found) = unused_device(&line).unwrap();
        assert_eq!((device, found.as_str()), ("/dev/sdb", uuid));
        for other in [
            "",
            "  WARNING: Not using device /dev/sdb for PV x.",
            "  WARNING: PV abcdef-1234-5678-90AB-CDEF-GHIJ-KLMNOP prefers device /dev/sda because \
             device was seen first.",
        ] {
            assert!(unused_device(other).is_none(), "{other}");
        }
    }
}
