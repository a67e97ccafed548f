//! Metadata of a volume group that went back to an older state: docs/operations.md, "The metadata of
//! a volume group went back".

use crds::condition::{READY, REMOVED};
use serde_json::json;

use crate::fixture::{Fixture, GROUP};

/// Path of an older state of the group, as an admin may have kept it.
const OLDER: &str = "/run/older";

/// Restores a state of the group; LVM asks since volumes are active.
fn restore(fixture: &Fixture, file: &str) {
    fixture.shell(&format!("vgcfgrestore -qq --yes --file {file} {GROUP}"));
}

/// Mounts a new ext4 of a volume, and writes files to it, with their checksums in `/run/sums`.
fn mount_with_files(fixture: &Fixture, name: &str) {
    fixture.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt
         for number in 1 2 3; do head -c 12M /dev/urandom >/mnt/$number; done
         sync; sha256sum /mnt/[123] >/run/sums"
    ));
}

/// Checks that the files on the device are as they were written.
fn check_files(fixture: &Fixture) {
    fixture.shell("sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum --quiet --check /run/sums");
}

/// Waits until the node's report has a reason with this phrase why the group is unusable.
fn wait_until_unusable(fixture: &Fixture, phrase: &str) {
    fixture.wait_for_report(&format!("the group is unusable: {phrase}"), |report| {
        unusable_reason(report).is_some_and(|reason| reason.contains(phrase))
    });
}

fn unusable_reason(report: &crds::NodeStorage) -> Option<String> {
    let groups = report.status.clone().unwrap_or_default().volume_groups;
    let group = groups.into_iter().find(|group| group.name == GROUP)?;
    group.unusable_reason
}

/// A volume that is mounted, an older state of the group without it, and a new claim.
pub(crate) fn mounted_volume_is_not_overwritten_after_older_metadata_are_restored(
    fixture: &Fixture,
) {
    let intact = fixture.volume("64Mi");
    fixture.shell(&format!("cp /etc/lvm/backup/{GROUP} {OLDER}"));
    let mounted = fixture.volume("64Mi");
    mount_with_files(fixture, &mounted);
    let device = format!("vg--0-{}", mounted.replace('-', "--"));
    restore(fixture, OLDER);

    let waiting = fixture.name();
    fixture.create_volume(&waiting, "64Mi");
    let evidence = format!("device {device} is active, but LVM has no logical volume");
    fixture.wait_for_condition(&waiting, READY, "MetadataRolledBack", &evidence);
    assert_eq!(fixture.lvs(&waiting, "lv_name"), "");
    wait_until_unusable(fixture, &evidence);
    // Neither does an intact volume grow or end.
    fixture.change(&intact, json!({"size": "128Mi"}));
    fixture.wait_for_condition(&intact, READY, "MetadataRolledBack", &evidence);
    fixture.change(&intact, json!({"state": "Absent"}));
    fixture.wait_for_condition(&intact, REMOVED, "MetadataRolledBack", &evidence);
    fixture.change(&intact, json!({"state": "Present"}));
    // Nor does the volume that the metadata lack count as removed.
    fixture.change(&mounted, json!({"state": "Absent"}));
    fixture.wait_for_condition(&mounted, REMOVED, "MetadataRolledBack", &evidence);
    fixture.change(&mounted, json!({"state": "Present"}));
    check_files(fixture);

    restore(fixture, &newest(fixture, &mounted));
    fixture.ready(&waiting);
    fixture.reaches(&intact, 128 << 20);
    fixture.ready(&mounted);
    check_files(fixture);
    fixture.wait_for_report("the group is usable", |report| {
        unusable_reason(report).is_none()
    });
    fixture.shell("umount /mnt");
    for name in [&intact, &mounted, &waiting] {
        fixture.remove(name);
    }
}

/// Returns LVM's newest record of the group that has the volume, by the steps of the procedure.
fn newest(fixture: &Fixture, volume: &str) -> String {
    fixture.shell(&format!(
        "grep -l '\\b{volume} {{' /etc/lvm/archive/{GROUP}_*.vg /etc/lvm/backup/{GROUP} | xargs grep -H 'seqno =' |
         sort -t= -k2n | tail -1 | cut -d: -f1"
    ))
}

