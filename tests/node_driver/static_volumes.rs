//! Static volumes, which an admin created and tagged, and unusable volume groups.

use crate::fixture::{Fixture, KEPT, Volume};
use crate::{FILESYSTEMS, smallest};

const STATIC: &str = "flexlvm.dev/static";
const FORMAT: &str = "flexlvm.dev/format";
const MARKED: &str = "flexlvm.dev/marked-at-size=";

/// Options as in the Kubernetes LVM example: no uuid, and a human-readable size.
fn example(volume: &Volume, readwrite: &str) -> String {
    volume.json_with(readwrite, &[("uuid", None), ("size", Some("1000m"))])
}

fn tag(fixture: &Fixture, volume: &Volume, tags: &[&str]) {
    for tag in tags {
        fixture.shell(&format!("lvchange -qq --addtag {tag} {}", volume.path()));
    }
}

/// Returns the admin's tags, without the driver's own.
fn tags(fixture: &Fixture, volume: &Volume) -> String {
    let all = fixture.shell(&format!("lvs --noheadings -o lv_tags {}", volume.path()));
    let of_admins = all.trim().split(',').filter(|tag| !tag.starts_with(MARKED));
    of_admins.collect::<Vec<_>>().join(",")
}

fn make(fixture: &Fixture, volume: &Volume) {
    let force = if volume.fs == "ext4" { "-F" } else { "-f" };
    fixture.shell(&format!(
        "mkfs.{} -q {force} {}",
        volume.fs,
        volume.device()
    ));
}

pub(crate) fn example_of_kubernetes_works(fixture: &Fixture) {
    let fs = "ext4";
    let volume = fixture.untagged_volume(fs, smallest(fs));
    tag(fixture, &volume, &[STATIC, FORMAT]);
    fixture.deactivate(&volume);
    let folder = fixture.folder("example", &volume);
    fixture.fails(
        &["mount", &folder, &example(&volume, "ro")],
        &["mount it writable once"],
    );
    assert_eq!(tags(fixture, &volume), format!("{FORMAT},{STATIC}"));
    for content in ["", "hello"] {
        for _ in 0..2 {
            fixture.succeeds(&["mount", &folder, &example(&volume, "rw")]);
            assert_eq!(fixture.mounts(&folder), 1);
        }
        assert_eq!(
            fixture.shell(&format!("cat {folder}/file 2>/dev/null || true")),
            content
        );
        fixture.shell(&format!("echo hello >{folder}/file"));
        fixture.succeeds(&["unmount", &folder]);
    }
    assert_eq!(
        (&*tags(fixture, &volume), &*fixture.mark(&volume, "read")),
        (STATIC, "none")
    );
    fixture.succeeds(&["mount", &folder, &example(&volume, "ro")]);
    fixture.shell(&format!("! touch {folder}/file 2>/dev/null"));
    let json = example(&volume, "rw");
    fixture.fails(
        &["expandfs", &json, "", &folder, "99999999999", "1"],
        &["lvextend --size 99999999999b vg-0/"],
    );
    fixture.succeeds(&["unmount", &folder]);
    // The same in attach mode.
    let _attaching = fixture.attaching();
    let all = fixture.folder_for_all(&volume);
    fixture.succeeds(&["attach", &json, crate::fixture::NODE]);
    fixture.succeeds(&["waitforattach", &volume.mapper(), &json]);
    assert_eq!(
        fixture.call(&["isattached", &json, crate::fixture::NODE])["attached"],
        true
    );
    fixture.succeeds(&["mountdevice", &all, &volume.mapper(), &json]);
    fixture.succeeds(&["mount", &folder, &json]);
    assert_eq!(fixture.shell(&format!("cat {folder}/file")), "hello");
    fixture.succeeds(&["unmount", &folder]);
    fixture.succeeds(&["unmountdevice", &all]);
    fixture.succeeds(&[
        "detach",
        volume.options.volume.as_str(),
        crate::fixture::NODE,
    ]);
    assert!(!fixture.is_active(&volume));
}

/// Checks that each call-out fails with this phrase.
fn check_rejected(fixture: &Fixture, volume: &Volume, phrase: &str) {
    let json = example(volume, "rw");
    let folder = fixture.folder("untagged", volume);
    let all = fixture.folder_for_all(volume);
    fixture.fails(&["mount", &folder, &json], &[phrase]);
    fixture.fails(&["mountdevice", &all, "", &json], &[phrase]);
    fixture.fails(&["waitforattach", "", &json], &[phrase]);
    fixture.fails(&["expandfs", &json, "", &folder, "1", "1"], &[phrase]);
}

