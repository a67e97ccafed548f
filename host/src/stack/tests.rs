//! Stacks on a fake `/sys`, and mount tables as text.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{DeviceStack, down_to_volume};
use crate::block::dev_num::DevNum;
use crate::block::lv_device::Roots;
use crate::mount::mountinfo::{self, Mount};

const SDA: DevNum = DevNum::new(8, 0);
const SDA1: DevNum = DevNum::new(8, 1);
const MD0: DevNum = DevNum::new(9, 0);
const LV: DevNum = DevNum::new(253, 3);
const CRYPT: DevNum = DevNum::new(253, 4);
const INNER: DevNum = DevNum::new(253, 5);

const LVM_UUID: &str = "LVM-0123456789abcdef0123456789abcdefABCDEF1234567890abcdefghijklmnop\n";
const CRYPT_UUID: &str = "CRYPT-LUKS2-0123456789abcdef0123456789abcdef-data\n";

/// A node's `/sys`, without a `/dev`.
struct FakeNode {
    folder: tempfile::TempDir,
}

impl FakeNode {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn roots(&self) -> Roots {
        Roots {
            dev: self.folder.path().join("dev"),
            sys: self.folder.path().to_owned(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("devices").join(name)
    }

    /// Adds a device; `name` is its path, such as `sda/sda1` for a partition.
    fn add(&self, name: &str, number: DevNum) {
        let path = self.path(name);
        fs::create_dir_all(path.join("holders")).unwrap();
        fs::create_dir_all(path.join("slaves")).unwrap();
        fs::write(path.join("dev"), format!("{number}\n")).unwrap();
        let links = self.folder.path().join("dev/block");
        fs::create_dir_all(&links).unwrap();
        symlink(path, links.join(number.to_string())).unwrap();
    }

    fn add_dm(&self, name: &str, number: DevNum, uuid: &str) {
        self.add(name, number);
        fs::create_dir(self.path(name).join("dm")).unwrap();
        fs::write(self.path(name).join("dm/uuid"), uuid).unwrap();
    }

    /// Builds one device on another.
    fn build(&self, above: &str, below: &str) {
        let names = [above, below].map(|name| Path::new(name).file_name().unwrap());
        let holder = self.path(below).join("holders").join(names[0]);
        symlink(self.path(above), holder).unwrap();
        let slave = self.path(above).join("slaves").join(names[1]);
        symlink(self.path(below), slave).unwrap();
    }

    fn above(&self, number: DevNum) -> DeviceStack {
        DeviceStack::above(self.folder.path(), number).unwrap()
    }

    fn mount_points(&self, number: DevNum, mounts: &[Mount]) -> Vec<String> {
        let roots = self.roots();
        let stack = self.above(number);
        let found = stack.mounts(&roots, mounts);
        found
            .map(|mount| mount.point.display().to_string())
            .collect()
    }
}

/// A node with a logical volume, and a crypt device on it.
fn encrypted() -> FakeNode {
    let node = FakeNode::new();
    node.add_dm("dm-3", LV, LVM_UUID);
    node.add_dm("dm-4", CRYPT, CRYPT_UUID);
    node.build("dm-4", "dm-3");
    node
}

fn table(lines: &str) -> Vec<Mount> {
    mountinfo::parse(lines.as_bytes()).unwrap()
}

#[test]
fn volume_without_holders_is_its_only_level() {
    let node = FakeNode::new();
    node.add_dm("dm-3", LV, LVM_UUID);
    assert_eq!(node.above(LV).levels(), [LV]);
    assert_eq!(down_to_volume(node.folder.path(), LV), [LV]);
}

#[test]
fn mounts_include_bind_mounts_and_every_level() {
    let node = encrypted();
    let mounts = table(
        "30 1 253:3 / /plain rw - ext4 /dev/mapper/vg-lv rw
31 1 253:4 / /global rw - ext4 /dev/mapper/crypt rw
32 1 253:4 /sub /bind ro - ext4 /dev/mapper/crypt rw
33 1 253:5 / /other rw - ext4 /dev/mapper/other rw
34 1 0:45 / /tmp rw - tmpfs /dev/mapper/vg-lv rw
",
    );
    assert_eq!(node.above(LV).levels(), [LV, CRYPT]);
    assert_eq!(
        node.mount_points(LV, &mounts),
        ["/plain", "/global", "/bind"]
    );
    assert_eq!(node.mount_points(CRYPT, &mounts), ["/global", "/bind"]);
}

#[test]
fn partitions_raids_and_volumes_on_them_are_levels() {
    let node = FakeNode::new();
    node.add("sda", SDA);
    node.add("sda/sda1", SDA1);
    fs::write(node.path("sda/sda1/partition"), "1\n").unwrap();
    node.add("md0", MD0);
    node.build("md0", "sda/sda1");
    node.add_dm("dm-3", LV, LVM_UUID);
    node.build("dm-3", "md0");
    assert_eq!(node.above(SDA).levels(), [SDA, SDA1, MD0, LV]);
    let mounts = table("30 1 253:3 / /data rw - xfs /dev/mapper/vg-lv rw\n");
    assert_eq!(node.mount_points(SDA, &mounts), ["/data"]);
    assert_eq!(node.above(MD0).levels(), [MD0, LV]);
}

#[test]
fn device_on_two_levels_is_listed_once() {
    let node = encrypted();
    node.add_dm("dm-5", INNER, LVM_UUID);
    node.build("dm-5", "dm-3");
    node.build("dm-5", "dm-4");
    assert_eq!(node.above(LV).levels(), [LV, CRYPT, INNER]);
}

#[test]
fn loop_device_over_a_file_is_not_of_the_stack() {
    let node = encrypted();
    node.add("loop0", DevNum::new(7, 0));
    fs::create_dir(node.path("loop0").join("loop")).unwrap();
    let mounts = table("30 1 7:0 / /image rw - ext4 /dev/loop0 rw\n");
    for backing in ["/var/lib/image\n", "/dev/mapper/gone\n", ""] {
        fs::write(node.path("loop0").join("loop/backing_file"), backing).unwrap();
        let stack = node.above(LV);
        assert_eq!(stack.mount_through_loop(&node.roots(), &mounts), None);
        assert!(node.mount_points(LV, &mounts).is_empty(), "{backing:?}");
    }
}

#[test]
fn holder_that_vanishes_is_skipped() {
    let node = encrypted();
    fs::remove_file(node.path("dm-4").join("dev")).unwrap();
    assert_eq!(node.above(LV).levels(), [LV]);
}

#[test]
fn unreadable_holders_are_an_error() {
    let node = encrypted();
    fs::write(node.path("dm-4").join("dev"), "nonsense\n").unwrap();
    assert!(DeviceStack::above(node.folder.path(), LV).is_err());
    let node = FakeNode::new();
    node.add("sda", SDA);
    fs::remove_dir(node.path("sda").join("holders")).unwrap();
    fs::write(node.path("sda").join("holders"), "").unwrap();
    assert!(DeviceStack::above(node.folder.path(), SDA).is_err());
}

#[test]
fn down_to_volume_passes_through_crypt_devices_only() {
    let node = encrypted();
    assert_eq!(down_to_volume(node.folder.path(), CRYPT), [CRYPT, LV]);
    // A volume of a group on the crypt device is a volume of its own.
    node.add_dm("dm-5", INNER, LVM_UUID);
    node.build("dm-5", "dm-4");
    assert_eq!(down_to_volume(node.folder.path(), INNER), [INNER]);
    let gone = DevNum::new(253, 9);
    assert_eq!(down_to_volume(node.folder.path(), gone), [gone]);
}
