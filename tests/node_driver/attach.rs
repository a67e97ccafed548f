//! The driver where Kubernetes attaches: every call-out of it, in order, repeated, out of order,
//! and after trouble.

use crate::stage::{KEPT, NODE, Stage, Volume};
use crate::{FILESYSTEMS, smallest};
use serde_json::json;

fn options_of(stage: &Stage, folder: &str) -> String {
    stage.shell(&format!("findmnt -no VFS-OPTIONS {folder}"))
}

pub(crate) fn a_volume_is_attached_shared_and_detached(stage: &Stage) {
    let _attaching = stage.attaching();
    assert_eq!(stage.call(&["init"])["capabilities"]["attach"], true);
    let fs = "ext4";
    let volume = stage.fresh_volume(fs, smallest(fs));
    stage.deactivate(&volume);
    let (json, device, name) = (
        volume.json("rw"),
        volume.mapper(),
        volume.options.volume.to_string(),
    );
    let attached = |expected: bool| {
        let reply = json!({"status": "Success", "attached": expected});
        assert_eq!(stage.call(&["isattached", &json, NODE]), reply);
    };
    assert_eq!(
        stage.call(&["getvolumename", &json]),
        json!({"status": "Success", "volumeName": name})
    );
    attached(false);
    for _ in 0..2 {
        let reply = json!({"status": "Success", "device": device});
        assert_eq!(stage.call(&["attach", &json, NODE]), reply);
        assert_eq!(stage.call(&["waitforattach", &device, &json]), reply);
        attached(true);
    }
    let (all, writer, reader) = (
        stage.folder_for_all(&volume),
        stage.folder("writer", &volume),
        stage.folder("reader", &volume),
    );
    stage.fails(&["mount", &writer, &json], &["is not mounted for all pods"]);
    for _ in 0..2 {
        stage.succeeds(&["mountdevice", &all, &device, &json]);
        stage.succeeds(&["mount", &reader, &volume.json("ro")]);
        stage.succeeds(&["mount", &writer, &json]);
        assert_eq!(
            [&all, &writer, &reader].map(|folder| stage.mounts(folder)),
            [1, 1, 1]
        );
    }
    stage.shell(&format!(
        "echo {fs} >{writer}/file && grep -q {fs} {reader}/file && grep -q {fs} {all}/file"
    ));
    stage.shell(&format!("! touch {reader}/file 2>/dev/null"));
    assert!(
        options_of(stage, &reader).starts_with("ro")
            && options_of(stage, &writer).starts_with("rw")
    );
    stage.fails(&["mount", &reader, &json], &["already, read-only"]);
    // Too early, again and again: it stays, and that is no failure.
    stage.succeeds(&["detach", &name, NODE]);
    stage.succeeds(&["unmount", &writer]);
    stage.succeeds(&["unmountdevice", &all]);
    stage.succeeds(&["detach", &name, NODE]);
    stage.shell(&format!("grep -q {fs} {reader}/file"));
    // The last pod takes the device along, whoever detaches; it comes back for the next.
    for _ in 0..2 {
        stage.succeeds(&["unmount", &reader]);
        stage.succeeds(&["unmountdevice", &all]);
        attached(false);
    }
    assert_eq!(remembered(stage), "");
    stage.succeeds(&["waitforattach", &device, &json]);
    attached(true);
    for _ in 0..2 {
        stage.succeeds(&["detach", &name, NODE]);
        attached(false);
    }
    assert_eq!(remembered(stage), "");
}

/// The volumes that are remembered as attached.
pub(crate) fn remembered(stage: &Stage) -> String {
    stage.shell("find /run/flexlvm/attached -type f 2>/dev/null || true")
}

/// The controller manager: on another host, or in a container without LVM.
pub(crate) fn elsewhere_nothing_is_touched(stage: &Stage) {
    let _attaching = stage.attaching();
    let volume = stage.used_volume("ext4");
    let (json, device) = (volume.json("rw"), volume.mapper());
    let touches_nothing = |node| {
        assert_eq!(
            stage.call(&["attach", &json, node]),
            json!({"status": "Success", "device": device})
        );
        assert_eq!(
            stage.call(&["isattached", &json, node]),
            json!({"status": "Success", "attached": true})
        );
        stage.succeeds(&["detach", volume.options.volume.as_str(), node]);
        assert!(!stage.is_active(&volume));
    };
    touches_nothing("node-2");
    let programs =
        stage.shell("for folder in /usr/sbin /usr/bin /sbin /bin; do ls -d $folder/lvm 2>/dev/null || true; done");
    let lvm = stage.shell("readlink -f $(command -v lvm)");
    stage.shell(&format!(
        "mkdir -p {KEPT}; cp -a {lvm} {KEPT}/lvm; rm -f {}",
        programs.replace('\n', " ")
    ));
    touches_nothing(NODE);
    stage.fails(&["waitforattach", "", &json], &["lvm", "not installed"]);
    stage.shell(&format!("mv {KEPT}/lvm /usr/sbin/lvm; sync"));
}