/// Without an active device, after the agent was restarted, the recorded seqno is the evidence.
pub(crate) fn fallen_seqno_holds_new_volumes_back_until_it_is_accepted(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!("cp /etc/lvm/backup/{GROUP} {OLDER}"));
    let lost = fixture.volume("64Mi");
    fixture.wait_for_script(
        "the agent has recorded the seqno",
        &format!(
            "seqno=$(vgs --noheadings -o vg_seqno {GROUP} | tr -d ' '); grep -q '\"{GROUP}\",\"seqno\":'$seqno, /run/state/metadata/*.json"
        ),
    );
    fixture.kill_agent();
    fixture.shell(&format!("lvchange -qq -an {GROUP}/{lost}"));
    restore(fixture, OLDER);
    fixture.start_agent();
    let waiting = fixture.name();
    fixture.create_volume(&waiting, "64Mi");
    fixture.wait_for_condition(&waiting, READY, "MetadataRolledBack", "its seqno is ");
    wait_until_unusable(
        fixture,
        "; or, if the present metadata is right: `rm /run/state/metadata/",
    );
    // The admin accepts the present metadata; the object of the lost volume still waits for its end.
    accept(fixture);
    let missing = format!("the logical volume of LogicalVolume {lost} is missing");
    fixture.wait_for_condition(&waiting, READY, "MetadataRolledBack", &missing);
    fixture.remove(&lost);
    fixture.ready(&waiting);
    fixture.shell(&format!("vgchange -qq --deltag seen {GROUP}"));
    for name in [&name, &waiting] {
        fixture.remove(name);
    }
}

/// Removes the recorded state of the group, and makes the agent take a report.
fn accept(fixture: &Fixture) {
    fixture.shell(&format!(
        "rm /run/state/metadata/$(vgs --noheadings -o vg_uuid {GROUP} | tr -d ' ').json; vgchange -qq --addtag seen {GROUP}"
    ));
}

/// An extension would allocate extents of its own choice, and zero their end.
pub(crate) fn reduced_volume_is_not_extended(fixture: &Fixture) {
    let name = fixture.volume("128Mi");
    let device = format!("/dev/{GROUP}/{name}");
    fixture.shell(&format!(
        "cp /etc/lvm/backup/{GROUP} {OLDER}; head -c 64M /dev/urandom >/run/end
         dd if=/run/end of={device} bs=1M seek=64 conv=fsync status=none
         lvreduce -qq --force --yes --size 64M {GROUP}/{name}"
    ));
    let evidence =
        format!("the logical volume of LogicalVolume {name} has 64 MiB, and had 128 MiB before");
    let status = fixture.wait_for_condition(&name, READY, "MetadataRolledBack", &evidence);
    assert_eq!(status.size.unwrap().0, "128Mi");
    let waiting = fixture.name();
    fixture.create_volume(&waiting, "64Mi");
    fixture.wait_for_condition(&waiting, READY, "MetadataRolledBack", &evidence);
    wait_until_unusable(fixture, &evidence);

    restore(fixture, OLDER);
    accept(fixture);
    for name in [&name, &waiting] {
        fixture.ready(name);
    }
    fixture.shell(&format!(
        "echo 3 >/proc/sys/vm/drop_caches; tail -c 64M {device} | cmp - /run/end; vgchange -qq --deltag seen {GROUP}"
    ));
    for name in [&name, &waiting] {
        fixture.remove(name);
    }
}

/// Devices of every kind of volume that LVM has, and of its internal volumes, are known to the agent.
pub(crate) fn devices_of_all_kinds_of_volumes_are_no_evidence(fixture: &Fixture) {
    let group = crate::fixture::KINDS;
    fixture.shell(&format!(
        "lvcreate -qq -y -L 16M -n plain {group}
         lvcreate -qq -y --type raid1 -m 1 -L 16M -n mirror {group}
         lvcreate -qq -y --type raid1 -m 1 --raidintegrity y -L 16M -n checked {group}
         lvcreate -qq -y --type raid5 -i 2 -L 16M -n parity {group}
         lvcreate -qq -y --type thin-pool --poolmetadataspare n -L 32M -n pool {group}
         lvcreate -qq -y --type thin -V 64M -n thin --thinpool pool {group}
         lvcreate -qq -y -s -kn -n thinsnap {group}/thin
         lvcreate -qq -y -s -L 8M -n snap {group}/plain
         lvcreate -qq -y -L 16M -n cached {group}
         lvcreate -qq -y -L 12M -n fast {group}
         lvconvert -qq -y --type cache --cachevol fast {group}/cached"
    ));
    let name = fixture.name();
    fixture.create_volume_with(&name, "16Mi", json!({"volumeGroup": group}));
    fixture.ready(&name);
    let report = fixture.storage();
    let groups = report.status.unwrap_or_default().volume_groups;
    for group in groups {
        assert_eq!(group.unusable_reason, None, "{}", group.name);
    }
    fixture.shell(&format!(
        "lvremove -qq -ff -y {group}/snap {group}/thinsnap {group}/thin {group}/pool {group}/plain {group}/mirror \
         {group}/checked {group}/parity {group}/cached"
    ));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");
}
