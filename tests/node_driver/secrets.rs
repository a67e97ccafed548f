//! Secrets from a volume's `secretRef`.

use crate::fixture::{Fixture, KEPT, NODE};

pub(crate) fn secrets_reach_no_program_and_no_log(fixture: &Fixture) {
    const SECRET: &str = "aHVudGVyMg==";
    let _attaching = fixture.attaching();
    let volume = fixture.unformatted_volume("ext4", 64);
    fixture.deactivate(&volume);
    let programs = ["lvm", "blkid", "wipefs", "mkfs.ext4", "resize2fs", "e2fsck"];
    for program in programs {
        fixture.replace(
            program,
            &format!("echo \"$0 $*\" >>/run/were-run; exec {KEPT}/{program} \"$@\""),
        );
    }
    let json = volume.json_with("rw", &[("kubernetes.io/secret/password", Some(SECRET))]);
    let wrong = json.replace("vg-0", "vg-none");
    let all = fixture.folder_for_all(&volume);
    let pod = fixture.folder("secret", &volume);
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
            replies.push(fixture.call(line).to_string());
        }
    }
    fixture.succeeds(&["unmount", &pod]);
    fixture.succeeds(&["unmountdevice", &all]);
    fixture.succeeds(&["detach", volume.options.volume.as_str(), NODE]);
    for program in programs {
        fixture.undo(program);
    }
    let ran = fixture.shell("cat /run/were-run; rm /run/were-run");
    let logged = fixture.shell("dmesg");
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