pub(crate) fn a_reader_may_come_before_a_writer(stage: &Stage) {
    let _attaching = stage.attaching();
    for fs in FILESYSTEMS {
        let volume = stage.fresh_volume(fs, smallest(fs));
        let (all, reading) = (stage.folder_for_all(&volume), volume.json("ro"));
        // A pod that only reads makes no file system.
        stage.fails(
            &["mountdevice", &all, "", &reading],
            &["mount it writable once"],
        );
        assert_eq!(
            (stage.mounts(&all), &*stage.mark(&volume, "read")),
            (0, "fresh")
        );
        stage.succeeds(&["mountdevice", &all, "", &volume.json("rw")]);
        stage.succeeds(&["unmountdevice", &all]);
        // From then on one may come first, and the next may write.
        stage.succeeds(&["mountdevice", &all, "", &reading]);
        let (reader, writer) = (
            stage.folder("first", &volume),
            stage.folder("second", &volume),
        );
        stage.succeeds(&["mount", &reader, &reading]);
        stage.succeeds(&["mount", &writer, &volume.json("rw")]);
        stage.shell(&format!(
            "echo hello >{writer}/file && grep -q hello {reader}/file"
        ));
        stage.shell(&format!("! touch {reader}/file 2>/dev/null"));
        for folder in [&writer, &reader] {
            stage.succeeds(&["unmount", folder]);
        }
        stage.succeeds(&["unmountdevice", &all]);
        // Where the logical volume itself can't be written to, nobody can.
        stage.shell(&format!("lvchange -qq -pr {}", volume.path()));
        stage.succeeds(&["mountdevice", &all, "", &reading]);
        stage.succeeds(&["mount", &reader, &reading]);
        stage.fails(
            &["mount", &writer, &volume.json("rw")],
            &["read-only for all pods", "requests a writable mount"],
        );
        assert_eq!(stage.mounts(&writer), 0);
        stage.succeeds(&["unmount", &reader]);
        stage.succeeds(&["unmountdevice", &all]);
    }
}

pub(crate) fn two_volumes_of_one_name_are_kept_apart(stage: &Stage) {
    let _attaching = stage.attaching();
    let (one, other) = (stage.used_volume("ext4"), stage.used_volume("ext4"));
    let name = one.options.volume.as_str();
    let theirs = other.json_with("rw", &[("kubernetes.io/pvOrVolumeName", Some(name))]);
    let (all, pod) = (stage.folder_for_all(&one), stage.folder("namesake", &one));
    stage.succeeds(&["waitforattach", "", &one.json("rw")]);
    stage.succeeds(&["mountdevice", &all, "", &one.json("rw")]);
    stage.fails(
        &["waitforattach", "", &theirs],
        &["same name", "rename the pod's volume"],
    );
    assert!(!stage.is_active(&other), "refused before anything was done");
    stage.succeeds(&[
        "mountdevice",
        &stage.folder_for_all(&other),
        "",
        &other.json("rw"),
    ]);
    stage.fails(
        &["mountdevice", &all, "", &theirs],
        &["something else is mounted"],
    );
    stage.fails(
        &["mount", &pod, &theirs],
        &["same name", "rename the pod's volume"],
    );
    assert_eq!((stage.mounts(&all), stage.mounts(&pod)), (1, 0));
    stage.succeeds(&["unmountdevice", &stage.folder_for_all(&other)]);
    stage.succeeds(&["unmountdevice", &all]);
    // Left attached by somebody who is gone, and not mounted: the next may have the name.
    stage.succeeds(&["waitforattach", "", &theirs]);
    stage.succeeds(&["detach", name, NODE]);
    assert!(!stage.is_active(&other));
    // One volume with two names goes with the last of them.
    let second = one.json_with("rw", &[("kubernetes.io/pvOrVolumeName", Some("second"))]);
    stage.succeeds(&["waitforattach", "", &one.json("rw")]);
    stage.succeeds(&["waitforattach", "", &second]);
    stage.succeeds(&["detach", name, NODE]);
    assert!(stage.is_active(&one));
    stage.succeeds(&["detach", "second", NODE]);
    assert!(!stage.is_active(&one));
}

