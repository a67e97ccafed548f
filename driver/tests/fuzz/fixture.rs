//! The node of a fuzz run: folders of its own, random tables of mounts, and a fake [`Exec`] that
//! records programs instead of starting them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use driver::Node;
use host::{Cmd, Error, Exec, Output, Roots};

use super::random::Random;

/// Results of a fake program; the last one is rare.
const RESULTS: &[FakeResult] = &[
    FakeResult::Missing,
    FakeResult::Status,
    FakeResult::Signal,
    FakeResult::Late,
    FakeResult::Garbage,
    FakeResult::Report,
    FakeResult::Nothing,
];

#[derive(Clone, Copy)]
enum FakeResult {
    Missing,
    Status,
    Signal,
    Late,
    Garbage,
    Report,
    Nothing,
}

/// The folders and files of the node.
pub(crate) struct Fixture {
    scratch: tempfile::TempDir,
    root: PathBuf,
    tables: Vec<PathBuf>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap().join("kubelet");
        for name in ["pvc-1", "pvc-2"] {
            fs::create_dir_all(root.join(pod(name))).unwrap();
            fs::create_dir_all(root.join(global(name))).unwrap();
        }
        symlink("0a-1", root.join("pods/link")).unwrap();
        fs::write(root.join(pod("file")), "data").unwrap();
        let mut fixture = Self {
            scratch,
            root,
            tables: Vec::new(),
        };
        let line = |id: u32, at: &str, options: &str, number: &str| {
            let point = fixture.root.join(at).display().to_string();
            format!("{id} 1 {number} / {point} {options} shared:1 - ext4 /dev/mapper/x {options}\n")
        };
        let tables = [
            String::new(),
            line(10, &pod("pvc-1"), "rw", "254:3") + &line(11, &global("pvc-1"), "ro", "254:3"),
            line(10, &pod("pvc-1"), "ro", "254:4")
                + &line(11, &format!("{}/sub", pod("pvc-1")), "rw", "0:9"),
            "what is this\n".to_owned(),
        ];
        fixture.tables = (0_u8..)
            .zip(tables)
            .map(|(number, table)| fixture.file(&format!("table-{number}"), &table))
            .collect();
        fixture.file("attach.json", r#"{"attach":true,"node":"node1"}"#);
        fixture.file("mount.json", r#"{"attach":false,"node":"node1"}"#);
        fixture.file("broken.json", "{");
        fixture
            .tables
            .push(fixture.scratch.path().join("no-such-table"));
        for (minor, uuid) in [
            (
                3,
                "LVM-0123456789abcdef0123456789abcdefABCDEF1234567890abcdefghijklmnop",
            ),
            (4, "x"),
        ] {
            let scratch = fixture.scratch.path();
            let block = scratch.join(format!("sys/dev/block/254:{minor}"));
            let device = scratch.join(format!("sys/devices/dm-{minor}"));
            fs::create_dir_all(block.parent().unwrap()).unwrap();
            fs::create_dir_all(device.join("dm")).unwrap();
            fs::write(device.join("dm/uuid"), uuid).unwrap();
            symlink(&device, &block).unwrap();
        }
        fixture
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.scratch.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Returns the node for one call-out.
    pub(crate) fn node<'a>(&self, random: &mut Random, exec: &'a FakeExec) -> Node<'a> {
        let at = |name: &str| self.scratch.path().join(name);
        let mut node = Node::current(exec).within(Duration::from_millis(3));
        node.roots = Roots {
            dev: at("dev"),
            sys: at("sys"),
        };
        node.locks = at("locks");
        node.lvm = at("lvm");
        node.settings = at(random.pick(&[
            "none",
            "attach.json",
            "attach.json",
            "mount.json",
            "broken.json",
        ]));
        // Usually nothing is mounted.
        let table = random.below(2 * self.tables.len());
        node.mounts
            .clone_from(self.tables.get(table).unwrap_or(&self.tables[0]));
        node
    }

    /// Generates an argument in place of a pod's folder.
    pub(crate) fn pod_folder(&self, random: &mut Random) -> OsString {
        let name = random.pick(&[
            "pvc-1", "pvc-1", "pvc-1", "pvc-2", "pvc-2", "pvc-2", "pvc-none", "file", "Zq7 x", "..",
        ]);
        self.folder(random, &pod(name), name)
    }

