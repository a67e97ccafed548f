//! What stands when the node starts again: volumes are inactive, devices have other numbers, data
//! are there.

use crate::stage::{NODE, Stage};
use crate::{FILESYSTEMS, smallest};
use serde_json::json;

pub(crate) fn after_a_power_cut_everything_goes_on(stage: &Stage) {
    let volumes = FILESYSTEMS.map(|fs| stage.fresh_volume(fs, smallest(fs)));
    let mut sums = Vec::new();
    for volume in &volumes {
        let folder = stage.mount("cut-off", volume);
        sums.push(stage.shell(&format!(
            "head -c 4M /dev/urandom | tee {folder}/data | sha256sum; sync {folder}/data"
        )));
    }
    stage.power_cut();
    stage.shell(&format!("vgchange -qq -an {}", volumes[0].options.group));
    for (volume, sum) in volumes.iter().zip(sums) {
        // Unwanted by now: the kubelet takes it down though nothing is mounted. Wanted again: it is
        // activated.
        let folder = stage.folder("cut-off", volume);
        stage.succeeds(&["unmount", &folder]);
        stage.mount("cut-off", volume);
        assert_eq!(stage.shell(&format!("sha256sum <{folder}/data")), sum);
        stage.succeeds(&["unmount", &folder]);
    }
}

pub(crate) fn after_a_power_cut_volumes_are_attached_again(stage: &Stage) {
    let _attaching = stage.attaching();
    let volumes = FILESYSTEMS.map(|fs| stage.used_volume(fs));
    for volume in &volumes {
        let (json, all, pod) = (
            volume.json("rw"),
            stage.folder_for_all(volume),
            stage.folder("cut", volume),
        );
        stage.succeeds(&["attach", &json, NODE]);
        stage.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
        stage.succeeds(&["mount", &pod, &json]);
        stage.shell(&format!("echo again >{pod}/file; sync {pod}/file"));
    }
    stage.power_cut();
    stage.shell("vgchange -qq -an vg-0");
    // Numbers are given anew: what was one volume's before may be another's now.
    for volume in volumes.iter().rev() {
        stage.shell(&format!("lvchange -qq -ay {}", volume.path()));
    }
    let of_another = stage.shell(&format!("readlink -f {}", volumes[1].mapper()));
    stage.fails(
        &["waitforattach", &of_another, &volumes[0].json("rw")],
        &["is not the device of"],
    );
    stage.shell("vgchange -qq -an vg-0");
    for volume in &volumes {
        let (json, all, pod) = (
            volume.json("rw"),
            stage.folder_for_all(volume),
            stage.folder("cut", volume),
        );
        let name = volume.options.volume.as_str();
        assert_eq!(
            stage.call(&["isattached", &json, NODE]),
            json!({"status": "Success", "attached": false})
        );
        // What the node's status still says.
        stage.succeeds(&["waitforattach", &volume.mapper(), &json]);
        stage.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
        stage.succeeds(&["mount", &pod, &json]);
        assert_eq!(stage.shell(&format!("cat {pod}/file")), "again");
        stage.succeeds(&["unmount", &pod]);
        stage.succeeds(&["unmountdevice", &all]);
        stage.succeeds(&["detach", name, NODE]);
        assert!(!stage.is_active(volume));
    }
}
