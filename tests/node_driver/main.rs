//! The driver on a node with real LVM, without a kubelet: volumes as the agent creates them, calls
//! as the kubelet makes them, and after each the state that the node's own programs report.

mod fixture;
mod service;

// Mount mode.
mod failures;
mod false_growth;
mod filesystems;
mod format;
mod growth;
mod keys;
mod pods;
mod read_only_mount;

// Attach mode.
mod attach;
mod deactivation;
mod foreign_devices;
mod secrets;
mod settings;

// Either mode.
mod benchmark;
mod faults;
mod many_pods;
mod power_cuts;
mod replay;
mod static_volumes;

use std::process::ExitCode;

use crds::logical_volume::FilesystemType;
use fixture::Fixture;
use harness::suite::{self, Test};

/// The supported file systems.
const FILESYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// Returns the size in MiB that the smallest claims are rounded up to.
fn smallest(fs: &str) -> u64 {
    FilesystemType::from_name(fs)
        .expect("a file system of ours")
        .smallest_volume()
        >> 20
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
        [
            mounting(),
            attaching(),
            static_volumes(),
            many(),
            proof(),
            benchmark(),
            power_cuts(),
        ]
        .concat()
    })
}

/// Mount mode: each pod has a mount of its own.
fn mounting() -> Vec<Test> {
    harness::tests_with!(
        Fixture::get(),
        "",
        [
            format::first_mount_creates_file_system_and_data_survives,
            format::mkfs_and_mount_options_are_applied,
            pods::common_mount_and_unmount_run_no_program,
            format::foreign_volume_is_rejected_unchanged,
            keys::claims_volume_needs_its_key,
            keys::unauthorized_calls_change_nothing,
            keys::unknown_volumes_are_looked_up_one_at_a_time,
            format::formatted_volume_is_mounted_unchanged,
            format::blank_volume_needs_one_program,
            filesystems::damaged_ext4_is_repaired,
            filesystems::check_is_bounded,
            filesystems::read_only_mounts_reject_writes,
            filesystems::snapshot_is_mounted_next_to_its_origin,
            filesystems::loop_device_of_volume_is_no_duplicate,
            filesystems::only_complete_btrfs_is_mounted,
            format::interrupted_mkfs_is_repeated,
            format::mkfs_that_outlives_driver_keeps_lock,
            failures::hanging_program_ends_in_failure,
            failures::failing_or_lying_programs_do_no_harm,
            failures::failed_mount_leaves_nothing_behind,
            pods::two_pods_share_volume_one_read_only,
            pods::concurrent_calls_create_one_file_system,
            pods::repeated_mount_stacks_nothing,
            pods::unmount_accepts_any_state_of_folder,
            failures::corrupt_mount_can_be_unmounted,
            growth::expandfs_grows_to_size_of_volume,
            growth::mount_grows_to_size_of_volume,
            growth::signature_at_grown_end_is_zeroed,
            false_growth::falsely_reported_growth_is_a_failure,
            read_only_mount::read_only_mount_is_never_writable,
            failures::driver_waits_for_suspended_volume,
        ]
    )
}

/// Attach mode: volumes are attached, and mounted once per node.
fn attaching() -> Vec<Test> {
    harness::tests_with!(
        Fixture::get(),
        "",
        [
            attach::volume_is_attached_shared_and_detached,
            deactivation::last_unmount_deactivates_without_detach,
            attach::calls_for_other_nodes_change_nothing,
            attach::read_only_pod_may_precede_writing_pod,
            foreign_devices::volumes_with_equal_names_are_distinguished,
            foreign_devices::driver_rejects_foreign_devices,
            deactivation::unrecorded_or_open_volume_stays_active,
            attach::failed_attachment_leaves_nothing_behind,
            attach::attached_volumes_grow,
            settings::unreadable_settings_are_reported,
            settings::driver_uses_the_name_it_is_installed_under,
            secrets::secrets_reach_no_program_and_no_log,
        ]
    )
}

/// Volumes without a claim.
fn static_volumes() -> Vec<Test> {
    harness::tests_with!(
        Fixture::get(),
        "",
        [
            static_volumes::example_of_kubernetes_works,
            static_volumes::volume_without_tag_is_rejected,
            static_volumes::interrupted_first_mount_is_continued,
            static_volumes::file_system_of_admin_is_kept,
            static_volumes::unusable_volume_group_is_reported_with_cause,
        ]
    )
}

/// Many pods at once.
fn many() -> Vec<Test> {
    harness::tests_with!(
        Fixture::get(),
        "",
        [
            many_pods::many_pods_come_and_go_at_once,
            many_pods::volume_grows_next_to_read_only_mount,
        ]
    )
}

/// Tests that `tests/run` selects by their prefix and runs in a guest of their own.
fn proof() -> Vec<Test> {
    harness::tests_with!(
        Fixture::get(),
        "proof: ",
        [
            faults::driver_survives_each_fault_of_each_program,
            replay::kubelets_sequences_have_expected_end,
        ]
    )
}

fn benchmark() -> Vec<Test> {
    harness::tests_with!(
        Fixture::get(),
        "",
        [benchmark::benchmark_prints_four_ratios]
    )
}

/// Run last: they cut the guest's power.
fn power_cuts() -> Vec<Test> {
    let mut tests = harness::tests_with!(
        Fixture::get(),
        "",
        [
            power_cuts::volumes_are_mounted_again_after_power_cut,
            power_cuts::volumes_are_attached_again_after_power_cut,
        ]
    );
    tests.extend(harness::tests_with!(
        Fixture::get(),
        "proof: ",
        [replay::kubelets_sequences_continue_after_power_cut]
    ));
    tests
}
