//! The agent on a node with real LVM and an API server, without a kubelet: the volumes that it
//! creates, and the state that LVM reports.

mod cached;
mod fixture;
mod inactive;
mod jobs;
mod kinds;
mod lvm_shell;
mod orphaned_global_mounts;
mod orphaned_mounts;
mod thin;
mod volume_groups;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crds::condition::{READY, REMOVED};
use fixture::{Fixture, GROUP};
use harness::suite::{self, Test};
use kinds::{
    allocation_by_lvm_matches_cost_model, each_layout_is_created_grown_and_removed,
    missing_checksums_are_added_after_crash, raid1_with_snapshot_is_kept,
    too_few_disks_do_not_degrade_layout,
};
use serde_json::json;

/// A test; its argument is the shared guest.
macro_rules! test {
    ($sentence:literal, $function:path) => {
        Test::new($sentence, || {
            $function(Fixture::get());
            Ok(())
        })
    };
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.split_first() {
        Some((first, _)) if first == fixture::AGENT => Some(fixture::run_agent()),
        Some((first, further)) if first == jobs::JOB => Some(jobs::run_job(further)),
        _ => None,
    };
    if let Some(ended) = ended {
        return ended.unwrap_or_else(|error| {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        });
    }
    harness::remote::serves(fixture::serve);
    suite::isolated(|| {
        [of_one_kind(), of_every_kind(), of_groups()]
            .into_iter()
            .flatten()
            .collect()
    })
}

#[expect(clippy::too_many_lines, reason = "the steps of one test")]
fn of_one_kind() -> Vec<Test> {
    vec![
        test!(
            "volume is created tagged and unformatted",
            volume_is_created_tagged_and_unformatted
        ),
        test!(
            "volume grows and never shrinks",
            volume_grows_and_never_shrinks
        ),
        test!(
            "mounted volume is removed once it is unmounted",
            mounted_volume_is_removed_once_unmounted
        ),
        test!(
            "foreign volume is never removed",
            foreign_volume_is_never_removed
        ),
        test!(
            "origin is kept with its snapshots",
            origin_is_kept_with_its_snapshots
        ),
        test!(
            "only an empty volume counts as never used",
            only_empty_volume_counts_as_never_used
        ),
        test!(
            "report settings of lvm.conf do not change what the agent reads",
            report_settings_do_not_change_what_the_agent_reads
        ),
        test!(
            "vgextend is reported within five seconds",
            vgextend_is_reported_within_five_seconds
        ),
        test!(
            "volume group disappears and returns",
            volume_group_disappears_and_returns
        ),
        test!(
            "volume is completed after its agent was killed",
            volume_is_completed_after_its_agent_was_killed
        ),
        test!(
            "volume that LVM did not wipe is not provided",
            unwiped_volume_is_not_provided
        ),
        test!(
            "agent killed at any time creates nothing twice",
            agent_killed_at_any_time_creates_nothing_twice
        ),
        test!(
            "consecutive volumes are created by one lvm shell",
            lvm_shell::consecutive_volumes_are_created_by_one_lvm_shell
        ),
        test!(
            "volumes are created although the lvm shell is killed",
            lvm_shell::volumes_are_created_although_lvm_shell_is_killed
        ),
        test!(
            "only orphaned mounts are unmounted",
            orphaned_mounts::only_orphaned_mounts_are_unmounted
        ),
        test!(
            "mount used by a process is not orphaned",
            orphaned_mounts::mount_used_by_process_is_not_orphaned
        ),
        test!(
            "mount for all pods is removed with the last pod",
            orphaned_global_mounts::mount_for_all_pods_is_removed_with_last_pod
        ),
        test!(
            "detached volume stays inactive, and can be extended and removed",
            inactive::detached_volume_stays_inactive_and_can_be_extended_and_removed
        ),
        test!(
            "job is resumed after kills",
            jobs::job_is_resumed_after_kills
        ),
        test!(
            "job excludes other users of its volume only",
            jobs::job_excludes_other_users_of_its_volume_only
        ),
        test!("power cut loses nothing", power_cut_loses_nothing),
    ]
}

