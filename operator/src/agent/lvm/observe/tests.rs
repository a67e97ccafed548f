//! Observations of a node whose LVM prints a real report, with devices in a simulated sysfs.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use host::lvm::{Lvm, Vg};
use host::{Cmd, Error, Exec, Output, Roots};

use super::{EvidencePaths, Observation, OwnGroups, observe};
use crate::agent::lvm::record;
use crate::agent::lvm::report::LvmReport;
use crate::agent::lvm::rollback::Rollback;

const REPORT: &str = include_str!("../../../../../host/fixtures/lvm2-2.03.16-kinds.json");

/// Prints the report, and no integrity mismatches; the closure runs before each report, as a change by
/// another program.
struct Reports<F>(Mutex<F>);

impl<F: FnMut() + Send> Exec for Reports<F> {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        let mut stdout = r#"{"report": [{"lv": []}]}"#;
        if cmd
            .arguments()
            .first()
            .is_some_and(|verb| verb == "fullreport")
        {
            let mut change = self.0.lock().unwrap();
            (*change)();
            stdout = REPORT;
        }
        Ok(Output {
            code: Some(0),
            stdout: stdout.as_bytes().to_vec(),
            stderr: Vec::new(),
        })
    }
}

/// A node's folders.
struct Node {
    _folder: tempfile::TempDir,
    paths: EvidencePaths,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = EvidencePaths {
            roots: Roots {
                dev: folder.path().join("dev"),
                sys: folder.path().join("sys"),
            },
            lvm: folder.path().join("lvm"),
            state: folder.path().join("state"),
        };
        Self {
            _folder: folder,
            paths,
        }
    }

    fn observe(&self, change: impl FnMut() + Send) -> Observation {
        let exec = Reports(Mutex::new(change));
        let cached = LvmReport::default();
        observe(Lvm(&exec), &self.paths, &cached, &OwnGroups::default()).unwrap()
    }
}

fn vg0(observation: &Observation) -> &Vg {
    let mut groups = observation.report.groups.iter();
    groups.find(|vg| vg.name == "vg0").unwrap()
}

fn rollback(observation: &Observation) -> Option<&Rollback> {
    observation.rollbacks.get(&vg0(observation).uuid)
}

/// Creates the device of a logical volume that the report does not have.
fn add_device(sys: &Path, vg: &Vg) {
    let device = sys.join("block/dm-7");
    fs::create_dir_all(device.join("dm")).unwrap();
    let group = vg.uuid.as_str().replace('-', "");
    fs::write(device.join("dm/uuid"), format!("LVM-{group}{:032}\n", 1)).unwrap();
    fs::write(device.join("dm/name"), "vg0-lost\n").unwrap();
    fs::write(device.join("size"), "8192\n").unwrap();
}

#[test]
fn state_is_recorded_until_metadata_go_back() {
    let node = Node::new();
    let first = node.observe(|| {});
    assert!(first.rollbacks.is_empty());
    let vg = vg0(&first);
    let state = &node.paths.state;
    let mut recorded = record::read(state, &vg.uuid).unwrap().unwrap();
    assert_eq!(recorded, vg.into());
    // The agent had observed a later state, as before vgcfgrestore.
    recorded.seqno += 1;
    record::write(state, &vg.uuid, &recorded).unwrap();
    let second = node.observe(|| {});
    assert!(matches!(
        rollback(&second),
        Some(Rollback::SeqnoFell { .. })
    ));
    assert_eq!(
        record::read(state, &vg.uuid).unwrap(),
        Some(recorded),
        "the record of the later state stays"
    );
    fs::remove_file(record::path(state, &vg.uuid)).unwrap();
    assert!(node.observe(|| {}).rollbacks.is_empty());
}

#[test]
fn device_without_volume_counts_once_it_is_observed_twice() {
    let node = Node::new();
    let first = node.observe(|| {});
    add_device(&node.paths.roots.sys, vg0(&first));
    let mut reports = 0;
    let found = node.observe(|| reports += 1);
    assert!(matches!(
        rollback(&found),
        Some(Rollback::UnknownDevice { .. })
    ));
    assert_eq!(reports, 2);
}

#[test]
fn device_that_vanishes_or_appears_meanwhile_is_no_evidence() {
    let node = Node::new();
    let sys = node.paths.roots.sys.clone();
    let first = node.observe(|| {});
    let vg = vg0(&first).clone();
    // During the first report, another program activates a volume that the report does not have yet.
    let found = node.observe(|| add_device(&sys, &vg));
    assert_eq!(rollback(&found), None);
    // During the first report it is removed.
    let found = node.observe(|| {
        let _ = fs::remove_dir_all(sys.join("block/dm-7"));
    });
    assert_eq!(rollback(&found), None);
    // It is removed between two observations.
    add_device(&sys, &vg);
    let mut reports = 0;
    let found = node.observe(|| {
        reports += 1;
        if reports == 2 {
            fs::remove_dir_all(sys.join("block/dm-7")).unwrap();
        }
    });
    assert_eq!((rollback(&found), reports), (None, 2));
}

#[test]
fn disks_of_other_groups_are_not_read() {
    let node = Node::new();
    let dev = &node.paths.roots.dev;
    fs::create_dir_all(dev).unwrap();
    // A disk that never answers: the only one of a group without FlexLVM's volumes.
    let mode = rustix::fs::Mode::from(0o600);
    let pipe = dev.join("ubdc");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let paths = node.paths.clone();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let exec = Reports(Mutex::new(|| {}));
        let cached = LvmReport::default();
        let own = OwnGroups::default();
        done.send(observe(Lvm(&exec), &paths, &cached, &own).is_ok())
    });
    let limit = std::time::Duration::from_mins(1);
    assert!(ended.recv_timeout(limit).unwrap());
    let own = OwnGroups::default();
    let observation = node.observe(|| {});
    let groups = &observation.report.groups;
    let owned = |own: &OwnGroups| -> Vec<String> {
        let owned = groups.iter().filter(|vg| own.has(vg));
        owned.map(|vg| vg.name.clone()).collect()
    };
    assert_eq!(owned(&own), ["vg0"], "it has volumes of claims");
    own.add("vg1");
    assert_eq!(owned(&own).len(), 2, "the agent is about to allocate there");
}
