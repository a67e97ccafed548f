//! Which folder the driver is installed in, and whether the kubelet has loaded it from there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flexvolume::load_stamp::{self, FileIdentity, LoadStamp};
use host::{Cmd, Error, Exec, Output};

use super::super::{DriverInstaller, Pass};
use super::{Fixture, POD, Presentation, entries, reason};
use crate::agent::kubelet::DEFAULT_PLUGIN_DIR;

/// An `Exec` whose programs end with this exit status.
struct ExitStatus(i32);

impl Exec for ExitStatus {
    fn exec(&self, _: &Cmd) -> Result<Output, Error> {
        Ok(Output {
            code: Some(self.0),
            stdout: Vec::new(),
            stderr: b"Permission denied".to_vec(),
        })
    }
}

/// The kubelet's PID.
const PID: u32 = 812;

impl Fixture {
    fn proc(&self) -> PathBuf {
        self.folder.path().join("proc")
    }

    /// Returns a path of the node, as a test sees it.
    fn on_node(&self, path: &str) -> PathBuf {
        let root = self.folder.path().join("root");
        root.join(path.trim_start_matches('/'))
    }

    fn installer(&self) -> DriverInstaller {
        let _ = fs::create_dir_all(self.proc().join("1"));
        let _ = fs::create_dir_all(self.on_node("/"));
        let _ = symlink(self.on_node("/"), self.proc().join("1/root"));
        let target = self.target();
        DriverInstaller {
            driver: target.driver,
            plugin_dir: None,
            proc: self.proc(),
            state: target.state,
            mounts: target.mounts,
            names: target.names,
            settings: target.settings,
            exec: Arc::new(ExitStatus(0)),
        }
    }

    fn pass(&self) -> Pass {
        self.installer().pass(Presentation::OnChange, false, None)
    }

    /// Starts a kubelet with this plugin folder, in place of a former one.
    fn start_kubelet(&self, plugins: &str) {
        let process = self.proc().join(PID.to_string());
        fs::create_dir_all(&process).unwrap();
        fs::write(process.join("comm"), "kubelet\n").unwrap();
        let line = format!("kubelet\0--volume-plugin-dir={plugins}\0");
        fs::write(process.join("cmdline"), line).unwrap();
        fs::write(process.join("status"), "PPid:\t1\n").unwrap();
        let _ = symlink(self.on_node("/"), process.join("root"));
    }

    /// Leaves the stamp of a process that has called `init` in this plugin folder.
    fn load(&self, pid: u32, plugins: &str) {
        let program = format!("{plugins}/flexlvm.dev~lvm/lvm");
        let settings = fs::read(self.state().join("driver.json")).unwrap();
        let stamp = LoadStamp {
            file: FileIdentity::read(&self.on_node(&program)).unwrap(),
            program: program.into(),
            settings: flexvolume::DriverSettings::parse(&settings).unwrap(),
            version: "0.1.0".to_owned(),
        };
        let folder = self.on_node(load_stamp::FOLDER);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(LoadStamp::file_name(pid)), stamp.to_json()).unwrap();
    }

    /// Returns status and reason of `KubeletReady` after a pass.
    fn readiness(&self) -> (bool, &'static str) {
        let condition = self.pass().kubelet.unwrap().condition;
        (condition.status, condition.reason)
    }

    fn has_driver(&self, plugins: &str) -> bool {
        self.on_node(plugins).join("flexlvm.dev~lvm/lvm").exists()
    }
}

const LOADED: (bool, &str) = (true, reason::DRIVER_LOADED);
const NOT_LOADED: (bool, &str) = (false, reason::DRIVER_NOT_LOADED);

#[test]
fn driver_is_installed_where_the_kubelet_reads_it() {
    let fixture = Fixture::new();
    fixture.start_kubelet("/var/lib/kubelet/volumeplugins");
    fs::create_dir_all(fixture.on_node("/data/kubelet")).unwrap();
    fs::create_dir_all(fixture.on_node("/var/lib")).unwrap();
    symlink("/data/kubelet", fixture.on_node("/var/lib/kubelet")).unwrap();
    let pass = fixture.pass();
    assert!(fixture.has_driver("/data/kubelet/volumeplugins"));
    assert_eq!(
        pass.driver.unwrap().message,
        "driver flexlvm.dev/lvm is installed in /data/kubelet/volumeplugins, with attach: false"
    );
    assert_eq!(fixture.readiness(), NOT_LOADED);
    fixture.load(PID, "/data/kubelet/volumeplugins");
    assert_eq!(fixture.readiness(), LOADED);
}

