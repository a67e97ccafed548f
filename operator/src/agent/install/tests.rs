//! The installer on temporary folders.

use super::install;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.ship("version 1");
        place
    }

    fn ship(&self, content: &str) {
        fs::write(self.driver(), content).unwrap();
    }

    fn driver(&self) -> PathBuf {
        self.folder.path().join("flexlvm-driver")
    }

    fn plugins(&self) -> PathBuf {
        self.folder.path().join("exec")
    }

    fn installed(&self) -> PathBuf {
        self.plugins().join("flexlvm.dev~lvm/lvm")
    }

    fn install(&self) -> Result<bool, String> {
        install(&self.driver(), &self.plugins()).map_err(|error| host::error::chain(&error))
    }

    fn content(&self) -> String {
        fs::read_to_string(self.installed()).unwrap()
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_first_install_is_the_driver_in_its_folder_and_nothing_else() {
    let place = Place::new();
    assert_eq!(place.install(), Ok(true));
    assert_eq!(place.content(), "version 1");
    for path in [place.installed(), place.plugins().join("flexlvm.dev~lvm")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o755);
    }
    assert_eq!(entries(&place.plugins()), ["flexlvm.dev~lvm"]);
    assert_eq!(entries(&place.plugins().join("flexlvm.dev~lvm")), ["lvm"]);
}

#[test]
fn nothing_is_written_when_nothing_has_to_change() {
    let place = Place::new();
    place.install().unwrap();
    let times = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        (meta.ino(), meta.mtime_nsec(), meta.ctime_nsec())
    };
    let folder = place.plugins().join("flexlvm.dev~lvm");
    let before = (times(&place.installed()), times(&folder), times(&place.plugins()));
    assert_eq!(place.install(), Ok(false));
    assert_eq!((times(&place.installed()), times(&folder), times(&place.plugins())), before);
}

#[test]
fn an_upgrade_is_one_rename_and_running_call_outs_keep_their_file() {
    let place = Place::new();
    place.install().unwrap();
    let old = fs::metadata(place.installed()).unwrap().ino();
    place.ship("version 2");
    assert_eq!(place.install(), Ok(true));
    assert_eq!(place.content(), "version 2");
    assert_ne!(fs::metadata(place.installed()).unwrap().ino(), old);
    assert_eq!(entries(&place.plugins().join("flexlvm.dev~lvm")), ["lvm"]);
}

#[test]
fn what_somebody_broke_is_repaired() {
    let place = Place::new();
    place.install().unwrap();
    fs::write(place.installed(), "version 1, edited").unwrap();
    assert_eq!(place.install(), Ok(true));
    assert_eq!(place.content(), "version 1");
    fs::set_permissions(place.installed(), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(place.install(), Ok(true));
    fs::remove_file(place.installed()).unwrap();
    assert_eq!(place.install(), Ok(true));
    fs::remove_dir_all(place.plugins()).unwrap();
    assert_eq!(place.install(), Ok(true));
    assert_eq!(place.install(), Ok(false));
}

#[test]
fn an_install_that_was_cut_short_is_taken_up() {
    let place = Place::new();
    let hidden = place.plugins().join(".flexlvm.dev~lvm");
    fs::create_dir_all(&hidden).unwrap();
    fs::write(hidden.join("lvm"), "vers").unwrap();
    assert_eq!(place.install(), Ok(true));
    assert_eq!((place.content().as_str(), entries(&place.plugins()).len()), ("version 1", 1));

    fs::write(place.plugins().join("flexlvm.dev~lvm/.lvm.tmp"), "vers").unwrap();
    place.ship("version 2");
    assert_eq!(place.install(), Ok(true));
    assert_eq!(entries(&place.plugins().join("flexlvm.dev~lvm")), ["lvm"]);
}

#[test]
fn what_is_in_the_way_is_named_and_left_alone() {
    for (name, thing) in
        [("flexlvm.dev~lvm", "a folder"), (".flexlvm.dev~lvm", "a folder"), ("flexlvm.dev~lvm/lvm", "a file")]
    {
        let place = Place::new();
        let path = place.plugins().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("/nowhere", &path).unwrap();
        let sentence = place.install().unwrap_err();
        assert_eq!(sentence, format!("{} is not {thing}: remove it, and the driver is installed", path.display()));
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert!(!Path::new("/nowhere").exists());
    }
    let place = Place::new();
    fs::create_dir_all(place.installed()).unwrap();
    assert!(place.install().unwrap_err().contains("is not a file"));
}

#[test]
fn a_missing_driver_says_so() {
    let place = Place::new();
    fs::remove_file(place.driver()).unwrap();
    assert!(place.install().unwrap_err().starts_with("open "));
}