pub(crate) fn volume_without_tag_is_rejected(fixture: &Fixture) {
    let volume = fixture.untagged_volume("ext4", 64);
    make(fixture, &volume);
    let before = fixture.checksum(&volume);
    let folder = fixture.folder("untagged", &volume);
    let all = fixture.folder_for_all(&volume);
    // Under any volume name in the pod: a claim's volume has the same name as its PersistentVolume.
    let json = example(&volume, "rw");
    let allow = format!("lvchange --addtag {STATIC} {}", volume.path());
    check_rejected(fixture, &volume, &allow);
    tag(fixture, &volume, &[FORMAT]);
    check_rejected(fixture, &volume, &allow);
    tag(fixture, &volume, &[STATIC, "flexlvm.dev/claim-uid=1"]);
    check_rejected(fixture, &volume, "belongs to a claim");
    // Not even while the owner has it mounted, where pods get bind mounts.
    let _attaching = fixture.attaching();
    fixture.shell(&format!(
        "lvchange -qq --addtag {} {}",
        volume.options.key.digest().tag(),
        volume.path()
    ));
    fixture.succeeds(&["mountdevice", &all, "", &volume.json("ro")]);
    fixture.fails(&["mount", &folder, &json], &["belongs to a claim"]);
    fixture.succeeds(&["unmountdevice", &all]);
    assert_eq!((fixture.mounts(&folder), fixture.mounts(&all)), (0, 0));
    fixture.shell(&format!(
        "lvchange -qq --deltag flexlvm.dev/claim-uid=1 --deltag {STATIC} {}",
        volume.path()
    ));
    assert_ne!(before, "");
}

pub(crate) fn interrupted_first_mount_is_continued(fixture: &Fixture) {
    let volume = fixture.untagged_volume("ext4", 64);
    tag(fixture, &volume, &[STATIC, FORMAT]);
    let folder = fixture.folder("cut-short", &volume);
    let json = example(&volume, "rw");
    // LVM fails to remove the tag, or falsely reports success: no file system while the tag exists.
    for (fault, phrase) in [
        ("exit 5", "--deltag"),
        ("exit 0", "still has the tag"),
        ("kill -9 $$", "--deltag"),
    ] {
        fixture.replace(
            "lvm",
            &format!("case \"$*\" in *--deltag*) {fault};; esac; exec {KEPT}/lvm \"$@\""),
        );
        fixture.fails(&["mount", &folder, &json], &[phrase]);
        fixture.undo("lvm");
        assert_eq!(
            (&*fixture.mark(&volume, "read"), fixture.mounts(&folder)),
            ("unformatted", 0)
        );
        assert!(tags(fixture, &volume).contains(FORMAT));
    }
    fixture.replace("mkfs.ext4", "exit 1");
    fixture.fails(&["mount", &folder, &json], &["mkfs.ext4"]);
    fixture.undo("mkfs.ext4");
    assert_eq!(
        (&*tags(fixture, &volume), &*fixture.mark(&volume, "read")),
        (STATIC, "formatting")
    );
    // It grows before the next call: the marker stays where it was written.
    fixture.shell(&format!("lvextend -qq -L 128M {}", volume.path()));
    fixture.succeeds(&["mount", &folder, &json]);
    fixture.shell(&format!(
        "test $(df --output=size -m {folder} | tail -1) -gt 100; echo hello >{folder}/file"
    ));
    fixture.succeeds(&["unmount", &folder]);
    assert_eq!(fixture.mark(&volume, "read"), "none");
    // Several first mounts at once.
    let volume = fixture.untagged_volume("ext4", 64);
    tag(fixture, &volume, &[STATIC, FORMAT]);
    let folders: Vec<String> = (0..4)
        .map(|pod| fixture.folder(&format!("example-{pod}"), &volume))
        .collect();
    let driver = fixture.driver();
    let json = example(&volume, "rw");
    fixture.all_succeed_at_once(
        folders
            .iter()
            .map(|folder| format!("{driver} mount {folder} {json:?}")),
    );
    fixture.shell(&format!("echo shared >{}/file", folders[0]));
    for folder in &folders {
        fixture.shell(&format!("grep -q shared {folder}/file"));
        fixture.succeeds(&["unmount", folder]);
    }
}

