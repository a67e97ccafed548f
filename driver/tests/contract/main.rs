//! Runs the driver's program as the kubelet does, with valid and hostile input: it always prints
//! exactly one JSON object, on stdout and stderr together, and exits with status 0.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test starts the program that it tests"
)]

mod folders;
mod options;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driver::Reply;
use driver::log::Line;
use proptest::prelude::*;
use serde_json::{Value, json};

const UUID: &str = "ABCDEF-1234-5678-90ab-cdef-ghij-klmnop";

/// Runs the driver with one pipe for stdout and stderr, as the kubelet does.
fn call<S: AsRef<OsStr>>(args: &[S]) -> Value {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flexlvm-driver"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer);
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut output = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut output).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_mins(1));
    let text = String::from_utf8(output).unwrap();
    assert_eq!(text.trim_end().lines().count(), 1, "{text:?}");
    let reply: Value = serde_json::from_str(&text).unwrap();
    let status = reply["status"].as_str().unwrap();
    assert!(
        ["Success", "Failure", "Not supported"].contains(&status),
        "{text}"
    );
    assert_eq!(
        reply.get("message").is_some(),
        status == "Failure",
        "{text}"
    );
    assert!(reply.get("attached").is_none_or(Value::is_boolean));
    assert!(
        args.first().is_some_and(|verb| verb.as_ref() == "init")
            || reply.get("capabilities").is_none()
    );
    reply
}

fn failure<S: AsRef<OsStr>>(args: &[S]) -> String {
    let reply = call(args);
    assert_eq!(reply["status"], "Failure", "{reply}");
    reply["message"].as_str().unwrap().to_owned()
}

fn options() -> Value {
    json!({
        "kubernetes.io/fsType": "ext4", "kubernetes.io/readwrite": "rw", "kubernetes.io/pvOrVolumeName": "pvc-1",
        "volumegroup": "flexlvm-test-none", "volumeID": "pvc-1", "uuid": UUID, "size": "1073741824",
        "key": "00000000000000000000000000000000",
    })
}

fn options_with(key: &str, value: &str) -> String {
    let mut options = options();
    options[key] = value.into();
    options.to_string()
}

/// Returns every call-out with options, for these options and for folders below `root`.
fn all_with_options<'a>(root: &'a str, options: &'a str) -> Vec<Vec<String>> {
    let pod = format!("{root}/pods/0a-1/volumes/flexlvm.dev~lvm/pvc-1");
    let all = format!("{root}/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/pvc-1");
    let device = "/dev/mapper/flexlvm--test--none-pvc--1";
    [
        &["mount", &*pod, options][..],
        &["mount", &*pod, device, options],
        &["mountdevice", &*all, device, options],
        &["getvolumename", options],
        &["attach", options, "node-1"],
        &["waitforattach", device, options],
        &["isattached", options, "node-1"],
        &["expandvolume", options, &*all, "2147483648", "1073741824"],
        &[
            "expandfs",
            options,
            device,
            &*pod,
            "2147483648",
            "1073741824",
        ],
        &[
            "expandfs",
            options,
            device,
            &*all,
            "2147483648",
            "1073741824",
        ],
    ]
    .iter()
    .map(|line| line.iter().map(|&arg| arg.to_owned()).collect())
    .collect()
}

/// Creates a pod's folder for the volume below `root`, and returns its path.
fn pod_folder(root: &Path) -> String {
    let folder = root
        .canonicalize()
        .unwrap()
        .join("pods/0a-1/volumes/flexlvm.dev~lvm/pvc-1");
    std::fs::create_dir_all(&folder).unwrap();
    folder.display().to_string()
}

#[test]
fn init_reports_all_five_capabilities() {
    for args in [&["init"][..], &["init", "more", "still more"]] {
        let reply = call(args);
        let expected = json!({
            "attach": false, "selinuxRelabel": true, "supportsMetrics": true, "fsGroup": true, "requiresFSResize": true
        });
        assert_eq!(
            reply,
            json!({"status": "Success", "capabilities": expected})
        );
    }
}

