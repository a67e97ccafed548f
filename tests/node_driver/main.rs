//! The driver on a node with real LVM, without a kubelet: volumes as the agent creates them, calls
//! as the kubelet makes them, and after each the state that the node's own programs report.

mod attach;
mod deactivation;
mod failures;
mod false_growth;
mod faults;
mod filesystems;
mod fixture;
mod format;
mod growth;
mod keys;
mod many_pods;
mod pods;
mod power_cuts;
mod read_only_mount;
mod replay;
mod secrets;
mod service;
mod settings;
mod static_volumes;

use std::collections::BTreeMap;
use std::process::ExitCode;

use crds::logical_volume::FilesystemType;
use fixture::Fixture;
use harness::suite::{self, Test};

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
    let mut arguments = std::env::args_os().skip(1);
    let in_guest = match arguments.next() {
        Some(first) if first == faults::FAULTS => Some(faults::run(arguments)),
        Some(first) if first == replay::REPLAY => Some(replay::run(arguments)),
        _ => None,
    };
    if let Some(done) = in_guest {
        return done.unwrap_or_else(|error| {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        });
    }
    harness::remote::serves(service::serve);
    suite::isolated(|| {
        let groups = [
            mounting(),
            attaching(),
            static_volumes(),
            many(),
            proof(),
            power_cuts(),
        ];
        groups.into_iter().flatten().collect()
    })
}

/// Mount mode: each pod has a mount of its own.
#[expect(clippy::too_many_lines, reason = "the steps of one test")]
fn mounting() -> Vec<Test> {
    vec![
        test!(
            "first mount creates file system, and data survives",
            format::first_mount_creates_file_system_and_data_survives
        ),
        test!(
            "mkfs and mount options are applied",
            format::mkfs_and_mount_options_are_applied
        ),
        test!(
            "common mount and unmount run no program",
            pods::common_mount_and_unmount_run_no_program
        ),
        test!(
            "foreign volume is rejected unchanged",
            format::foreign_volume_is_rejected_unchanged
        ),
        test!(
            "claim's volume needs its key",
            keys::claims_volume_needs_its_key
        ),
        test!(
            "formatted volume is mounted unchanged",
            format::formatted_volume_is_mounted_unchanged
        ),
        test!(
            "blank volume needs one program, its mkfs",
            format::blank_volume_needs_one_program
        ),
        test!(
            "damaged ext4 is repaired, or left to an admin",
            filesystems::damaged_ext4_is_repaired
        ),
        test!(
            "check is bounded, and skipped for a mounted volume",
            filesystems::check_is_bounded
        ),
        test!(
            "read-only mounts reject writes",
            filesystems::read_only_mounts_reject_writes
        ),
        test!(
            "snapshot is mounted next to its origin, in any order",
            filesystems::snapshot_is_mounted_next_to_its_origin
        ),
        test!(
            "loop device of a volume is no duplicate",
            filesystems::loop_device_of_volume_is_no_duplicate
        ),
        test!(
            "only a complete btrfs on one device is mounted",
            filesystems::only_complete_btrfs_is_mounted
        ),
        test!(
            "interrupted mkfs is repeated",
            format::interrupted_mkfs_is_repeated
        ),
        test!(
            "mkfs that outlives the driver keeps the lock",
            format::mkfs_that_outlives_driver_keeps_lock
        ),
        test!(
            "hanging program ends in a failure",
            failures::hanging_program_ends_in_failure
        ),
        test!(
            "failing or lying programs do no harm",
            failures::failing_or_lying_programs_do_no_harm
        ),
        test!(
            "failed mount leaves nothing behind",
            failures::failed_mount_leaves_nothing_behind
        ),
        test!(
            "two pods share a volume, one of them read only",
            pods::two_pods_share_volume_one_read_only
        ),
        test!(
            "concurrent calls create one file system",
            pods::concurrent_calls_create_one_file_system
        ),
        test!(
            "repeated mount stacks nothing",
            pods::repeated_mount_stacks_nothing
        ),
        test!(
            "unmount accepts any state of the folder",
            pods::unmount_accepts_any_state_of_folder
        ),
        test!(
            "corrupt mount can be unmounted",
            failures::corrupt_mount_can_be_unmounted
        ),
        test!(
            "expandfs grows to the size of the volume",
            growth::expandfs_grows_to_size_of_volume
        ),
        test!(
            "mount grows to the size of the volume",
            growth::mount_grows_to_size_of_volume
        ),
        test!(
            "falsely reported growth is a failure",
            false_growth::falsely_reported_growth_is_a_failure
        ),
        test!(
            "read-only mount is never writable, at any point of a kill",
            read_only_mount::read_only_mount_is_never_writable
        ),
        test!(
            "driver waits for a suspended volume, with a time limit",
            failures::driver_waits_for_suspended_volume
        ),
    ]
}

