//! The installer on temporary folders.

mod aliases;
mod kubelet;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crds::condition::reason;
use flexvolume::{DriverName, DriverSettings};
use tempfile::TempDir;

use super::{Installed, Presentation, Target, install};

struct Fixture {
    folder: TempDir,
    attach: bool,
    aliases: Vec<DriverName>,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self {
            folder: tempfile::tempdir().unwrap(),
            attach: false,
            aliases: Vec::new(),
        };
        fixture.ship("version 1");
        fixture.mount(&[]);
        fixture
    }

    fn ship(&self, content: &str) {
        fs::write(self.driver(), content).unwrap();
    }

    /// Makes these folders of the kubelet the only mount points.
    fn mount(&self, folders: &[&str]) {
        let lines: Vec<String> = folders
            .iter()
            .map(|folder| format!("/var/lib/kubelet/{folder}"))
            .map(|point| format!("36 35 254:1 / {point} rw - ext4 /dev/mapper/a rw\n"))
            .collect();
        fs::write(self.folder.path().join("mountinfo"), lines.concat()).unwrap();
    }

    fn driver(&self) -> PathBuf {
        self.folder.path().join("flexlvm-driver")
    }

    fn plugins(&self) -> PathBuf {
        self.folder.path().join("exec")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn installed(&self) -> PathBuf {
        self.plugins().join("flexlvm.dev~lvm/lvm")
    }

    fn target(&self) -> Target {
        Target {
            driver: self.driver(),
            plugins: self.plugins(),
            state: self.state(),
            mounts: self.folder.path().join("mountinfo"),
            names: DriverName::with_aliases(&self.aliases),
            settings: DriverSettings {
                attach: self.attach,
                node: Some("node1".to_owned()),
            },
        }
    }

    fn attempt(&self) -> Installed {
        install(&self.target(), Presentation::OnChange).unwrap()
    }

    /// Installs without errors; returns whether a driver was installed or removed.
    fn install(&self) -> bool {
        let done = self.attempt();
        assert!(done.condition.status, "{:?}", done.condition);
        done.installed
    }

    /// Returns reason and message of the failed condition.
    fn refused(&self) -> (&'static str, String) {
        let condition = self.attempt().condition;
        assert!(!condition.status, "{condition:?}");
        (condition.reason, condition.message)
    }

    fn content(&self) -> String {
        fs::read_to_string(self.installed()).unwrap()
    }

    fn settings(&self) -> String {
        fs::read_to_string(self.state().join("driver.json")).unwrap()
    }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

const POD: &str = "pods/1/volumes/flexlvm.dev~lvm/data";
const SHARED: &str = "plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/pvc-1";
const OF_ALIAS: &str = "pods/1/volumes/kubernetes.io~lvm/data";

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn first_install_creates_the_driver_and_its_folder_only() {
    let fixture = Fixture::new();
    assert!(fixture.install());
    assert_eq!(fixture.content(), "version 1");
    for path in [
        fixture.installed(),
        fixture.plugins().join("flexlvm.dev~lvm"),
    ] {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o7777,
            0o755
        );
    }
    assert_eq!(entries(&fixture.plugins()), ["flexlvm.dev~lvm"]);
    assert_eq!(entries(&fixture.plugins().join("flexlvm.dev~lvm")), ["lvm"]);
}

#[test]
fn unchanged_installation_is_not_written() {
    let fixture = Fixture::new();
    fixture.install();
    let times = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        (meta.ino(), meta.mtime_nsec(), meta.ctime_nsec())
    };
    let folder = fixture.plugins().join("flexlvm.dev~lvm");
    let before = (
        times(&fixture.installed()),
        times(&folder),
        times(&fixture.plugins()),
    );
    assert!(!fixture.install());
    assert_eq!(
        (
            times(&fixture.installed()),
            times(&folder),
            times(&fixture.plugins())
        ),
        before
    );
}

#[test]
fn upgrade_renames_and_keeps_the_inode_of_running_drivers() {
    let fixture = Fixture::new();
    fixture.install();
    let old = fs::metadata(fixture.installed()).unwrap().ino();
    fixture.ship("version 2");
    assert!(fixture.install());
    assert_eq!(fixture.content(), "version 2");
    assert_ne!(fs::metadata(fixture.installed()).unwrap().ino(), old);
    assert_eq!(entries(&fixture.plugins().join("flexlvm.dev~lvm")), ["lvm"]);
}

#[test]
fn damaged_installation_is_repaired() {
    let fixture = Fixture::new();
    fixture.install();
    fs::write(fixture.installed(), "version 1, edited").unwrap();
    assert!(fixture.install());
    assert_eq!(fixture.content(), "version 1");
    fs::set_permissions(fixture.installed(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(fixture.install());
    fs::remove_file(fixture.installed()).unwrap();
    assert!(fixture.install());
    fs::remove_dir_all(fixture.plugins()).unwrap();
    assert!(fixture.install());
    assert!(!fixture.install());
}

#[test]
fn interrupted_install_is_completed() {
    let fixture = Fixture::new();
    let hidden = fixture.plugins().join(".flexlvm.dev~lvm");
    fs::create_dir_all(&hidden).unwrap();
    fs::write(hidden.join("lvm"), "vers").unwrap();
    assert!(fixture.install());
    assert_eq!(
        (
            fixture.content().as_str(),
            entries(&fixture.plugins()).len()
        ),
        ("version 1", 1)
    );

    fs::write(fixture.plugins().join("flexlvm.dev~lvm/.lvm.tmp"), "vers").unwrap();
    fixture.ship("version 2");
    assert!(fixture.install());
    assert_eq!(entries(&fixture.plugins().join("flexlvm.dev~lvm")), ["lvm"]);
}

#[test]
fn obstructing_file_is_reported_and_kept() {
    for (name, thing) in [
        ("flexlvm.dev~lvm", "a folder"),
        ("flexlvm.dev~lvm/lvm", "a file"),
    ] {
        let fixture = Fixture::new();
        let path = fixture.plugins().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("/nowhere", &path).unwrap();
        let sentence = format!(
            "{} is not {thing}: remove it, then the agent installs the driver",
            path.display()
        );
        assert_eq!(fixture.refused(), (reason::INSTALL_FAILED, sentence));
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert!(!Path::new("/nowhere").exists());
    }
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.installed()).unwrap();
    assert!(fixture.refused().1.contains("is not a file"));
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.plugins()).unwrap();
    symlink("/nowhere", fixture.plugins().join(".flexlvm.dev~lvm")).unwrap();
    let error = install(&fixture.target(), Presentation::OnChange).unwrap_err();
    assert!(
        error.to_string().contains("is not a folder: remove it"),
        "{error}"
    );
}

