//! The state after a boot: volumes are inactive, device numbers differ, data survives.

use crate::fixture::{Fixture, NODE};
use crate::{FILESYSTEMS, smallest};
use serde_json::json;

pub(crate) fn volumes_are_mounted_again_after_power_cut(fixture: &Fixture) {
    let volumes = FILESYSTEMS.map(|fs| fixture.unformatted_volume(fs, smallest(fs)));
    let mut sums = Vec::new();
    for volume in &volumes {
        let folder = fixture.mount("cut-off", volume);
        sums.push(fixture.shell(&format!(
            "head -c 4M /dev/urandom | tee {folder}/data | sha256sum; sync {folder}/data"
        )));
    }
    fixture.power_cut();
    fixture.shell(&format!("vgchange -qq -an {}", volumes[0].options.group));
    for (volume, sum) in volumes.iter().zip(sums) {
        // No longer needed: the kubelet unmounts it although nothing is mounted. Needed again: the
        // driver activates it.
        let folder = fixture.folder("cut-off", volume);
        fixture.succeeds(&["unmount", &folder]);
        fixture.mount("cut-off", volume);
        assert_eq!(fixture.shell(&format!("sha256sum <{folder}/data")), sum);
        fixture.succeeds(&["unmount", &folder]);
    }
}

pub(crate) fn volumes_are_attached_again_after_power_cut(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let volumes = FILESYSTEMS.map(|fs| fixture.used_volume(fs));
    for volume in &volumes {
        let json = volume.json("rw");
        let all = fixture.folder_for_all(volume);
        let pod = fixture.folder("cut", volume);
        fixture.succeeds(&["attach", &json, NODE]);
        fixture.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
        fixture.succeeds(&["mount", &pod, &json]);
        fixture.shell(&format!("echo again >{pod}/file; sync {pod}/file"));
    }
    fixture.power_cut();
    fixture.shell("vgchange -qq -an vg-0");
    // Device numbers are assigned anew: another volume may have the former one.
    for volume in volumes.iter().rev() {
        fixture.shell(&format!("lvchange -qq -ay {}", volume.path()));
    }
    let of_another = fixture.shell(&format!("readlink -f {}", volumes[1].mapper()));
    fixture.fails(
        &["waitforattach", &of_another, &volumes[0].json("rw")],
        &["is not the device of"],
    );
    fixture.shell("vgchange -qq -an vg-0");
    for volume in &volumes {
        let json = volume.json("rw");
        let all = fixture.folder_for_all(volume);
        let pod = fixture.folder("cut", volume);
        let name = volume.options.volume.as_str();
        assert_eq!(
            fixture.call(&["isattached", &json, NODE]),
            json!({"status": "Success", "attached": false})
        );
        // The device path that the node's status still contains.
        fixture.succeeds(&["waitforattach", &volume.mapper(), &json]);
        fixture.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
        fixture.succeeds(&["mount", &pod, &json]);
        assert_eq!(fixture.shell(&format!("cat {pod}/file")), "again");
        fixture.succeeds(&["unmount", &pod]);
        fixture.succeeds(&["unmountdevice", &all]);
        fixture.succeeds(&["detach", name, NODE]);
        assert!(!fixture.is_active(volume));
    }
}
