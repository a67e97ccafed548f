//! Volumes of the simplest kind: created, grown, and never provided with old content.

use std::collections::BTreeSet;

use crds::condition::{HEALTHY, READY};
use serde_json::json;

use crate::fixture::{Fixture, GROUP};

pub(crate) fn volume_is_created_tagged_and_unformatted(fixture: &Fixture) {
    let name = fixture.name();
    // An old file system at the new volume's place: lvcreate wipes it without confirmation.
    fixture.shell(&format!(
        "lvcreate -qq -y -n old -L 64M {GROUP}; mkfs.ext4 -q /dev/{GROUP}/old; lvremove -qq -y {GROUP}/old"
    ));
    fixture.create_volume(&name, "61Mi");
    let uuid = fixture.ready(&name);
    assert_eq!(fixture.lvs(&name, "lv_uuid"), uuid);
    assert_eq!(fixture.lvs(&name, "lv_size"), "64.00m");
    assert_eq!(fixture.lvs(&name, "segtype"), "linear");
    let claim = name.trim_start_matches("pvc-");
    let key = host::Key::new("00000000000000000000000000000000")
        .unwrap()
        .digest()
        .tag();
    // LVM lists them in an order of its own.
    let tags = [
        key,
        fixture.object_tag(&name),
        format!("flexlvm.dev/claim-uid={claim}"),
        format!("flexlvm.dev/claim=default/{name}"),
        "flexlvm.dev/volume=backend=b:class=s:fs=ext4:size=67108864".to_owned(),
    ];
    assert_eq!(
        fixture
            .lvs(&name, "lv_tags")
            .split(',')
            .collect::<BTreeSet<_>>(),
        tags.iter().map(String::as_str).collect()
    );
    assert_eq!(fixture.mark(&name), "unformatted");
    assert_eq!(
        fixture.shell(&format!("blkid -p /dev/{GROUP}/{name} || echo blank")),
        "blank"
    );
    fixture.remove(&name);
}

pub(crate) fn archives_of_metadata_are_bounded(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    // Archives of today, as many claims leave them.
    fixture.shell(&format!(
        "mkdir -p /etc/lvm/archive; cd /etc/lvm/archive
         for number in $(seq 10000 10149); do touch {GROUP}_$number-1.vg; done"
    ));
    fixture.remove(&name);
    let names = fixture.shell(&format!("ls /etc/lvm/archive | grep '^{GROUP}_' | sort -n"));
    assert_eq!(names.lines().count(), 100, "{names}");
    // The newest is the state before the removal, by which an admin gets the volume back.
    let newest = names.lines().max().unwrap();
    fixture.shell(&format!(
        "grep -q '{name} {{' /etc/lvm/archive/{newest}; rm /etc/lvm/archive/{GROUP}_10*-1.vg"
    ));
}

pub(crate) fn read_only_volume_is_reported(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!("lvchange -qq --permission r {GROUP}/{name}"));
    let remedy = format!("`lvchange --permission rw {GROUP}/{name}`");
    fixture.wait_for_condition(&name, HEALTHY, "ReadOnly", &remedy);
    fixture.wait_for_condition(&name, READY, "Ready", "");
    fixture.shell(&format!("lvchange -qq --permission rw {GROUP}/{name}"));
    fixture.wait_for_condition(&name, HEALTHY, "Healthy", "");
    // The letters of a device that the kernel treats as read-only.
    fixture.shell(&format!("blockdev --setro /dev/{GROUP}/{name}"));
    let letters = fixture.lvs(&name, "lv_attr");
    assert!(letters.starts_with("-Ri-a"), "{letters}");
    fixture.shell(&format!(
        "blockdev --setrw /dev/{GROUP}/{name}; lvchange -qq --refresh {GROUP}/{name}"
    ));
    assert!(fixture.lvs(&name, "lv_attr").starts_with("-wi-a"));
    fixture.remove(&name);
}

pub(crate) fn volume_grows_and_never_shrinks(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt"
    ));
    fixture.change(&name, json!({"size": "100Mi"}));
    fixture.wait_for_condition(&name, READY, "Ready", "");
    let grown = harness::wait::until_blocking("the volume is larger", harness::wait::LIMIT, || {
        Ok((fixture.lvs(&name, "lv_size") == "100.00m").then_some(()))
    });
    grown.unwrap();
    fixture.change(&name, json!({"size": "1Ti"}));
    let status = fixture.wait_for_condition(&name, READY, "InsufficientSpace", "more needed");
    assert_eq!(status.size.unwrap().0, "100Mi");
    fixture.shell("umount /mnt");
    fixture.remove(&name);
}