/// Attach mode: volumes are attached, and mounted once per node.
fn attaching() -> Vec<Test> {
    vec![
        test!(
            "volume is attached, shared and detached",
            attach::volume_is_attached_shared_and_detached
        ),
        test!(
            "last unmount deactivates without a detach",
            deactivation::last_unmount_deactivates_without_detach
        ),
        test!(
            "calls for other nodes change nothing",
            attach::calls_for_other_nodes_change_nothing
        ),
        test!(
            "read-only pod may precede a writing pod",
            attach::read_only_pod_may_precede_writing_pod
        ),
        test!(
            "volumes with equal names are distinguished",
            attach::volumes_with_equal_names_are_distinguished
        ),
        test!(
            "driver rejects foreign devices",
            attach::driver_rejects_foreign_devices
        ),
        test!(
            "unrecorded or open volume stays active",
            attach::unrecorded_or_open_volume_stays_active
        ),
        test!(
            "failed attachment leaves nothing behind",
            attach::failed_attachment_leaves_nothing_behind
        ),
        test!("attached volumes grow", attach::attached_volumes_grow),
        test!(
            "unreadable settings are reported",
            settings::unreadable_settings_are_reported
        ),
        test!(
            "driver uses the name it is installed under",
            settings::driver_uses_the_name_it_is_installed_under
        ),
        test!(
            "secrets reach no program and no log",
            secrets::secrets_reach_no_program_and_no_log
        ),
    ]
}

/// Volumes without a claim.
fn static_volumes() -> Vec<Test> {
    vec![
        test!(
            "example of kubernetes works",
            static_volumes::example_of_kubernetes_works
        ),
        test!(
            "volume without a tag is rejected",
            static_volumes::volume_without_tag_is_rejected
        ),
        test!(
            "interrupted first mount is continued",
            static_volumes::interrupted_first_mount_is_continued
        ),
        test!(
            "file system of an admin is kept",
            static_volumes::file_system_of_admin_is_kept
        ),
        test!(
            "unusable volume group is reported with the cause",
            static_volumes::unusable_volume_group_is_reported_with_cause
        ),
    ]
}

/// Many pods at once.
fn many() -> Vec<Test> {
    vec![
        test!(
            "many pods come and go at once",
            many_pods::many_pods_come_and_go_at_once
        ),
        test!(
            "volume grows next to a read-only mount",
            many_pods::volume_grows_next_to_read_only_mount
        ),
    ]
}

/// Tests that `tests/run` selects by their prefix and runs in a guest of their own.
fn proof() -> Vec<Test> {
    vec![
        test!(
            "proof: driver survives each fault of each program",
            faults::driver_survives_each_fault_of_each_program
        ),
        test!(
            "proof: kubelet's sequences have the expected end",
            replay::kubelets_sequences_have_expected_end
        ),
        test!("benchmark prints four ratios", benchmark_prints_four_ratios),
    ]
}

/// Run last: they cut the guest's power.
fn power_cuts() -> Vec<Test> {
    vec![
        test!(
            "volumes are mounted again after a power cut",
            power_cuts::volumes_are_mounted_again_after_power_cut
        ),
        test!(
            "proof: kubelet's sequences continue after a power cut",
            replay::kubelets_sequences_continue_after_power_cut
        ),
        test!(
            "volumes are attached again after a power cut",
            power_cuts::volumes_are_attached_again_after_power_cut
        ),
    ]
}

/// The supported file systems.
const FILESYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// Runs one round: its numbers mean nothing here, where other tests use the processors.
fn benchmark_prints_four_ratios(fixture: &Fixture) {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/bench_driver/example");
    let bench = env!("CARGO_BIN_EXE_bench-driver");
    let output = fixture.shell(&format!(
        "{bench} {} {} {example} 1",
        fixture::GROUP,
        fixture.driver()
    ));
    let last: BTreeMap<String, f64> = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    let keys: Vec<&str> = last.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "first_mount_vs_bare",
            "init_vs_true",
            "mount_vs_bare",
            "mount_vs_bash"
        ]
    );
    assert!(last.values().all(|ratio| *ratio > 0.0));
}

/// Returns the size in MiB that the smallest claims are rounded up to.
fn smallest(fs: &str) -> u64 {
    FilesystemType::from_name(fs)
        .expect("a file system of ours")
        .smallest_volume()
        >> 20
}
