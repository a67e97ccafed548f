//! A claim's volume is mounted only with its key.

use crate::fixture::{Fixture, GROUP, KEPT, NODE};
use crate::smallest;

/// A key guessed by a tenant who can read `/sys/block/*/dm/` in a container.
const GUESS: &str = "0123456789abcdef0123456789abcdef";

/// The UUID of a volume, for options that name it.
fn options_of(volume: &str, uuid: &str) -> String {
    serde_json::json!({"kubernetes.io/fsType": "ext4", "kubernetes.io/readwrite": "rw",
        "kubernetes.io/pvOrVolumeName": volume, "volumegroup": GROUP, "volumeID": volume,
        "uuid": uuid, "size": "67108864", "key": GUESS})
    .to_string()
}

/// An inline volume that names an admin's logical volume: it is neither activated nor deactivated.
pub(crate) fn unauthorized_calls_change_nothing(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let volume = fixture.untagged_volume("ext4", 64);
    let options = &volume.options;
    let uuid = options.uuid.as_str();
    let json = options_of(options.volume.as_str(), uuid);
    let all = fixture.folder_for_all(&volume);
    let pod = fixture.folder("intruder", &volume);
    for active in [false, true] {
        if active {
            fixture.shell(&format!("lvchange -qq -ay {}", volume.path()));
        } else {
            fixture.deactivate(&volume);
        }
        for call in [
            &["attach", &*json, NODE][..],
            &["waitforattach", "", &json],
            &["mountdevice", &all, "", &json],
            &["mount", &pod, &json],
            &["mount", &pod, "", &json],
        ] {
            fixture.fails(call, &["has no tag with the digest of its key"]);
            assert_eq!(fixture.is_active(&volume), active, "{call:?}");
        }
        fixture.succeeds(&["unmountdevice", &all]);
        fixture.succeeds(&["detach", options.volume.as_str(), NODE]);
        assert_eq!(fixture.is_active(&volume), active);
    }
    fixture.shell(&format!("! ls /run/flexlvm/{uuid}.lock 2>/dev/null"));
}

/// Many inline volumes that don't exist: LVM runs for one of them at a time, and a claim's own
/// volume, whose key is not known since the boot, does not wait for them.
pub(crate) fn unknown_volumes_are_looked_up_one_at_a_time(fixture: &Fixture) {
    let volume = fixture.bare_volume("ext4", 64);
    fixture.mark(&volume, "unformatted");
    fixture.shell("rm -f /run/twice /run/looked-up; touch /run/twice");
    fixture.replace(
        "lvm",
        &format!(
            "case \"$*\" in *unknown-*) mkdir /run/one 2>/dev/null || echo twice >>/run/twice; echo >>/run/looked-up; \
             sleep 0.3; {KEPT}/lvm \"$@\"; code=$?; rmdir /run/one; exit $code;; esac; exec {KEPT}/lvm \"$@\""
        ),
    );
    let mut calls = Vec::new();
    for number in 0..40 {
        let name = format!("unknown-{number}");
        let folder = format!("/var/lib/kubelet/pods/flood/volumes/flexlvm.dev~lvm/{name}");
        fixture.serve(&["folder", &folder]);
        let uuid = format!("ABCDEF-1234-5678-90ab-cdef-ghij-klmn{number:02}");
        let json = options_of(&name, &uuid);
        calls.push(format!(
            "{} mount {folder} '{json}' >/dev/null",
            fixture.driver()
        ));
    }
    let folder = fixture.folder("owner", &volume);
    let own = format!(
        "{} mount {folder} '{}'",
        fixture.driver(),
        volume.json("rw")
    );
    let replies = fixture.shell(&format!(
        "({} & wait) & sleep 1; begun=$(date +%s); {own}; echo $(($(date +%s) - begun)); wait",
        calls.join(" & ")
    ));
    fixture.undo("lvm");
    assert!(replies.contains(r#"{"status":"Success"}"#), "{replies}");
    let seconds: u64 = replies.lines().last().unwrap().parse().unwrap();
    assert!(seconds < 15, "{replies}");
    assert_eq!(fixture.shell("cat /run/twice"), "");
    fixture.shell("test -s /run/looked-up");
    fixture.shell("! ls /run/flexlvm/ABCDEF-*.lock 2>/dev/null");
    fixture.succeeds(&["unmount", &folder]);
}

pub(crate) fn claims_volume_needs_its_key(fixture: &Fixture) {
    let fs = "ext4";
    let volume = fixture.unformatted_volume(fs, smallest(fs));
    let folder = fixture.folder("owner", &volume);
    let intruder = fixture.folder("intruder", &volume);
    let json = volume.json("rw");
    let guess = volume.json_with("rw", &[("key", Some(GUESS))]);
    let without = volume.json_with("rw", &[("key", None)]);
    fixture.fails(
        &["mount", &intruder, &guess],
        &["is not the key", "PersistentVolume"],
    );
    fixture.succeeds(&["mount", &folder, &json]);
    fixture.fails(&["mount", &intruder, &guess], &["is not the key"]);
    fixture.fails(&["mount", &intruder, &without], &["\"key\" is missing"]);
    // After a boot, and with a torn file, the driver reads the digest from LVM.
    for forget in [
        "rm -r /run/flexlvm/keys",
        "echo torn >/run/flexlvm/keys/$UUID",
    ] {
        fixture.shell(&forget.replace("$UUID", volume.options.uuid.as_str()));
        fixture.succeeds(&["unmount", &folder]);
        fixture.fails(&["mount", &intruder, &guess], &["is not the key"]);
        fixture.succeeds(&["mount", &folder, &json]);
    }
    assert_eq!((fixture.mounts(&folder), fixture.mounts(&intruder)), (1, 0));
    fixture.succeeds(&["unmount", &folder]);

    let _attaching = fixture.attaching();
    let all = fixture.folder_for_all(&volume);
    fixture.fails(&["mountdevice", &all, "", &guess], &["is not the key"]);
    fixture.succeeds(&["mountdevice", &all, "", &json]);
    fixture.fails(&["mount", &intruder, &guess], &["is not the key"]);
    fixture.succeeds(&["unmountdevice", &all]);
    fixture.shell(&format!(
        "lvchange -qq --deltag {} {}",
        volume.options.key.digest().tag(),
        volume.path()
    ));
    fixture.shell("rm -r /run/flexlvm/keys");
    fixture.fails(
        &["mountdevice", &all, "", &json],
        &["has no tag with the digest of its key"],
    );
}
