//! Options: errors name the invalid option, and repeat no secret.

use super::*;

#[test]
fn secrets_are_never_repeated() {
    let root = tempfile::tempdir().unwrap();
    let folder = pod_folder(root.path());
    let root = root.path().canonicalize().unwrap().display().to_string();
    std::fs::create_dir_all(format!(
        "{root}/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/pvc-1"
    ))
    .unwrap();
    // Valid, and invalid in each way for which an error quotes the options.
    let good = options_with("kubernetes.io/secret/password", "aHVudGVyMg==");
    let mut lines = Vec::new();
    for (old, new) in [
        ("ext4", "ext4"),
        ("\"pvc-1\"", "\"../x\""),
        (UUID, "x"),
        ("1073741824", "1Gi"),
        ("rw", "maybe"),
        ("volumeID", "volumeid"),
        ("}", ""),
        ("\"aHVudGVyMg==\"", "[\"aHVudGVyMg==\"]"),
    ] {
        lines.extend(all_with_options(&root, &good.replace(old, new)));
    }
    // Options in place of another argument.
    for verb in [
        "mount",
        "unmount",
        "detach",
        "attach",
        "waitforattach",
        "expandfs",
        "other",
    ] {
        lines.push(vec![verb.to_owned(), good.clone(), folder.clone()]);
        lines.push(vec![verb.to_owned(), good.clone()]);
    }
    for line in lines {
        let args: Vec<OsString> = line.iter().map(OsString::from).collect();
        let reply = call(&args).to_string();
        assert!(
            !reply.contains("aHVudGVyMg") && !reply.contains("password"),
            "{line:?}: {reply}"
        );
        let logged = Line::new(&args, &Reply::Success, None, Duration::ZERO).to_string();
        assert!(
            !logged.contains("aHVudGVyMg") && !logged.contains("password"),
            "{line:?}: {logged}"
        );
    }
}

#[test]
fn invalid_options_are_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = pod_folder(root.path());
    let long = "x".repeat(300);
    for (key, value, expected) in [
        ("volumeID", "../x", "\"volumeID\" can't be used"),
        ("volumeID", "-rf", "begins with a hyphen"),
        ("volumeID", &*long, "too long"),
        ("volumeID", "a\nb", "only letters"),
        ("volumegroup", "", "is empty"),
        ("volumegroup", "vg/lv", "only letters"),
        ("uuid", "ABCDEF", "must have the form"),
        ("size", "1Gi", "number of bytes"),
        ("size", "-1", "number of bytes"),
        ("size", "18446744073709551616", "number of bytes"),
        ("size", "4096", "too small"),
        (
            "kubernetes.io/fsType",
            "vfat",
            "is not one of ext4, xfs and btrfs",
        ),
        ("kubernetes.io/readwrite", "yes", "rw or ro"),
        ("mountOptions", "ro,rw", "contradict each other"),
        (
            "mountOptions",
            "journal_path=/dev/sda",
            "names another device",
        ),
        ("mkfsOptions", "-d /etc", "not among those allowed"),
        ("mkfsoptions", "-m 0", "is unknown"),
    ] {
        let message = failure(&["mount", &*folder, &*options_with(key, value)]);
        assert!(message.contains(expected), "{key}={value}: {message}");
        assert!(message.len() < 1200 && !message.contains('\n'));
    }
}

#[test]
fn malformed_json_is_rejected_and_not_repeated() {
    let root = tempfile::tempdir().unwrap();
    let folder = pod_folder(root.path());
    let deep = "[".repeat(10_000);
    let large = options_with("mountOptions", &"x".repeat(100 << 10));
    let good = options().to_string();
    let twice = good.replacen('{', "{\"uuid\":\"secret\",", 1);
    let number = good.replace("\"1073741824\"", "1073741824");
    for json in [
        "",
        "null",
        "{",
        "[]",
        "{}{}",
        "secret",
        "{\"a\":{}}",
        &*deep,
        &*twice,
        &*number,
        &*large,
    ] {
        let message = failure(&["mount", &*folder, json]);
        assert!(
            !message.contains("secret") && message.len() < 1200,
            "{message}"
        );
        let root = folder.replace("/pods/0a-1/volumes/flexlvm.dev~lvm/pvc-1", "");
        for line in all_with_options(&root, json) {
            // Only call-outs that mount examine the mount options.
            let reply = call(&line);
            let ignores_mount_options =
                json == large && ["getvolumename", "attach", "isattached"].contains(&&*line[0]);
            assert!(
                reply["status"] == "Failure" || ignores_mount_options,
                "{line:?}"
            );
            assert!(!reply.to_string().contains("secret"), "{reply}");
        }
    }
    let invalid = OsString::from_vec(b"{\"volumeID\":\"\xff\"}".to_vec());
    for line in all_with_options("/root", "{}") {
        let args: Vec<OsString> = line
            .iter()
            .map(|arg| {
                if arg == "{}" {
                    invalid.clone()
                } else {
                    arg.into()
                }
            })
            .collect();
        assert!(failure(&args).contains("UTF-8"));
    }
}