#[test]
fn missing_driver_binary_is_an_error() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.driver()).unwrap();
    let error =
        host::error::chain(&install(&fixture.target(), Presentation::OnChange).unwrap_err());
    assert!(error.starts_with("open "), "{error}");
}

#[test]
fn settings_are_written_before_the_driver() {
    let fixture = Fixture::new();
    assert!(fixture.install());
    assert_eq!(
        fixture.settings(),
        "{\"attach\":false,\"node\":\"node1\"}\n"
    );
    assert_eq!(
        fs::metadata(fixture.state().join("driver.json"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o644
    );

    let fixture = Fixture::new();
    fs::create_dir_all(fixture.state().join("driver.json")).unwrap();
    assert!(install(&fixture.target(), Presentation::OnChange).is_err());
    assert!(!fixture.plugins().exists());
}

#[test]
fn new_attach_mode_is_presented_to_kubelet_once() {
    let mut fixture = Fixture::new();
    fixture.install();
    let before = inode(&fixture.installed());
    fixture.attach = true;
    assert!(fixture.install());
    assert!(fixture.settings().contains("\"attach\":true"));
    assert_ne!(
        inode(&fixture.installed()),
        before,
        "the driver is renamed into fixture again"
    );
    assert!(!fixture.install());

    // As if the agent had stopped between the settings and the rename.
    fs::remove_file(fixture.state().join("shown.json")).unwrap();
    assert!(fixture.install());
    assert!(!fixture.install());
}

#[test]
fn attach_mode_does_not_change_while_volumes_are_mounted() {
    for (attach, mounted) in [(false, &[POD][..]), (true, &[SHARED, POD])] {
        let mut fixture = Fixture::new();
        fixture.attach = attach;
        fixture.install();
        fixture.mount(mounted);
        fixture.attach = !attach;
        let old = fixture.settings();
        let binary = inode(&fixture.installed());
        let (reason, message) = fixture.refused();
        assert_eq!(reason, reason::VOLUMES_MOUNTED);
        assert!(
            message.contains(&format!("stays at attach: {attach}")),
            "{message}"
        );
        assert!(
            message.contains(mounted[0]) && message.contains("drain this node"),
            "{message}"
        );
        assert_eq!(
            (fixture.settings(), inode(&fixture.installed())),
            (old, binary)
        );
        fixture.mount(&["pods/1/volumes/kubernetes.io~csi/data/mount", OF_ALIAS]);
        assert!(fixture.install());
        assert!(
            fixture
                .settings()
                .contains(&format!("\"attach\":{}", !attach))
        );
    }
}

#[test]
fn lost_settings_are_rewritten_in_the_mode_of_mounted_volumes() {
    for (attach, mounted) in [(false, &[POD][..]), (true, &[SHARED, POD])] {
        let mut fixture = Fixture::new();
        fixture.attach = attach;
        fixture.install();
        fixture.mount(mounted);
        fs::write(fixture.state().join("driver.json"), "{").unwrap();
        fixture.install();
        let wanted = fixture.settings();
        assert!(wanted.contains(&format!("\"attach\":{attach}")));
        // Also by an agent that is configured for the other mode.
        fs::remove_file(fixture.state().join("driver.json")).unwrap();
        fixture.attach = !attach;
        assert_eq!(fixture.refused().0, reason::VOLUMES_MOUNTED);
        assert_eq!(fixture.settings(), wanted);
    }
}

#[test]
fn driver_folder_without_executable_is_reported_and_own_driver_presented_again() {
    let fixture = Fixture::new();
    fixture.install();
    assert!(
        !install(&fixture.target(), Presentation::AmongOthers)
            .unwrap()
            .installed,
        "without other drivers nothing is presented again"
    );
    let good = fixture.plugins().join("a~b");
    fs::create_dir_all(&good).unwrap();
    fs::write(good.join("b"), "").unwrap();
    fs::set_permissions(good.join("b"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(
        !fixture
            .attempt()
            .condition
            .message
            .contains("contains no executable driver")
    );
    assert!(
        install(&fixture.target(), Presentation::AmongOthers)
            .unwrap()
            .installed
    );
    fs::create_dir_all(fixture.plugins().join("c~d")).unwrap();
    fs::create_dir_all(fixture.plugins().join(".hidden")).unwrap();
    let condition = fixture.attempt().condition;
    assert!(
        condition.status
            && condition
                .message
                .contains("; folder c~d contains no executable driver"),
        "{condition:?}"
    );
}
