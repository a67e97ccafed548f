//! The driver's inputs other than arguments: its settings file, and the name that it is installed
//! under.

use serde_json::json;

use crate::fixture::{Fixture, NODE};

pub(crate) fn unreadable_settings_are_reported(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let volume = fixture.unformatted_volume("ext4", 64);
    let json = volume.json("rw");
    let folder = fixture.folder("settings", &volume);
    for broken in [
        "{",
        "",
        "{\"attach\": \"yes\"}",
        "{\"attach\": true, \"other\": 1}",
    ] {
        fixture.shell(&format!(
            "printf '%s' '{broken}' >{}",
            flexvolume::settings::PATH
        ));
        let reply = fixture.call(&["init"]);
        assert_eq!(
            (&reply["status"], &reply["capabilities"]["attach"]),
            (&json!("Success"), &json!(false))
        );
        for line in [
            &["mount", &*folder, &*json][..],
            &["unmount", &*folder],
            &["attach", &*json, NODE],
        ] {
            fixture.fails(line, &[flexvolume::settings::PATH]);
        }
        assert_eq!(fixture.call(&["provision"])["status"], "Not supported");
    }
    assert_eq!(
        (fixture.mounts(&folder), &*fixture.mark(&volume, "read")),
        (0, "unformatted")
    );
}

/// Calls the driver that is installed as kubernetes.io/lvm; returns its reply.
fn call_alias(fixture: &Fixture, verb: &str, folder: &str, rest: &str) -> String {
    fixture.shell(&format!(
        "mkdir -p {folder}; /run/exec/kubernetes.io~lvm/lvm {verb} {folder} {rest}"
    ))
}

pub(crate) fn driver_uses_the_name_it_is_installed_under(fixture: &Fixture) {
    let volume = fixture.used_volume("ext4");
    fixture.shell(&format!(
        "mkdir -p /run/exec/kubernetes.io~lvm; cp {} /run/exec/kubernetes.io~lvm/lvm",
        fixture.driver()
    ));
    let own = fixture.folder("alias", &volume);
    let json = volume.json("rw");
    let alias = own.replace("flexlvm.dev~lvm", "kubernetes.io~lvm");
    assert!(call_alias(fixture, "mount", &alias, &format!("'{json}'")).contains("Success"));
    fixture.shell(&format!("grep -q hello {alias}/file"));
    assert!(
        call_alias(fixture, "mount", &own, &format!("'{json}'"))
            .contains("volumes/kubernetes.io~lvm/<name>")
    );
    fixture.fails(&["unmount", &alias], &["volumes/flexlvm.dev~lvm/<name>"]);
    assert!(call_alias(fixture, "unmount", &alias, "").contains("Success"));
    let all = "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/kubernetes.io/lvm/mounts/x";
    assert!(call_alias(fixture, "mountdevice", all, &format!("'' '{json}'")).contains("Success"));
    assert!(call_alias(fixture, "unmountdevice", all, "").contains("Success"));
    assert_eq!(
        [&*alias, &*own, all].map(|folder| fixture.mounts(folder)),
        [0, 0, 0]
    );
    // Each change in this folder makes the kubelet reinitialize the driver.
    assert_eq!(fixture.shell("ls -A /run/exec/kubernetes.io~lvm"), "lvm");
    fixture.shell("rm -r /run/exec");
}
