//! A disk that is lost, or that returns wrong data: what the node reports, and the steps of the
//! runbook.

use crds::condition::{HEALTHY, READY};
use crds::node_storage::PhysicalVolume;
use serde_json::json;

use crate::cached::cached;
use crate::fixture::{DISKS, Fixture, KINDS};
use crate::partial_groups::{on_disks, uuid_of};

/// Makes a disk disappear: its device, and LVM's label and metadata on it.
fn lose(fixture: &Fixture, disk: &str) {
    fixture.shell(&format!(
        "dd if=/dev/zero of={disk} bs=1M count=1 conv=fsync status=none; mv {disk} /run/lost-disk"
    ));
}

/// Adds a new disk to the group in place of the lost one.
fn replace(fixture: &Fixture, disk: &str) {
    fixture.shell(&format!(
        "mv /run/lost-disk {disk}; vgextend -qq --yes {KINDS} {disk}"
    ));
}

/// Waits until the report of a disk satisfies `is`; `None` is a disk that is not reported.
fn wait_for_disk(
    fixture: &Fixture,
    what: &str,
    uuid: &str,
    is: impl Fn(Option<&PhysicalVolume>) -> bool,
) {
    fixture.wait_for_report(what, |storage| {
        let groups = storage
            .status
            .iter()
            .flat_map(|status| &status.volume_groups);
        let mut disks = groups.flat_map(|group| &group.physical_volumes);
        is(disks.find(|disk| disk.uuid == uuid))
    });
}

/// Makes the agent take a report at once: LVM does not change its backup when a RAID is in sync.
pub(crate) fn request_report(fixture: &Fixture) {
    fixture.shell(&format!(
        "vgchange -qq --addtag a {KINDS}; vgchange -qq --deltag a {KINDS}"
    ));
}

/// Waits until a RAID is in sync, in LVM's report and in the agent's.
fn wait_until_healthy(fixture: &Fixture, name: &str) {
    fixture.wait_for_script(
        "the images are in sync",
        &format!("lvs --noheadings -o raid_sync_action,sync_percent {KINDS}/{name} | grep -q 'idle *100.00'"),
    );
    request_report(fixture);
    fixture.wait_for_condition(name, HEALTHY, "Healthy", "");
}

/// Compares the images of a RAID1.
fn assert_images_equal(fixture: &Fixture, name: &str) {
    let device = format!("/dev/mapper/{KINDS}-{}", name.replace('-', "--"));
    fixture.shell(&format!(
        "sync; echo 3 >/proc/sys/vm/drop_caches; cmp {device}_rimage_0 {device}_rimage_1"
    ));
}

/// Creates a RAID1 on these disks, waits until it is in sync, and returns its name.
fn mirror(fixture: &Fixture, disks: [&str; 2]) -> String {
    let name = fixture.name();
    let [first, second] = disks.map(|disk| uuid_of(fixture, disk));
    let raid1 = json!({"type": "RAID1"});
    fixture.create_volume_with(&name, "32Mi", on_disks(&raid1, &[&first, &second]));
    fixture.ready(&name);
    wait_until_healthy(fixture, &name);
    name
}

pub(crate) fn lost_disk_is_listed_with_its_volumes_until_they_are_repaired(fixture: &Fixture) {
    let lost = DISKS[1];
    let path = "/dev/disk/by-id/ata-Example_1";
    fixture.shell(&format!("mkdir -p /dev/disk/by-id; ln -sfn {lost} {path}"));
    let [first, second] = [DISKS[0], lost].map(|disk| uuid_of(fixture, disk));
    let mirror = mirror(fixture, [DISKS[0], lost]);
    let other = fixture.name();
    let linear = json!({"type": "Linear"});
    fixture.create_volume_with(&other, "32Mi", on_disks(&linear, &[&first]));
    fixture.ready(&other);
    // The restart makes the agent search the path, and report without a delay.
    fixture.kill_agent();
    fixture.start_agent();
    wait_for_disk(
        fixture,
        "the disk has its path and volume",
        &second,
        |disk| {
            disk.is_some_and(|disk| {
                disk.path.as_deref() == Some(path)
                    && disk.missing.is_none()
                    && disk.volumes == [mirror.as_str()]
            })
        },
    );

    lose(fixture, lost);
    wait_for_disk(fixture, "the disk is listed as missing", &second, |disk| {
        disk.is_some_and(|disk| {
            disk.missing == Some(true)
                && disk.path.as_deref() == Some(path)
                && disk.volumes == [mirror.as_str()]
        })
    });
    fixture.wait_for_condition(&mirror, HEALTHY, "Degraded", "lvconvert --repair");
    fixture.wait_for_condition(&other, HEALTHY, "Healthy", "");

    fixture.shell(&format!(
        "lvconvert -qq --yes --repair {KINDS}/{mirror}; vgreduce -qq --removemissing {KINDS}"
    ));
    wait_for_disk(fixture, "the disk is gone", &second, |disk| disk.is_none());
    wait_until_healthy(fixture, &mirror);
    assert_images_equal(fixture, &mirror);
    for name in [&mirror, &other] {
        fixture.ready(name);
        fixture.remove(name);
    }
    replace(fixture, lost);
    fixture.shell(&format!("rm {path}"));
}