fn of_groups() -> Vec<Test> {
    vec![
        test!(
            "volume group is created of blank devices only",
            volume_groups::volume_group_is_created_of_blank_devices_only
        ),
        test!(
            "existing volume group is not recreated",
            volume_groups::existing_volume_group_is_not_recreated
        ),
        test!(
            "creation of a volume group is resumed after the agent is killed at each step",
            volume_groups::creation_is_resumed_after_agent_is_killed_at_each_step
        ),
        test!(
            "creation of a volume group is resumed after LVM is killed",
            volume_groups::creation_is_resumed_after_lvm_is_killed
        ),
        test!(
            "disk that LVM only marked waits for an admin",
            volume_groups::disk_that_lvm_only_marked_waits_for_admin
        ),
        test!(
            "two agents create one volume group",
            volume_groups::two_agents_create_one_volume_group
        ),
        test!(
            "file system created before pvcreate is not overwritten",
            volume_groups::file_system_created_before_pvcreate_is_not_overwritten
        ),
    ]
}

fn of_every_kind() -> Vec<Test> {
    vec![
        test!(
            "kind: each layout is created, grown and removed",
            each_layout_is_created_grown_and_removed
        ),
        test!(
            "kind: allocation by LVM matches the cost model",
            allocation_by_lvm_matches_cost_model
        ),
        test!(
            "kind: missing checksums are added after a crash",
            missing_checksums_are_added_after_crash
        ),
        test!(
            "kind: raid1 with a snapshot is kept",
            raid1_with_snapshot_is_kept
        ),
        test!(
            "kind: too few disks do not degrade the layout",
            too_few_disks_do_not_degrade_layout
        ),
        test!(
            "kind: pool is created and removed with its volumes",
            thin::pool_is_created_and_removed_with_its_volumes
        ),
        test!(
            "kind: pool grows as it fills up",
            thin::pool_grows_as_it_fills_up
        ),
        test!(
            "kind: full pool is reported with instructions",
            thin::full_pool_is_reported_with_instructions
        ),
        test!(
            "kind: pool of an admin is left unchanged",
            thin::pool_of_admin_is_left_unchanged
        ),
        test!(
            "kind: allocation of a pool matches the cost model",
            thin::allocation_of_pool_matches_cost_model
        ),
        test!(
            "kind: cached volume is created, grown and removed",
            cached::cached_volume_is_created_grown_and_removed
        ),
        test!(
            "kind: missing cache is attached after a crash",
            cached::missing_cache_is_attached_after_crash
        ),
        test!(
            "kind: cache disks are reported by stable paths",
            cached::cache_disks_are_reported_by_stable_paths
        ),
    ]
}

fn volume_is_created_tagged_and_unformatted(fixture: &Fixture) {
    let name = fixture.name();
    // An old file system at the new volume's place: lvcreate wipes it without confirmation.
    fixture.shell(&format!(
        "lvcreate -qq -y -n old -L 64M {GROUP}; mkfs.ext4 -q /dev/{GROUP}/old; lvremove -qq -y {GROUP}/old"
    ));
    fixture.create_volume(&name, "61Mi");
    let uuid = fixture.ready(&name);
    assert_eq!(fixture.lvs(&name, "lv_uuid"), uuid);
    assert_eq!(fixture.lvs(&name, "lv_size"), "64.00m");
    assert_eq!(fixture.lvs(&name, "segtype"), "linear");
    let claim = name.trim_start_matches("pvc-");
    let key = host::Key::new("00000000000000000000000000000000")
        .unwrap()
        .digest()
        .tag();
    // LVM lists them in an order of its own.
    let tags = [
        key,
        format!("flexlvm.dev/claim-uid={claim}"),
        format!("flexlvm.dev/claim=default/{name}"),
    ];
    assert_eq!(
        fixture
            .lvs(&name, "lv_tags")
            .split(',')
            .collect::<BTreeSet<_>>(),
        tags.iter().map(String::as_str).collect()
    );
    assert_eq!(fixture.mark(&name), "fresh");
    assert_eq!(
        fixture.shell(&format!("blkid -p /dev/{GROUP}/{name} || echo blank")),
        "blank"
    );
    fixture.remove(&name);
}

