//! Volumes that are erased before their removal.

use crds::condition::REMOVED;
use serde_json::json;

use crate::fixture::{Fixture, GROUP};

/// Size of the volumes of these tests in bytes.
const SIZE: u64 = 64 << 20;

/// A volume full of data, and where it lies.
struct Filled {
    name: String,
    /// Start of its only segment on the group's disk, in sectors.
    start: u64,
}

/// Creates a volume that consists of one segment, and fills it with data.
fn filled(fixture: &Fixture) -> Filled {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!(
        "yes former | head -c {SIZE} >/dev/{GROUP}/{name}; sync"
    ));
    let table = fixture.shell(&format!("dmsetup table /dev/{GROUP}/{name}"));
    let words: Vec<_> = table.split_whitespace().collect();
    assert_eq!(words.len(), 5, "one linear segment: {table}");
    Filled {
        name,
        start: words[4].parse().unwrap(),
    }
}

/// Returns the number of bytes on the disk that are not zero, where a volume was.
fn left(fixture: &Fixture, volume: &Filled) -> u64 {
    let count = fixture.shell(&format!(
        "blockdev --flushbufs /dev/ubdb
         dd if=/dev/ubdb bs=512 skip={} count={} status=none | tr -d '\\0' | wc -c",
        volume.start,
        SIZE / 512
    ));
    count.parse().unwrap()
}

fn wait_until_removed(fixture: &Fixture, volume: &Filled) {
    fixture.wait_for_condition(&volume.name, REMOVED, "Removed", "");
    assert_eq!(fixture.lvs(&volume.name, "lv_name"), "");
}

pub(crate) fn removed_volume_is_zeroed_although_its_agent_is_killed(fixture: &Fixture) {
    let volume = filled(fixture);
    let name = &volume.name;
    fixture.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt; echo kept >/mnt/file; sync"
    ));
    let absent = json!({"state": "Absent", "erase": "Zero"});
    fixture.change(name, absent.clone());
    fixture.wait_for_condition(name, REMOVED, "InUse", "it is mounted at /mnt");
    fixture.shell("grep -q kept /mnt/file; umount /mnt");
    for _ in 0..3 {
        fixture.kill_agent();
        fixture.start_agent();
    }
    wait_until_removed(fixture, &volume);
    // The text of the job's cursor is left.
    assert!(left(fixture, &volume) < 512);

    let volume = filled(fixture);
    fixture.change(&volume.name, absent);
    fixture.power_cut();
    fixture.start_agent();
    wait_until_removed(fixture, &volume);
    assert!(left(fixture, &volume) < 512);
}

pub(crate) fn volume_that_is_read_or_lost_its_tag_is_not_erased(fixture: &Fixture) {
    let volume = filled(fixture);
    let name = &volume.name;
    let tag = format!("flexlvm.dev/claim-uid={}", name.trim_start_matches("pvc-"));
    fixture.shell(&format!(
        "setsid sleep 1000 </dev/{GROUP}/{name} >/dev/null 2>&1 & echo $! >/run/reader"
    ));
    fixture.change(name, json!({"state": "Absent", "erase": "Zero"}));
    fixture.wait_for_condition(name, REMOVED, "InUse", "is in use");
    // The admin keeps the volume.
    fixture.shell(&format!(
        "lvchange -qq --deltag {tag} {GROUP}/{name}; kill $(cat /run/reader)"
    ));
    fixture.wait_for_condition(name, REMOVED, "ForeignLogicalVolume", "lacks the tag");
    assert!(left(fixture, &volume) > SIZE / 2);
    fixture.shell(&format!("lvchange -qq --addtag {tag} {GROUP}/{name}"));
    wait_until_removed(fixture, &volume);
    assert!(left(fixture, &volume) < 512);
}

pub(crate) fn removed_volume_is_discarded(fixture: &Fixture) {
    let discards = fixture.shell("cat /sys/block/ubdb/queue/discard_max_bytes");
    assert_ne!(discards, "0", "the disk of the guest supports discards");
    let volume = filled(fixture);
    fixture.change(&volume.name, json!({"state": "Absent"}));
    wait_until_removed(fixture, &volume);
    assert!(left(fixture, &volume) > SIZE / 2);

    let volume = filled(fixture);
    fixture.change(&volume.name, json!({"state": "Absent", "erase": "Discard"}));
    wait_until_removed(fixture, &volume);
    assert_eq!(left(fixture, &volume), 0);
}

pub(crate) fn erasure_that_fails_is_reported_and_ends_after_the_repair(fixture: &Fixture) {
    let volume = filled(fixture);
    let name = &volume.name;
    fixture.shell(&format!("lvchange -qq --permission r {GROUP}/{name}"));
    fixture.change(name, json!({"state": "Absent", "erase": "Zero"}));
    fixture.wait_for_condition(name, REMOVED, "EraseFailed", "set spec.erase");
    fixture.wait_for_condition(name, "Progressing", "JobFailed", "");
    assert_ne!(fixture.lvs(name, "lv_name"), "");
    fixture.shell(&format!("lvchange -qq --permission rw {GROUP}/{name}"));
    wait_until_removed(fixture, &volume);
    assert!(left(fixture, &volume) < 512);
}