pub(crate) fn volume_is_not_healthy_until_returned_disk_has_all_data(fixture: &Fixture) {
    let lost = DISKS[1];
    let name = mirror(fixture, [DISKS[0], lost]);
    let volume = format!("{KINDS}/{name}");
    fixture.shell(&format!(
        "dd if={lost} of=/run/label bs=1M count=1 status=none"
    ));
    lose(fixture, lost);
    fixture.wait_for_condition(&name, HEALTHY, "Degraded", "lvconvert --repair");
    // Activated again, it is used without the disk.
    fixture.shell(&format!(
        "lvchange -qq -an {volume}; lvchange -qq -ay {volume}
         dd if=/dev/urandom of=/dev/{volume} bs=1M count=31 conv=fsync status=none"
    ));
    // Slow enough to be observed.
    fixture.shell(
        "cd /proc/sys/dev/raid; cat speed_limit_min speed_limit_max >/run/limits
         echo 1 >speed_limit_min; echo 128 >speed_limit_max",
    );
    fixture.shell(&format!(
        "mv /run/lost-disk {lost}; dd if=/run/label of={lost} bs=1M conv=notrunc,fsync status=none; rm /run/label
         lvchange -qq --refresh {volume}"
    ));
    fixture.wait_for_condition(&name, HEALTHY, "Resyncing", "% are written");
    fixture.ready(&name);
    fixture.shell(
        "cd /proc/sys/dev/raid; { read min; read max; } </run/limits
         echo $max >speed_limit_max; echo $min >speed_limit_min",
    );
    wait_until_healthy(fixture, &name);
    assert_images_equal(fixture, &name);
    fixture.remove(&name);
}

pub(crate) fn lost_cache_is_reported_and_can_be_removed_without_loss(fixture: &Fixture) {
    let [.., lost] = DISKS;
    let uuid = uuid_of(fixture, lost);
    let name = fixture.name();
    fixture.create_volume_with(&name, "32Mi", cached(fixture, 32));
    fixture.ready(&name);
    let device = format!("/dev/{KINDS}/{name}");
    let sum = format!("head -c 31M {device} | md5sum");
    let before = fixture.shell(&format!(
        "dd if=/dev/urandom of={device} bs=1M count=31 conv=fsync status=none; {sum}"
    ));

    lose(fixture, lost);
    wait_for_disk(fixture, "the disk is listed as missing", &uuid, |disk| {
        disk.is_some_and(|disk| disk.missing == Some(true) && disk.volumes == [name.as_str()])
    });
    for type_ in [READY, HEALTHY] {
        fixture.wait_for_condition(&name, type_, "CacheFailed", "lvconvert --uncache --force");
    }

    fixture.shell(&format!(
        "lvconvert -qq --yes --uncache --force {KINDS}/{name}; vgreduce -qq --removemissing {KINDS}"
    ));
    fixture.ready(&name);
    fixture.wait_for_condition(&name, HEALTHY, "Healthy", "");
    assert_eq!(fixture.lvs(&name, "segtype"), "linear");
    assert_eq!(fixture.shell(&sum), before);
    fixture.remove(&name);
    replace(fixture, lost);
}

pub(crate) fn wrong_data_of_a_disk_are_corrected_and_reported(fixture: &Fixture) {
    // An image with its metadata and checksums.
    let shares =
        [DISKS[0], DISKS[1]].map(|disk| json!({"uuid": uuid_of(fixture, disk), "size": "44Mi"}));
    let name = fixture.name();
    let volume = format!("{KINDS}/{name}");
    let device = format!("/dev/{volume}");
    let layout = json!({"type": "RAID1", "integrity": true});
    let spec = json!({"volumeGroup": KINDS, "layout": layout, "physicalVolumes": shares});
    fixture.create_volume_with(&name, "32Mi", spec);
    fixture.ready(&name);
    fixture.wait_for_condition(&name, HEALTHY, "Healthy", "");
    let sum = format!("head -c 31M {device} | md5sum");
    let before = fixture.shell(&format!(
        "dd if=/dev/urandom of={device} bs=1M count=31 conv=fsync status=none; {sum}"
    ));
    fixture.wait_for_script(
        "all checksums are calculated",
        &format!(
            "lvs --all --noheadings -o lv_name,sync_percent -S 'lv_name=~{name}_rimage_[01]$' {KINDS} >/run/sync
             test $(grep -c 100.00 /run/sync) = 2"
        ),
    );
    // While the volume is inactive, nothing of it is in a journal.
    fixture.shell(&format!(
        "lvchange -qq -an {volume}
         at=$(lvs --all --noheadings -o devices -S lv_name={name}_rimage_0_iorig {KINDS} | tr -d ' ')
         disk=${{at%(*}}; extent=${{at#*(}}; extent=${{extent%)}}
         dd if=/dev/urandom of=$disk bs=64K seek=$((16 + extent * 64 + 160)) count=1 conv=notrunc,fsync status=none
         lvchange -qq -ay {volume}; lvchange -qq --syncaction check {volume}"
    ));
    fixture.wait_for_script(
        "LVM has found the wrong data",
        &format!(
            "test $(lvs --noheadings -o integritymismatches {volume}) -gt 0
             lvs --noheadings -o raid_sync_action {volume} | grep -q idle"
        ),
    );
    request_report(fixture);
    fixture.wait_for_condition(&name, HEALTHY, "IntegrityMismatches", "lvconvert --replace");
    fixture.ready(&name);
    assert_eq!(fixture.shell(&sum), before);
    // LVM counts from the activation on.
    fixture.shell(&format!(
        "lvchange -qq -an {volume}; lvchange -qq -ay {volume}"
    ));
    request_report(fixture);
    fixture.wait_for_condition(&name, HEALTHY, "Healthy", "");
    fixture.remove(&name);
}
