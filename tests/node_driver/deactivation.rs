//! Deactivation in attach mode where the controller manager detaches on another host: the driver on
//! the node decides alone.

use crate::attach::remembered;
use crate::fixture::Fixture;

pub(crate) fn last_unmount_deactivates_without_detach(fixture: &Fixture) {
    let volume = fixture.used_volume("ext4");
    let json = volume.json("rw");
    let all = fixture.folder_for_all(&volume);
    let _attaching = fixture.attaching();
    for _ in 0..2 {
        fixture.succeeds(&["waitforattach", "", &json]);
        fixture.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
        fixture.shell(&format!("grep -q hello {all}/file"));
        fixture.succeeds(&["unmountdevice", &all]);
        assert!(!fixture.is_active(&volume));
        assert_eq!(remembered(fixture), "");
    }
    // An open device stays active, and a failure of LVM does not keep the folder mounted.
    fixture.succeeds(&["waitforattach", "", &json]);
    fixture.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
    fixture.shell(&format!(
        "exec 3<{}; sleep 1000 3<&3 >/dev/null 2>&1 & echo $! >/run/user.pid",
        volume.mapper()
    ));
    fixture.succeeds(&["unmountdevice", &all]);
    assert!(fixture.is_active(&volume));
    fixture.shell("kill $(cat /run/user.pid); while kill -0 $(cat /run/user.pid) 2>/dev/null; do sleep 0.1; done");
    fixture.replace("lvm", "exit 5");
    fixture.succeeds(&["unmountdevice", &all]);
    fixture.undo("lvm");
    assert_eq!(
        (fixture.mounts(&all), fixture.is_active(&volume)),
        (0, true)
    );
    fixture.succeeds(&["unmountdevice", &all]);
    assert!(!fixture.is_active(&volume));
}
