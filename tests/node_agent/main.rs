//! The agent on a node with real LVM and an API server, without a kubelet: what it makes of orders,
//! and what LVM itself says afterwards.

mod cached;
mod forgotten;
mod forgotten_for_all;
mod groups;
mod inactive;
mod kinds;
mod rows;
mod stage;
mod thin;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crds::condition::{READY, REMOVED};
use harness::suite::{self, Test};
use kinds::{
    a_mirror_with_a_snapshot_is_kept_with_it, checksums_that_a_crash_left_out_are_added,
    every_kind_lives_and_dies, lvm_takes_what_the_model_says, too_few_disks_are_no_lesser_kind,
};
use serde_json::json;
use stage::{GROUP, Stage};

/// A test, which gets the one guest.
macro_rules! test {
    ($sentence:literal, $function:path) => {
        Test::new($sentence, || {
            $function(Stage::get());
            Ok(())
        })
    };
}

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == stage::AGENT)
    {
        return stage::run_agent().unwrap_or_else(|error| {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        });
    }
    harness::remote::serves(stage::serve);
    suite::isolated(|| {
        [of_one_kind(), of_every_kind(), of_groups()]
            .into_iter()
            .flatten()
            .collect()
    })
}

fn of_one_kind() -> Vec<Test> {
    vec![
        test!(
            "a volume is made tagged and fresh",
            a_volume_is_made_tagged_and_fresh
        ),
        test!(
            "a volume grows and never shrinks",
            a_volume_grows_and_never_shrinks
        ),
        test!(
            "a mounted volume is removed once it is free",
            a_mounted_volume_is_removed_once_it_is_free
        ),
        test!(
            "what is not ours is never removed",
            what_is_not_ours_is_never_removed
        ),
        test!(
            "an origin is kept with its snapshots",
            an_origin_is_kept_with_its_snapshots
        ),
        test!(
            "only an unused volume counts as unused",
            only_an_unused_volume_counts_as_unused
        ),
        test!(
            "vgextend is reported within five seconds",
            vgextend_is_reported_within_five_seconds
        ),
        test!(
            "a volume group comes and goes",
            a_volume_group_comes_and_goes
        ),
        test!(
            "a volume made by an agent that was killed at once is finished",
            a_volume_made_by_an_agent_that_was_killed_at_once_is_finished
        ),
        test!(
            "what LVM did not come to wipe is given to nobody",
            what_lvm_did_not_come_to_wipe_is_given_to_nobody
        ),
        test!(
            "an agent killed at any time leaves nothing twice",
            an_agent_killed_at_any_time_leaves_nothing_twice
        ),
        test!(
            "many volumes in a row are made by one LVM",
            rows::many_volumes_in_a_row_are_made_by_one_lvm
        ),
        test!(
            "a row is made though its LVM is killed",
            rows::a_row_is_made_though_its_lvm_is_killed
        ),
        test!(
            "a forgotten mount is cleared and no other",
            forgotten::a_forgotten_mount_is_cleared_and_no_other
        ),
        test!(
            "what a process still uses is not forgotten",
            forgotten::what_a_process_still_uses_is_not_forgotten
        ),
        test!(
            "the mount for all pods goes with the last of them",
            forgotten_for_all::the_mount_for_all_pods_goes_with_the_last_of_them
        ),
        test!(
            "a detached volume stays inactive and can grow and go",
            inactive::a_detached_volume_stays_inactive_and_can_grow_and_go
        ),
        test!("a power cut loses nothing", a_power_cut_loses_nothing),
    ]
}

