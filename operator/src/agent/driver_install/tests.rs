//! The installer on temporary folders.

mod aliases;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crds::condition::reason;
use flexvolume::{DriverName, DriverSettings};
use tempfile::TempDir;

use super::{Installed, Target, install};

struct Place {
    folder: TempDir,
    attach: bool,
    aliases: Vec<DriverName>,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            attach: false,
            aliases: Vec::new(),
        };
        place.ship("version 1");
        place.mount(&[]);
        place
    }

    fn ship(&self, content: &str) {
        fs::write(self.driver(), content).unwrap();
    }

    /// Has something mounted in these folders of the kubelet, and nothing else.
    fn mount(&self, folders: &[&str]) {
        let line = |folder: &&str| {
            format!("36 35 254:1 / /var/lib/kubelet/{folder} rw - ext4 /dev/mapper/a rw\n")
        };
        let lines = folders.iter().map(line).collect::<String>();
        fs::write(self.folder.path().join("mountinfo"), lines).unwrap();
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
        install(&self.target(), false).unwrap()
    }

    /// Whether something was done; all has to be well.
    fn install(&self) -> bool {
        let done = self.attempt();
        assert!(done.condition.status, "{:?}", done.condition);
        done.installed
    }

    /// Why not all is well.
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
fn a_first_install_is_the_driver_in_its_folder_and_nothing_else() {
    let place = Place::new();
    assert!(place.install());
    assert_eq!(place.content(), "version 1");
    for path in [place.installed(), place.plugins().join("flexlvm.dev~lvm")] {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o7777,
            0o755
        );
    }
    assert_eq!(entries(&place.plugins()), ["flexlvm.dev~lvm"]);
    assert_eq!(entries(&place.plugins().join("flexlvm.dev~lvm")), ["lvm"]);
}

#[test]
fn nothing_is_written_when_nothing_has_to_change() {
    let place = Place::new();
    place.install();
    let times = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        (meta.ino(), meta.mtime_nsec(), meta.ctime_nsec())
    };
    let folder = place.plugins().join("flexlvm.dev~lvm");
    let before = (
        times(&place.installed()),
        times(&folder),
        times(&place.plugins()),
    );
    assert!(!place.install());
    assert_eq!(
        (
            times(&place.installed()),
            times(&folder),
            times(&place.plugins())
        ),
        before
    );
}

#[test]
fn an_upgrade_is_one_rename_and_running_call_outs_keep_their_file() {
    let place = Place::new();
    place.install();
    let old = fs::metadata(place.installed()).unwrap().ino();
    place.ship("version 2");
    assert!(place.install());
    assert_eq!(place.content(), "version 2");
    assert_ne!(fs::metadata(place.installed()).unwrap().ino(), old);
    assert_eq!(entries(&place.plugins().join("flexlvm.dev~lvm")), ["lvm"]);
}

