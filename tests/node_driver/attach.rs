//! The driver in attach mode: each call-out in order, repeated, out of order, and after failures.

use crate::fixture::{Fixture, KEPT, NODE, Volume};
use crate::{FILESYSTEMS, smallest};
use serde_json::json;

fn options_of(fixture: &Fixture, folder: &str) -> String {
    fixture.shell(&format!("findmnt -no VFS-OPTIONS {folder}"))
}

#[expect(clippy::too_many_lines, reason = "the steps of one test")]
pub(crate) fn volume_is_attached_shared_and_detached(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    assert_eq!(fixture.call(&["init"])["capabilities"]["attach"], true);
    let fs = "ext4";
    let volume = fixture.fresh_volume(fs, smallest(fs));
    fixture.deactivate(&volume);
    let json = volume.json("rw");
    let device = volume.mapper();
    let name = volume.options.volume.to_string();
    let attached = |expected: bool| {
        let reply = json!({"status": "Success", "attached": expected});
        assert_eq!(fixture.call(&["isattached", &json, NODE]), reply);
    };
    assert_eq!(
        fixture.call(&["getvolumename", &json]),
        json!({"status": "Success", "volumeName": name})
    );
    attached(false);
    for _ in 0..2 {
        let reply = json!({"status": "Success", "device": device});
        assert_eq!(fixture.call(&["attach", &json, NODE]), reply);
        assert_eq!(fixture.call(&["waitforattach", &device, &json]), reply);
        attached(true);
    }
    let all = fixture.folder_for_all(&volume);
    let writer = fixture.folder("writer", &volume);
    let reader = fixture.folder("reader", &volume);
    fixture.fails(&["mount", &writer, &json], &["is not mounted for all pods"]);
    for _ in 0..2 {
        fixture.succeeds(&["mountdevice", &all, &device, &json]);
        fixture.succeeds(&["mount", &reader, &volume.json("ro")]);
        fixture.succeeds(&["mount", &writer, &json]);
        assert_eq!(
            [&all, &writer, &reader].map(|folder| fixture.mounts(folder)),
            [1, 1, 1]
        );
    }
    fixture.shell(&format!(
        "echo {fs} >{writer}/file && grep -q {fs} {reader}/file && grep -q {fs} {all}/file"
    ));
    fixture.shell(&format!("! touch {reader}/file 2>/dev/null"));
    assert!(
        options_of(fixture, &reader).starts_with("ro")
            && options_of(fixture, &writer).starts_with("rw")
    );
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
        attached(false);
    }
    assert_eq!(remembered(fixture), "");
    fixture.succeeds(&["waitforattach", &device, &json]);
    attached(true);
    for _ in 0..2 {
        fixture.succeeds(&["detach", &name, NODE]);
        attached(false);
    }
    assert_eq!(remembered(fixture), "");
}

/// Lists the records of attached volumes.
pub(crate) fn remembered(fixture: &Fixture) -> String {
    fixture.shell("find /run/flexlvm/attached -type f 2>/dev/null || true")
}

/// The controller manager's calls: on another host, or in a container without LVM.
pub(crate) fn calls_for_other_nodes_change_nothing(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let volume = fixture.used_volume("ext4");
    let json = volume.json("rw");
    let device = volume.mapper();
    let touches_nothing = |node| {
        assert_eq!(
            fixture.call(&["attach", &json, node]),
            json!({"status": "Success", "device": device})
        );
        assert_eq!(
            fixture.call(&["isattached", &json, node]),
            json!({"status": "Success", "attached": true})
        );
        fixture.succeeds(&["detach", volume.options.volume.as_str(), node]);
        assert!(!fixture.is_active(&volume));
    };
    touches_nothing("node-2");
    let programs =
        fixture.shell("for folder in /usr/sbin /usr/bin /sbin /bin; do ls -d $folder/lvm 2>/dev/null || true; done");
    let lvm = fixture.shell("readlink -f $(command -v lvm)");
    fixture.shell(&format!(
        "mkdir -p {KEPT}; cp -a {lvm} {KEPT}/lvm; rm -f {}",
        programs.replace('\n', " ")
    ));
    touches_nothing(NODE);
    fixture.fails(&["waitforattach", "", &json], &["lvm", "not installed"]);
    fixture.shell(&format!("mv {KEPT}/lvm /usr/sbin/lvm; sync"));
}