#[test]
fn set_folder_is_used_and_compared_with_the_kubelets() {
    let fixture = Fixture::new();
    fixture.start_kubelet("/of/kubelet");
    let mut installer = fixture.installer();
    installer.plugin_dir = Some("/set".into());
    let pass = installer.pass(Presentation::OnChange, false, None);
    assert!(fixture.has_driver("/set") && !fixture.has_driver("/of/kubelet"));
    let readiness = pass.kubelet.unwrap();
    assert_eq!(readiness.condition.reason, reason::OTHER_PLUGIN_FOLDER);
    assert!(
        readiness.is_certain && readiness.condition.message.contains("in /of/kubelet, but"),
        "{readiness:?}"
    );
    // Two names of one folder.
    fs::create_dir_all(fixture.on_node("/of")).unwrap();
    symlink("/set", fixture.on_node("/of/kubelet")).unwrap();
    let pass = installer.pass(Presentation::OnChange, false, None);
    let condition = pass.kubelet.unwrap().condition;
    assert_eq!(condition.reason, reason::DRIVER_NOT_LOADED);
}

#[test]
fn stamp_counts_only_for_the_running_kubelet_and_the_installed_copy() {
    let fixture = Fixture::new();
    fixture.start_kubelet("/exec");
    fixture.pass();
    // The controller manager on the same host.
    fs::create_dir_all(fixture.proc().join("700")).unwrap();
    fixture.load(700, "/exec");
    assert_eq!(fixture.readiness(), NOT_LOADED);
    fixture.load(PID, "/exec");
    assert_eq!(fixture.readiness(), LOADED);
    // Presented again, the kubelet has to load it again.
    fixture.ship("version 2");
    fixture.pass();
    assert_eq!(fixture.readiness(), NOT_LOADED);
    fixture.load(PID, "/exec");
    assert_eq!(fixture.readiness(), LOADED);
    // The stamp of a process that has ended is removed.
    fs::remove_dir_all(fixture.proc().join("700")).unwrap();
    assert_eq!(fixture.readiness(), LOADED);
    let stamps = fixture.on_node(load_stamp::FOLDER);
    assert_eq!(entries(&stamps), ["812.json"]);
    fs::write(stamps.join("812.json"), "{").unwrap();
    assert_eq!(fixture.readiness(), NOT_LOADED);
}

#[test]
fn other_settings_are_not_loaded() {
    let mut fixture = Fixture::new();
    fixture.start_kubelet("/exec");
    fixture.pass();
    fixture.load(PID, "/exec");
    let stamp = fixture.on_node(load_stamp::FOLDER).join("812.json");
    let text = fs::read_to_string(&stamp).unwrap();
    fs::write(&stamp, text.replace("\"attach\":false", "\"attach\":true")).unwrap();
    assert_eq!(fixture.readiness(), NOT_LOADED);
    fs::write(&stamp, text).unwrap();
    // A mode that is refused because of mounted volumes is not in effect.
    fixture.attach = true;
    fixture.mount(&[POD]);
    let pass = fixture.pass();
    assert_eq!(pass.driver.unwrap().reason, reason::VOLUMES_MOUNTED);
    assert!(pass.kubelet.unwrap().condition.status);
}

#[test]
fn unknown_folder_is_guessed_late() {
    let fixture = Fixture::new();
    let pass = fixture.pass();
    assert!(pass.driver.is_none() && pass.kubelet.is_none());
    assert!(!fixture.has_driver(DEFAULT_PLUGIN_DIR));
    let installer = fixture.installer();
    let pass = installer.pass(Presentation::OnChange, true, None);
    assert!(fixture.has_driver(DEFAULT_PLUGIN_DIR));
    let readiness = pass.kubelet.unwrap();
    assert_eq!(readiness.condition.reason, reason::KUBELET_NOT_FOUND);
    // A kubelet in an unknown program.
    fs::create_dir_all(fixture.proc().join("99")).unwrap();
    fixture.load(99, DEFAULT_PLUGIN_DIR);
    assert_eq!(fixture.readiness(), LOADED);
}

#[test]
fn stopped_kubelet_leaves_the_driver_where_it_is() {
    let fixture = Fixture::new();
    fixture.start_kubelet("/exec");
    fixture.pass();
    fs::remove_dir_all(fixture.proc().join(PID.to_string())).unwrap();
    fs::remove_file(fixture.on_node("/exec/flexlvm.dev~lvm/lvm")).unwrap();
    let readiness = fixture.pass().kubelet.unwrap();
    assert!(fixture.has_driver("/exec"), "it is repaired");
    assert_eq!(readiness.condition.reason, reason::KUBELET_NOT_FOUND);
    assert!(!readiness.is_certain);
}