fn volume_grows_and_never_shrinks(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt"
    ));
    fixture.change(&name, json!({"size": "100Mi"}));
    fixture.wait_for_condition(&name, READY, "Ready", "");
    let grown = harness::wait::until_blocking("the volume is larger", harness::wait::LIMIT, || {
        Ok((fixture.lvs(&name, "lv_size") == "100.00m").then_some(()))
    });
    grown.unwrap();
    fixture.change(&name, json!({"size": "1Ti"}));
    let status = fixture.wait_for_condition(&name, READY, "InsufficientSpace", "more needed");
    assert_eq!(status.size.unwrap().0, "100Mi");
    fixture.shell("umount /mnt");
    fixture.remove(&name);
}

fn mounted_volume_is_removed_once_unmounted(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt; echo kept >/mnt/file"
    ));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "InUse", "it is mounted at /mnt");
    // Held open by a program, without a mount.
    fixture.shell(&format!(
        "sync; exec 3</dev/{GROUP}/{name}; umount /mnt; sleep 3; lvs {GROUP}/{name}; test -e /dev/{GROUP}/{name}"
    ));
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");

    let name = fixture.volume("64Mi");
    fixture.shell(&format!(
        "mkfs.ext4 -q /dev/{GROUP}/{name} 60M; mount /dev/{GROUP}/{name} /mnt"
    ));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "InUse", "it is mounted at /mnt");
    std::thread::sleep(Duration::from_secs(8));
    assert_ne!(fixture.lvs(&name, "lv_name"), "");
    fixture.shell("umount /mnt");
    let begin = Instant::now();
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "an unmount is noticed after {:?}",
        begin.elapsed()
    );
}

fn foreign_volume_is_never_removed(fixture: &Fixture) {
    // An admin removed the tag to keep the volume.
    let name = fixture.volume("64Mi");
    let tag = format!("flexlvm.dev/claim-uid={}", name.trim_start_matches("pvc-"));
    fixture.shell(&format!("lvchange -qq --deltag {tag} {GROUP}/{name}"));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "ForeignLogicalVolume", "lacks the tag");
    fixture.shell(&format!("lvchange -qq --addtag {tag} {GROUP}/{name}"));
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");

    // An admin renamed it to keep it, and another volume has its name now.
    let name = fixture.volume("64Mi");
    fixture
        .shell(&format!("lvrename -qq {GROUP} {name} rescued; lvcreate -qq -y -n {name} --addtag {tag} -L 8M {GROUP}"));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(
        &name,
        REMOVED,
        "ForeignLogicalVolume",
        "was renamed to vg-0/rescued",
    );
    assert_ne!(fixture.lvs(&name, "lv_name"), "");
    fixture.shell(&format!("lvremove -qq -y {GROUP}/{name} {GROUP}/rescued"));
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");

    // Another volume existed before.
    let name = fixture.name();
    fixture.shell(&format!(
        "lvcreate -qq -y -n {name} -L 64M {GROUP}; mkfs.ext4 -q /dev/{GROUP}/{name}"
    ));
    fixture.create_volume(&name, "64Mi");
    fixture.wait_for_condition(&name, READY, "ForeignLogicalVolume", "lacks the tag");
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "NeverCreated", "");
    assert_eq!(
        fixture.shell(&format!("blkid -p -s TYPE -o value /dev/{GROUP}/{name}")),
        "ext4"
    );
    fixture.shell(&format!("lvremove -qq -y {GROUP}/{name}"));
}

fn origin_is_kept_with_its_snapshots(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!("lvcreate -qq -y -s -n copy -L 8M {GROUP}/{name}"));
    fixture.change(&name, json!({"state": "Absent"}));
    fixture.wait_for_condition(&name, REMOVED, "InUse", "has snapshots");
    assert_ne!(fixture.lvs("copy", "lv_name"), "");
    fixture.shell(&format!("lvremove -qq -y {GROUP}/copy"));
    fixture.wait_for_condition(&name, REMOVED, "Removed", "");
}