pub(crate) fn read_only_pod_may_precede_writing_pod(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    for fs in FILESYSTEMS {
        let volume = fixture.fresh_volume(fs, smallest(fs));
        let all = fixture.folder_for_all(&volume);
        let reading = volume.json("ro");
        // A read-only pod does not format a volume.
        fixture.fails(
            &["mountdevice", &all, "", &reading],
            &["mount it writable once"],
        );
        assert_eq!(
            (fixture.mounts(&all), &*fixture.mark(&volume, "read")),
            (0, "fresh")
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

pub(crate) fn volumes_with_equal_names_are_distinguished(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let one = fixture.used_volume("ext4");
    let other = fixture.used_volume("ext4");
    let name = one.options.volume.as_str();
    let theirs = other.json_with("rw", &[("kubernetes.io/pvOrVolumeName", Some(name))]);
    let all = fixture.folder_for_all(&one);
    let pod = fixture.folder("namesake", &one);
    fixture.succeeds(&["waitforattach", "", &one.json("rw")]);
    fixture.succeeds(&["mountdevice", &all, "", &one.json("rw")]);
    fixture.fails(
        &["waitforattach", "", &theirs],
        &["same name", "rename the pod's volume"],
    );
    assert!(
        !fixture.is_active(&other),
        "refused before anything was done"
    );
    fixture.succeeds(&[
        "mountdevice",
        &fixture.folder_for_all(&other),
        "",
        &other.json("rw"),
    ]);
    fixture.fails(
        &["mountdevice", &all, "", &theirs],
        &["something else is mounted"],
    );
    fixture.fails(
        &["mount", &pod, &theirs],
        &["same name", "rename the pod's volume"],
    );
    assert_eq!((fixture.mounts(&all), fixture.mounts(&pod)), (1, 0));
    fixture.succeeds(&["unmountdevice", &fixture.folder_for_all(&other)]);
    fixture.succeeds(&["unmountdevice", &all]);
    // A stale attachment without a mount does not block the name for the next volume.
    fixture.succeeds(&["waitforattach", "", &theirs]);
    fixture.succeeds(&["detach", name, NODE]);
    assert!(!fixture.is_active(&other));
    // A volume with two names is deactivated by the last detach.
    let second = one.json_with("rw", &[("kubernetes.io/pvOrVolumeName", Some("second"))]);
    fixture.succeeds(&["waitforattach", "", &one.json("rw")]);
    fixture.succeeds(&["waitforattach", "", &second]);
    fixture.succeeds(&["detach", name, NODE]);
    assert!(fixture.is_active(&one));
    fixture.succeeds(&["detach", "second", NODE]);
    assert!(!fixture.is_active(&one));
}

#[expect(clippy::too_many_lines, reason = "the steps of one test")]
pub(crate) fn driver_rejects_foreign_devices(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let volume = fixture.used_volume("ext4");
    let other = fixture.fresh_volume("ext4", 64);
    let json = volume.json("rw");
    let all = fixture.folder_for_all(&volume);
    let pod = fixture.folder("device", &volume);
    fixture.shell(&format!(
        "mkfifo /dev/fifo; ln -s {} /dev/link",
        other.mapper()
    ));
    let kernels = kernels_name(fixture, &other);
    for device in [
        "/dev/ubda",
        "/dev/fifo",
        "/dev/link",
        "/dev/none",
        "/etc/passwd",
        "/dev/../etc/passwd",
        &*kernels,
    ] {
        for line in [
            &["waitforattach", device, &*json][..],
            &["mountdevice", &*all, device, &*json],
            &["mount", &*pod, device, &*json],
        ] {
            fixture.fails(
                line,
                &[
                    "is not the device of logical volume",
                    volume.options.volume.as_str(),
                ],
            );
        }
    }
    fixture.shell("rm /dev/fifo /dev/link");
    assert!(!fixture.is_active(&volume));
    assert_eq!(
        (
            fixture.mounts(&all),
            fixture.mounts(&pod),
            &*fixture.mark(&other, "read")
        ),
        (0, 0, "fresh")
    );
    // The volume's own device: before activation by its stable name, afterwards by any name.
    let names: [fn(&Fixture, &Volume) -> String; 4] = [
        |_, volume| volume.mapper(),
        |_, volume| volume.device(),
        kernels_name,
        |_, _| String::new(),
    ];
    for of_volume in names {
        fixture.succeeds(&["waitforattach", &volume.mapper(), &json]);
        let device = of_volume(fixture, &volume);
        fixture.succeeds(&["waitforattach", &device, &json]);
        // Old kubelets pass the device to mount, without a folder for all pods.
        fixture.succeeds(&["mount", &pod, &device, &json]);
        fixture.shell(&format!("grep -q hello {pod}/file"));
        fixture.succeeds(&["unmount", &pod]);
        fixture.succeeds(&["mountdevice", &all, &device, &json]);
        fixture.succeeds(&["unmountdevice", &all]);
    }
    fixture.succeeds(&["detach", volume.options.volume.as_str(), NODE]);
}

fn kernels_name(fixture: &Fixture, volume: &Volume) -> String {
    fixture.shell(&format!("readlink -f {}", volume.mapper()))
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

pub(crate) fn failed_attachment_leaves_nothing_behind(fixture: &Fixture) {
    let _attaching = fixture.attaching();
    let volume = fixture.used_volume("ext4");
    let json = volume.json("rw");
    let name = volume.options.volume.as_str();
    let all = fixture.folder_for_all(&volume);
    let forgotten = || assert_eq!(remembered(fixture), "");
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
        forgotten();
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
    forgotten();
}

pub(crate) fn attached_volumes_grow(fixture: &Fixture) {
    const MIB: u64 = 1 << 20;
    let _attaching = fixture.attaching();
    for fs in FILESYSTEMS {
        let volume = fixture.fresh_volume(fs, 512);
        let json = volume.json("rw");
        let all = fixture.folder_for_all(&volume);
        let pod = fixture.folder("growing", &volume);
        fixture.succeeds(&["mountdevice", &all, "", &json]);
        fixture.succeeds(&["mount", &pod, &json]);
        let old = (512 * MIB).to_string();
        let wanted = (768 * MIB).to_string();
        let words = [
            "has 536870912 bytes, but 805306368 bytes were requested",
            "not extended it yet",
        ];
        fixture.fails(&["expandvolume", &json, &all, &wanted, &old], &words);
        fixture.fails(&["expandfs", &json, "", &pod, &wanted, &old], &words);
        fixture.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        fixture.succeeds(&["expandvolume", &json, &all, &wanted, &old]);
        // By the folder for all pods, as kubelet 1.20 does, and by a pod's.
        for folder in [&all, &pod] {
            fixture.succeeds(&["expandfs", &json, &volume.mapper(), folder, &wanted, &old]);
            let size: u64 = fixture
                .shell(&format!("df --output=size -m {folder} | tail -1"))
                .trim()
                .parse()
                .unwrap();
            assert!(size > 650, "{fs}: {size}");
        }
        fixture.succeeds(&["unmount", &pod]);
        fixture.succeeds(&["unmountdevice", &all]);
        fixture.shell(&format!("lvextend -qq -L 1G {}", volume.path()));
        fixture.succeeds(&["mountdevice", &all, "", &json]);
        let size: u64 = fixture
            .shell(&format!("df --output=size -m {all} | tail -1"))
            .trim()
            .parse()
            .unwrap();
        assert!(size > 850, "{fs}: {size}");
        fixture.succeeds(&["unmountdevice", &all]);
    }
}
