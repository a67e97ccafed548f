//! The driver on a node with real LVM, without a kubelet: volumes as the agent makes them, calls as the kubelet makes
//! them, and after each what the node itself says.

#[path = "node_driver/stage.rs"]
mod stage;

use std::process::ExitCode;

use harness::suite::{self, Test};
use stage::{KEPT, Stage};

/// A test, which gets the one guest.
macro_rules! test {
    ($sentence:literal, $function:ident) => {
        Test::new($sentence, || {
            $function(Stage::get());
            Ok(())
        })
    };
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == stage::MARK) {
        return stage::mark(arguments).unwrap_or_else(|error| {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        });
    }
    suite::isolated(|| {
        vec![
            test!(
                "the first mount makes the file system, and data survive",
                first_mount_makes_the_file_system_and_data_survive
            ),
            test!("mkfs and mount options arrive", mkfs_and_mount_options_arrive),
            test!("common mount and unmount run no program", common_mount_and_unmount_run_no_program),
            test!(
                "a volume that is not ours is refused and untouched",
                a_volume_that_is_not_ours_is_refused_and_untouched
            ),
            test!("a prepared volume is taken as it is", a_prepared_volume_is_taken_as_it_is),
            test!("a mkfs cut short is made again", a_mkfs_cut_short_is_made_again),
            test!("a mkfs that outlives its driver keeps the lock", a_mkfs_that_outlives_its_driver_keeps_the_lock),
            test!("a hanging program ends in a failure", a_hanging_program_ends_in_a_failure),
            test!("programs that fail or lie do no harm", programs_that_fail_or_lie_do_no_harm),
            test!("a failed mount leaves nothing behind", a_failed_mount_leaves_nothing_behind),
            test!("two pods share a volume one of them read only", two_pods_share_a_volume_one_of_them_read_only),
            test!("calls at once make one file system", calls_at_once_make_one_file_system),
            test!("a repeated mount stacks nothing", a_repeated_mount_stacks_nothing),
            test!("unmount takes what it finds", unmount_takes_what_it_finds),
            test!("a corrupt mount can be taken down", a_corrupt_mount_can_be_taken_down),
            test!("expandfs grows when the volume has grown", expandfs_grows_when_the_volume_has_grown),
            test!("a mount grows what has grown meanwhile", a_mount_grows_what_has_grown_meanwhile),
            test!("a suspended volume is waited for and never for ever", a_suspended_volume_is_waited_for),
            test!("after a power cut everything goes on", after_a_power_cut_everything_goes_on),
        ]
    })
}

/// In MiB; xfsprogs refuses less than 300 MB.
fn smallest(fs: &str) -> u64 {
    if fs == "xfs" { 320 } else { 64 }
}

fn first_mount_makes_the_file_system_and_data_survive(stage: &Stage) {
    for fs in ["ext4", "xfs"] {
        let volume = stage.fresh_volume(fs, 512);
        let folder = stage.mount("first", &volume);
        assert_eq!(stage.shell(&format!("findmnt -no FSTYPE {folder}")), fs);
        assert_eq!(stage.mark(&volume, "read"), "none");
        let sum = stage.shell(&format!("head -c 8M /dev/urandom | tee {folder}/data | sha256sum"));
        stage.succeeds(&["unmount", &folder]);
        assert_eq!(stage.mounts(&folder), 0);
        stage.shell(&format!("rmdir {folder}"));
        let folder = stage.mount("second", &volume);
        assert_eq!(stage.shell(&format!("sha256sum <{folder}/data")), sum);
        stage.succeeds(&["unmount", &folder]);
    }
}

fn mkfs_and_mount_options_arrive(stage: &Stage) {
    let mut volume = stage.fresh_volume("ext4", 64);
    volume.options.mkfs = ["-i", "65536", "-L", "data"].map(str::to_owned).to_vec();
    volume.options.mount = ["noatime", "nosuid", "commit=17"].map(str::to_owned).to_vec();
    let folder = stage.mount("options", &volume);
    let options = stage.shell(&format!("findmnt -no OPTIONS {folder}"));
    for option in ["noatime", "nosuid", "commit=17"] {
        assert!(options.contains(option), "{options}");
    }
    assert_eq!(stage.shell(&format!("e2label {}", volume.device())), "data");
    stage.succeeds(&["unmount", &folder]);
    volume.options.mount = vec!["ro".to_owned(), "noexec".to_owned()];
    let folder = stage.mount("options", &volume);
    let options = stage.shell(&format!("findmnt -no VFS-OPTIONS {folder}"));
    assert!(options.starts_with("ro,") && options.contains("noexec"), "{options}");
    stage.succeeds(&["unmount", &folder]);
}