pub(crate) fn no_other_device_is_taken_for_the_volumes(stage: &Stage) {
    let _attaching = stage.attaching();
    let (volume, other) = (stage.used_volume("ext4"), stage.fresh_volume("ext4", 64));
    let (json, all, pod) = (
        volume.json("rw"),
        stage.folder_for_all(&volume),
        stage.folder("device", &volume),
    );
    stage.shell(&format!(
        "mkfifo /dev/fifo; ln -s {} /dev/link",
        other.mapper()
    ));
    let kernels = kernels_name(stage, &other);
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
            stage.fails(
                line,
                &[
                    "is not the device of logical volume",
                    volume.options.volume.as_str(),
                ],
            );
        }
    }
    stage.shell("rm /dev/fifo /dev/link");
    assert!(!stage.is_active(&volume));
    assert_eq!(
        (
            stage.mounts(&all),
            stage.mounts(&pod),
            &*stage.mark(&other, "read")
        ),
        (0, 0, "fresh")
    );
    // Its own, by the name that never changes, before it is there; and by any, afterwards.
    let names: [fn(&Stage, &Volume) -> String; 4] = [
        |_, volume| volume.mapper(),
        |_, volume| volume.device(),
        kernels_name,
        |_, _| String::new(),
    ];
    for of_volume in names {
        stage.succeeds(&["waitforattach", &volume.mapper(), &json]);
        let device = of_volume(stage, &volume);
        stage.succeeds(&["waitforattach", &device, &json]);
        // The way of old kubelets, which know of no folder for all pods.
        stage.succeeds(&["mount", &pod, &device, &json]);
        stage.shell(&format!("grep -q hello {pod}/file"));
        stage.succeeds(&["unmount", &pod]);
        stage.succeeds(&["mountdevice", &all, &device, &json]);
        stage.succeeds(&["unmountdevice", &all]);
    }
    stage.succeeds(&["detach", volume.options.volume.as_str(), NODE]);
}

fn kernels_name(stage: &Stage, volume: &Volume) -> String {
    stage.shell(&format!("readlink -f {}", volume.mapper()))
}

pub(crate) fn what_is_forgotten_or_used_stays_active(stage: &Stage) {
    let _attaching = stage.attaching();
    let volume = stage.used_volume("ext4");
    let (json, name, all) = (
        volume.json("rw"),
        volume.options.volume.as_str(),
        stage.folder_for_all(&volume),
    );
    let pod = stage.folder("emptied", &volume);
    stage.succeeds(&["attach", &json, NODE]);
    stage.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
    stage.shell("rm -r /run/flexlvm");
    stage.succeeds(&["mount", &pod, &json]);
    stage.succeeds(&["unmount", &pod]);
    stage.succeeds(&["unmountdevice", &all]);
    stage.succeeds(&["detach", name, NODE]);
    assert!(
        stage.is_active(&volume),
        "nobody remembers that it was attached"
    );
    // Open, and not mounted.
    stage.succeeds(&["attach", &json, NODE]);
    stage.shell(&format!(
        "exec 3<{}; sleep 1000 3<&3 >/dev/null 2>&1 & echo $! >/run/user.pid",
        volume.mapper()
    ));
    stage.succeeds(&["detach", name, NODE]);
    assert!(stage.is_active(&volume));
    stage.shell("kill $(cat /run/user.pid); while kill -0 $(cat /run/user.pid) 2>/dev/null; do sleep 0.1; done");
    stage.succeeds(&["detach", name, NODE]);
    assert!(!stage.is_active(&volume));
    // Deactivated by somebody else.
    stage.succeeds(&["attach", &json, NODE]);
    stage.deactivate(&volume);
    stage.succeeds(&["detach", name, NODE]);
    // Its name is another's by now.
    stage.succeeds(&["attach", &json, NODE]);
    let path = volume.path();
    stage.shell(&format!(
        "lvrename -qq {path} {path}-old && lvcreate -qq -y -Wy -Zy -n {name} -L 64M vg-0"
    ));
    stage.succeeds(&["detach", name, NODE]);
    assert!(stage.is_active(&volume));
    stage.fails(
        &["attach", &json, NODE],
        &["is another one than the volume's"],
    );
    stage.shell(&format!(
        "lvremove -qq -y {path} && lvrename -qq {path}-old {path}"
    ));
    // Removed.
    stage.succeeds(&["attach", &json, NODE]);
    stage.shell(&format!("lvremove -qq -y {}", volume.path()));
    stage.succeeds(&["detach", name, NODE]);
    stage.fails(
        &["attach", &json, NODE],
        &["has no logical volume of this name"],
    );
    assert_eq!(remembered(stage), "");
}

