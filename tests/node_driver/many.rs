//! Many pods of one volume at the same time, some of which only read.

use crate::stage::{Stage, Volume};

/// Pods that come and go at once. The third of three only reads.
const PODS: u32 = 6;

pub(crate) fn many_pods_come_and_go_at_once(stage: &Stage) {
    for fs in ["ext4", "xfs"] {
        let volume = stage.fresh_volume(fs, 512);
        let folder = stage.mount("first", &volume);
        stage.shell(&format!("echo hello >{folder}/file"));
        stage.succeeds(&["unmount", &folder]);
        // Some of them find that it has grown.
        stage.shell(&format!("lvextend -qq -L 640M {}", volume.path()));
        come_and_go(stage, &volume);
        let attaching = stage.attaching();
        let all = stage.folder_for_all(&volume);
        stage.succeeds(&["mountdevice", &all, "", &volume.json("rw")]);
        stage.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        come_and_go(stage, &volume);
        assert_eq!(stage.mounts(&all), 1);
        stage.succeeds(&["unmountdevice", &all]);
        drop(attaching);
        let folder = stage.mount("last", &volume);
        let size: u64 = stage
            .shell(&format!("df --output=size -m {folder} | tail -1"))
            .trim()
            .parse()
            .unwrap();
        assert!(size > 650, "{fs}: {size}");
        assert_eq!(
            stage.shell(&format!("ls {folder} | grep -c ^pod")),
            (PODS - PODS / 3).to_string()
        );
        stage.succeeds(&["unmount", &folder]);
    }
}

/// Each pod mounts, uses, grows and unmounts three times, while all others do the same.
fn come_and_go(stage: &Stage, volume: &Volume) {
    let driver = stage.driver();
    let pods: Vec<String> = (0..PODS)
        .map(|pod| {
            let folder = stage.folder(&format!("many-{pod}"), volume);
            let reads = pod % 3 == 2;
            let json = volume.json(if reads { "ro" } else { "rw" });
            let used = if reads {
                format!("! touch {folder}/file 2>/dev/null")
            } else {
                format!("echo {pod} >{folder}/pod-{pod}; {driver} expandfs {json:?} '' {folder} 536870912 1")
            };
            format!(
                "for _ in 1 2 3; do {driver} mount {folder} {json:?}; {driver} mount {folder} {json:?}
                    grep -q hello {folder}/file || echo lost; {used}; {driver} unmount {folder}
                done"
            )
        })
        .collect();
    let script: Vec<String> = pods.iter().map(|pod| format!("({pod}) &")).collect();
    let replies = stage.shell(&format!("set +e; ({}\nwait) 2>&1", script.join("\n")));
    let bad: Vec<&str> = replies
        .lines()
        .filter(|line| *line != r#"{"status":"Success"}"#)
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(
        replies.lines().count(),
        (PODS * 3 * 3 + (PODS - PODS / 3) * 3) as usize
    );
    for pod in 0..PODS {
        assert_eq!(
            stage.mounts(&stage.folder(&format!("many-{pod}"), volume)),
            0
        );
    }
}

pub(crate) fn a_volume_grows_beside_a_reader(stage: &Stage) {
    for attach in [false, true] {
        let attaching = attach.then(|| stage.attaching());
        let volume = stage.fresh_volume("ext4", 128);
        let (all, writing, reading) = (
            stage.folder_for_all(&volume),
            volume.json("rw"),
            volume.json("ro"),
        );
        stage.succeeds(&["mountdevice", &all, "", &writing]);
        if !attach {
            stage.succeeds(&["unmountdevice", &all]);
        }
        // The reader's mount is the older one: resize2fs finds it first.
        let (reader, writer) = (
            stage.folder("older", &volume),
            stage.folder("younger", &volume),
        );
        stage.succeeds(&["mount", &reader, &reading]);
        if attach {
            stage.succeeds(&["unmountdevice", &all]);
            stage.succeeds(&["mountdevice", &all, "", &writing]);
        }
        stage.succeeds(&["mount", &writer, &writing]);
        stage.shell(&format!("lvextend -qq -L 256M {}", volume.path()));
        let before = stage.shell("wc -l </proc/self/mountinfo");
        stage.succeeds(&["expandfs", &writing, "", &writer, "268435456", "134217728"]);
        let size: u64 = stage
            .shell(&format!("df --output=size -m {reader} | tail -1"))
            .trim()
            .parse()
            .unwrap();
        assert!(size > 200, "{size}");
        // Nobody else has seen anything of it.
        assert_eq!(stage.shell("wc -l </proc/self/mountinfo"), before);
        stage.shell(&format!(
            "! touch {reader}/file 2>/dev/null && touch {writer}/file"
        ));
        for folder in [&reader, &writer] {
            stage.succeeds(&["unmount", folder]);
        }
        stage.succeeds(&["unmountdevice", &all]);
        drop(attaching);
    }
}
