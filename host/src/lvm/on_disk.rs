//! The state of a volume group's metadata as its disks have it: read from LVM's metadata areas,
//! without a program.
//!
//! Neither LVM's backup nor inotify shows a `vgcfgrestore` before LVM's next command, which may be the
//! one that allocates extents. The seqno alone does not show it either: it restarts from the restored
//! one, and may be the same as before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use device_path::DevicePath;
use rustix::fs::{Advice, fadvise};

use super::{Vg, backup};
use crate::little_endian::{u32_le, u64_le};

/// Bytes at the start of a disk that may have LVM's label: four sectors.
const LABELS: usize = 4 * SECTOR;

const SECTOR: usize = 512;

/// Size of the header of a metadata area, behind which its circular buffer begins.
const HEADER: u64 = SECTOR as u64;

/// Bytes of the metadata that contain the group's name, id and seqno.
const HEAD: u64 = 512;

/// LVM's magic number of a metadata area.
const MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";

/// Flag of metadata that LVM ignores: the group has enough other copies.
const IGNORED: u32 = 1;

/// Which metadata a volume group has: differs after each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// LVM's counter of metadata changes.
    pub seqno: u64,
    /// LVM's checksum of the metadata, which contains the time of the change.
    pub checksum: u32,
}

/// Returns the fingerprint of a group's metadata, from the disks that `vg` lists; `dev` is the node's
/// `/dev`.
///
/// `None` if a disk can't be read, has metadata of another group, or differs from the others: LVM may
/// be writing it. Also if no disk has metadata.
#[must_use]
pub fn fingerprint(dev: &Path, vg: &Vg) -> Option<Fingerprint> {
    let mut common = None;
    for pv in &vg.pvs {
        let path = DevicePath::new(&pv.name).ok()?;
        let disk = File::open(dev.join(path.below_dev())).ok()?;
        let Some((checksum, head)) = head(&disk).ok()? else {
            continue;
        };
        let (uuid, seqno) = backup::identity(&head)?;
        let found = Fingerprint { seqno, checksum };
        if uuid != vg.uuid.as_str() || common.is_some_and(|common| common != found) {
            return None;
        }
        common = Some(found);
    }
    common
}

/// Returns checksum and first bytes of a disk's present metadata; `None` if it has none, or LVM
/// ignores them.
fn head(disk: &File) -> io::Result<Option<(u32, String)>> {
    // LVM bypasses the page cache.
    let _ = fadvise(disk, 0, None, Advice::DontNeed);
    let mut start = vec![0; LABELS];
    disk.read_exact_at(&mut start, 0)?;
    for area in areas(&start).unwrap_or_default() {
        let mut header = vec![0; SECTOR];
        disk.read_exact_at(&mut header, area)?;
        if let Some(place) = Place::parse(&header) {
            let text = place.read(disk, area)?;
            return Ok(Some((place.checksum, text)));
        }
    }
    Ok(None)
}

/// Returns the offsets of the metadata areas: `struct label_header` and `struct pv_header` in LVM's
/// `lib/label/label.h` and `lib/format_text/layout.h`.
fn areas(start: &[u8]) -> Option<Vec<u64>> {
    let label = start
        .chunks_exact(SECTOR)
        .find(|sector| sector.starts_with(b"LABELONE"))?;
    let header = label.get(usize::try_from(u32_le(label, 20)?).ok()?..)?;
    // Behind uuid and size, two lists of offset and size, each ended by an offset of zero.
    let mut at = 40;
    while u64_le(header, at)? != 0 {
        at += 16;
    }
    at += 16;
    let mut areas = Vec::new();
    loop {
        match u64_le(header, at)? {
            0 => return Some(areas),
            area => areas.push(area),
        }
        at += 16;
    }
}

/// Where the present metadata is in its area.
struct Place {
    /// Size of the area.
    area: u64,
    offset: u64,
    size: u64,
    checksum: u32,
}

impl Place {
    /// Parses `struct mda_header` and its first `struct raw_locn`, in LVM's
    /// `lib/format_text/layout.h`.
    fn parse(header: &[u8]) -> Option<Self> {
        let place = Self {
            area: u64_le(header, 32)?,
            offset: u64_le(header, 40)?,
            size: u64_le(header, 48)?,
            checksum: u32_le(header, 56)?,
        };
        let is_used = header.get(4..20)? == MAGIC
            && u32_le(header, 60)? & IGNORED == 0
            && place.size > 0
            && (HEADER..place.area).contains(&place.offset);
        is_used.then_some(place)
    }

    /// Reads the first bytes of the metadata, which continue at the buffer's start behind its end.
    fn read(&self, disk: &File, area: u64) -> io::Result<String> {
        let wanted = self.size.min(HEAD);
        let first = wanted.min(self.area - self.offset);
        let mut text = vec![0; usize::try_from(wanted).map_err(io::Error::other)?];
        let (head, rest) = text.split_at_mut(usize::try_from(first).map_err(io::Error::other)?);
        disk.read_exact_at(head, area + self.offset)?;
        disk.read_exact_at(rest, area + HEADER)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, IGNORED, MAGIC, SECTOR, fingerprint};
    use crate::lvm::names::LvUuid;
    use crate::lvm::{Pv, Vg};
    use crate::units::{Bytes, Extents};
    use std::fs;
    use std::path::Path;

