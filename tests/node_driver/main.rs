//! The driver on a node with real LVM, without a kubelet: volumes as the agent makes them, calls as
//! the kubelet makes them, and after each what the node itself says.

mod at_once;
mod attach;
mod faults;
mod filesystems;
mod format;
mod growth;
mod growth_in_between;
mod keys;
mod let_go;
mod many;
mod pods;
mod power_cuts;
mod replay;
mod secrets;
mod service;
mod settings;
mod stage;
mod static_volumes;
mod trouble;

use std::collections::BTreeMap;
use std::process::ExitCode;

use crds::logical_volume::FilesystemType;
use harness::suite::{self, Test};
use stage::Stage;

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

/// Where each pod has a mount of its own.
fn mounting() -> Vec<Test> {
    vec![
        test!(
            "the first mount makes the file system, and data survive",
            format::first_mount_makes_the_file_system_and_data_survive
        ),
        test!(
            "mkfs and mount options arrive",
            format::mkfs_and_mount_options_arrive
        ),
        test!(
            "common mount and unmount run no program",
            pods::common_mount_and_unmount_run_no_program
        ),
        test!(
            "a volume that is not ours is refused and untouched",
            format::a_volume_that_is_not_ours_is_refused_and_untouched
        ),
        test!(
            "a claim's volume opens only to its key",
            keys::a_claims_volume_opens_only_to_its_key
        ),
        test!(
            "a prepared volume is taken as it is",
            format::a_prepared_volume_is_taken_as_it_is
        ),
        test!(
            "a blank volume needs one program, its mkfs",
            format::a_blank_volume_needs_one_program
        ),
        test!(
            "a damaged ext4 is repaired, or left to a person",
            filesystems::a_damaged_ext4_is_repaired
        ),
        test!(
            "a check is bounded, and not for what is mounted",
            filesystems::a_check_is_bounded
        ),
        test!(
            "read only is read only, however it is asked for",
            filesystems::read_only_is_read_only
        ),
        test!(
            "a snapshot is mounted beside its origin, in any order",
            filesystems::a_snapshot_beside_its_origin
        ),
        test!(
            "a volume behind a loop device is no copy of itself",
            filesystems::a_volume_behind_a_loop_device_is_no_copy
        ),
        test!(
            "only a btrfs on one device, as a whole, is mounted",
            filesystems::only_a_whole_btrfs_is_mounted
        ),
        test!(
            "a mkfs cut short is made again",
            format::a_mkfs_cut_short_is_made_again
        ),
        test!(
            "a mkfs that outlives its driver keeps the lock",
            format::a_mkfs_that_outlives_its_driver_keeps_the_lock
        ),
        test!(
            "a hanging program ends in a failure",
            trouble::a_hanging_program_ends_in_a_failure
        ),
        test!(
            "programs that fail or lie do no harm",
            trouble::programs_that_fail_or_lie_do_no_harm
        ),
        test!(
            "a failed mount leaves nothing behind",
            trouble::a_failed_mount_leaves_nothing_behind
        ),
        test!(
            "two pods share a volume one of them read only",
            pods::two_pods_share_a_volume_one_of_them_read_only
        ),
        test!(
            "calls at once make one file system",
            pods::calls_at_once_make_one_file_system
        ),
        test!(
            "a repeated mount stacks nothing",
            pods::a_repeated_mount_stacks_nothing
        ),
        test!(
            "unmount takes what it finds",
            pods::unmount_takes_what_it_finds
        ),
        test!(
            "a corrupt mount can be taken down",
            trouble::a_corrupt_mount_can_be_taken_down
        ),
        test!(
            "expandfs grows when the volume has grown",
            growth::expandfs_grows_when_the_volume_has_grown
        ),
        test!(
            "a mount grows what has grown meanwhile",
            growth::a_mount_grows_what_has_grown_meanwhile
        ),
        test!(
            "a program that only claims growth is a failure",
            growth_in_between::a_program_that_only_claims_growth_is_a_failure
        ),
        test!(
            "a reader is never a writer, wherever it is killed",
            at_once::a_reader_is_never_a_writer
        ),
        test!(
            "a suspended volume is waited for and never for ever",
            trouble::a_suspended_volume_is_waited_for
        ),
    ]
}