#[test]
fn driver_leaves_the_former_folder_once_it_is_loaded_and_nothing_is_mounted() {
    let mut fixture = Fixture::new();
    fixture.aliases = vec!["kubernetes.io/lvm".parse().unwrap()];
    fixture.start_kubelet("/old");
    fixture.pass();
    let foreign = fixture.on_node("/old/a~b/b");
    fs::create_dir_all(foreign.parent().unwrap()).unwrap();
    fs::write(&foreign, "another vendor's").unwrap();
    fixture.start_kubelet("/new");
    fixture.pass();
    assert!(fixture.has_driver("/old") && fixture.has_driver("/new"));
    fixture.mount(&[POD]);
    fixture.load(PID, "/new");
    assert_eq!(fixture.readiness(), LOADED);
    assert!(fixture.has_driver("/old"), "a volume is mounted");
    fixture.mount(&[]);
    fixture.pass();
    assert_eq!(entries(&fixture.on_node("/old")), ["a~b"]);
    assert_eq!(
        entries(&fixture.on_node("/new")),
        ["flexlvm.dev~lvm", "kubernetes.io~lvm"]
    );
    // Nothing of it is remembered: a driver that is installed there later is not FlexLVM's.
    let later = fixture.on_node("/old/kubernetes.io~lvm/lvm");
    fs::create_dir_all(later.parent().unwrap()).unwrap();
    fs::write(&later, "version 1").unwrap();
    fixture.pass();
    assert!(later.exists());
}

#[test]
fn driver_stays_where_the_running_kubelet_has_loaded_it() {
    let fixture = Fixture::new();
    fixture.start_kubelet("/old");
    fixture.pass();
    fixture.load(PID, "/old");
    // The configuration is changed, and the kubelet is not restarted.
    fixture.start_kubelet("/new");
    assert_eq!(fixture.readiness(), LOADED);
    assert!(fixture.has_driver("/old") && !fixture.has_driver("/new"));
    // Also over an upgrade.
    fixture.ship("version 2");
    fixture.pass();
    assert_eq!(fixture.readiness(), NOT_LOADED);
    assert!(!fixture.has_driver("/new"));
    // The kubelet restarts.
    fs::remove_file(fixture.on_node(load_stamp::FOLDER).join("812.json")).unwrap();
    fixture.pass();
    assert!(fixture.has_driver("/new"));
}

#[test]
fn former_folder_with_another_file_is_reported() {
    let fixture = Fixture::new();
    fixture.start_kubelet("/old");
    fixture.pass();
    fs::write(fixture.on_node("/old/flexlvm.dev~lvm/notes"), "").unwrap();
    fixture.start_kubelet("/new");
    fixture.pass();
    fixture.load(PID, "/new");
    let driver = fixture.pass().driver.unwrap();
    assert!(driver.status);
    let words = "/old/flexlvm.dev~lvm/notes was not created by FlexLVM";
    assert!(driver.message.contains(&format!("; {words}")), "{driver:?}");
}

#[test]
fn driver_that_cannot_be_executed_is_tried_once() {
    let fixture = Fixture::new();
    fixture.start_kubelet("/exec");
    let mut installer = fixture.installer();
    installer.exec = Arc::new(ExitStatus(126));
    let pass = installer.pass(Presentation::OnChange, false, None);
    let readiness = pass.kubelet.unwrap();
    assert_eq!(readiness.condition.reason, reason::DRIVER_NOT_EXECUTABLE);
    let message = &readiness.condition.message;
    assert!(
        message.contains("nice -n 0 /exec/flexlvm.dev~lvm/lvm selftest failed")
            && message.contains("Permission denied"),
        "{message}"
    );
    // The second pass would succeed if it executed the driver.
    installer.exec = Arc::new(ExitStatus(0));
    let pass = installer.pass(Presentation::OnChange, false, pass.trial);
    let readiness = pass.kubelet.unwrap();
    assert_eq!(readiness.condition.reason, reason::DRIVER_NOT_EXECUTABLE);
    fixture.ship("version 2");
    let pass = installer.pass(Presentation::OnChange, false, pass.trial);
    let readiness = pass.kubelet.unwrap();
    assert_eq!(readiness.condition.reason, reason::DRIVER_NOT_LOADED);
}

#[test]
fn read_only_file_system_is_reported_with_the_remedy() {
    let fixture = Fixture::new();
    fixture.start_kubelet("/exec");
    fixture.pass();
    let mut pass = super::super::failure(
        &super::super::location::locate(&fixture.proc(), None, None, false)
            .unwrap()
            .unwrap(),
        &Error::io("create", Path::new("/exec/x"))(std::io::ErrorKind::ReadOnlyFilesystem.into()),
    );
    pass.message.truncate(90);
    assert_eq!(
        pass.message,
        "the driver can't be installed in /exec, which is on a read-only file system: set volumePlu"
    );
}