    const AREA: usize = 4096;
    const AREA_SIZE: usize = 16 << 10;

    fn uuid() -> LvUuid {
        LvUuid::from_plain("ABCDEF1234567890abcdefghijklmnop").unwrap()
    }

    fn text(seqno: u64) -> String {
        format!(
            "vg0 {{\nid = \"{}\"\nseqno = {seqno}\nformat = \"lvm2\"\n}}\n",
            uuid()
        )
    }

    /// Returns a disk with this text at `offset` in its metadata area.
    fn disk(text: &str, offset: usize, checksum: u32, flags: u32) -> Vec<u8> {
        let mut disk = vec![0; AREA + AREA_SIZE];
        let mut put = |at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
        put(512, b"LABELONE");
        put(512 + 20, &32_u32.to_le_bytes());
        // One data area without a size, and one metadata area.
        put(512 + 32 + 40, &(1_u64 << 20).to_le_bytes());
        put(512 + 32 + 72, &(AREA as u64).to_le_bytes());
        put(512 + 32 + 80, &(AREA_SIZE as u64).to_le_bytes());
        put(AREA + 4, MAGIC);
        put(AREA + 32, &(AREA_SIZE as u64).to_le_bytes());
        put(AREA + 40, &(offset as u64).to_le_bytes());
        put(AREA + 48, &(text.len() as u64).to_le_bytes());
        put(AREA + 56, &checksum.to_le_bytes());
        put(AREA + 60, &flags.to_le_bytes());
        for (at, byte) in text.bytes().enumerate() {
            let mut at = offset + at;
            if at >= AREA_SIZE {
                at = at - AREA_SIZE + SECTOR;
            }
            put(AREA + at, &[byte]);
        }
        disk
    }

    fn vg(disks: &[&str]) -> Vg {
        let pv = |name: &&str| Pv {
            uuid: uuid(),
            name: format!("/dev/{name}"),
            extents: Extents(1),
            free: Extents(1),
            allocatable: true,
            is_missing: false,
        };
        Vg {
            name: "vg0".to_owned(),
            uuid: uuid(),
            extent_size: Bytes(4 << 20),
            extents: Extents(1),
            free: Extents(1),
            fault: None,
            change_fault: None,
            max_lvs: None,
            lvs: vec![],
            internal: vec![],
            pvs: disks.iter().map(pv).collect(),
            system_id: String::new(),
            seqno: 1,
        }
    }

    fn write(dev: &Path, name: &str, disk: &[u8]) {
        fs::write(dev.join(name), disk).unwrap();
    }

    #[test]
    fn fingerprint_requires_that_all_disks_with_metadata_agree() {
        let dev = tempfile::tempdir().unwrap();
        let dev = dev.path();
        write(dev, "new", &disk(&text(7), 512, 1, 0));
        // The text continues at the start of the buffer.
        write(dev, "wrapped", &disk(&text(7), AREA_SIZE - 20, 1, 0));
        write(dev, "old", &disk(&text(6), 1024, 1, 0));
        write(dev, "restored", &disk(&text(7), 1024, 2, 0));
        write(dev, "ignored", &disk(&text(3), 512, 3, IGNORED));
        write(dev, "empty", &vec![0; 1 << 20]);
        let new = Some((7, 1));
        for (disks, expected) in [
            (&["new"][..], new),
            (&["wrapped"], new),
            (&["new", "ignored", "empty", "wrapped"], new),
            (&["old"], Some((6, 1))),
            (&["restored"], Some((7, 2))),
            (&["new", "old"], None),
            (&["new", "restored"], None),
            (&["ignored"], None),
            (&["new", "absent"], None),
            (&[], None),
        ] {
            let expected = expected.map(|(seqno, checksum)| Fingerprint { seqno, checksum });
            assert_eq!(fingerprint(dev, &vg(disks)), expected, "{disks:?}");
        }
        let other = Vg {
            uuid: crate::random::lv_uuid().unwrap(),
            ..vg(&["new"])
        };
        assert_eq!(fingerprint(dev, &other), None);
    }

    #[test]
    fn damaged_disk_has_no_fingerprint() {
        let dev = tempfile::tempdir().unwrap();
        let dev = dev.path();
        let good = disk(&text(7), 512, 1, 0);
        let label = 512;
        let pointer = 512 + 32 + 73;
        for at in [
            label,
            512 + 21,
            pointer,
            AREA + 4,
            AREA + 41,
            AREA + 512 + 30,
        ] {
            let mut damaged = good.clone();
            damaged[at] ^= 0x55;
            write(dev, "damaged", &damaged);
            assert_eq!(fingerprint(dev, &vg(&["damaged"])), None, "{at}");
        }
        write(dev, "short", &good[..600]);
        assert_eq!(fingerprint(dev, &vg(&["short"])), None);
    }
}
