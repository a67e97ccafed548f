//! Folders: the driver accepts only those that the kubelet creates for it.

use super::*;

#[test]
fn folders_outside_the_kubelets_tree_are_rejected() {
    let options = options().to_string();
    let long = format!("/pods/u/volumes/flexlvm.dev~lvm/{}", "x".repeat(300));
    for folder in [
        "",
        "/",
        "/etc",
        "-rf",
        "etc",
        "/pods/u/volumes/other~lvm/x",
        "/a/../pods/u/volumes/flexlvm.dev~lvm/x",
        &*long,
        "/pods/u/volumes/flexlvm.dev~lvm/a\nb",
        "/pods/u/volumes/flexlvm.dev~lvm/..",
        "/dev/shm",
        "/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/..",
        "/plugins/kubernetes.io/flexvolume/flexlvm.dev~lvm/mounts/x",
        "/plugins/kubernetes.io/flexvolume/other/lvm/mounts/x",
        "/plugins/kubernetes.io/csi/flexlvm.dev/lvm/mounts/x",
    ] {
        for args in [
            &["mount", folder, &*options][..],
            &["mount", folder, "", &*options],
            &["unmount", folder],
            &["mountdevice", folder, "", &*options],
            &["unmountdevice", folder],
            &["expandfs", &*options, "", folder, "1", "1"],
        ] {
            let message = failure(args);
            assert!(message.contains("folder"), "{folder:?}: {message}");
        }
    }
    let invalid = OsString::from_vec(b"/pods/u/volumes/flexlvm.dev~lvm/\xff".to_vec());
    assert!(failure(&["unmount".into(), invalid]).contains("folder"));
    let pod = "/pods/u/volumes/flexlvm.dev~lvm/x";
    let all = "/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/x";
    for args in [
        &["mount", all, &*options][..],
        &["unmount", all],
        &["mountdevice", pod, "", &*options],
        &["unmountdevice", pod],
    ] {
        assert!(
            failure(args).contains("the folder is not the kubelet's"),
            "{args:?}"
        );
    }
}

#[test]
fn symbolic_links_below_the_root_are_rejected() {
    let root = tempfile::tempdir().unwrap();
    pod_folder(root.path());
    let root = root.path().canonicalize().unwrap();
    std::os::unix::fs::symlink("0a-1", root.join("pods/link")).unwrap();
    let linked = root
        .join("pods/link/volumes/flexlvm.dev~lvm/pvc-1")
        .display()
        .to_string();
    std::fs::create_dir_all(root.join("real/lvm/mounts/pvc-1")).unwrap();
    std::fs::create_dir_all(root.join("plugins/kubernetes.io/flexvolume")).unwrap();
    std::os::unix::fs::symlink(
        root.join("real"),
        root.join("plugins/kubernetes.io/flexvolume/flexlvm.dev"),
    )
    .unwrap();
    let all = root
        .join("plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/pvc-1")
        .display()
        .to_string();
    let json = &*options().to_string();
    for args in [
        &["mount", &*linked, json][..],
        &["unmount", &*linked],
        &["mountdevice", &*all, "", json],
        &["unmountdevice", &*all],
        &["expandfs", json, "", &*all, "1", "1"],
    ] {
        assert!(failure(args).contains("symbolic link"));
    }
}

#[test]
fn unmount_without_a_mount_succeeds_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let folder = pod_folder(root.path());
    let file = Path::new(&folder).join("file");
    std::fs::write(&file, "data").unwrap();
    let missing = folder.replace("pvc-1", "pvc-2");
    let nowhere = folder.replace("0a-1", "0a-2");
    for folder in [
        &folder,
        &missing,
        &nowhere,
        "/no-such-root/pods/u/volumes/flexlvm.dev~lvm/x",
    ] {
        assert_eq!(
            call(&["unmount", folder]),
            json!({"status": "Success"}),
            "{folder}"
        );
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"data");
}