fn of_groups() -> Vec<Test> {
    vec![
        test!(
            "a volume group is made of blank devices and of no others",
            groups::a_volume_group_is_made_of_blank_devices_and_of_no_others
        ),
        test!(
            "a volume group that was there is not made anew",
            groups::a_volume_group_that_was_there_is_not_made_anew
        ),
        test!(
            "a volume group whose agent is killed at each step is made",
            groups::an_agent_killed_at_each_step_is_taken_up
        ),
        test!(
            "a volume group is made though LVM is killed at any time",
            groups::lvm_killed_at_any_time_is_taken_up
        ),
        test!(
            "a disk that LVM marked and no more is waited for",
            groups::a_disk_that_lvm_marked_and_no_more_is_waited_for
        ),
        test!(
            "two agents make one volume group",
            groups::two_agents_make_one_volume_group
        ),
        test!(
            "a volume group is not made of what appears before LVM looks",
            groups::what_appears_before_lvm_looks_is_not_overwritten
        ),
    ]
}

fn of_every_kind() -> Vec<Test> {
    vec![
        test!(
            "kind: every kind of volume lives and dies",
            every_kind_lives_and_dies
        ),
        test!(
            "kind: LVM takes what the model says",
            lvm_takes_what_the_model_says
        ),
        test!(
            "kind: checksums that a crash left out are added",
            checksums_that_a_crash_left_out_are_added
        ),
        test!(
            "kind: a mirror with a snapshot is kept with it",
            a_mirror_with_a_snapshot_is_kept_with_it
        ),
        test!(
            "kind: too few disks are no lesser kind",
            too_few_disks_are_no_lesser_kind
        ),
        test!(
            "kind: a pool lives and dies with its volumes",
            thin::a_pool_lives_and_dies_with_its_volumes
        ),
        test!(
            "kind: a pool grows as it fills up",
            thin::a_pool_grows_as_it_fills_up
        ),
        test!(
            "kind: a full pool says so and what to do",
            thin::a_full_pool_says_so_and_what_to_do
        ),
        test!(
            "kind: an admin's pool is left as it is",
            thin::an_admins_pool_is_left_as_it_is
        ),
        test!(
            "kind: a pool takes what the model says",
            thin::a_pool_takes_what_the_model_says
        ),
        test!(
            "kind: a volume with a cache lives and dies",
            cached::a_volume_with_a_cache_lives_and_dies
        ),
        test!(
            "kind: a cache that a crash left out is put in front",
            cached::a_cache_that_a_crash_left_out_is_put_in_front
        ),
        test!(
            "kind: disks for caches are known by their stable paths",
            cached::disks_for_caches_are_known_by_their_stable_paths
        ),
    ]
}

fn a_volume_is_made_tagged_and_fresh(stage: &Stage) {
    let name = stage.name();
    // An old file system where the new volume will be: lvcreate wipes it without asking.
    stage.shell(&format!(
        "lvcreate -qq -y -n old -L 64M {GROUP}; mkfs.ext4 -q /dev/{GROUP}/old; lvremove -qq -y {GROUP}/old"
    ));
    stage.order(&name, "61Mi");
    let uuid = stage.ready(&name);
    assert_eq!(stage.lvs(&name, "lv_uuid"), uuid);
    assert_eq!(stage.lvs(&name, "lv_size"), "64.00m");
    assert_eq!(stage.lvs(&name, "segtype"), "linear");
    let claim = name.trim_start_matches("pvc-");
    let key = host::Key::new("00000000000000000000000000000000")
        .unwrap()
        .digest()
        .tag();
    // LVM says them in an order of its own.
    let tags = [
        key,
        format!("flexlvm.dev/claim-uid={claim}"),
        format!("flexlvm.dev/claim=default/{name}"),
    ];
    assert_eq!(
        stage
            .lvs(&name, "lv_tags")
            .split(',')
            .collect::<BTreeSet<_>>(),
        tags.iter().map(String::as_str).collect()
    );
    assert_eq!(stage.mark(&name), "fresh");
    assert_eq!(
        stage.shell(&format!("blkid -p /dev/{GROUP}/{name} || echo blank")),
        "blank"
    );
    stage.remove(&name);
}

