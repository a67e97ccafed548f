//! A call-out that may not use a volume changes nothing on the node, and runs only reports of LVM;
//! one that may use it runs no more programs than the volume needs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use driver::Node;
use host::{Cmd, Error, Exec, Key, KnownKeys, LvUuid, Output, Roots};
use serde_json::{Value, json};

const UUID: &str = "ABCDEF-1234-5678-90ab-cdef-ghij-klmnop";
const KEY: &str = "00000000000000000000000000000000";
const GUESS: &str = "0123456789abcdef0123456789abcdef";

/// LVM with one inactive logical volume; records every command.
struct FakeLvm {
    tags: String,
    commands: Mutex<Vec<Cmd>>,
}

impl FakeLvm {
    fn with_tags(tags: &str) -> Self {
        Self {
            tags: tags.to_owned(),
            commands: Mutex::new(Vec::new()),
        }
    }

    /// Returns the commands since the last call: true for a report, false for a change.
    fn reports(&self) -> Vec<bool> {
        let commands = std::mem::take(&mut *self.commands.lock().unwrap());
        let is_report = |cmd: &Cmd| cmd.arguments().iter().any(|word| word == "--reportformat");
        commands.iter().map(is_report).collect()
    }
}

impl Exec for FakeLvm {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        self.commands.lock().unwrap().push(cmd.clone());
        let tags = &self.tags;
        let volume = json!({"lv_name": "pvc-1", "lv_uuid": UUID, "lv_attr": "-wi-------",
            "lv_size": "1073741824", "lv_tags": tags, "lv_time": "1", "pool_lv": "",
            "data_percent": "", "metadata_percent": "", "lv_metadata_size": ""});
        let report = json!({"report": [{"lv": [volume]}]});
        Ok(Output {
            code: Some(0),
            stdout: report.to_string().into(),
            stderr: Vec::new(),
        })
    }
}

/// The folders of a node, without the volume's device.
struct FakeNode(tempfile::TempDir);

impl FakeNode {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        for folder in ["dev", "sys", POD, ALL] {
            fs::create_dir_all(scratch.path().join(folder)).unwrap();
        }
        fs::write(scratch.path().join("mounts"), "").unwrap();
        fs::write(
            scratch.path().join("attach.json"),
            r#"{"attach":true,"node":"node1"}"#,
        )
        .unwrap();
        Self(scratch)
    }

    /// A node on which the agent has recorded the digest of the key, as for a volume that it created.
    fn with_known_key() -> Self {
        let node = Self::new();
        KnownKeys::in_folder(&node.path("locks"))
            .remember(
                &LvUuid::new(UUID).unwrap(),
                &Key::new(KEY).unwrap().digest(),
            )
            .unwrap();
        node
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn call(&self, lvm: &FakeLvm, settings: &str, args: &[&str]) -> String {
        let mut node = Node::current(lvm).within(std::time::Duration::from_millis(200));
        node.roots = Roots {
            dev: self.path("dev"),
            sys: self.path("sys"),
        };
        node.locks = self.path("locks");
        node.lvm = self.path("lvm");
        node.mounts = self.path("mounts");
        node.settings = self.path(settings);
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        driver::run(&args, &node).reply.to_json()
    }

    /// Makes each call-out that uses a volume; returns the replies.
    fn calls(&self, lvm: &FakeLvm, options: &Value) -> Vec<(String, String)> {
        let options = options.to_string();
        let pod = self.path(POD).display().to_string();
        let all = self.path(ALL).display().to_string();
        let calls = [
            ("none", vec!["mount", &pod, &options]),
            ("attach.json", vec!["mount", &pod, &options]),
            ("attach.json", vec!["mountdevice", &all, "", &options]),
            ("attach.json", vec!["attach", &options, "node1"]),
            ("attach.json", vec!["waitforattach", "", &options]),
            ("none", vec!["expandvolume", &options, &pod, "2", "1"]),
            ("none", vec!["expandfs", &options, "", &pod, "2", "1"]),
        ];
        calls
            .into_iter()
            .map(|(settings, args)| {
                let reply = self.call(lvm, settings, &args);
                (format!("{settings}: {}", args.join(" ")), reply)
            })
            .collect()
    }

    /// Returns the names of all files below the locks, but for those of the turn to look up.
    fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect(&self.path("locks"), &mut names);
        names.retain(|name| !name.starts_with("look-up"));
        names
    }
}

fn collect(folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), names);
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
}

const POD: &str = "pods/0a-1/volumes/flexlvm.dev~lvm/pvc-1";
const ALL: &str = "plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/pvc-1";

fn options_with(key: Option<&str>) -> Value {
    let mut options = json!({"kubernetes.io/fsType": "ext4", "kubernetes.io/readwrite": "rw",
        "kubernetes.io/pvOrVolumeName": "pvc-1", "volumegroup": "vg-0", "volumeID": "pvc-1"});
    if let Some(key) = key {
        options["uuid"] = UUID.into();
        options["size"] = "1073741824".into();
        options["key"] = key.into();
    }
    options
}