/// Where volumes are attached and mounted once.
fn attaching() -> Vec<Test> {
    vec![
        test!(
            "a volume is attached shared and detached",
            attach::a_volume_is_attached_shared_and_detached
        ),
        test!(
            "without a detach the device goes with the last mount",
            let_go::without_a_detach_the_device_goes_with_the_last_mount
        ),
        test!(
            "elsewhere nothing is touched",
            attach::elsewhere_nothing_is_touched
        ),
        test!(
            "a reader may come before a writer",
            attach::a_reader_may_come_before_a_writer
        ),
        test!(
            "two volumes of one name are kept apart",
            attach::two_volumes_of_one_name_are_kept_apart
        ),
        test!(
            "no other device is taken for the volumes",
            attach::no_other_device_is_taken_for_the_volumes
        ),
        test!(
            "what is forgotten or used stays active",
            attach::what_is_forgotten_or_used_stays_active
        ),
        test!(
            "a failed attachment leaves nothing behind",
            attach::a_failed_attachment_leaves_nothing_behind
        ),
        test!("attached volumes grow", attach::attached_volumes_grow),
        test!(
            "settings that can not be read are named",
            settings::settings_that_can_not_be_read_are_named
        ),
        test!(
            "the driver goes by the name it is installed under",
            settings::the_driver_goes_by_its_own_name
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
            "the example of kubernetes works",
            static_volumes::the_example_of_kubernetes_works
        ),
        test!(
            "a volume without a tag is refused",
            static_volumes::a_volume_without_a_tag_is_refused
        ),
        test!(
            "a first mount cut short is carried on",
            static_volumes::a_first_mount_cut_short_is_carried_on
        ),
        test!(
            "what an admin made is kept",
            static_volumes::what_an_admin_made_is_kept
        ),
        test!(
            "a group that can not be used says why",
            static_volumes::a_group_that_can_not_be_used_says_why
        ),
    ]
}

/// Many pods.
fn many() -> Vec<Test> {
    vec![
        test!(
            "many pods come and go at once",
            many::many_pods_come_and_go_at_once
        ),
        test!(
            "a volume grows beside a reader",
            many::a_volume_grows_beside_a_reader
        ),
    ]
}

/// Those that `tests/run` gives a guest of their own, by their first word.
fn proof() -> Vec<Test> {
    vec![
        test!(
            "proof: each program fails in each way at each place",
            faults::each_program_fails_in_each_way_at_each_place
        ),
        test!(
            "proof: the kubelet's sequences end as they should",
            replay::the_kubelets_sequences_end_as_they_should
        ),
        test!(
            "the bench prints its four ratios",
            the_bench_prints_its_four_ratios
        ),
    ]
}

/// Last: they take the guest down.
fn power_cuts() -> Vec<Test> {
    vec![
        test!(
            "after a power cut everything goes on",
            power_cuts::after_a_power_cut_everything_goes_on
        ),
        test!(
            "proof: after a power cut the kubelet's sequences go on",
            replay::and_after_a_power_cut_they_go_on
        ),
        test!(
            "after a power cut volumes are attached again",
            power_cuts::after_a_power_cut_volumes_are_attached_again
        ),
    ]
}

/// All that volumes can have.
const FILESYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// Its numbers mean nothing here, where it has one round and others to share the processors with.
fn the_bench_prints_its_four_ratios(stage: &Stage) {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/bench_driver/example");
    let bench = env!("CARGO_BIN_EXE_bench-driver");
    let output = stage.shell(&format!(
        "{bench} {} {} {example} 1",
        stage::GROUP,
        stage.driver()
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

/// The size in MiB that the smallest claims are rounded up to.
fn smallest(fs: &str) -> u64 {
    FilesystemType::from_name(fs)
        .expect("a file system of ours")
        .smallest_volume()
        >> 20
}
