//! RAIDs that LVM did not complete, since it was killed while it cleared their metadata.

use crds::condition::{READY, REMOVED};
use serde_json::{Value, json};

use crate::fixture::{Fixture, KINDS};

/// Stops udev: LVM then waits for it after it has activated the metadata volumes of a RAID, before it
/// clears them.
fn stop_udev(fixture: &Fixture) {
    fixture.shell("udevadm control --stop-exec-queue");
}

/// Kills the LVM command that has activated this metadata volume, and continues udev.
fn kill_lvm_at(fixture: &Fixture, metadata: &str) {
    let device = format!("{KINDS}-{}", metadata.replace('-', "--"));
    fixture.wait_for_script(
        "LVM has activated the metadata volume",
        &format!("grep -qx '{device}' /sys/block/dm-*/dm/name"),
    );
    fixture.shell(
        "for process in /proc/[0-9]*; do
           if tr '\\0' ' ' <$process/cmdline 2>/dev/null | grep -Eq '^[^ ]*lvm? .*|^[^ ]*lv(create|convert) '; then
             kill -9 ${process#/proc/}
           fi
         done
         udevadm control --start-exec-queue; dmsetup udevcomplete_all -y >/dev/null; udevadm settle",
    );
}

/// Returns the layouts, each with the number of its images.
fn layouts() -> [(Value, u32); 5] {
    [
        (json!({"type": "RAID1"}), 2),
        (json!({"type": "RAID1", "integrity": true}), 2),
        (json!({"type": "RAID5"}), 3),
        (json!({"type": "RAID6"}), 5),
        (json!({"type": "RAID10"}), 4),
    ]
}

/// Returns the names of all logical volumes of the group, internal ones in brackets.
fn all(fixture: &Fixture) -> String {
    fixture.shell(&format!(
        "lvs -a --noheadings -o lv_name,lv_attr,lv_tags {KINDS}"
    ))
}

pub(crate) fn raid_is_created_again_after_lvm_was_killed_before_its_first_activation(
    fixture: &Fixture,
) {
    for (layout, images) in layouts() {
        let name = fixture.name();
        stop_udev(fixture);
        let spec = json!({"volumeGroup": KINDS, "layout": layout});
        fixture.create_volume_with(&name, "32Mi", spec);
        kill_lvm_at(fixture, &format!("{name}_rmeta_{}", images - 1));
        fixture.ready(&name);
        assert_eq!(fixture.mark_in(KINDS, &name), "unformatted", "{layout}");
        assert!(
            !all(fixture).contains(&format!(" {name}_rmeta")),
            "{layout}"
        );
        fixture.remove(&name);
        assert_eq!(all(fixture), "", "{layout}");
    }
}

pub(crate) fn raid_is_removed_although_lvm_was_killed_before_its_first_activation(
    fixture: &Fixture,
) {
    for state in ["Absent", "AbsentIfNeverUsed"] {
        let name = fixture.name();
        stop_udev(fixture);
        let spec = json!({"volumeGroup": KINDS, "layout": {"type": "RAID5"}, "erase": "Zero"});
        fixture.create_volume_with(&name, "32Mi", spec);
        let device = format!("{KINDS}-{}_rmeta_2", name.replace('-', "--"));
        fixture.wait_for_script(
            "LVM has activated the metadata volume",
            &format!("grep -qx '{device}' /sys/block/dm-*/dm/name"),
        );
        fixture.kill_agent();
        kill_lvm_at(fixture, &format!("{name}_rmeta_2"));
        assert!(all(fixture).contains(&format!("{name}_rmeta_2 ")));
        fixture.change(&name, json!({"state": state}));
        fixture.start_agent();
        fixture.wait_for_condition(&name, REMOVED, "NeverCreated", "");
        assert_eq!(all(fixture), "");
    }
}

/// The status of the volume is lost, so that only LVM's metadata show that it was in use.
pub(crate) fn interrupted_conversion_of_a_volume_with_data_is_left_to_its_admin(fixture: &Fixture) {
    let name = fixture.name();
    let volume = format!("{KINDS}/{name}");
    let claim = name.trim_start_matches("pvc-");
    fixture.kill_agent();
    fixture.create_volume_with(
        &name,
        "32Mi",
        json!({"volumeGroup": KINDS, "layout": {"type": "RAID1"}}),
    );
    let sums = fixture.shell(&format!(
        "lvcreate -qq --yes --type raid1 --mirrors 1 -l 8 --addtag flexlvm.dev/claim-uid={claim} \
         --addtag {} -n {name} {KINDS}
         head -c 16M /dev/urandom | dd of=/dev/{volume} bs=1M iflag=fullblock conv=fsync status=none
         head -c 16M /dev/{volume} | sha256sum",
        fixture.object_tag(&name)
    ));
    stop_udev(fixture);
    fixture.shell(&format!(
        "setsid lvconvert -qq --yes --mirrors 2 {volume} >/dev/null 2>&1 </dev/null &"
    ));
    kill_lvm_at(fixture, &format!("{name}_rmeta_2"));
    fixture.shell(&format!(
        "lvchange -qq -an {volume}; lvchange -qq -ky {volume}"
    ));
    fixture.start_agent();
    fixture.wait_for_condition(&name, READY, "NotEmpty", "so it is kept");
    fixture.change(&name, json!({"state": "AbsentIfNeverUsed"}));
    fixture.wait_for_condition(&name, REMOVED, "NotEmpty", "so it is kept");
    fixture.change(&name, json!({"state": "Present"}));

    // The remedy of the message. The group's seqno falls, which its admin accepts.
    fixture.kill_agent();
    let undone = fixture.shell(&format!(
        "for device in $(dmsetup ls | cut -f1 | grep 'r[a-z]*_2$'); do dmsetup remove $device; done
         for file in $(ls -t /etc/lvm/archive/{KINDS}_*); do
           if grep -q 'before. executing .lvconvert' $file; then break; fi
         done
         vgcfgrestore -qq --yes --file $file {KINDS}; rm /run/state/metadata/*.json
         lvchange -qq -ay {volume}; head -c 16M /dev/{volume} | sha256sum"
    ));
    assert_eq!(undone, sums);
    fixture.shell(&format!("lvremove -qq -y {volume}"));
    fixture.start_agent();
    fixture.ready(&name);
    fixture.remove(&name);
}
