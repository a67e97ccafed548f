//! The driver where the controller manager detaches from elsewhere: the node has nobody but itself.

use crate::attach::remembered;
use crate::stage::Stage;

pub(crate) fn without_a_detach_the_device_goes_with_the_last_mount(stage: &Stage) {
    let volume = stage.used_volume("ext4");
    let (json, all) = (volume.json("rw"), stage.folder_for_all(&volume));
    let _attaching = stage.attaching();
    for _ in 0..2 {
        stage.succeeds(&["waitforattach", "", &json]);
        stage.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
        stage.shell(&format!("grep -q hello {all}/file"));
        stage.succeeds(&["unmountdevice", &all]);
        assert!(!stage.is_active(&volume));
        assert_eq!(remembered(stage), "");
    }
    // Whoever has it open keeps it; and what LVM can't do keeps no folder mounted.
    stage.succeeds(&["waitforattach", "", &json]);
    stage.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
    stage.shell(&format!(
        "exec 3<{}; sleep 1000 3<&3 >/dev/null 2>&1 & echo $! >/run/user.pid",
        volume.mapper()
    ));
    stage.succeeds(&["unmountdevice", &all]);
    assert!(stage.is_active(&volume));
    stage.shell("kill $(cat /run/user.pid); while kill -0 $(cat /run/user.pid) 2>/dev/null; do sleep 0.1; done");
    stage.replace("lvm", "exit 5");
    stage.succeeds(&["unmountdevice", &all]);
    stage.undo("lvm");
    assert_eq!((stage.mounts(&all), stage.is_active(&volume)), (0, true));
    stage.succeeds(&["unmountdevice", &all]);
    assert!(!stage.is_active(&volume));
}
