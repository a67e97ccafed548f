//! Volumes that an admin made and tagged, and volume groups that can't be used.

use crate::stage::{KEPT, Stage, Volume};
use crate::{FILESYSTEMS, smallest};

const STATIC: &str = "flexlvm.dev/static";
const FORMAT: &str = "flexlvm.dev/format";
const MARKED: &str = "flexlvm.dev/marked-at-size=";

/// As the Kubernetes LVM example has it: no uuid, and a size for people.
fn example(volume: &Volume, readwrite: &str) -> String {
    volume.json_with(readwrite, &[("uuid", None), ("size", Some("1000m"))])
}

fn tag(stage: &Stage, volume: &Volume, tags: &[&str]) {
    for tag in tags {
        stage.shell(&format!("lvchange -qq --addtag {tag} {}", volume.path()));
    }
}

/// Those that an admin gave it, and not the driver's own.
fn tags(stage: &Stage, volume: &Volume) -> String {
    let all = stage.shell(&format!("lvs --noheadings -o lv_tags {}", volume.path()));
    let of_admins = all.trim().split(',').filter(|tag| !tag.starts_with(MARKED));
    of_admins.collect::<Vec<_>>().join(",")
}

fn make(stage: &Stage, volume: &Volume) {
    let force = if volume.fs == "ext4" { "-F" } else { "-f" };
    stage.shell(&format!(
        "mkfs.{} -q {force} {}",
        volume.fs,
        volume.device()
    ));
}

pub(crate) fn the_example_of_kubernetes_works(stage: &Stage) {
    let fs = "ext4";
    let volume = stage.untagged_volume(fs, smallest(fs));
    tag(stage, &volume, &[STATIC, FORMAT]);
    stage.deactivate(&volume);
    let folder = stage.folder("example", &volume);
    stage.fails(
        &["mount", &folder, &example(&volume, "ro")],
        &["mount it writable once"],
    );
    assert_eq!(tags(stage, &volume), format!("{FORMAT},{STATIC}"));
    for content in ["", "hello"] {
        for _ in 0..2 {
            stage.succeeds(&["mount", &folder, &example(&volume, "rw")]);
            assert_eq!(stage.mounts(&folder), 1);
        }
        assert_eq!(
            stage.shell(&format!("cat {folder}/file 2>/dev/null || true")),
            content
        );
        stage.shell(&format!("echo hello >{folder}/file"));
        stage.succeeds(&["unmount", &folder]);
    }
    assert_eq!(
        (&*tags(stage, &volume), &*stage.mark(&volume, "read")),
        (STATIC, "none")
    );
    stage.succeeds(&["mount", &folder, &example(&volume, "ro")]);
    stage.shell(&format!("! touch {folder}/file 2>/dev/null"));
    let json = example(&volume, "rw");
    stage.fails(
        &["expandfs", &json, "", &folder, "99999999999", "1"],
        &["lvextend --size 99999999999b vg-0/"],
    );
    stage.succeeds(&["unmount", &folder]);
    // The same where volumes are attached.
    let _attaching = stage.attaching();
    let all = stage.folder_for_all(&volume);
    stage.succeeds(&["attach", &json, crate::stage::NODE]);
    stage.succeeds(&["waitforattach", &volume.mapper(), &json]);
    assert_eq!(
        stage.call(&["isattached", &json, crate::stage::NODE])["attached"],
        true
    );
    stage.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
    stage.succeeds(&["mount", &folder, &json]);
    assert_eq!(stage.shell(&format!("cat {folder}/file")), "hello");
    stage.succeeds(&["unmount", &folder]);
    stage.succeeds(&["unmountdevice", &all]);
    stage.succeeds(&["detach", volume.options.volume.as_str(), crate::stage::NODE]);
    assert!(!stage.is_active(&volume));
}

