//! Removal of volumes, and the volumes that are kept: in use, foreign, not empty.

use std::time::{Duration, Instant};

use crds::condition::{READY, REMOVED};
use serde_json::json;

use crate::fixture::{Fixture, GROUP};

pub(crate) fn mounted_volume_is_removed_once_unmounted(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt; echo kept >/mnt/file"
    ));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "InUse", "it is mounted at /mnt");
    // Held open by a program, without a mount.
    fixture.shell(&format!(
        "sync; exec 3</dev/{GROUP}/{name}; umount /mnt; sleep 3; lvs {GROUP}/{name}; test -e /dev/{GROUP}/{name}"
    ));
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");

    let name = fixture.volume("64Mi");
    fixture.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt"
    ));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "InUse", "it is mounted at /mnt");
    std::thread::sleep(Duration::from_secs(8));
    assert_ne!(fixture.lvs(&name, "lv_name"), "");
    fixture.shell("umount /mnt");
    let begin = Instant::now();
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "an unmount is noticed after {:?}",
        begin.elapsed()
    );
}

/// A tenant may create and delete any number of claims.
pub(crate) fn removed_volume_leaves_neither_lock_nor_digest(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    let uuid = fixture.lvs(&name, "lv_uuid");
    fixture.change(&name, json!({"size": "96Mi"}));
    fixture.reaches(&name, 96 << 20);
    let files = format!("ls /run/flexlvm/{uuid}.lock /run/flexlvm/keys/{uuid} 2>/dev/null | wc -l");
    assert_eq!(fixture.shell(&files), "2");
    fixture.remove(&name);
    assert_eq!(fixture.shell(&files), "0");
}

pub(crate) fn foreign_volume_is_never_removed(fixture: &Fixture) {
    // An admin removed the tag to keep the volume.
    let name = fixture.volume("64Mi");
    let tag = format!("flexlvm.dev/claim-uid={}", name.trim_start_matches("pvc-"));
    fixture.shell(&format!("lvchange -qq --deltag {tag} {GROUP}/{name}"));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "ForeignLogicalVolume", "lacks the tag");
    fixture.shell(&format!("lvchange -qq --addtag {tag} {GROUP}/{name}"));
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");

    // An admin renamed it to keep it, and another volume has its name now.
    let name = fixture.volume("64Mi");
    fixture
        .shell(&format!("lvrename -qq {GROUP} {name} rescued; lvcreate -qq -y -n {name} --addtag {tag} -L 8M {GROUP}"));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(
        &name,
        REMOVED,
        "ForeignLogicalVolume",
        "was renamed to vg-0/rescued",
    );
    assert_ne!(fixture.lvs(&name, "lv_name"), "");
    fixture.shell(&format!("lvremove -qq -y {GROUP}/{name} {GROUP}/rescued"));
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");

    // Another volume existed before.
    let name = fixture.name();
    fixture.shell(&format!(
        "lvcreate -qq -y -n {name} -L 64M {GROUP}; mkfs.ext4 -q /dev/{GROUP}/{name}"
    ));
    fixture.create_volume(&name, "64Mi");
    fixture.wait_for_condition(&name, READY, "ForeignLogicalVolume", "lacks the tag");
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "NeverCreated", "");
    assert_eq!(
        fixture.shell(&format!("blkid -p -s TYPE -o value /dev/{GROUP}/{name}")),
        "ext4"
    );
    fixture.shell(&format!("lvremove -qq -y {GROUP}/{name}"));
}

pub(crate) fn origin_is_kept_with_its_snapshots(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!("lvcreate -qq -y -s -n copy -L 8M {GROUP}/{name}"));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "InUse", "has snapshots");
    assert_ne!(fixture.lvs("copy", "lv_name"), "");
    fixture.shell(&format!("lvremove -qq -y {GROUP}/copy"));
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");
}

pub(crate) fn only_empty_volume_counts_as_never_used(fixture: &Fixture) {
    let [unused, inactive, used] = [(); 3].map(|()| fixture.volume("64Mi"));
    fixture.shell(&format!(
        "lvchange -qq -an {GROUP}/{inactive}; mkfs.ext4 -q /dev/{GROUP}/{used} 60M"
    ));
    for name in [&unused, &inactive, &used] {
        fixture.change(name, json!({"state": "AbsentIfNeverUsed"}));
    }
    fixture.wait_for_condition(&unused, REMOVED, "Removed", "");
    fixture.wait_for_condition(&inactive, REMOVED, "Removed", "");
    fixture.wait_for_condition(&used, REMOVED, "NotEmpty", "is not empty (ext4)");
    assert_ne!(fixture.lvs(&used, "lv_name"), "");
    fixture.remove(&used);
}

/// A retained volume that another claim binds, whose object is deleted, and whose tag an admin
/// removes.
pub(crate) fn retained_volume_follows_its_claim_and_ends_with_its_tag(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    let uuid = fixture.lvs(&name, "lv_uuid");
    let claim = json!({"namespace": "shop", "name": "restored", "uid": "2"});
    fixture.change(
        &name,
        json!({"reclaimPolicy": "Retain", "currentClaim": claim}),
    );
    let retagged =
        harness::wait::until_blocking("the tag is changed", harness::wait::LIMIT, || {
            let tags = fixture.lvs(&name, "lv_tags");
            let is_new = tags
                .split(',')
                .any(|tag| tag == "flexlvm.dev/claim=shop/restored");
            Ok((is_new && !tags.contains("flexlvm.dev/claim=default/")).then_some(()))
        });
    retagged.unwrap();
    fixture.request_deletion(&name);
    fixture.wait_for_condition(
        &name,
        REMOVED,
        "DeletionBlocked",
        "reclaim policy Retain keeps",
    );
    let tag = format!("flexlvm.dev/claim-uid={}", name.trim_start_matches("pvc-"));
    fixture.shell(&format!("lvchange -qq --deltag {tag} {GROUP}/{name}"));
    fixture.wait_for_condition(&name, REMOVED, "ForeignLogicalVolume", &tag);
    assert_eq!(fixture.lvs(&name, "lv_uuid"), uuid);
    fixture.shell(&format!("lvremove -qq -y {GROUP}/{name}"));
    fixture.remove_finalizers(&name);
}