fn only_empty_volume_counts_as_never_used(fixture: &Fixture) {
    let [unused, inactive, used] = [(); 3].map(|()| fixture.volume("64Mi"));
    fixture.shell(&format!(
        "lvchange -qq -an {GROUP}/{inactive}; mkfs.ext4 -q /dev/{GROUP}/{used} 60M"
    ));
    for name in [&unused, &inactive, &used] {
        fixture.change(name, json!({"state": "AbsentIfNeverUsed"}));
    }
    fixture.wait_for_condition(&unused, REMOVED, "Removed", "");
    fixture.wait_for_condition(&inactive, REMOVED, "Removed", "");
    fixture.wait_for_condition(&used, REMOVED, "NotEmpty", "is not empty (ext4)");
    assert_ne!(fixture.lvs(&used, "lv_name"), "");
    fixture.remove(&used);
}

/// Settings that admins use for readable reports, and one that adds a log to them.
const REPORT_SETTINGS: &str = r#"
report { list_item_separator=";" prefixes=1 compact_output=1 compact_output_cols="lv_tags"
         mark_hidden_devices=0 binary_values_as_numeric=1 time_format="%A" }
log { report_command_log=1 }
"#;

fn report_settings_do_not_change_what_the_agent_reads(fixture: &Fixture) {
    let before = fixture.volume("64Mi");
    fixture.shell(&format!(
        "mv /etc/lvm/lvmlocal.conf /etc/lvm/lvmlocal.saved
         cat >/etc/lvm/lvmlocal.conf <<'S'\n{REPORT_SETTINGS}S\n"
    ));
    let during = fixture.volume("64Mi");
    fixture.change(&before, json!({"size": "128Mi"}));
    fixture.reaches(&before, 128 << 20);
    fixture.change(&during, json!({"state": "Absent"}));
    fixture.wait_for_condition(&during, REMOVED, "Removed", "");
    fixture.shell("mv /etc/lvm/lvmlocal.saved /etc/lvm/lvmlocal.conf");
    assert_eq!(fixture.lvs(&during, "lv_name"), "");
    fixture.remove(&before);
}