fn common_mount_and_unmount_run_no_program(stage: &Stage) {
    for fs in ["ext4", "xfs"] {
        let volume = stage.fresh_volume(fs, 512);
        let folder = stage.mount("common", &volume);
        stage.succeeds(&["unmount", &folder]);
        // strace -f shows every program that is run.
        for (verb, json) in [("mount", volume.json("rw")), ("unmount", String::new())] {
            let script =
                format!("strace -f -qq -e trace=execve -o /run/trace {} {verb} {folder} {json:?}", stage.driver());
            stage.shell(script.trim_end_matches("\"\""));
            assert_eq!(stage.shell("grep -c execve /run/trace"), "1", "{}", stage.shell("cat /run/trace"));
        }
        assert_eq!(stage.mounts(&folder), 0);
    }
}

fn a_volume_that_is_not_ours_is_refused_and_untouched(stage: &Stage) {
    let one = stage.fresh_volume("ext4", 64);
    let mut other = stage.fresh_volume("ext4", 64);
    other.options.uuid = one.options.uuid.clone();
    let blank = stage.bare_volume("ext4", 64);
    let foreign = stage.fresh_volume("ext4", 320);
    stage.shell(&format!("mkfs.xfs -q -K {}", foreign.device()));
    let partitioned = stage.fresh_volume("ext4", 64);
    for (bytes, at) in [(r"\200\1\1\0\203\1\1\11\0\10\0\0\0\0\1\0", 446), (r"\125\252", 510)] {
        stage.poke(&partitioned, bytes, at);
    }
    let half_wiped = stage.fresh_volume("ext4", 64);
    stage.poke(&half_wiped, r"\123\357", 1080);
    for (volume, words) in [
        (&other, &["is another one than the volume's"][..]),
        (&blank, &["carries no file system, and is not known to be fresh"]),
        (&foreign, &["carries xfs, and ext4 is wanted"]),
        (&partitioned, &["partition table (dos)"]),
        (&half_wiped, &["carries ext2, and ext4 is wanted"]),
    ] {
        let (folder, before) = (stage.folder("refused", volume), stage.checksum(volume));
        stage.fails(&["mount", &folder, &volume.json("rw")], words);
        stage.fails(&["mount", &folder, &volume.json("ro")], words);
        assert_eq!(stage.checksum(volume), before, "{words:?}");
        assert_eq!(stage.mounts(&folder), 0);
    }
    let fresh = stage.fresh_volume("ext4", 64);
    let (folder, before) = (stage.folder("refused", &fresh), stage.checksum(&fresh));
    stage.fails(&["mount", &folder, &fresh.json("ro")], &["read-only mount can't make"]);
    let mut gone = fresh.clone();
    gone.options.volume = host::LvName::new("pvc-gone").unwrap();
    stage.fails(&["mount", &folder, &gone.json("rw")], &["pvc-gone"]);
    assert_eq!((stage.checksum(&fresh), stage.mounts(&folder)), (before, 0));
}

fn a_prepared_volume_is_taken_as_it_is(stage: &Stage) {
    let volume = stage.fresh_volume("ext4", 64);
    stage.shell(&format!("mkfs.ext4 -q -E nodiscard -L by-hand {}", volume.device()));
    let folder = stage.mount("prepared", &volume);
    assert_eq!(stage.shell(&format!("e2label {}", volume.device())), "by-hand");
    assert_eq!(stage.mark(&volume, "read"), "none");
    stage.succeeds(&["unmount", &folder]);
}

