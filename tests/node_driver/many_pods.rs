//! Many pods of one volume at the same time, some of them read-only.

use crate::fixture::{Fixture, Volume};

/// Number of concurrent pods. Every third one is read-only.
const PODS: u32 = 6;

pub(crate) fn many_pods_come_and_go_at_once(fixture: &Fixture) {
    for fs in ["ext4", "xfs"] {
        let volume = fixture.unformatted_volume(fs, 512);
        let folder = fixture.mount("first", &volume);
        fixture.shell(&format!("echo hello >{folder}/file"));
        fixture.succeeds(&["unmount", &folder]);
        // Some of the pods find that it has grown.
        fixture.shell(&format!("lvextend -qq -L 640M {}", volume.path()));
        come_and_go(fixture, &volume);
        let attaching = fixture.attaching();
        let all = fixture.folder_for_all(&volume);
        fixture.succeeds(&["mountdevice", &all, "", &volume.json("rw")]);
        fixture.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        come_and_go(fixture, &volume);
        assert_eq!(fixture.mounts(&all), 1);
        fixture.succeeds(&["unmountdevice", &all]);
        drop(attaching);
        let folder = fixture.mount("last", &volume);
        let size: u64 = fixture
            .shell(&format!("df --output=size -m {folder} | tail -1"))
            .trim()
            .parse()
            .unwrap();
        assert!(size > 650, "{fs}: {size}");
        assert_eq!(
            fixture.shell(&format!("ls {folder} | grep -c ^pod")),
            (PODS - PODS / 3).to_string()
        );
        fixture.succeeds(&["unmount", &folder]);
    }
}

/// Each pod mounts, uses, grows and unmounts three times, concurrently with all others.
fn come_and_go(fixture: &Fixture, volume: &Volume) {
    let driver = fixture.driver();
    let pods: Vec<String> = (0..PODS)
        .map(|pod| {
            let folder = fixture.folder(&format!("many-{pod}"), volume);
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
    let replies = fixture.shell(&format!("set +e; ({}\nwait) 2>&1", script.join("\n")));
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
            fixture.mounts(&fixture.folder(&format!("many-{pod}"), volume)),
            0
        );
    }
}

pub(crate) fn volume_grows_next_to_read_only_mount(fixture: &Fixture) {
    for attach in [false, true] {
        let attaching = attach.then(|| fixture.attaching());
        let volume = fixture.unformatted_volume("ext4", 128);
        let all = fixture.folder_for_all(&volume);
        let writing = volume.json("rw");
        let reading = volume.json("ro");
        fixture.succeeds(&["mountdevice", &all, "", &writing]);
        if !attach {
            fixture.succeeds(&["unmountdevice", &all]);
        }
        // The read-only mount is the older one: resize2fs finds it first.
        let reader = fixture.folder("older", &volume);
        let writer = fixture.folder("younger", &volume);
        fixture.succeeds(&["mount", &reader, &reading]);
        if attach {
            fixture.succeeds(&["unmountdevice", &all]);
            fixture.succeeds(&["mountdevice", &all, "", &writing]);
        }
        fixture.succeeds(&["mount", &writer, &writing]);
        fixture.shell(&format!("lvextend -qq -L 256M {}", volume.path()));
        let before = fixture.shell("wc -l </proc/self/mountinfo");
        fixture.succeeds(&["expandfs", &writing, "", &writer, "268435456", "134217728"]);
        let size: u64 = fixture
            .shell(&format!("df --output=size -m {reader} | tail -1"))
            .trim()
            .parse()
            .unwrap();
        assert!(size > 200, "{size}");
        // The rest of the system observes no mount of it.
        assert_eq!(fixture.shell("wc -l </proc/self/mountinfo"), before);
        fixture.shell(&format!(
            "! touch {reader}/file 2>/dev/null && touch {writer}/file"
        ));
        for folder in [&reader, &writer] {
            fixture.succeeds(&["unmount", folder]);
        }
        fixture.succeeds(&["unmountdevice", &all]);
        drop(attaching);
    }
}