pub(crate) fn a_volume_without_a_tag_is_refused(stage: &Stage) {
    let volume = stage.untagged_volume("ext4", 64);
    make(stage, &volume);
    let before = stage.checksum(&volume);
    let (folder, all) = (
        stage.folder("untagged", &volume),
        stage.folder_for_all(&volume),
    );
    // Whatever the pod's volume is called: a claim's volume has the very name of its
    // PersistentVolume.
    let json = example(&volume, "rw");
    let refused = |word: &str| {
        stage.fails(&["mount", &folder, &json], &[word]);
        stage.fails(&["mountdevice", &all, "", &json], &[word]);
        stage.fails(&["waitforattach", "", &json], &[word]);
        stage.fails(&["expandfs", &json, "", &folder, "1", "1"], &[word]);
    };
    let allow = format!("lvchange --addtag {STATIC} {}", volume.path());
    refused(&allow);
    tag(stage, &volume, &[FORMAT]);
    refused(&allow);
    tag(stage, &volume, &[STATIC, "flexlvm.dev/claim-uid=1"]);
    refused("belongs to a claim");
    // Not even while its owner has it mounted, where pods get bind mounts.
    let _attaching = stage.attaching();
    stage.shell(&format!(
        "lvchange -qq --addtag {} {}",
        volume.options.key.digest().tag(),
        volume.path()
    ));
    stage.succeeds(&["mountdevice", &all, "", &volume.json("ro")]);
    stage.fails(&["mount", &folder, &json], &["belongs to a claim"]);
    stage.succeeds(&["unmountdevice", &all]);
    assert_eq!((stage.mounts(&folder), stage.mounts(&all)), (0, 0));
    stage.shell(&format!(
        "lvchange -qq --deltag flexlvm.dev/claim-uid=1 --deltag {STATIC} {}",
        volume.path()
    ));
    assert_ne!(before, "");
}