#[test]
fn what_somebody_broke_is_repaired() {
    let place = Place::new();
    place.install();
    fs::write(place.installed(), "version 1, edited").unwrap();
    assert!(place.install());
    assert_eq!(place.content(), "version 1");
    fs::set_permissions(place.installed(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(place.install());
    fs::remove_file(place.installed()).unwrap();
    assert!(place.install());
    fs::remove_dir_all(place.plugins()).unwrap();
    assert!(place.install());
    assert!(!place.install());
}

#[test]
fn an_install_that_was_cut_short_is_taken_up() {
    let place = Place::new();
    let hidden = place.plugins().join(".flexlvm.dev~lvm");
    fs::create_dir_all(&hidden).unwrap();
    fs::write(hidden.join("lvm"), "vers").unwrap();
    assert!(place.install());
    assert_eq!(
        (place.content().as_str(), entries(&place.plugins()).len()),
        ("version 1", 1)
    );

    fs::write(place.plugins().join("flexlvm.dev~lvm/.lvm.tmp"), "vers").unwrap();
    place.ship("version 2");
    assert!(place.install());
    assert_eq!(entries(&place.plugins().join("flexlvm.dev~lvm")), ["lvm"]);
}

#[test]
fn what_is_in_the_way_is_named_and_left_alone() {
    for (name, thing) in [
        ("flexlvm.dev~lvm", "a folder"),
        ("flexlvm.dev~lvm/lvm", "a file"),
    ] {
        let place = Place::new();
        let path = place.plugins().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("/nowhere", &path).unwrap();
        let sentence = format!(
            "{} is not {thing}: remove it, and the driver is installed",
            path.display()
        );
        assert_eq!(place.refused(), (reason::INSTALL_FAILED, sentence));
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert!(!Path::new("/nowhere").exists());
    }
    let place = Place::new();
    fs::create_dir_all(place.installed()).unwrap();
    assert!(place.refused().1.contains("is not a file"));
    let place = Place::new();
    fs::create_dir_all(place.plugins()).unwrap();
    symlink("/nowhere", place.plugins().join(".flexlvm.dev~lvm")).unwrap();
    let error = install(&place.target(), false).unwrap_err();
    assert!(
        error.to_string().contains("is not a folder: remove it"),
        "{error}"
    );
}

#[test]
fn a_missing_driver_says_so() {
    let place = Place::new();
    fs::remove_file(place.driver()).unwrap();
    let error = host::error::chain(&install(&place.target(), false).unwrap_err());
    assert!(error.starts_with("open "), "{error}");
}

#[test]
fn the_settings_are_there_before_the_driver() {
    let place = Place::new();
    assert!(place.install());
    assert_eq!(place.settings(), "{\"attach\":false,\"node\":\"node1\"}\n");
    assert_eq!(
        fs::metadata(place.state().join("driver.json"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o644
    );

    let place = Place::new();
    fs::create_dir_all(place.state().join("driver.json")).unwrap();
    assert!(install(&place.target(), false).is_err());
    assert!(!place.plugins().exists());
}

#[test]
fn a_new_mode_is_shown_to_the_kubelet_once() {
    let mut place = Place::new();
    place.install();
    let before = inode(&place.installed());
    place.attach = true;
    assert!(place.install());
    assert!(place.settings().contains("\"attach\":true"));
    assert_ne!(
        inode(&place.installed()),
        before,
        "it is renamed into place again"
    );
    assert!(!place.install());

    // As if the agent had died between the settings and the rename.
    fs::remove_file(place.state().join("shown.json")).unwrap();
    assert!(place.install());
    assert!(!place.install());
}

#[test]
fn the_mode_does_not_change_under_mounted_volumes() {
    for (attach, mounted) in [(false, &[POD][..]), (true, &[SHARED, POD])] {
        let mut place = Place::new();
        place.attach = attach;
        place.install();
        place.mount(mounted);
        place.attach = !attach;
        let (old, binary) = (place.settings(), inode(&place.installed()));
        let (reason, message) = place.refused();
        assert_eq!(reason, reason::VOLUMES_MOUNTED);
        assert!(
            message.contains(&format!("keeps working with attach: {attach}")),
            "{message}"
        );
        assert!(
            message.contains(mounted[0]) && message.contains("drain this node"),
            "{message}"
        );
        assert_eq!((place.settings(), inode(&place.installed())), (old, binary));
        place.mount(&["pods/1/volumes/kubernetes.io~csi/data/mount", OF_ALIAS]);
        assert!(place.install());
        assert!(
            place
                .settings()
                .contains(&format!("\"attach\":{}", !attach))
        );
    }
}

#[test]
fn lost_settings_are_written_again_in_the_mode_of_what_is_mounted() {
    for (attach, mounted) in [(false, &[POD][..]), (true, &[SHARED, POD])] {
        let mut place = Place::new();
        place.attach = attach;
        place.install();
        place.mount(mounted);
        fs::write(place.state().join("driver.json"), "{").unwrap();
        place.install();
        let wanted = place.settings();
        assert!(wanted.contains(&format!("\"attach\":{attach}")));
        // By an agent that wants another mode, too.
        fs::remove_file(place.state().join("driver.json")).unwrap();
        place.attach = !attach;
        assert_eq!(place.refused().0, reason::VOLUMES_MOUNTED);
        assert_eq!(place.settings(), wanted);
    }
}

#[test]
fn a_neighbour_without_a_program_is_named_and_ours_is_shown_again() {
    let place = Place::new();
    place.install();
    assert!(
        !install(&place.target(), true).unwrap().installed,
        "no neighbour, no harm"
    );
    let good = place.plugins().join("a~b");
    fs::create_dir_all(&good).unwrap();
    fs::write(good.join("b"), "").unwrap();
    fs::set_permissions(good.join("b"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(
        !place
            .attempt()
            .condition
            .message
            .contains("without a program")
    );
    assert!(install(&place.target(), true).unwrap().installed);
    fs::create_dir_all(place.plugins().join("c~d")).unwrap();
    fs::create_dir_all(place.plugins().join(".hidden")).unwrap();
    let condition = place.attempt().condition;
    assert!(
        condition.status
            && condition
                .message
                .contains("; c~d there is without a program"),
        "{condition:?}"
    );
}