fn vgextend_is_reported_within_five_seconds(fixture: &Fixture) {
    let size = |storage: &crds::NodeStorage| {
        let groups = storage.status.clone().unwrap_or_default().volume_groups;
        groups
            .iter()
            .find(|group| group.name == GROUP)
            .map(|group| group.size.0.clone())
            .unwrap_or_default()
    };
    fixture.wait_for_report("the volume group has its first size", |storage| {
        size(storage) == "4092Mi"
    });
    fixture.shell(&format!("vgextend -qq {GROUP} /dev/ubdc"));
    let took = fixture.wait_for_report("the volume group has grown", |storage| {
        size(storage) == "5112Mi"
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    fixture.shell(&format!("vgreduce -qq {GROUP} /dev/ubdc"));
    let took = fixture.wait_for_report("the volume group has shrunk", |storage| {
        size(storage) == "4092Mi"
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
}

fn volume_group_disappears_and_returns(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.shell(&format!("vgchange -qq -an {GROUP}; vgexport -qq {GROUP}"));
    fixture.wait_for_condition(
        &name,
        READY,
        "VolumeGroupUnusable",
        "it is exported; vgimport brings it back",
    );
    let waiting = fixture.name();
    fixture.create_volume(&waiting, "64Mi");
    fixture.wait_for_condition(&waiting, READY, "VolumeGroupUnusable", "");
    fixture.shell(&format!(
        "vgimport -qq {GROUP}; vgrename -qq {GROUP} elsewhere"
    ));
    fixture.wait_for_condition(
        &name,
        READY,
        "LogicalVolumeMissing",
        "was renamed to elsewhere/",
    );
    fixture.wait_for_condition(
        &waiting,
        READY,
        "VolumeGroupMissing",
        "node1 has no volume group vg-0",
    );
    fixture.shell(&format!("vgrename -qq elsewhere {GROUP}"));
    for name in [&name, &waiting] {
        fixture.ready(name);
        fixture.remove(name);
    }
}

fn volume_is_completed_after_its_agent_was_killed(fixture: &Fixture) {
    // LVM's wrapper kills the agent once the volume exists.
    fixture.shell(
        "lvm=$(realpath /usr/sbin/lvm); mkdir -p /run/kept; cp -a $lvm /run/kept/lvm
         printf '#!/bin/sh\\n/run/kept/lvm \"$@\" || exit\\ntest $1 != lvcreate || kill -9 $(cat /run/agent.pid)\\n' >/run/lvm.sh
         chmod +x /run/lvm.sh; mount --bind /run/lvm.sh $lvm",
    );
    let name = fixture.name();
    fixture.create_volume(&name, "16Mi");
    let made = harness::wait::until_blocking("the agent is gone", harness::wait::LIMIT, || {
        Ok((fixture
            .shell("kill -0 $(cat /run/agent.pid) 2>/dev/null && echo lives || true")
            .is_empty())
        .then_some(()))
    });
    made.unwrap();
    fixture.shell("umount $(realpath /usr/sbin/lvm)");
    let uuid = fixture.lvs(&name, "lv_uuid");
    assert_eq!(fixture.mark(&name), "none");
    fixture.start_agent();
    assert_eq!(fixture.ready(&name), uuid);
    assert_eq!(fixture.mark(&name), "fresh");
    fixture.remove(&name);
}

/// LVM first adds the tags to a volume, and then wipes it.
fn unwiped_volume_is_not_provided(fixture: &Fixture) {
    let name = fixture.name();
    let tag = format!("flexlvm.dev/claim-uid={}", name.trim_start_matches("pvc-"));
    fixture.shell(&format!(
        "lvcreate -qq -y -n old -L 64M {GROUP}; mkfs.ext4 -q /dev/{GROUP}/old; lvremove -qq -y {GROUP}/old
         lvcreate -qq -y -Wn -Zn -n {name} --addtag {tag} -L 64M {GROUP}"
    ));
    fixture.create_volume(&name, "64Mi");
    fixture.wait_for_condition(&name, READY, "NotEmpty", "is not empty (ext4)");
    assert_eq!(
        fixture.shell(&format!("blkid -p -s TYPE -o value /dev/{GROUP}/{name}")),
        "ext4"
    );
    fixture.shell(&format!("lvremove -qq -y {GROUP}/{name}"));
    fixture.ready(&name);
    assert_eq!(fixture.mark(&name), "fresh");
    fixture.remove(&name);
}

fn agent_killed_at_any_time_creates_nothing_twice(fixture: &Fixture) {
    let names: Vec<_> = (0..6).map(|_| fixture.name()).collect();
    for (at, name) in names.iter().enumerate() {
        fixture.create_volume(name, "16Mi");
        std::thread::sleep(Duration::from_millis(350 + 170 * at as u64));
        fixture.kill_agent();
        fixture.start_agent();
    }
    for name in &names {
        let uuid = fixture.ready(name);
        assert_eq!(fixture.lvs(name, "lv_uuid"), uuid);
        assert_eq!(fixture.mark(name), "fresh");
    }
    for (at, name) in names.iter().enumerate() {
        fixture.change(name, json!({"state": "Absent"}));
        std::thread::sleep(Duration::from_millis(350 + 170 * at as u64));
        fixture.kill_agent();
        fixture.start_agent();
    }
    for name in &names {
        fixture.wait_for_condition(name, REMOVED, "Removed", "");
    }
    assert_eq!(
        fixture.shell(&format!("lvs --noheadings -o lv_name {GROUP}")),
        ""
    );
}

fn power_cut_loses_nothing(fixture: &Fixture) {
    // If LVM is interrupted before it wipes, the agent would reject volumes with leftovers of other
    // tests.
    fixture.zero("64M");
    let before = fixture.volume("16Mi");
    let names: Vec<_> = (0..3).map(|_| fixture.name()).collect();
    for name in &names {
        fixture.create_volume(name, "16Mi");
    }
    std::thread::sleep(Duration::from_millis(1500));
    fixture.power_cut();
    fixture.start_agent();
    for name in names.iter().chain([&before]) {
        let uuid = fixture.ready(name);
        assert_eq!(fixture.lvs(name, "lv_uuid"), uuid);
        fixture.shell(&format!("lvchange -qq -ay {GROUP}/{name}"));
        assert_eq!(fixture.mark(name), "fresh");
    }
    for name in names.iter().chain([&before]) {
        fixture.remove(name);
    }
}