pub(crate) fn a_first_mount_cut_short_is_carried_on(stage: &Stage) {
    let volume = stage.untagged_volume("ext4", 64);
    tag(stage, &volume, &[STATIC, FORMAT]);
    let (folder, json) = (stage.folder("cut-short", &volume), example(&volume, "rw"));
    let unless = |words: &str, else_do: &str| {
        format!("case \"$*\" in *{words}*) {else_do};; esac; exec {KEPT}/lvm \"$@\"")
    };
    // LVM fails to take the tag off, or says that it did: no file system as long as it is there.
    for (lie, words) in [
        ("exit 5", "--deltag"),
        ("exit 0", "did not take the tag"),
        ("kill -9 $$", "--deltag"),
    ] {
        stage.replace("lvm", &unless("--deltag", lie));
        stage.fails(&["mount", &folder, &json], &[words]);
        stage.undo("lvm");
        assert_eq!(
            (&*stage.mark(&volume, "read"), stage.mounts(&folder)),
            ("fresh", 0)
        );
        assert!(tags(stage, &volume).contains(FORMAT));
    }
    stage.replace("mkfs.ext4", "exit 1");
    stage.fails(&["mount", &folder, &json], &["mkfs.ext4"]);
    stage.undo("mkfs.ext4");
    assert_eq!(
        (&*tags(stage, &volume), &*stage.mark(&volume, "read")),
        (STATIC, "formatting")
    );
    // It grows before the next call: its mark is where it was written.
    stage.shell(&format!("lvextend -qq -L 128M {}", volume.path()));
    stage.succeeds(&["mount", &folder, &json]);
    stage.shell(&format!(
        "test $(df --output=size -m {folder} | tail -1) -gt 100; echo hello >{folder}/file"
    ));
    stage.succeeds(&["unmount", &folder]);
    assert_eq!(stage.mark(&volume, "read"), "none");
    // Many at once, for the first time.
    let volume = stage.untagged_volume("ext4", 64);
    tag(stage, &volume, &[STATIC, FORMAT]);
    let folders: Vec<String> = (0..4)
        .map(|pod| stage.folder(&format!("example-{pod}"), &volume))
        .collect();
    let (driver, json) = (stage.driver(), example(&volume, "rw"));
    let calls: Vec<String> = folders
        .iter()
        .map(|folder| format!("{driver} mount {folder} {json:?}"))
        .collect();
    let replies = stage.shell(&format!("({} & wait)", calls.join(" & ")));
    assert_eq!(
        replies.matches(r#"{"status":"Success"}"#).count(),
        folders.len(),
        "{replies}"
    );
    stage.shell(&format!("echo shared >{}/file", folders[0]));
    for folder in &folders {
        stage.shell(&format!("grep -q shared {folder}/file"));
        stage.succeeds(&["unmount", folder]);
    }
}

pub(crate) fn what_an_admin_made_is_kept(stage: &Stage) {
    for fs in FILESYSTEMS {
        let volume = stage.untagged_volume(fs, smallest(fs));
        let (folder, json) = (stage.folder("made", &volume), example(&volume, "rw"));
        tag(stage, &volume, &[STATIC]);
        // Blank, and nobody said that it is to be formatted.
        stage.fails(&["mount", &folder, &json], &["no format marker"]);
        make(stage, &volume);
        stage.shell(&format!(
            "mount {} {folder}; echo hello >{folder}/file; umount {folder}",
            volume.device()
        ));
        // A tag that was meant for another moment changes nothing, and goes.
        tag(stage, &volume, &[FORMAT]);
        stage.succeeds(&["mount", &folder, &json]);
        assert_eq!(stage.shell(&format!("cat {folder}/file")), "hello");
        assert_eq!(tags(stage, &volume), STATIC);
        stage.succeeds(&["unmount", &folder]);
    }
    let volume = stage.untagged_volume("ext4", 64);
    stage.shell(&format!("mkswap {} 2>&1", volume.device()));
    tag(stage, &volume, &[STATIC, FORMAT]);
    let before = stage.checksum(&volume);
    let folder = stage.folder("swap", &volume);
    stage.fails(
        &["mount", &folder, &example(&volume, "rw")],
        &["it carries swap"],
    );
    assert_eq!(
        (stage.mounts(&folder), stage.checksum(&volume)),
        (0, before)
    );
}

pub(crate) fn a_group_that_can_not_be_used_says_why(stage: &Stage) {
    stage.shell(
        "vgcreate -qq vg-1 /dev/ubdc /dev/ubdd && lvcreate -qq -y -Wy -Zy -n data -L 80M vg-1",
    );
    stage.shell("lvchange -qq -an vg-1/data");
    let uuid = stage
        .shell("lvs --noheadings -o lv_uuid vg-1/data")
        .trim()
        .to_owned();
    let volume = stage.untagged_volume("ext4", 64);
    let folder = stage.folder("cause", &volume);
    let other = |key: &str, value: &str| {
        let group = [
            ("volumegroup", Some("vg-1")),
            ("volumeID", Some("data")),
            ("uuid", Some(&*uuid)),
        ];
        let changed = group.map(|(name, old)| {
            if name == key {
                (name, Some(value))
            } else {
                (name, old)
            }
        });
        volume.json_with("rw", &changed)
    };
    let fails = |key: &str, value: &str, words: &[&str]| {
        stage.fails(&["mount", &folder, &other(key, value)], words);
        let by_name = volume.json_with(
            "rw",
            &[
                ("volumegroup", Some("vg-1")),
                ("volumeID", Some("data")),
                ("uuid", None),
            ],
        );
        if key.is_empty() {
            stage.fails(&["mount", &folder, &by_name], words);
        }
    };
    fails("volumegroup", "vg-9", &["it was renamed to vg-1/data"]);
    fails(
        "volumeID",
        "old",
        &["it was renamed to vg-1/data", "lvrename"],
    );
    fails(
        "uuid",
        "ABCDEF-1234-5678-90ab-cdef-ghij-klmnop",
        &["is a different one"],
    );
    let nowhere =
        other("volumegroup", "vg-9").replace(&uuid, "ABCDEF-1234-5678-90ab-cdef-ghij-klmnop");
    stage.fails(
        &["mount", &folder, &nowhere],
        &["there is no volume group vg-9"],
    );
    stage.shell("vgexport -qq vg-1");
    fails("", "", &["vg-1: it is exported; vgimport"]);
    stage.shell("vgimport -qq vg-1; vgchange -qq -y --systemid elsewhere vg-1");
    fails(
        "",
        "",
        &["vg-1: it belongs to another host", "elsewhere", "vgexport"],
    );
    let as_owner = "global/system_id_source=\"lvmlocal\" local/system_id=\"elsewhere\"";
    stage.shell(&format!(
        "vgchange -qq -y --config '{as_owner}' --systemid '' vg-1"
    ));
    // A disk is gone.
    stage.shell("dd if=/dev/ubdd of=/run/disk bs=1M count=1 2>&1; dd if=/dev/zero of=/dev/ubdd bs=1M count=1 2>&1");
    stage.fails(
        &["mount", &folder, &other("", "")],
        &["vg-1: 1 of its disks are missing"],
    );
    stage.shell("dd if=/run/disk of=/dev/ubdd bs=1M 2>&1; rm /run/disk; vgremove -qq -y vg-1");
    assert_eq!(stage.mounts(&folder), 0);
}