fn a_mkfs_cut_short_is_made_again(stage: &Stage) {
    for fs in ["ext4", "xfs"] {
        // Cut short before it wrote anything, and after it had written all.
        let volume = stage.bare_volume(fs, 512);
        stage.mark(&volume, "formatting");
        let folder = stage.mount("short", &volume);
        assert_eq!(stage.mark(&volume, "read"), "none");
        stage.succeeds(&["unmount", &folder]);
        stage.mark(&volume, "formatting");
        let before = stage.shell(&format!("blkid -p -s UUID -o value {}", volume.device()));
        stage.mount("short", &volume);
        let after = stage.shell(&format!("blkid -p -s UUID -o value {}", volume.device()));
        // It was mounted once: the mark is wrong, and data weigh more.
        assert_eq!(before, after);
        stage.succeeds(&["unmount", &folder]);
        // A real mkfs, cut short in the middle by a loss of power.
        let volume = stage.fresh_volume(fs, 512);
        let folder = stage.folder("cut", &volume);
        let mkfs = format!("mkfs.{fs}");
        stage.replace(&mkfs, &format!("timeout 0.1 {KEPT}/{mkfs} \"$@\"; touch /run/begun; sleep 1000"));
        stage.shell(&format!(
            "{} mount {folder} {:?} >/dev/null 2>&1 & for i in $(seq 600); do test -e /run/begun && exit; sleep 0.1; done; false",
            stage.driver(),
            volume.json("rw")
        ));
        stage.power_cut();
        stage.undo(&mkfs);
        stage.shell(&format!("vgchange -qq -ay {}", volume.options.group));
        assert_eq!(stage.mark(&volume, "read"), "formatting");
        let folder = stage.mount("cut", &volume);
        stage.shell(&format!("touch {folder}/file"));
        stage.succeeds(&["unmount", &folder]);
    }
}

fn a_mkfs_that_outlives_its_driver_keeps_the_lock(stage: &Stage) {
    let volume = stage.fresh_volume("ext4", 64);
    let folder = stage.folder("outlived", &volume);
    stage.replace("mkfs.ext4", "echo $$ >/run/mkfs.pid; exec sleep 1000");
    stage.shell(&format!(
        "rm -f /run/mkfs.pid; {} mount {folder} {:?} >/dev/null 2>&1 & driver=$!
         for i in $(seq 600); do test -s /run/mkfs.pid && break; sleep 0.1; done; kill -9 $driver; wait || true",
        stage.driver(),
        volume.json("rw")
    ));
    stage.undo("mkfs.ext4");
    let lock = format!("/run/flexlvm/{}.lock", volume.options.uuid);
    assert_eq!(stage.shell(&format!("flock -n {lock} echo free || echo held")), "held");
    stage.shell("kill -9 $(cat /run/mkfs.pid)");
    stage.mount("outlived", &volume);
    stage.succeeds(&["unmount", &folder]);
}

fn a_hanging_program_ends_in_a_failure(stage: &Stage) {
    let volume = stage.fresh_volume("ext4", 64);
    let folder = stage.folder("hanging", &volume);
    stage.replace("wipefs", "trap \"\" TERM; sleep 1000 & wait; sleep 1000");
    let begun = std::time::Instant::now();
    stage.fails(&["mount", &folder, &volume.json("rw")], &["wipefs", "was not done after"]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(40), "{:?}", begun.elapsed());
    assert_eq!(stage.shell("pgrep -fc 'sleep 100[0]' || true"), "0", "its children are ended, too");
    stage.undo("wipefs");
    assert_eq!(stage.mark(&volume, "read"), "fresh");
    stage.mount("hanging", &volume);
    stage.succeeds(&["unmount", &folder]);
}