fn a_volume_grows_and_never_shrinks(stage: &Stage) {
    let name = stage.volume("64Mi");
    stage.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt"
    ));
    stage.change(&name, json!({"size": "100Mi"}));
    stage.says(&name, READY, "Ready", "");
    let grown = harness::wait::until_blocking("it is larger", Duration::from_secs(30), || {
        Ok((stage.lvs(&name, "lv_size") == "100.00m").then_some(()))
    });
    grown.unwrap();
    stage.change(&name, json!({"size": "1Ti"}));
    let status = stage.says(&name, READY, "InsufficientSpace", "more wanted");
    assert_eq!(status.size.unwrap().0, "100Mi");
    stage.shell("umount /mnt");
    stage.remove(&name);
}

fn a_mounted_volume_is_removed_once_it_is_free(stage: &Stage) {
    let name = stage.volume("64Mi");
    stage.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt; echo kept >/mnt/file"
    ));
    stage.change(&name, json!({"state": "Absent"}));
    stage.says(&name, REMOVED, "InUse", "it is mounted at /mnt");
    // Held by a program alone, without a mount.
    stage.shell(&format!(
        "sync; exec 3</dev/{GROUP}/{name}; umount /mnt; sleep 3; lvs {GROUP}/{name}; test -e /dev/{GROUP}/{name}"
    ));
    stage.says(&name, REMOVED, "Removed", "");

    let name = stage.volume("64Mi");
    stage.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt"
    ));
    stage.change(&name, json!({"state": "Absent"}));
    stage.says(&name, REMOVED, "InUse", "it is mounted at /mnt");
    std::thread::sleep(Duration::from_secs(8));
    assert_ne!(stage.lvs(&name, "lv_name"), "");
    stage.shell("umount /mnt");
    let begin = Instant::now();
    stage.says(&name, REMOVED, "Removed", "");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "an unmount is heard of: {:?}",
        begin.elapsed()
    );
}

fn what_is_not_ours_is_never_removed(stage: &Stage) {
    // Somebody took the tag away to keep the volume.
    let name = stage.volume("64Mi");
    let tag = format!("flexlvm.dev/claim-uid={}", name.trim_start_matches("pvc-"));
    stage.shell(&format!("lvchange -qq --deltag {tag} {GROUP}/{name}"));
    stage.change(&name, json!({"state": "Absent"}));
    stage.says(&name, REMOVED, "ForeignLogicalVolume", "lacks the tag");
    stage.shell(&format!("lvchange -qq --addtag {tag} {GROUP}/{name}"));
    stage.says(&name, REMOVED, "Removed", "");

    // Somebody renamed it to keep it, and another one has its name now.
    let name = stage.volume("64Mi");
    stage
        .shell(&format!("lvrename -qq {GROUP} {name} rescued; lvcreate -qq -y -n {name} --addtag {tag} -L 8M {GROUP}"));
    stage.change(&name, json!({"state": "Absent"}));
    stage.says(
        &name,
        REMOVED,
        "ForeignLogicalVolume",
        "is called vg-0/rescued now",
    );
    assert_ne!(stage.lvs(&name, "lv_name"), "");
    stage.shell(&format!("lvremove -qq -y {GROUP}/{name} {GROUP}/rescued"));
    stage.says(&name, REMOVED, "Removed", "");

    // Another one was there first.
    let name = stage.name();
    stage.shell(&format!(
        "lvcreate -qq -y -n {name} -L 64M {GROUP}; mkfs.ext4 -q /dev/{GROUP}/{name}"
    ));
    stage.order(&name, "64Mi");
    stage.says(&name, READY, "ForeignLogicalVolume", "lacks the tag");
    stage.change(&name, json!({"state": "Absent"}));
    stage.says(&name, REMOVED, "NeverCreated", "");
    assert_eq!(
        stage.shell(&format!("blkid -p -s TYPE -o value /dev/{GROUP}/{name}")),
        "ext4"
    );
    stage.shell(&format!("lvremove -qq -y {GROUP}/{name}"));
}