/// LVM first adds the tags to a volume, and then wipes it. No clock decides whether that happened.
pub(crate) fn unwiped_volume_is_not_provided(fixture: &Fixture) {
    let leave_ext4 = format!(
        "lvcreate -qq -y -n old -L 64M {GROUP}; mkfs.ext4 -q /dev/{GROUP}/old; lvremove -qq -y {GROUP}/old"
    );
    for hours in [-1, 0, 1] {
        let name = fixture.name();
        fixture.kill_agent();
        fixture.create_volume(&name, "64Mi");
        let tag = format!("flexlvm.dev/claim-uid={}", name.trim_start_matches("pvc-"));
        fixture.shell(&format!(
            "{leave_ext4}
             date -s @$(($(date +%s) + 3600 * {hours})) >/dev/null
             lvcreate -qq -y -Wn -Zn -n {name} --addtag {tag} --addtag {} -L 64M {GROUP}
             date -s @$(($(date +%s) - 3600 * {hours})) >/dev/null",
            fixture.object_tag(&name)
        ));
        fixture.start_agent();
        fixture.wait_for_condition(&name, READY, "NotEmpty", "is not empty (ext4)");
        assert_eq!(
            fixture.shell(&format!("blkid -p -s TYPE -o value /dev/{GROUP}/{name}")),
            "ext4"
        );
        fixture.shell(&format!("lvremove -qq -y {GROUP}/{name}"));
        fixture.ready(&name);
        assert_eq!(fixture.mark(&name), "unformatted");
        fixture.remove(&name);
    }
}

/// An earlier version left no tag that distinguishes an interrupted creation from a restored object.
pub(crate) fn volume_of_earlier_version_waits_for_its_admin(fixture: &Fixture) {
    let name = fixture.name();
    let tag = format!("flexlvm.dev/claim-uid={}", name.trim_start_matches("pvc-"));
    fixture.shell(&format!(
        "lvcreate -qq -y -n {name} --addtag {tag} -L 64M {GROUP}; mkfs.ext4 -q /dev/{GROUP}/{name}"
    ));
    fixture.create_volume(&name, "64Mi");
    fixture.wait_for_condition(&name, READY, "NotEmpty", "none of its LogicalVolume");
    let uuid = fixture.lvs(&name, "lv_uuid");
    fixture.shell(&format!(
        "lvchange -qq --addtag flexlvm.dev/logicalvolume-uid=restored {GROUP}/{name}"
    ));
    assert_eq!(fixture.ready(&name), uuid);
    assert_eq!(fixture.mark(&name), "none");
    fixture.remove(&name);
}

pub(crate) fn restored_object_gets_its_volume_back(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    let uuid = fixture.lvs(&name, "lv_uuid");
    let old_tag = fixture.object_tag(&name);
    // Its pods have replaced the marker by a file system.
    let sum = format!("sha256sum </dev/{GROUP}/{name}");
    let before = fixture.shell(&format!("mkfs.ext4 -q -F /dev/{GROUP}/{name}; sync; {sum}"));
    fixture.kill_agent();
    fixture.delete_object(&name);
    fixture.create_volume(&name, "64Mi");
    assert_ne!(fixture.object_tag(&name), old_tag);
    fixture.start_agent();
    assert_eq!(fixture.ready(&name), uuid);
    assert_eq!(fixture.shell(&sum), before);
    fixture.remove(&name);
}

/// The claim's data is not replaced by an empty volume.
pub(crate) fn restored_object_of_renamed_volume_creates_none(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    let uuid = fixture.lvs(&name, "lv_uuid");
    fixture.shell(&format!("mkfs.ext4 -q -F /dev/{GROUP}/{name}"));
    fixture.kill_agent();
    fixture.delete_object(&name);
    fixture.shell(&format!("lvrename -qq {GROUP}/{name} kept"));
    fixture.create_volume(&name, "64Mi");
    fixture.start_agent();
    let remedy = format!("rename {GROUP}/kept to {GROUP}/{name}");
    fixture.wait_for_condition(&name, READY, "NotEmpty", &remedy);
    assert_eq!(fixture.lvs(&name, "lv_name"), "");
    fixture.shell(&format!("lvrename -qq {GROUP}/kept {name}"));
    assert_eq!(fixture.ready(&name), uuid);
    fixture.remove(&name);
}
