//! The disk of a simulated volume group, as far as the agent reads it: LVM's label, and a metadata
//! area.

/// Offset of the metadata area, and of the text in it.
const AREA: usize = 4096;

const TEXT: usize = 512;

const SIZE: usize = 8192;

/// Returns the name of a group's disk below `/dev`.
pub(super) fn name(group: &str) -> String {
    format!("disk-of-{group}")
}

/// Returns the start of a disk with this metadata: `struct pv_header` and `struct mda_header` in
/// LVM's `lib/format_text/layout.h`.
pub(super) fn with_metadata(text: &str) -> Vec<u8> {
    let mut disk = vec![0; SIZE];
    let mut put = |at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
    put(512, b"LABELONE");
    put(512 + 20, &32_u32.to_le_bytes());
    // Behind the uuid and the size, one data area and one metadata area.
    put(512 + 32 + 40, &(1_u64 << 20).to_le_bytes());
    put(512 + 32 + 72, &(AREA as u64).to_le_bytes());
    put(AREA + 4, b" LVM2 x[5A%r0N*>");
    put(AREA + 32, &((SIZE - AREA) as u64).to_le_bytes());
    put(AREA + 40, &(TEXT as u64).to_le_bytes());
    put(AREA + 48, &(text.len() as u64).to_le_bytes());
    put(AREA + TEXT, text.as_bytes());
    let checksum = crds::hash(text) & 0xffff_ffff;
    put(AREA + 56, &checksum.to_le_bytes()[..4]);
    disk
}
