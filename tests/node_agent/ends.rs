//! What a former volume left at the ends of a new one, in places that LVM's wipe ignores.

use std::fmt::Write as _;

use crds::condition::READY;
use harness::md;
use serde_json::json;

use crate::fixture::{Fixture, GROUP, KINDS};

/// Size of the volumes of these tests in bytes.
const SIZE: u64 = 64 << 20;

/// A sector.
const SECTOR: u64 = 512;

/// Returns the CRC-32 of GPT.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Returns the copy of a GPT's header for the last sector of a device; its 16 entries are empty.
fn gpt_copy(size: u64) -> Vec<u8> {
    let last = size / SECTOR - 1;
    let entries_at = last - 4;
    let mut header = b"EFI PART\0\0\x01\0".to_vec();
    header.extend(92_u32.to_le_bytes());
    header.extend([0; 8]); // the checksum, and reserved bytes
    for sector in [last, 1, 34, entries_at - 1] {
        header.extend(sector.to_le_bytes());
    }
    header.extend([7; 16]); // the uuid of the disk
    header.extend(entries_at.to_le_bytes());
    for number in [16, 128, crc32(&[0; 16 * 128])] {
        header.extend(number.to_le_bytes());
    }
    let checksum = crc32(&header).to_le_bytes();
    header[16..20].copy_from_slice(&checksum);
    header
}

/// Returns a script that creates a volume of [`SIZE`] in a group, with this content, and removes
/// it: the next one gets the same extents.
fn leave_behind(group: &str, content: &str) -> String {
    format!(
        "lvcreate -qq -y -Wn -n old -L {SIZE}b {group}; old=/dev/{group}/old
         {content}
         sync; lvremove -qq -y {group}/old"
    )
}

/// Returns a script that fills `$old` with bytes that are no signature.
fn fill() -> String {
    format!(
        "tr '\\0' x </dev/zero | head -c {SIZE} | dd of=$old bs=1M iflag=fullblock conv=fsync status=none"
    )
}

/// Asserts that both ends of a volume are zero, apart from its marker.
fn assert_ends_are_zero(fixture: &Fixture, group: &str, name: &str) {
    assert_eq!(fixture.mark_in(group, name), "unformatted");
    let device = format!("/dev/{group}/{name}");
    let marker = SIZE - (1 << 20);
    let end = SIZE - (2 << 20);
    for (from, length) in [
        (0, (4 << 20) + (64 << 10)),
        (end, marker - end),
        (marker + 4096, SIZE - marker - 4096),
    ] {
        fixture.shell(&format!(
            "tail -c +{} {device} | head -c {length} | cmp -n {length} - /dev/zero",
            from + 1
        ));
    }
    assert_eq!(
        fixture.shell(&format!("wipefs --no-act --parsable {device}")),
        ""
    );
}

/// Asserts that udev's database has nothing of a former volume, and that the agent has left no device
/// node.
fn assert_udev_finds_nothing(fixture: &Fixture, name: &str) {
    let found = fixture.shell(&format!(
        "udevadm settle
         udevadm info --query=property /dev/{GROUP}/{name} | grep -E '^ID_(PART_TABLE|FS)_' || true
         find /dev -maxdepth 1 -name '.flexlvm*'"
    ));
    assert_eq!(found, "");
}

/// A tenant can write it into the last block of a large file.
pub(crate) fn copy_of_partition_table_does_not_reach_the_next_volume(fixture: &Fixture) {
    let mut octal = String::new();
    for byte in gpt_copy(SIZE) {
        write!(octal, "\\{byte:03o}").unwrap();
    }
    let last = SIZE / SECTOR - 1;
    let header = format!(
        "dd if=/dev/zero of=$old bs=1M status=none conv=fsync || true
         printf '{octal}' | dd of=$old bs=512 seek={last} conv=notrunc,fsync status=none
         wipefs --no-act --parsable $old | grep -q gpt"
    );
    fixture.shell(&leave_behind(GROUP, &header));
    let name = fixture.name();
    fixture.create_volume(&name, "64Mi");
    fixture.ready(&name);
    assert_ends_are_zero(fixture, GROUP, &name);
    assert_udev_finds_nothing(fixture, &name);
    fixture.remove(&name);

    // After a crash before the agent's zeros, it is not known whose signature it is.
    fixture.shell(&leave_behind(GROUP, &header));
    let name = fixture.name();
    fixture.kill_agent();
    fixture.create_volume(&name, "64Mi");
    let claim = name.trim_start_matches("pvc-");
    fixture.shell(&format!(
        "lvcreate -qq -y -Wy -Zy -n {name} --addtag flexlvm.dev/claim-uid={claim} --addtag {} -L {SIZE}b {GROUP}",
        fixture.object_tag(&name)
    ));
    fixture.start_agent();
    fixture.wait_for_condition(&name, READY, "NotEmpty", "blkid does not (gpt)");
    fixture.shell(&format!("lvremove -qq -y {GROUP}/{name}"));
    fixture.ready(&name);
    assert_ends_are_zero(fixture, GROUP, &name);
    fixture.remove(&name);
}

pub(crate) fn ends_of_new_volume_are_zero_after_its_agent_was_killed(fixture: &Fixture) {
    fixture.shell(&leave_behind(GROUP, &fill()));
    fixture.kill_agent();
    let name = fixture.name();
    fixture.create_volume(&name, "64Mi");
    let claim = name.trim_start_matches("pvc-");
    fixture.shell(&format!(
        "lvcreate -qq -y -Wy -Zy -n {name} --addtag flexlvm.dev/claim-uid={claim} --addtag {} -L {SIZE}b {GROUP}",
        fixture.object_tag(&name)
    ));
    fixture.start_agent();
    fixture.ready(&name);
    assert_ends_are_zero(fixture, GROUP, &name);
    fixture.remove(&name);
}

