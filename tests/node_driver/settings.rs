//! What the driver is told beside its arguments: the file with its settings, and the name that it
//! is installed under.

use serde_json::json;

use crate::stage::{NODE, Stage};

pub(crate) fn settings_that_can_not_be_read_are_named(stage: &Stage) {
    let _attaching = stage.attaching();
    let volume = stage.fresh_volume("ext4", 64);
    let (json, folder) = (volume.json("rw"), stage.folder("settings", &volume));
    for broken in [
        "{",
        "",
        "{\"attach\": \"yes\"}",
        "{\"attach\": true, \"other\": 1}",
    ] {
        stage.shell(&format!(
            "printf '%s' '{broken}' >{}",
            flexvolume::settings::PATH
        ));
        let reply = stage.call(&["init"]);
        assert_eq!(
            (&reply["status"], &reply["capabilities"]["attach"]),
            (&json!("Success"), &json!(false))
        );
        for line in [
            &["mount", &*folder, &*json][..],
            &["unmount", &*folder],
            &["attach", &*json, NODE],
        ] {
            stage.fails(line, &[flexvolume::settings::PATH]);
        }
        assert_eq!(stage.call(&["provision"])["status"], "Not supported");
    }
    assert_eq!(
        (stage.mounts(&folder), &*stage.mark(&volume, "read")),
        (0, "fresh")
    );
}

pub(crate) fn the_driver_goes_by_its_own_name(stage: &Stage) {
    let volume = stage.used_volume("ext4");
    stage.shell(&format!(
        "mkdir -p /run/exec/kubernetes.io~lvm; cp {} /run/exec/kubernetes.io~lvm/lvm",
        stage.driver()
    ));
    let (own, json) = (stage.folder("alias", &volume), volume.json("rw"));
    let alias = own.replace("flexlvm.dev~lvm", "kubernetes.io~lvm");
    let call = |verb: &str, folder: &str, rest: &str| {
        stage.shell(&format!(
            "mkdir -p {folder}; /run/exec/kubernetes.io~lvm/lvm {verb} {folder} {rest}"
        ))
    };
    assert!(call("mount", &alias, &format!("'{json}'")).contains("Success"));
    stage.shell(&format!("grep -q hello {alias}/file"));
    assert!(call("mount", &own, &format!("'{json}'")).contains("volumes/kubernetes.io~lvm/<name>"));
    stage.fails(&["unmount", &alias], &["volumes/flexlvm.dev~lvm/<name>"]);
    assert!(call("unmount", &alias, "").contains("Success"));
    let all = "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/kubernetes.io/lvm/mounts/x";
    assert!(call("mountdevice", all, &format!("'' '{json}'")).contains("Success"));
    assert!(call("unmountdevice", all, "").contains("Success"));
    assert_eq!(
        [&*alias, &*own, all].map(|folder| stage.mounts(folder)),
        [0, 0, 0]
    );
    // Each change there makes the kubelet start the driver anew.
    assert_eq!(stage.shell("ls -A /run/exec/kubernetes.io~lvm"), "lvm");
    stage.shell("rm -r /run/exec");
}
