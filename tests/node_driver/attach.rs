//! The driver in attach mode: each call-out in order, repeated, out of order, and after failures.

use serde_json::json;

use crate::deactivation::remembered;
use crate::fixture::{Fixture, KEPT, NODE, Volume};
use crate::{FILESYSTEMS, smallest};

/// Checks what `isattached` reports.
fn check_attached(fixture: &Fixture, volume: &Volume, expected: bool) {
    let reply = json!({"status": "Success", "attached": expected});
    let json = volume.json("rw");
    assert_eq!(fixture.call(&["isattached", &json, NODE]), reply);
}

pub(crate) fn volume_is_attached_shared_and_detached(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    assert_eq!(fixture.call(&["init"])["capabilities"]["attach"], true);
    let fs = "ext4";
    let volume = fixture.unformatted_volume(fs, smallest(fs));
    fixture.deactivate(&volume);
    let json = volume.json("rw");
    let device = volume.mapper();
    let name = volume.options.volume.to_string();
    assert_eq!(
        fixture.call(&["getvolumename", &json]),
        json!({"status": "Success", "volumeName": name})
    );
    check_attached(fixture, &volume, false);
    for _ in 0..2 {
        let reply = json!({"status": "Success", "device": device});
        assert_eq!(fixture.call(&["attach", &json, NODE]), reply);
        assert_eq!(fixture.call(&["waitforattach", &device, &json]), reply);
        check_attached(fixture, &volume, true);
    }
    let all = fixture.folder_for_all(&volume);
    let writer = fixture.folder("writer", &volume);
    let reader = fixture.folder("reader", &volume);
    fixture.fails(&["mount", &writer, &json], &["is not mounted for all pods"]);
    for _ in 0..2 {
        fixture.succeeds(&["mountdevice", &all, &device, &json]);
        fixture.succeeds(&["mount", &reader, &volume.json("ro")]);
        fixture.succeeds(&["mount", &writer, &json]);
        for folder in [&all, &writer, &reader] {
            assert_eq!(fixture.mounts(folder), 1, "{folder}");
        }
    }
    fixture.shell(&format!(
        "echo {fs} >{writer}/file && grep -q {fs} {reader}/file && grep -q {fs} {all}/file"
    ));
    fixture.shell(&format!("! touch {reader}/file 2>/dev/null"));
    assert!(fixture.mount_options(&reader).starts_with("ro"));
    assert!(fixture.mount_options(&writer).starts_with("rw"));
    fixture.fails(&["mount", &reader, &json], &["already, read-only"]);
    // Premature detach calls, repeated: the device stays, and the calls succeed.
    fixture.succeeds(&["detach", &name, NODE]);
    fixture.succeeds(&["unmount", &writer]);
    fixture.succeeds(&["unmountdevice", &all]);
    fixture.succeeds(&["detach", &name, NODE]);
    fixture.shell(&format!("grep -q {fs} {reader}/file"));
    // The device is deactivated after the last pod's unmount; the next attachment activates it.
    for _ in 0..2 {
        fixture.succeeds(&["unmount", &reader]);
        fixture.succeeds(&["unmountdevice", &all]);
        check_attached(fixture, &volume, false);
    }
    assert_eq!(remembered(fixture), "");
    fixture.succeeds(&["waitforattach", &device, &json]);
    check_attached(fixture, &volume, true);
    for _ in 0..2 {
        fixture.succeeds(&["detach", &name, NODE]);
        check_attached(fixture, &volume, false);
    }
    assert_eq!(remembered(fixture), "");
}

/// Checks that attaching to a node and detaching succeed and do nothing.
fn check_untouched(fixture: &Fixture, volume: &Volume, node: &str) {
    let json = volume.json("rw");
    assert_eq!(
        fixture.call(&["attach", &json, node]),
        json!({"status": "Success", "device": volume.mapper()})
    );
    assert_eq!(
        fixture.call(&["isattached", &json, node]),
        json!({"status": "Success", "attached": true})
    );
    fixture.succeeds(&["detach", volume.options.volume.as_str(), node]);
    assert!(!fixture.is_active(volume));
}

/// The controller manager's calls: on another host, or in a container without LVM.
pub(crate) fn calls_for_other_nodes_change_nothing(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let volume = fixture.used_volume("ext4");
    let json = volume.json("rw");
    check_untouched(fixture, &volume, "node-2");
    let programs =
        fixture.shell("for folder in /usr/sbin /usr/bin /sbin /bin; do ls -d $folder/lvm 2>/dev/null || true; done");
    let lvm = fixture.shell("readlink -f $(command -v lvm)");
    fixture.shell(&format!(
        "mkdir -p {KEPT}; cp -a {lvm} {KEPT}/lvm; rm -f {}",
        programs.replace('\n', " ")
    ));
    check_untouched(fixture, &volume, NODE);
    fixture.fails(&["waitforattach", "", &json], &["lvm", "not installed"]);
    fixture.shell(&format!("mv {KEPT}/lvm /usr/sbin/lvm; sync"));
}