fn programs_that_fail_or_lie_do_no_harm(stage: &Stage) {
    let lies = ["exit 1", "exit 0", "exit 2", "echo TYPE=ext4", "echo garbage", "echo warning >&2", "kill -9 $$"];
    for program in ["blkid", "wipefs", "mkfs.ext4"] {
        let volume = stage.fresh_volume("ext4", 64);
        let (folder, before) = (stage.folder("lies", &volume), stage.checksum(&volume));
        for lie in lies {
            stage.replace(program, lie);
            let reply = stage.call(&["mount", &folder, &volume.json("rw")]);
            stage.undo(program);
            // One that finds nothing, when there is nothing, is no liar.
            if (program, lie) != ("blkid", "exit 2") && (program, lie) != ("wipefs", "exit 0") {
                assert_eq!(reply["status"], "Failure", "{program}: {lie}");
                assert_eq!(stage.mounts(&folder), 0);
            } else {
                stage.succeeds(&["unmount", &folder]);
                stage.shell(&format!("dd if=/dev/zero of={} bs=1M count=64 conv=notrunc 2>&1", volume.device()));
                stage.mark(&volume, "fresh");
            }
            let expected = if program == "mkfs.ext4" { "formatting" } else { "fresh" };
            assert_eq!(stage.mark(&volume, "read"), expected, "{program}: {lie}");
        }
        if program != "mkfs.ext4" {
            assert_eq!(stage.checksum(&volume), before, "{program}");
        }
        stage.mount("lies", &volume);
        stage.succeeds(&["unmount", &folder]);
    }
    let volume = stage.fresh_volume("ext4", 64);
    let folder = stage.mount("lies", &volume);
    stage.succeeds(&["unmount", &folder]);
    for lie in ["exit 5", "exit 0", "kill -9 $$"] {
        stage.shell(&format!("lvchange -an {}", volume.path()));
        stage.replace("lvm", lie);
        let reply = stage.call(&["mount", &folder, &volume.json("rw")]);
        stage.undo("lvm");
        assert_eq!((&reply["status"], stage.mounts(&folder)), (&"Failure".into(), 0), "lvm: {lie}");
    }
    stage.mount("lies", &volume);
    stage.succeeds(&["unmount", &folder]);
}

fn a_failed_mount_leaves_nothing_behind(stage: &Stage) {
    for fs in ["ext4", "xfs"] {
        let volume = stage.fresh_volume(fs, smallest(fs));
        let folder = stage.mount("failed", &volume);
        stage.succeeds(&["unmount", &folder]);
        // The magic stays, the rest of the superblock is damaged: only the kernel finds out.
        let at = if fs == "ext4" { 1024 + 0x54 } else { 60 };
        stage.poke(&volume, r"\377\377\377\377\377\377", at);
        let before = stage.checksum(&volume);
        stage.fails(&["mount", &folder, &volume.json("rw")], &["can't be mounted", "damaged"]);
        assert_eq!((stage.mounts(&folder), stage.checksum(&volume)), (0, before));
        // Nobody holds the device, or its lock.
        let lock = format!("/run/flexlvm/{}.lock", volume.options.uuid);
        stage.shell(&format!("flock -n {lock} lvchange -qq -an {}", volume.path()));
    }
}

fn two_pods_share_a_volume_one_of_them_read_only(stage: &Stage) {
    for fs in ["ext4", "xfs"] {
        let volume = stage.fresh_volume(fs, 512);
        let folder = stage.mount("maker", &volume);
        stage.succeeds(&["unmount", &folder]);
        for order in [["rw", "ro"], ["ro", "rw"]] {
            for readwrite in order {
                let folder = stage.folder(readwrite, &volume);
                stage.succeeds(&["mount", &folder, &volume.json(readwrite)]);
            }
            let (writer, reader) = (stage.folder("rw", &volume), stage.folder("ro", &volume));
            stage.shell(&format!("echo hello >{writer}/file && grep -q hello {reader}/file"));
            stage.shell(&format!("! touch {reader}/file 2>/dev/null"));
            // One leaves, the other stays.
            stage.succeeds(&["unmount", &writer]);
            stage.shell(&format!("grep -q hello {reader}/file"));
            stage.succeeds(&["mount", &writer, &volume.json("rw")]);
            stage.succeeds(&["unmount", &reader]);
            stage.shell(&format!("echo again >{writer}/file"));
            stage.succeeds(&["unmount", &writer]);
        }
    }
}