fn an_origin_is_kept_with_its_snapshots(stage: &Stage) {
    let name = stage.volume("64Mi");
    stage.shell(&format!("lvcreate -qq -y -s -n copy -L 8M {GROUP}/{name}"));
    stage.change(&name, json!({"state": "Absent"}));
    stage.says(&name, REMOVED, "InUse", "has snapshots");
    assert_ne!(stage.lvs("copy", "lv_name"), "");
    stage.shell(&format!("lvremove -qq -y {GROUP}/copy"));
    stage.says(&name, REMOVED, "Removed", "");
}

fn only_an_unused_volume_counts_as_unused(stage: &Stage) {
    let [unused, inactive, used] = [(); 3].map(|()| stage.volume("64Mi"));
    stage.shell(&format!(
        "lvchange -qq -an {GROUP}/{inactive}; mkfs.ext4 -q /dev/{GROUP}/{used} 60M"
    ));
    for name in [&unused, &inactive, &used] {
        stage.change(name, json!({"state": "AbsentIfNeverUsed"}));
    }
    stage.says(&unused, REMOVED, "Removed", "");
    stage.says(&inactive, REMOVED, "Removed", "");
    stage.says(&used, REMOVED, "NotEmpty", "is not empty (ext4)");
    assert_ne!(stage.lvs(&used, "lv_name"), "");
    stage.remove(&used);
}