pub(crate) fn a_failed_attachment_leaves_nothing_behind(stage: &Stage) {
    let _attaching = stage.attaching();
    let volume = stage.used_volume("ext4");
    let (json, name, all) = (
        volume.json("rw"),
        volume.options.volume.as_str(),
        stage.folder_for_all(&volume),
    );
    let forgotten = || assert_eq!(remembered(stage), "");
    for lie in ["exit 5", "exit 0", "kill -9 $$", "echo garbage"] {
        stage.replace("lvm", lie);
        let replies = [
            stage.call(&["attach", &json, NODE]),
            stage.call(&["waitforattach", "", &json]),
        ];
        stage.undo("lvm");
        assert!(
            replies.iter().all(|reply| reply["status"] == "Failure"),
            "lvm: {lie}: {replies:?}"
        );
        assert!(!stage.is_active(&volume));
        forgotten();
    }
    // It can't be remembered.
    stage.shell("rm -rf /run/flexlvm/attached; touch /run/flexlvm/attached");
    stage.fails(&["attach", &json, NODE], &["/run/flexlvm/attached"]);
    assert!(!stage.is_active(&volume));
    stage.shell("rm /run/flexlvm/attached");
    stage.succeeds(&["attach", &json, NODE]);
    for lie in ["exit 5", "exit 0", "kill -9 $$"] {
        stage.replace("lvm", lie);
        let reply = stage.call(&["detach", name, NODE]);
        stage.undo("lvm");
        assert_eq!(reply["status"], "Failure", "lvm: {lie}");
        assert!(stage.is_active(&volume));
    }
    // A file system that the kernel refuses.
    stage.poke(&volume, r"\377\377\377\377\377\377", 1024 + 0x54);
    stage.fails(&["mountdevice", &all, "", &json], &["damaged"]);
    assert_eq!(stage.mounts(&all), 0);
    let lock = format!("/run/flexlvm/{}.lock", volume.options.uuid);
    stage.shell(&format!("flock -n {lock} true"));
    stage.succeeds(&["detach", name, NODE]);
    assert!(!stage.is_active(&volume));
    forgotten();
}

pub(crate) fn attached_volumes_grow(stage: &Stage) {
    const MIB: u64 = 1 << 20;
    let _attaching = stage.attaching();
    for fs in FILESYSTEMS {
        let volume = stage.fresh_volume(fs, 512);
        let (json, all, pod) = (
            volume.json("rw"),
            stage.folder_for_all(&volume),
            stage.folder("growing", &volume),
        );
        stage.succeeds(&["mountdevice", &all, "", &json]);
        stage.succeeds(&["mount", &pod, &json]);
        let (old, wanted) = ((512 * MIB).to_string(), (768 * MIB).to_string());
        let words = [
            "has 536870912 bytes, but 805306368 bytes were requested",
            "not extended it yet",
        ];
        stage.fails(&["expandvolume", &json, &all, &wanted, &old], &words);
        stage.fails(&["expandfs", &json, "", &pod, &wanted, &old], &words);
        stage.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        stage.succeeds(&["expandvolume", &json, &all, &wanted, &old]);
        // By the folder for all pods, as 1.20 does it, and by a pod's.
        for folder in [&all, &pod] {
            stage.succeeds(&["expandfs", &json, &volume.mapper(), folder, &wanted, &old]);
            let size: u64 = stage
                .shell(&format!("df --output=size -m {folder} | tail -1"))
                .trim()
                .parse()
                .unwrap();
            assert!(size > 650, "{fs}: {size}");
        }
        stage.succeeds(&["unmount", &pod]);
        stage.succeeds(&["unmountdevice", &all]);
        stage.shell(&format!("lvextend -qq -L 1G {}", volume.path()));
        stage.succeeds(&["mountdevice", &all, "", &json]);
        let size: u64 = stage
            .shell(&format!("df --output=size -m {all} | tail -1"))
            .trim()
            .parse()
            .unwrap();
        assert!(size > 850, "{fs}: {size}");
        stage.succeeds(&["unmountdevice", &all]);
    }
}