#[test]
fn unknown_call_outs_are_not_supported() {
    for verb in [
        "",
        "-rf",
        "Mount",
        "\n",
        "provision",
        "delete",
        "getvolumenames",
    ] {
        assert_eq!(
            call(&[verb, "{}", "x"]),
            json!({"status": "Not supported"}),
            "{verb:?}"
        );
    }
    assert_eq!(
        call(&[OsString::from_vec(vec![0xff, 0xfe])])["status"],
        "Not supported"
    );
}

#[test]
fn wrong_number_of_arguments_is_reported() {
    assert!(failure::<&str>(&[]).contains("no call-out given"));
    let verbs = "getvolumename attach detach waitforattach isattached mountdevice unmountdevice mount unmount \
                 expandvolume expandfs";
    for verb in verbs.split_whitespace() {
        for args in [&[verb][..], &[verb, "1", "2", "3", "4", "5", "6"]] {
            let message = failure(args);
            assert!(message.contains(&format!("{verb} takes")), "{message}");
        }
    }
}

#[test]
fn getvolumename_returns_kubernetes_name() {
    for options in [
        options().to_string(),
        r#"{"kubernetes.io/pvOrVolumeName":"pvc-1"}"#.to_owned(),
    ] {
        assert_eq!(
            call(&["getvolumename", &*options]),
            json!({"status": "Success", "volumeName": "pvc-1"})
        );
    }
    assert!(failure(&["getvolumename", "{}"]).contains("kubernetes.io/pvOrVolumeName"));
}

#[test]
fn attaching_for_another_node_changes_nothing() {
    let options = options().to_string();
    let device = "/dev/mapper/flexlvm--test--none-pvc--1";
    assert_eq!(
        call(&["attach", &*options, "elsewhere"]),
        json!({"status": "Success", "device": device})
    );
    assert_eq!(
        call(&["isattached", &*options, "elsewhere"]),
        json!({"status": "Success", "attached": true})
    );
    assert_eq!(
        call(&["detach", "pvc-1", "elsewhere"]),
        json!({"status": "Success"})
    );
    for name in ["", "../x", "a/b", "-rf", ".", ".."] {
        assert!(
            failure(&["detach", name, "elsewhere"]).contains("not the name of a volume"),
            "{name:?}"
        );
    }
}

#[test]
fn missing_volume_is_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = pod_folder(root.path());
    // With LVM on this machine the group is unknown, without LVM the call fails earlier.
    failure(&["mount", &*folder, &*options().to_string()]);
    let message = failure(&[
        "expandfs",
        &*options().to_string(),
        "",
        &*folder,
        "2147483648",
        "1073741824",
    ]);
    // Without LVM or root, the driver can't look it up.
    assert!(
        message.contains("flexlvm-test-none") || !rustix::process::geteuid().is_root(),
        "{message}"
    );
    let missing = folder.replace("pvc-1", "pvc-2");
    let message = failure(&["mount", &*missing, &*options().to_string()]);
    assert!(message.contains("pvc-2"), "{message}");
    for sizes in [["1Gi", "0"], ["", "0"], ["1", "x"], ["-1", "0"]] {
        let message = failure(&[
            "expandfs",
            &*options().to_string(),
            "",
            &*folder,
            sizes[0],
            sizes[1],
        ]);
        assert!(message.contains("size is not a number"), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_input_is_answered_with_one_json_object(
        verb in prop_oneof!["init|mount|unmount|expandfs|attach|detach|waitforattach|isattached|getvolumename|mountdevice|unmountdevice|expandvolume", "\\PC{0,9}"],
        rest in proptest::collection::vec(proptest::collection::vec(1_u8..=255, 0..40), 0..6),
    ) {
        let rest = rest.into_iter().map(OsString::from_vec);
        let args: Vec<OsString> = std::iter::once(OsString::from(verb)).chain(rest).collect();
        call(&args);
    }
}