pub(crate) fn read_only_pod_may_precede_writing_pod(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, smallest(fs));
        let all = fixture.folder_for_all(&volume);
        let reading = volume.json("ro");
        // A read-only pod does not format a volume.
        fixture.fails(
            &["mountdevice", &all, "", &reading],
            &["mount it writable once"],
        );
        assert_eq!(
            (fixture.mounts(&all), &*fixture.mark(&volume, "read")),
            (0, "unformatted")
        );
        fixture.succeeds(&["mountdevice", &all, "", &volume.json("rw")]);
        fixture.succeeds(&["unmountdevice", &all]);
        // Once formatted, a read-only pod may come first, and the next may write.
        fixture.succeeds(&["mountdevice", &all, "", &reading]);
        let reader = fixture.folder("first", &volume);
        let writer = fixture.folder("second", &volume);
        fixture.succeeds(&["mount", &reader, &reading]);
        fixture.succeeds(&["mount", &writer, &volume.json("rw")]);
        fixture.shell(&format!(
            "echo hello >{writer}/file && grep -q hello {reader}/file"
        ));
        fixture.shell(&format!("! touch {reader}/file 2>/dev/null"));
        for folder in [&writer, &reader] {
            fixture.succeeds(&["unmount", folder]);
        }
        fixture.succeeds(&["unmountdevice", &all]);
        // A read-only logical volume rejects writing pods.
        fixture.shell(&format!("lvchange -qq -pr {}", volume.path()));
        fixture.succeeds(&["mountdevice", &all, "", &reading]);
        fixture.succeeds(&["mount", &reader, &reading]);
        fixture.fails(
            &["mount", &writer, &volume.json("rw")],
            &["read-only for all pods", "requests a writable mount"],
        );
        assert_eq!(fixture.mounts(&writer), 0);
        fixture.succeeds(&["unmount", &reader]);
        fixture.succeeds(&["unmountdevice", &all]);
    }
}

pub(crate) fn failed_attachment_leaves_nothing_behind(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let volume = fixture.used_volume("ext4");
    let json = volume.json("rw");
    let name = volume.options.volume.as_str();
    let all = fixture.folder_for_all(&volume);
    for fault in ["exit 5", "exit 0", "kill -9 $$", "echo garbage"] {
        fixture.replace("lvm", fault);
        let replies = [
            fixture.call(&["attach", &json, NODE]),
            fixture.call(&["waitforattach", "", &json]),
        ];
        fixture.undo("lvm");
        assert!(
            replies.iter().all(|reply| reply["status"] == "Failure"),
            "lvm: {fault}: {replies:?}"
        );
        assert!(!fixture.is_active(&volume));
        assert_eq!(remembered(fixture), "");
    }
    // The attachment cannot be recorded.
    fixture.shell("rm -rf /run/flexlvm/attached; touch /run/flexlvm/attached");
    fixture.fails(&["attach", &json, NODE], &["/run/flexlvm/attached"]);
    assert!(!fixture.is_active(&volume));
    fixture.shell("rm /run/flexlvm/attached");
    fixture.succeeds(&["attach", &json, NODE]);
    for fault in ["exit 5", "exit 0", "kill -9 $$"] {
        fixture.replace("lvm", fault);
        let reply = fixture.call(&["detach", name, NODE]);
        fixture.undo("lvm");
        assert_eq!(reply["status"], "Failure", "lvm: {fault}");
        assert!(fixture.is_active(&volume));
    }
    // A file system that the kernel rejects.
    fixture.poke(&volume, r"\377\377\377\377\377\377", 1024 + 0x54);
    fixture.fails(&["mountdevice", &all, "", &json], &["damaged"]);
    assert_eq!(fixture.mounts(&all), 0);
    let lock = format!("/run/flexlvm/{}.lock", volume.options.uuid);
    fixture.shell(&format!("flock -n {lock} true"));
    fixture.succeeds(&["detach", name, NODE]);
    assert!(!fixture.is_active(&volume));
    assert_eq!(remembered(fixture), "");
}

pub(crate) fn attached_volumes_grow(fixture: &Fixture) {
    const MIB: u64 = 1 << 20;
    let _attaching = fixture.attaching();
    for fs in FILESYSTEMS {
        let volume = fixture.unformatted_volume(fs, 512);
        let json = volume.json("rw");
        let all = fixture.folder_for_all(&volume);
        let pod = fixture.folder("growing", &volume);
        fixture.succeeds(&["mountdevice", &all, "", &json]);
        fixture.succeeds(&["mount", &pod, &json]);
        let old = (512 * MIB).to_string();
        let wanted = (768 * MIB).to_string();
        let phrases = [
            "has 536870912 bytes, but 805306368 bytes were requested",
            "not extended it yet",
        ];
        fixture.fails(&["expandvolume", &json, &all, &wanted, &old], &phrases);
        fixture.fails(&["expandfs", &json, "", &pod, &wanted, &old], &phrases);
        fixture.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        fixture.succeeds(&["expandvolume", &json, &all, &wanted, &old]);
        // By the folder for all pods, as kubelet 1.20 does, and by a pod's.
        for folder in [&all, &pod] {
            fixture.succeeds(&["expandfs", &json, &volume.mapper(), folder, &wanted, &old]);
            let size = fixture.size_in_mib(folder);
            assert!(size > 650, "{fs}: {size}");
        }
        fixture.succeeds(&["unmount", &pod]);
        fixture.succeeds(&["unmountdevice", &all]);
        fixture.shell(&format!("lvextend -qq -L 1G {}", volume.path()));
        fixture.succeeds(&["mountdevice", &all, "", &json]);
        let size = fixture.size_in_mib(&all);
        assert!(size > 850, "{fs}: {size}");
        fixture.succeeds(&["unmountdevice", &all]);
    }
}