    /// Generates an argument in place of the folder shared by all pods.
    pub(crate) fn global_folder(&self, random: &mut Random) -> OsString {
        let name = random.pick(&["pvc-1", "pvc-1", "pvc-2", "pvc-none", "Zq7 x"]);
        self.folder(random, &global(name), name)
    }

    fn folder(&self, random: &mut Random, valid: &str, name: &str) -> OsString {
        let root = self.root.display();
        let odd = match random.below(50) {
            0 => format!("{root}/pods/link/volumes/flexlvm.dev~lvm/{name}"),
            1 => format!("{root}/pods/0a-1/volumes/other~lvm/{name}"),
            2 => format!("{root}/pods/../{valid}"),
            3 => format!("/no-such-root/{valid}"),
            4 => format!("{root}//{valid}//"),
            5 => valid.to_owned(),
            6 => random
                .pick(&["", "/", "/etc", "/dev/shm", "-rf", "\n", "/Zq7"])
                .to_owned(),
            7 => format!("{root}/pods/none/volumes/flexlvm.dev~lvm/{name}"),
            8 => format!("{root}/{valid}{}", "/x".repeat(random.below(3000))),
            _ => format!("{root}/{valid}"),
        };
        odd.into()
    }

    /// Returns true if the folders are unchanged: no call-out of a run may change them.
    pub(crate) fn is_unchanged(&self) -> bool {
        let is_empty = |path: String| {
            self.root
                .join(path)
                .read_dir()
                .is_ok_and(|mut entries| entries.next().is_none())
        };
        let file = fs::read(self.root.join(pod("file"))).is_ok_and(|content| content == b"data");
        file && ["pvc-1", "pvc-2"]
            .into_iter()
            .all(|name| is_empty(pod(name)) && is_empty(global(name)))
    }

    /// Returns the fixture's counterpart of the kubelet's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

fn pod(name: &str) -> String {
    format!("pods/0a-1/volumes/flexlvm.dev~lvm/{name}")
}

fn global(name: &str) -> String {
    format!("plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/{name}")
}

/// An [`Exec`] that starts no programs, returns random results and records the commands.
pub(crate) struct FakeExec {
    random: Mutex<Random>,
    commands: Mutex<Vec<Cmd>>,
}

impl FakeExec {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            random: Mutex::new(random),
            commands: Mutex::new(Vec::new()),
        }
    }

    /// Returns the recorded commands.
    pub(crate) fn commands(&self) -> Vec<Cmd> {
        self.commands.lock().unwrap().clone()
    }

    fn result(&self) -> FakeResult {
        let mut random = self.random.lock().unwrap();
        // After an activation that succeeded, the driver waits for a device that never appears.
        if random.chance(5) {
            FakeResult::Nothing
        } else {
            RESULTS[random.below(RESULTS.len() - 1)]
        }
    }
}

/// A report of the volume in the inputs, tagged as a static one.
const REPORT: &str = r#"{"report":[{"lv":[{"lv_name":"pvc-1","lv_uuid":"ABCDEF-1234-5678-90ab-cdef-ghij-klmnop",
    "lv_attr":"-wi-------","lv_size":"1073741824","lv_tags":"flexlvm.dev/static,flexlvm.dev/format",
    "pool_lv":"","data_percent":"","metadata_percent":"","lv_metadata_size":""}]}]}"#;

fn is_report(cmd: &Cmd) -> bool {
    cmd.arguments().iter().any(|word| word == "--reportformat")
}

impl Exec for FakeExec {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        self.commands.lock().unwrap().push(cmd.clone());
        let output = |code, stdout: &str, stderr: &str| {
            Ok(Output {
                code,
                stdout: stdout.into(),
                stderr: stderr.into(),
            })
        };
        match self.result() {
            FakeResult::Missing => Err(Error::failed("it is not installed")),
            FakeResult::Status => output(Some(5), "", "  Failed to find logical volume \"x/y\"\n"),
            FakeResult::Signal => output(None, "", ""),
            FakeResult::Late => Err(Error::Deadline {
                command: cmd.line(),
                limit: cmd.limit(),
            }),
            FakeResult::Garbage => output(Some(3), "\u{0}{[\n\"", "\u{1b}[31m\u{0}"),
            FakeResult::Report => output(Some(i32::from(!is_report(cmd))), REPORT, ""),
            FakeResult::Nothing => output(Some(0), "", ""),
        }
    }
}