fn vgextend_is_reported_within_five_seconds(stage: &Stage) {
    let size = |storage: &crds::NodeStorage| {
        let groups = storage.status.clone().unwrap_or_default().volume_groups;
        groups
            .iter()
            .find(|group| group.name == GROUP)
            .map(|group| group.size.0.clone())
            .unwrap_or_default()
    };
    stage.reports("it is as it was", |storage| size(storage) == "4092Mi");
    stage.shell(&format!("vgextend -qq {GROUP} /dev/ubdc"));
    let took = stage.reports("it has grown", |storage| size(storage) == "5112Mi");
    assert!(took < Duration::from_secs(5), "{took:?}");
    stage.shell(&format!("vgreduce -qq {GROUP} /dev/ubdc"));
    let took = stage.reports("it has shrunk", |storage| size(storage) == "4092Mi");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

fn a_volume_group_comes_and_goes(stage: &Stage) {
    let name = stage.volume("64Mi");
    stage.shell(&format!("vgchange -qq -an {GROUP}; vgexport -qq {GROUP}"));
    stage.says(
        &name,
        READY,
        "VolumeGroupUnusable",
        "it is exported; vgimport brings it back",
    );
    let waiting = stage.name();
    stage.order(&waiting, "64Mi");
    stage.says(&waiting, READY, "VolumeGroupUnusable", "");
    stage.shell(&format!(
        "vgimport -qq {GROUP}; vgrename -qq {GROUP} elsewhere"
    ));
    stage.says(&name, READY, "LogicalVolumeMissing", "is called elsewhere/");
    stage.says(
        &waiting,
        READY,
        "VolumeGroupMissing",
        "there is no volume group vg-0 on node1",
    );
    stage.shell(&format!("vgrename -qq elsewhere {GROUP}"));
    for name in [&name, &waiting] {
        stage.ready(name);
        stage.remove(name);
    }
}

fn a_volume_made_by_an_agent_that_was_killed_at_once_is_finished(stage: &Stage) {
    // LVM itself kills the agent, when it has made the volume.
    stage.shell(
        "lvm=$(realpath /usr/sbin/lvm); mkdir -p /run/kept; cp -a $lvm /run/kept/lvm
         printf '#!/bin/sh\\n/run/kept/lvm \"$@\" || exit\\ntest $1 != lvcreate || kill -9 $(cat /run/agent.pid)\\n' >/run/lvm.sh
         chmod +x /run/lvm.sh; mount --bind /run/lvm.sh $lvm",
    );
    let name = stage.name();
    stage.order(&name, "16Mi");
    let made = harness::wait::until_blocking("the agent is gone", Duration::from_secs(30), || {
        Ok((stage
            .shell("kill -0 $(cat /run/agent.pid) 2>/dev/null && echo lives || true")
            .is_empty())
        .then_some(()))
    });
    made.unwrap();
    stage.shell("umount $(realpath /usr/sbin/lvm)");
    let uuid = stage.lvs(&name, "lv_uuid");
    assert_eq!(stage.mark(&name), "none");
    stage.start_agent();
    assert_eq!(stage.ready(&name), uuid);
    assert_eq!(stage.mark(&name), "fresh");
    stage.remove(&name);
}

/// LVM gives a volume its tags first, and wipes it then.
fn what_lvm_did_not_come_to_wipe_is_given_to_nobody(stage: &Stage) {
    let name = stage.name();
    let tag = format!("flexlvm.dev/claim-uid={}", name.trim_start_matches("pvc-"));
    stage.shell(&format!(
        "lvcreate -qq -y -n old -L 64M {GROUP}; mkfs.ext4 -q /dev/{GROUP}/old; lvremove -qq -y {GROUP}/old
         lvcreate -qq -y -Wn -Zn -n {name} --addtag {tag} -L 64M {GROUP}"
    ));
    stage.order(&name, "64Mi");
    stage.says(&name, READY, "NotEmpty", "is not empty (ext4)");
    assert_eq!(
        stage.shell(&format!("blkid -p -s TYPE -o value /dev/{GROUP}/{name}")),
        "ext4"
    );
    stage.shell(&format!("lvremove -qq -y {GROUP}/{name}"));
    stage.ready(&name);
    assert_eq!(stage.mark(&name), "fresh");
    stage.remove(&name);
}

fn an_agent_killed_at_any_time_leaves_nothing_twice(stage: &Stage) {
    let names: Vec<_> = (0..6).map(|_| stage.name()).collect();
    for (at, name) in names.iter().enumerate() {
        stage.order(name, "16Mi");
        std::thread::sleep(Duration::from_millis(350 + 170 * at as u64));
        stage.kill_agent();
        stage.start_agent();
    }
    for name in &names {
        let uuid = stage.ready(name);
        assert_eq!(stage.lvs(name, "lv_uuid"), uuid);
        assert_eq!(stage.mark(name), "fresh");
    }
    for (at, name) in names.iter().enumerate() {
        stage.change(name, json!({"state": "Absent"}));
        std::thread::sleep(Duration::from_millis(350 + 170 * at as u64));
        stage.kill_agent();
        stage.start_agent();
    }
    for name in &names {
        stage.says(name, REMOVED, "Removed", "");
    }
    assert_eq!(
        stage.shell(&format!("lvs --noheadings -o lv_name {GROUP}")),
        ""
    );
}

fn a_power_cut_loses_nothing(stage: &Stage) {
    // What other tests have left would be given to nobody, if LVM does not come to wipe it.
    stage.zero("64M");
    let before = stage.volume("16Mi");
    let names: Vec<_> = (0..3).map(|_| stage.name()).collect();
    for name in &names {
        stage.order(name, "16Mi");
    }
    std::thread::sleep(Duration::from_millis(1500));
    stage.power_cut();
    stage.start_agent();
    for name in names.iter().chain([&before]) {
        let uuid = stage.ready(name);
        assert_eq!(stage.lvs(name, "lv_uuid"), uuid);
        stage.shell(&format!("lvchange -qq -ay {GROUP}/{name}"));
        assert_eq!(stage.mark(name), "fresh");
    }
    for name in names.iter().chain([&before]) {
        stage.remove(name);
    }
}