fn calls_at_once_make_one_file_system(stage: &Stage) {
    let volume = stage.fresh_volume("ext4", 64);
    let folders: Vec<String> = (0..6).map(|pod| stage.folder(&format!("at-once-{pod}"), &volume)).collect();
    let all = |calls: Vec<String>| {
        let script = calls.join(" & ");
        let replies = stage.shell(&format!("({script} & wait)"));
        assert_eq!(replies.matches(r#"{"status":"Success"}"#).count(), folders.len(), "{replies}");
    };
    let (driver, json) = (stage.driver(), volume.json("rw"));
    all(folders.iter().map(|folder| format!("{driver} mount {folder} {json:?}")).collect());
    stage.shell(&format!("echo shared >{}/file", folders[0]));
    for folder in &folders {
        assert_eq!(stage.mounts(folder), 1);
        stage.shell(&format!("grep -q shared {folder}/file"));
    }
    all(folders.iter().map(|folder| format!("{driver} unmount {folder}")).collect());
    assert!(folders.iter().all(|folder| stage.mounts(folder) == 0));
}

fn a_repeated_mount_stacks_nothing(stage: &Stage) {
    let (volume, other) = (stage.fresh_volume("ext4", 64), stage.fresh_volume("ext4", 64));
    let folder = stage.mount("repeated", &volume);
    stage.mount("repeated", &volume);
    assert_eq!(stage.mounts(&folder), 1);
    stage.fails(&["mount", &folder, &other.json("rw")], &["something else is mounted"]);
    // A call that was cut short after the mount, and before it was made read-only.
    stage.succeeds(&["mount", &folder, &volume.json("ro")]);
    assert!(stage.shell(&format!("findmnt -no VFS-OPTIONS {folder}")).starts_with("ro"));
    stage.fails(&["mount", &folder, &volume.json("rw")], &["read-only"]);
    assert_eq!(stage.mounts(&folder), 1);
    stage.succeeds(&["unmount", &folder]);
    stage.shell(&format!("mount -t tmpfs none {folder}"));
    stage.fails(&["mount", &folder, &volume.json("rw")], &["something else is mounted", "tmpfs"]);
    stage.shell(&format!("umount {folder}"));
}

fn unmount_takes_what_it_finds(stage: &Stage) {
    let volume = stage.fresh_volume("ext4", 64);
    let folder = stage.folder("unmount", &volume);
    // Never mounted; twice; not there at all.
    stage.succeeds(&["unmount", &folder]);
    stage.succeeds(&["unmount", &folder]);
    stage.succeeds(&["unmount", &format!("{folder}-none")]);
    stage.mount("unmount", &volume);
    // Stacked, and with something of somebody else beside it.
    stage.shell(&format!("mkdir -p {folder}-beside && mount -t tmpfs none {folder}-beside"));
    stage.shell(&format!("mount --bind /etc {folder} && mount -t tmpfs none {folder}"));
    assert_eq!(stage.mounts(&folder), 3);
    stage.succeeds(&["unmount", &folder]);
    assert_eq!((stage.mounts(&folder), stage.mounts(&format!("{folder}-beside"))), (0, 1));
    stage.shell(&format!("umount {folder}-beside"));
    // In use, by a process or by a mount below.
    stage.mount("unmount", &volume);
    stage.shell(&format!("cd {folder}; sleep 1000 >/dev/null 2>&1 & echo $! >/run/user.pid"));
    stage.fails(&["unmount", &folder], &["in use"]);
    assert_eq!(stage.mounts(&folder), 1);
    stage.shell("kill $(cat /run/user.pid); while kill -0 $(cat /run/user.pid) 2>/dev/null; do sleep 0.1; done");
    stage.shell(&format!("mkdir {folder}/sub; mount -t tmpfs none {folder}/sub"));
    stage.fails(&["unmount", &folder], &["in use", "/sub"]);
    stage.shell(&format!("umount {folder}/sub"));
    stage.succeeds(&["unmount", &folder]);
}

fn a_corrupt_mount_can_be_taken_down(stage: &Stage) {
    for fs in ["ext4", "xfs"] {
        let volume = stage.fresh_volume(fs, 512);
        let folder = stage.mount("corrupt", &volume);
        stage.shell(&format!("touch {folder}/file; sync"));
        let dm = volume.device();
        let table = stage.shell(&format!("dmsetup table {dm}"));
        let sectors = table.split(' ').nth(1).unwrap();
        stage.shell(&format!("echo 0 {sectors} error | dmsetup reload {dm} && dmsetup resume {dm}"));
        stage.shell(&format!("echo 2 >/proc/sys/vm/drop_caches; touch {folder}/other 2>/dev/null || sync || true"));
        stage.succeeds(&["unmount", &folder]);
        assert_eq!(stage.mounts(&folder), 0);
        // Not known to be blank, only because it can't be read.
        stage.fails(&["mount", &folder, &volume.json("rw")], &["read"]);
        stage.shell(&format!("echo '{table}' | dmsetup reload {dm} && dmsetup resume {dm}"));
        let folder = stage.mount("corrupt", &volume);
        stage.shell(&format!("test -e {folder}/file"));
        stage.succeeds(&["unmount", &folder]);
    }
}

fn a_suspended_volume_is_waited_for(stage: &Stage) {
    let volume = stage.fresh_volume("ext4", 64);
    let folder = stage.mount("suspended", &volume);
    let device = volume.device();
    stage.shell(&format!("dmsetup suspend {device}"));
    stage.fails(&["unmount", &folder], &["is suspended"]);
    let other = stage.folder("suspended-too", &volume);
    stage.shell(&format!("(sleep 1; dmsetup resume {device}) >/dev/null 2>&1 &"));
    stage.succeeds(&["mount", &other, &volume.json("rw")]);
    stage.succeeds(&["unmount", &folder]);
    stage.succeeds(&["unmount", &other]);
}

fn expandfs_grows_when_the_volume_has_grown(stage: &Stage) {
    const MIB: u64 = 1 << 20;
    for fs in ["ext4", "xfs"] {
        let volume = stage.fresh_volume(fs, 512);
        let folder = stage.mount("grow", &volume);
        let (json, wanted, old) = (volume.json("rw"), (768 * MIB).to_string(), (512 * MIB).to_string());
        let grow = ["expandfs", &json, "", &folder, &wanted, &old];
        stage.fails(&grow, &["has 536870912 bytes, and 805306368 bytes are wanted", "not extended it yet"]);
        stage.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        stage.shell(&format!("echo hello >{folder}/file"));
        for _ in 0..2 {
            stage.succeeds(&grow);
            let size: u64 = stage.shell(&format!("df --output=size -m {folder} | tail -1")).trim().parse().unwrap();
            assert!(size > 650, "{fs}: {size}");
        }
        // Never smaller.
        stage.succeeds(&["expandfs", &json, "", &folder, &old, &old]);
        stage.shell(&format!("test $(df --output=size -m {folder} | tail -1) -gt 650; grep -q hello {folder}/file"));
        let other = stage.fresh_volume(fs, 512);
        stage.fails(&["expandfs", &other.json("rw"), "", &folder, &old, &old], &["is not mounted on"]);
        stage.succeeds(&["unmount", &folder]);
        stage.fails(&grow, &["is not mounted on"]);
    }
}

fn a_mount_grows_what_has_grown_meanwhile(stage: &Stage) {
    for fs in ["ext4", "xfs"] {
        let volume = stage.fresh_volume(fs, 512);
        let folder = stage.mount("meanwhile", &volume);
        stage.succeeds(&["unmount", &folder]);
        stage.shell(&format!("lvextend -qq -L 768M {}", volume.path()));
        stage.mount("meanwhile", &volume);
        let size: u64 = stage.shell(&format!("df --output=size -m {folder} | tail -1")).trim().parse().unwrap();
        assert!(size > 650, "{fs}: {size}");
        stage.succeeds(&["unmount", &folder]);
    }
}

fn after_a_power_cut_everything_goes_on(stage: &Stage) {
    let volumes = ["ext4", "xfs"].map(|fs| stage.fresh_volume(fs, 512));
    let mut sums = Vec::new();
    for volume in &volumes {
        let folder = stage.mount("cut-off", volume);
        sums.push(stage.shell(&format!("head -c 4M /dev/urandom | tee {folder}/data | sha256sum; sync {folder}/data")));
    }
    stage.power_cut();
    stage.shell(&format!("vgchange -qq -an {}", volumes[0].options.group));
    for (volume, sum) in volumes.iter().zip(sums) {
        // Unwanted by now: the kubelet takes it down though nothing is mounted. Wanted again: it is activated.
        let folder = stage.folder("cut-off", volume);
        stage.succeeds(&["unmount", &folder]);
        stage.mount("cut-off", volume);
        assert_eq!(stage.shell(&format!("sha256sum <{folder}/data")), sum);
        stage.succeeds(&["unmount", &folder]);
    }
}
