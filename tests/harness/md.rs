//! The superblock of an md array of format 1.0, which lies at the end of a device.
//!
//! A former volume may have left it where a grown volume ends.

use std::fmt::{Display, Write as _};

/// Bytes of a sector.
const SECTOR: u64 = 512;

/// Bytes of the superblock of an array of two devices.
const LENGTH: usize = 260;

/// Returns where the superblock lies on a device of this size, as md calculates it: at least 8 KiB
/// before the end, at a multiple of 4 KiB.
#[must_use]
pub fn offset(size: u64) -> u64 {
    ((size / SECTOR - 16) & !7) * SECTOR
}

/// Returns a shell script that writes the superblock of a device of this size in bytes to `device`,
/// at the byte that `at` is in the script.
#[must_use]
pub fn write_script(device: &str, at: impl Display, size: u64) -> String {
    let mut octal = String::new();
    for byte in superblock(size) {
        write!(octal, "\\{byte:03o}").expect("a string can be written to");
    }
    format!("printf '{octal}' | dd of={device} bs=1 seek={at} conv=notrunc,fsync status=none")
}

/// Returns the superblock: `struct mdp_superblock_1` in Linux' `include/uapi/linux/raid/md_p.h`.
fn superblock(size: u64) -> Vec<u8> {
    let mut block = vec![0; LENGTH];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &0xa92b_4efc_u32.to_le_bytes());
    put(4, &1_u32.to_le_bytes());
    put(16, &[7; 16]); // the uuid of the array
    put(32, b"node:former");
    put(72, &1_u32.to_le_bytes()); // the level: a mirror
    let sectors = offset(size) / SECTOR;
    put(80, &sectors.to_le_bytes());
    put(92, &2_u32.to_le_bytes());
    put(136, &sectors.to_le_bytes());
    put(144, &sectors.to_le_bytes()); // where the superblock is
    put(168, &[9; 16]); // the uuid of the device
    put(220, &2_u32.to_le_bytes());
    put(256, &[0, 0, 1, 0]); // the roles of both devices
    let checksum = checksum(&block).to_le_bytes();
    block[216..220].copy_from_slice(&checksum);
    block
}

fn checksum(block: &[u8]) -> u32 {
    let words = block.chunks_exact(4);
    let sum: u64 = words
        .map(|word| u64::from(u32::from_le_bytes(word.try_into().expect("four bytes"))))
        .sum();
    let [low, high] = [sum & 0xffff_ffff, sum >> 32];
    u32::try_from((low + high) & 0xffff_ffff).expect("32 bits")
}

#[cfg(test)]
mod tests {
    use super::offset;

    #[test]
    fn superblock_lies_between_8_and_12_kib_before_the_end() {
        for size in [64_u64 << 20, (64 << 20) + 512, (100 << 20) + 2048] {
            let from_end = size - offset(size);
            assert!((8192..12288).contains(&from_end), "{from_end}");
            assert_eq!(offset(size) % 4096, 0);
        }
    }
}
