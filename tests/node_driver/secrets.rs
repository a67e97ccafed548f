//! Secrets that a volume's `secretRef` brings along.

use crate::stage::{KEPT, NODE, Stage};

pub(crate) fn secrets_reach_no_program_and_no_log(stage: &Stage) {
    const SECRET: &str = "aHVudGVyMg==";
    let _attaching = stage.attaching();
    let volume = stage.fresh_volume("ext4", 64);
    stage.deactivate(&volume);
    let programs = ["lvm", "blkid", "wipefs", "mkfs.ext4", "resize2fs", "e2fsck"];
    for program in programs {
        stage.replace(
            program,
            &format!("echo \"$0 $*\" >>/run/were-run; exec {KEPT}/{program} \"$@\""),
        );
    }
    let json = volume.json_with("rw", &[("kubernetes.io/secret/password", Some(SECRET))]);
    let wrong = json.replace("vg-0", "vg-none");
    let (all, pod) = (
        stage.folder_for_all(&volume),
        stage.folder("secret", &volume),
    );
    let mut replies = Vec::new();
    for json in [&wrong, &json] {
        for line in [
            &["attach", json, NODE][..],
            &["waitforattach", "", json],
            &["mountdevice", &all, "", json],
            &["mount", &pod, json],
            &["expandfs", json, "", &pod, "1", "1"],
            &["isattached", json, NODE],
            &["mount", json, &pod],
            &["detach", json, NODE],
        ] {
            replies.push(stage.call(line).to_string());
        }
    }
    stage.succeeds(&["unmount", &pod]);
    stage.succeeds(&["unmountdevice", &all]);
    stage.succeeds(&["detach", volume.options.volume.as_str(), NODE]);
    for program in programs {
        stage.undo(program);
    }
    let (ran, logged) = (
        stage.shell("cat /run/were-run; rm /run/were-run"),
        stage.shell("dmesg"),
    );
    assert!(
        ran.contains("mkfs.ext4") && ran.contains("--activate"),
        "{ran}"
    );
    assert!(
        logged.contains("call=attach") && logged.contains("call=mountdevice"),
        "the driver logs here"
    );
    for text in [&ran, &logged, &replies.join("\n")] {
        assert!(!text.contains("aHVudGVyMg"), "{text}");
    }
}