fn is_failure(reply: &str) -> bool {
    reply.contains("\"Failure\"")
}

#[test]
fn call_without_authorization_changes_nothing() {
    let node = FakeNode::new();
    let tag = Key::new(KEY).unwrap().digest().tag();
    for (tags, key) in [
        (String::new(), Some(GUESS)),
        ("flexlvm.dev/static".to_owned(), Some(GUESS)),
        (tag.clone(), Some(GUESS)),
        (String::new(), None),
        (tag.clone(), None),
        (format!("{tag},flexlvm.dev/static"), None),
    ] {
        let lvm = FakeLvm::with_tags(&tags);
        let replies = node.calls(&lvm, &options_with(key));
        for (call, reply) in &replies {
            assert!(is_failure(reply), "{call}: {reply}");
        }
        assert_eq!(node.files(), [""; 0]);
        // One look-up for each call, and nothing else.
        assert_eq!(lvm.reports(), vec![true; replies.len()], "{tags} {key:?}");
        let reply = node.call(&lvm, "attach.json", &["detach", "pvc-1", "node1"]);
        assert!(!is_failure(&reply), "{reply}");
        assert_eq!(lvm.reports(), [false; 0]);
    }
}

#[test]
fn call_with_authorization_looks_volume_up_once() {
    for (tags, key) in [
        (Key::new(KEY).unwrap().digest().tag(), Some(KEY)),
        ("flexlvm.dev/static".to_owned(), None),
    ] {
        let node = FakeNode::new();
        let lvm = FakeLvm::with_tags(&tags);
        let options = options_with(key).to_string();
        let pod = node.path(POD).display().to_string();
        node.call(&lvm, "none", &["mount", &pod, &options]);
        // The look-up, and the activation of the volume.
        assert_eq!(lvm.reports()[..2], [true, false], "{tags}");
    }
    let node = FakeNode::with_known_key();
    let lvm = FakeLvm::with_tags("");
    let options = options_with(Some(KEY)).to_string();
    let pod = node.path(POD).display().to_string();
    node.call(&lvm, "none", &["mount", &pod, &options]);
    assert!(!lvm.reports()[0]);
}

#[test]
fn only_unknown_volumes_wait_for_the_turn() {
    let node = FakeNode::new();
    let tag = Key::new(KEY).unwrap().digest().tag();
    let lvm = FakeLvm::with_tags(&tag);
    let options = options_with(Some(KEY)).to_string();
    let pod = node.path(POD).display().to_string();
    let turn = host::Lock::look_up(&node.path("locks"), std::time::Duration::ZERO).unwrap();
    let reply = node.call(&lvm, "none", &["mount", &pod, &options]);
    assert!(reply.contains("are waiting for LVM"), "{reply}");
    assert_eq!(lvm.reports(), [false; 0]);
    // LVM's backup shows that the volume is the caller's.
    fs::create_dir_all(node.path("lvm/backup")).unwrap();
    let backup = format!(
        "vg-0 {{\n\tlogical_volumes {{\n\t\tpvc-1 {{\n\t\t\ttags = [\"{tag}\"]\n\t\t}}\n\t}}\n}}\n"
    );
    fs::write(node.path("lvm/backup/vg-0"), backup).unwrap();
    node.call(&lvm, "none", &["mount", &pod, &options]);
    assert_eq!(lvm.reports()[..2], [true, false]);
    drop(turn);
}

#[test]
fn devices_of_other_volumes_are_rejected() {
    let node = FakeNode::with_known_key();
    let lvm = FakeLvm::with_tags("");
    let pod = node.path(POD).display().to_string();
    let all = node.path(ALL).display().to_string();
    let options = options_with(Some(KEY)).to_string();
    let long = format!("/dev/{}", "x".repeat(5000));
    for device in [
        "/dev/null",
        "/dev/sda",
        "/dev",
        "/",
        "/etc/passwd",
        "/dev/../etc/passwd",
        "null",
        "-rf",
        "/proc/self/mem",
        "/dev/mapper/vg--0-pvc--2",
        "/dev/mapper/../mapper/vg--0-pvc--1",
        " ",
        "\n",
        &*long,
    ] {
        for line in [
            &["waitforattach", device, &*options][..],
            &["mountdevice", &*all, device, &*options],
            &["mount", &*pod, device, &*options],
        ] {
            let reply = node.call(&lvm, "attach.json", line);
            let is_expected = is_failure(&reply) && reply.contains("is not the device of");
            assert!(is_expected && reply.len() < 1300, "{device:?}: {reply}");
        }
    }
    assert_eq!(lvm.reports(), [false; 0]);
}

#[test]
fn volume_that_is_not_mounted_is_not_expanded() {
    let node = FakeNode::with_known_key();
    let lvm = FakeLvm::with_tags("");
    let pod = node.path(POD).display().to_string();
    let options = options_with(Some(KEY)).to_string();
    let line = ["expandfs", &*options, "", &*pod, "2147483648", "1073741824"];
    let reply = node.call(&lvm, "none", &line);
    assert!(reply.contains("vg-0/pvc-1 is not mounted on"), "{reply}");
}