pub(crate) fn file_system_of_admin_is_kept(fixture: &Fixture) {
    for fs in FILESYSTEMS {
        let volume = fixture.untagged_volume(fs, smallest(fs));
        let folder = fixture.folder("made", &volume);
        let json = example(&volume, "rw");
        tag(fixture, &volume, &[STATIC]);
        // Blank, and without a tag that permits formatting.
        fixture.fails(&["mount", &folder, &json], &["no format marker"]);
        make(fixture, &volume);
        fixture.shell(&format!(
            "mount {} {folder}; echo hello >{folder}/file; umount {folder}",
            volume.device()
        ));
        // A stale format tag changes nothing, and is removed.
        tag(fixture, &volume, &[FORMAT]);
        fixture.succeeds(&["mount", &folder, &json]);
        assert_eq!(fixture.shell(&format!("cat {folder}/file")), "hello");
        assert_eq!(tags(fixture, &volume), STATIC);
        fixture.succeeds(&["unmount", &folder]);
    }
    let volume = fixture.untagged_volume("ext4", 64);
    fixture.shell(&format!("mkswap {} 2>&1", volume.device()));
    tag(fixture, &volume, &[STATIC, FORMAT]);
    let before = fixture.checksum(&volume);
    let folder = fixture.folder("swap", &volume);
    fixture.fails(
        &["mount", &folder, &example(&volume, "rw")],
        &["it carries swap"],
    );
    assert_eq!(
        (fixture.mounts(&folder), fixture.checksum(&volume)),
        (0, before)
    );
}

/// Returns the options of a volume, changed to name vg-1/data, by name alone without a uuid; the last
/// changes win.
fn options_of_data(
    volume: &Volume,
    uuid: Option<&str>,
    changes: &[(&str, Option<&str>)],
) -> String {
    let data = [
        ("volumegroup", Some("vg-1")),
        ("volumeID", Some("data")),
        ("uuid", uuid),
    ];
    volume.json_with("rw", &[&data[..], changes].concat())
}

pub(crate) fn unusable_volume_group_is_reported_with_cause(fixture: &Fixture) {
    fixture.shell(
        "vgcreate -qq vg-1 /dev/ubdc /dev/ubdd && lvcreate -qq -y -Wy -Zy -n data -L 80M vg-1",
    );
    fixture.shell("lvchange -qq -an vg-1/data");
    let uuid = fixture
        .shell("lvs --noheadings -o lv_uuid vg-1/data")
        .trim()
        .to_owned();
    let volume = fixture.untagged_volume("ext4", 64);
    // The driver shows where a volume is only to a call with its key.
    let tag = volume.options.key.digest().tag();
    fixture.shell(&format!("lvchange -qq --addtag {tag} vg-1/data"));
    let folder = fixture.folder("cause", &volume);
    let other_uuid = "ABCDEF-1234-5678-90ab-cdef-ghij-klmnop";
    for (option, value, phrases) in [
        ("volumegroup", "vg-9", &["it was renamed to vg-1/data"][..]),
        (
            "volumeID",
            "old",
            &["it was renamed to vg-1/data", "lvrename"],
        ),
        ("uuid", other_uuid, &["is a different one"]),
    ] {
        let json = options_of_data(&volume, Some(&uuid), &[(option, Some(value))]);
        fixture.fails(&["mount", &folder, &json], phrases);
    }
    let nowhere = options_of_data(&volume, Some(other_uuid), &[("volumegroup", Some("vg-9"))]);
    fixture.fails(
        &["mount", &folder, &nowhere],
        &["there is no volume group vg-9"],
    );
    let by_uuid = options_of_data(&volume, Some(&uuid), &[]);
    let by_name = options_of_data(&volume, None, &[]);
    fixture.shell("vgexport -qq vg-1");
    for json in [&by_uuid, &by_name] {
        fixture.fails(
            &["mount", &folder, json],
            &["vg-1: it is exported; vgimport"],
        );
    }
    fixture.shell("vgimport -qq vg-1; vgchange -qq -y --systemid elsewhere vg-1");
    for json in [&by_uuid, &by_name] {
        fixture.fails(
            &["mount", &folder, json],
            &["vg-1: it belongs to another host", "elsewhere", "vgexport"],
        );
    }
    let as_owner = "global/system_id_source=\"lvmlocal\" local/system_id=\"elsewhere\"";
    fixture.shell(&format!(
        "vgchange -qq -y --config '{as_owner}' --systemid '' vg-1"
    ));
    // A disk is missing.
    fixture.shell("dd if=/dev/ubdd of=/run/disk bs=1M count=1 2>&1; dd if=/dev/zero of=/dev/ubdd bs=1M count=1 2>&1");
    fixture.fails(
        &["mount", &folder, &by_uuid],
        &["vg-1: 1 of its disks are missing"],
    );
    fixture.shell("dd if=/run/disk of=/dev/ubdd bs=1M 2>&1; rm /run/disk; vgremove -qq -y vg-1");
    assert_eq!(fixture.mounts(&folder), 0);
}
