//! Tests of the accepted paths, and of symbolic links below the kubelet's root.

use super::{FolderScope, TargetDir, TargetDirError, read};
use flexvolume::driver_name::DriverName;
use host::Kind;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const BELOW: &str = "pods/0a-1/volumes/flexlvm.dev~lvm/pvc-1";
const ALL: &str = "plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/pvc-1";

fn folder(path: &Path) -> Result<Option<TargetDir>, TargetDirError> {
    TargetDir::open(path.as_os_str(), &DriverName::own(), FolderScope::Any)
}

fn open(path: &Path) -> Option<PathBuf> {
    folder(path).unwrap().map(|folder| folder.path().to_owned())
}

fn is_rejected(path: &Path) -> bool {
    matches!(folder(path), Err(TargetDirError::NotAFolder { .. }))
}

fn is_ours(path: &OsStr, scope: FolderScope) -> bool {
    read(path, &DriverName::own(), scope).is_ok()
}

#[test]
fn accepts_only_the_kubelets_paths() {
    for good in [
        "/var/lib/kubelet/pods/u/volumes/flexlvm.dev~lvm/pvc-1",
        "/pods/u/volumes/flexlvm.dev~lvm/pvc-1",
        "//a//pods/u/volumes/flexlvm.dev~lvm/pvc-1/",
    ] {
        assert!(is_ours(OsStr::new(good), FolderScope::OnePod), "{good}");
        assert!(!is_ours(OsStr::new(good), FolderScope::AllPods), "{good}");
        assert!(is_ours(OsStr::new(good), FolderScope::Any), "{good}");
    }
    for bad in [
        "",
        "/",
        "x",
        "pods/u/volumes/flexlvm.dev~lvm/x",
        "/etc",
        "/a/pods/u/volumes/other~lvm/x",
        "/a/pods/u/volumes/flexlvm.dev~lvm",
        "/a/pods/u/volumes/flexlvm.dev~lvm/x/y",
        "/a/pods/u/x/flexlvm.dev~lvm/x",
        "/a/pods/../volumes/flexlvm.dev~lvm/x",
        "/a/../pods/u/volumes/flexlvm.dev~lvm/x",
        "/pods/u/volumes/flexlvm.dev~lvm/..",
        "/pods/u/volumes/flexlvm.dev~lvm/-rf",
        "/pods/u/volumes/flexlvm.dev~lvm/a\nb",
        "/pods/u/volumes/flexlvm.dev~lvm/a b",
        "-rf",
    ] {
        assert!(!is_ours(OsStr::new(bad), FolderScope::Any), "{bad:?}");
    }
    let long = format!("/pods/u/volumes/flexlvm.dev~lvm/{}", "x".repeat(300));
    assert!(!is_ours(OsStr::new(&long), FolderScope::Any));
    assert!(!is_ours(
        OsStr::from_bytes(b"/pods/u/volumes/flexlvm.dev~lvm/\xff"),
        FolderScope::Any
    ));
}

#[test]
fn folder_for_all_pods_is_derived_from_a_pods_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().canonicalize().unwrap();
    fs::create_dir_all(root.join(BELOW)).unwrap();
    let pod = folder(&root.join(BELOW)).unwrap().unwrap();
    assert!(pod.for_all_pods().unwrap().is_none());
    fs::create_dir_all(root.join(ALL)).unwrap();
    assert_eq!(pod.for_all_pods().unwrap().unwrap().path(), root.join(ALL));
    assert!(
        is_ours(root.join(ALL).as_os_str(), FolderScope::AllPods)
            && !is_ours(root.join(ALL).as_os_str(), FolderScope::OnePod)
    );
    for bad in [
        "/k/plugins/kubernetes.io/flexvolume/other/lvm/mounts/x",
        "/k/plugins/kubernetes.io/flexvolume/flexlvm.dev~lvm/mounts/x",
    ] {
        assert!(!is_ours(OsStr::new(bad), FolderScope::Any), "{bad}");
    }
}

#[test]
fn rejects_folders_of_another_driver_name() {
    let alias: DriverName = "kubernetes.io/lvm".parse().unwrap();
    let own = "/k/pods/u/volumes/flexlvm.dev~lvm/x";
    let other = "/k/pods/u/volumes/kubernetes.io~lvm/x";
    assert!(
        read(OsStr::new(own), &alias, FolderScope::Any)
            .unwrap_err()
            .to_string()
            .contains("kubernetes.io~lvm/<name>")
    );
    assert!(
        read(OsStr::new(other), &alias, FolderScope::Any).is_ok()
            && !is_ours(OsStr::new(other), FolderScope::Any)
    );
}

#[test]
fn symbolic_link_is_accepted_for_the_root_only() {
    let scratch = tempfile::tempdir().unwrap();
    let real = scratch.path().canonicalize().unwrap().join("real");
    fs::create_dir_all(real.join(BELOW)).unwrap();
    let root = scratch.path().join("root");
    symlink("real", &root).unwrap();
    assert_eq!(open(&root.join(BELOW)), Some(real.join(BELOW)));
    for link in [
        "pods",
        "pods/0a-1",
        "pods/0a-1/volumes",
        "pods/0a-1/volumes/flexlvm.dev~lvm",
    ] {
        let root = scratch.path().join(format!("with-link-{}", link.len()));
        fs::create_dir_all(root.join(link).parent().unwrap()).unwrap();
        symlink(real.join(link), root.join(link)).unwrap();
        assert!(is_rejected(&root.join(BELOW)), "{link}");
    }
    fs::create_dir_all(real.join(ALL)).unwrap();
    for steps in 1..=6 {
        let link: PathBuf = Path::new(ALL).iter().take(steps).collect();
        let root = scratch.path().join(format!("with-link-all-{steps}"));
        fs::create_dir_all(root.join(&link).parent().unwrap()).unwrap();
        symlink(real.join(&link), root.join(&link)).unwrap();
        assert!(is_rejected(&root.join(ALL)), "{link:?}");
    }
    let last = real.join("pods/0a-1/volumes/flexlvm.dev~lvm/pvc-2");
    symlink("pvc-1", &last).unwrap();
    let folder = folder(&last).unwrap().unwrap();
    assert!(matches!(
        folder.target(),
        Err(TargetDirError::NotAFolder { .. })
    ));
}

#[test]
fn missing_folder_is_not_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    assert_eq!(open(&scratch.path().join(BELOW)), None);
    assert_eq!(open(&scratch.path().join("no-root").join(BELOW)), None);
    fs::create_dir_all(scratch.path().join(BELOW).parent().unwrap()).unwrap();
    let folder = folder(&scratch.path().join(BELOW)).unwrap().unwrap();
    assert!(folder.is_missing());
    let missing = folder.target().unwrap_err();
    assert!(
        matches!(&missing, TargetDirError::Unknown(error) if error.kind() == Kind::NotFound),
        "{missing}"
    );
}
