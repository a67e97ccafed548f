//! Deactivation in attach mode: by the driver on the node alone, where the controller manager
//! detaches on another host; and the volumes that stay active.

use crate::fixture::{Fixture, NODE};

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

pub(crate) fn unrecorded_or_open_volume_stays_active(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let volume = fixture.used_volume("ext4");
    let json = volume.json("rw");
    let name = volume.options.volume.as_str();
    let all = fixture.folder_for_all(&volume);
    let pod = fixture.folder("emptied", &volume);
    fixture.succeeds(&["attach", &json, NODE]);
    fixture.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
    fixture.shell("rm -r /run/flexlvm");
    fixture.succeeds(&["mount", &pod, &json]);
    fixture.succeeds(&["unmount", &pod]);
    fixture.succeeds(&["unmountdevice", &all]);
    fixture.succeeds(&["detach", name, NODE]);
    assert!(
        fixture.is_active(&volume),
        "the record of its attachment is gone"
    );
    // Open, and not mounted.
    fixture.succeeds(&["attach", &json, NODE]);
    fixture.shell(&format!(
        "exec 3<{}; sleep 1000 3<&3 >/dev/null 2>&1 & echo $! >/run/user.pid",
        volume.mapper()
    ));
    fixture.succeeds(&["detach", name, NODE]);
    assert!(fixture.is_active(&volume));
    fixture.shell("kill $(cat /run/user.pid); while kill -0 $(cat /run/user.pid) 2>/dev/null; do sleep 0.1; done");
    fixture.succeeds(&["detach", name, NODE]);
    assert!(!fixture.is_active(&volume));
    // Deactivated by an admin.
    fixture.succeeds(&["attach", &json, NODE]);
    fixture.deactivate(&volume);
    fixture.succeeds(&["detach", name, NODE]);
    // Another logical volume has its name by now.
    fixture.succeeds(&["attach", &json, NODE]);
    let path = volume.path();
    fixture.shell(&format!(
        "lvrename -qq {path} {path}-old && lvcreate -qq -y -Wy -Zy -n {name} -L 64M vg-0"
    ));
    fixture.succeeds(&["detach", name, NODE]);
    assert!(fixture.is_active(&volume));
    fixture.fails(
        &["attach", &json, NODE],
        &["is another one than the volume's"],
    );
    fixture.shell(&format!(
        "lvremove -qq -y {path} && lvrename -qq {path}-old {path}"
    ));
    // Removed by an admin.
    fixture.succeeds(&["attach", &json, NODE]);
    fixture.shell(&format!("lvremove -qq -y {}", volume.path()));
    fixture.succeeds(&["detach", name, NODE]);
    fixture.fails(
        &["attach", &json, NODE],
        &["has no logical volume of this name"],
    );
    assert_eq!(remembered(fixture), "");
}

/// Lists the records of attached volumes.
pub(crate) fn remembered(fixture: &Fixture) -> String {
    fixture.shell("find /run/flexlvm/attached -type f 2>/dev/null || true")
}