pub(crate) fn ends_of_thin_volume_are_zero_in_pool_without_zeroing(fixture: &Fixture) {
    fixture.shell(&format!(
        "lvcreate -qq -y --type thin-pool --zero n --poolmetadataspare n --chunksize 1m -L 192M -n unzeroed {KINDS}
         lvcreate -qq -y --type thin -V {SIZE}b -n old --thinpool unzeroed {KINDS}; old=/dev/{KINDS}/old
         {}; sync; lvremove -qq -y {KINDS}/old",
        fill()
    ));
    let name = fixture.name();
    let spec =
        json!({"volumeGroup": KINDS, "layout": {"type": "Thin"}, "thinPool": {"name": "unzeroed"}});
    fixture.create_volume_with(&name, "64Mi", spec);
    fixture.ready(&name);
    assert_ends_are_zero(fixture, KINDS, &name);
    let used: f64 = fixture.lvs(&name, "data_percent").parse().unwrap();
    // Five chunks at the start, two at the end.
    assert!(used < 12.0, "a volume of 64 chunks occupies {used} %");
    fixture.remove(&name);
    fixture.shell(&format!("lvremove -qq -y {KINDS}/unzeroed"));
}

/// A chunk is larger than the ends, so that a write of the file system allocates the rest of it.
pub(crate) fn ends_of_thin_volume_stay_zero_when_large_chunks_are_written(fixture: &Fixture) {
    let grown = 2 * SIZE + (5 << 20);
    fixture.shell(&format!(
        "lvcreate -qq -y --type thin-pool --zero n --poolmetadataspare n --chunksize 16m -L 320M -n unzeroed {KINDS}
         lvcreate -qq -y --type thin -V 320M -n old --thinpool unzeroed {KINDS}
         tr '\\0' x </dev/zero | head -c 320M | dd of=/dev/{KINDS}/old bs=1M iflag=fullblock conv=fsync status=none
         lvremove -qq -y {KINDS}/old"
    ));
    let name = fixture.name();
    let spec =
        json!({"volumeGroup": KINDS, "layout": {"type": "Thin"}, "thinPool": {"name": "unzeroed"}});
    fixture.create_volume_with(&name, "64Mi", spec);
    fixture.ready(&name);
    let device = format!("/dev/{KINDS}/{name}");
    let write = |at: u64| {
        fixture.shell(&format!(
            "dd if=/dev/zero of={device} bs=4K seek={} count=1 conv=notrunc,fsync status=none; sync
             echo 3 >/proc/sys/vm/drop_caches",
            at / 4096
        ));
    };
    // As mkfs writes a superblock, and files are written in the middle of the last chunk.
    write(0);
    write(SIZE - (8 << 20));
    assert_ends_are_zero(fixture, KINDS, &name);

    fixture.change(&name, json!({"size": format!("{grown}")}));
    fixture.wait_for_script(
        "the volume is extended",
        &format!("test $(blockdev --getsize64 {device}) -ge {grown}"),
    );
    let size: u64 = fixture
        .shell(&format!("blockdev --getsize64 {device}"))
        .parse()
        .unwrap();
    fixture.reaches(&name, size);
    write(size - (4 << 20));
    fixture.shell(&format!("tail -c 2M {device} | cmp -n 2097152 - /dev/zero"));
    // The rest of the chunk shows that the pool does not zero it.
    fixture.shell(&format!(
        "tail -c 3M {device} | head -c 1M | grep -q xxxxxxxx"
    ));
    fixture.remove(&name);
    fixture.shell(&format!("lvremove -qq -y {KINDS}/unzeroed"));
}

/// The free extents behind a mounted volume contain the superblock of an array of a former volume.
pub(crate) fn signature_at_grown_end_is_zeroed_before_the_size_is_reported(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    let device = format!("/dev/{GROUP}/{name}");
    let grown = 2 * SIZE;
    fixture.shell(&format!(
        "mkfs.ext4 -q {device} 60M; mount {device} /mnt; head -c 16M /dev/urandom >/mnt/file; sync
         sha256sum /mnt/file >/run/sums"
    ));
    leave_behind_growth(fixture, &device, grown);
    fixture.change(&name, json!({"size": "128Mi"}));
    fixture.reaches(&name, grown);
    assert_eq!(signatures(fixture, &device), "ext4");
    fixture.shell(
        "sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum --quiet --check /run/sums; umount /mnt",
    );
    // The same without a mount: nothing but the agent holds the device meanwhile.
    let larger = 3 * SIZE;
    leave_behind_growth(fixture, &device, larger);
    fixture.change(&name, json!({"size": "192Mi"}));
    fixture.reaches(&name, larger);
    assert_eq!(signatures(fixture, &device), "ext4");
    fixture.remove(&name);
}

/// Extends a volume to `size` bytes by hand, writes the superblock of an array to its end, and undoes
/// the extension: the agent's allocates the same extents.
fn leave_behind_growth(fixture: &Fixture, device: &str, size: u64) {
    let at = format!("$(({} - former))", md::offset(size));
    fixture.shell(&format!(
        "former=$(blockdev --getsize64 {device})
         lvcreate -qq -y -Wn -n old -L $(({size} - former))b {GROUP}
         {}; sync; lvremove -qq -y {GROUP}/old",
        md::write_script(&format!("/dev/{GROUP}/old"), at, size)
    ));
}

fn signatures(fixture: &Fixture, device: &str) -> String {
    fixture.shell(&format!(
        "wipefs --no-act --noheadings --output TYPE {device}"
    ))
}
