//! The driver on a node with real LVM, without a kubelet: volumes as the agent makes them, calls as the kubelet makes
//! them, and after each what the node itself says.

#[path = "node_driver/filesystems.rs"]
mod filesystems;
#[path = "node_driver/format.rs"]
mod format;
#[path = "node_driver/growth.rs"]
mod growth;
#[path = "node_driver/pods.rs"]
mod pods;
#[path = "node_driver/stage.rs"]
mod stage;
#[path = "node_driver/trouble.rs"]
mod trouble;

use std::process::ExitCode;

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
                format::first_mount_makes_the_file_system_and_data_survive
            ),
            test!("mkfs and mount options arrive", format::mkfs_and_mount_options_arrive),
            test!("common mount and unmount run no program", pods::common_mount_and_unmount_run_no_program),
            test!(
                "a volume that is not ours is refused and untouched",
                format::a_volume_that_is_not_ours_is_refused_and_untouched
            ),
            test!("a prepared volume is taken as it is", format::a_prepared_volume_is_taken_as_it_is),
            test!("a blank volume needs one program, its mkfs", format::a_blank_volume_needs_one_program),
            test!("a damaged ext4 is repaired, or left to a person", filesystems::a_damaged_ext4_is_repaired),
            test!("a check is bounded, and not for what is mounted", filesystems::a_check_is_bounded),
            test!("read only is read only, however it is asked for", filesystems::read_only_is_read_only),
            test!("a snapshot is mounted beside its origin, in any order", filesystems::a_snapshot_beside_its_origin),
            test!("only a btrfs on one device, as a whole, is mounted", filesystems::only_a_whole_btrfs_is_mounted),
            test!("a mkfs cut short is made again", format::a_mkfs_cut_short_is_made_again),
            test!(
                "a mkfs that outlives its driver keeps the lock",
                format::a_mkfs_that_outlives_its_driver_keeps_the_lock
            ),
            test!("a hanging program ends in a failure", trouble::a_hanging_program_ends_in_a_failure),
            test!("programs that fail or lie do no harm", trouble::programs_that_fail_or_lie_do_no_harm),
            test!("a failed mount leaves nothing behind", trouble::a_failed_mount_leaves_nothing_behind),
            test!("two pods share a volume one of them read only", pods::two_pods_share_a_volume_one_of_them_read_only),
            test!("calls at once make one file system", pods::calls_at_once_make_one_file_system),
            test!("a repeated mount stacks nothing", pods::a_repeated_mount_stacks_nothing),
            test!("unmount takes what it finds", pods::unmount_takes_what_it_finds),
            test!("a corrupt mount can be taken down", trouble::a_corrupt_mount_can_be_taken_down),
            test!("expandfs grows when the volume has grown", growth::expandfs_grows_when_the_volume_has_grown),
            test!("a mount grows what has grown meanwhile", growth::a_mount_grows_what_has_grown_meanwhile),
            test!("a suspended volume is waited for and never for ever", trouble::a_suspended_volume_is_waited_for),
            test!("after a power cut everything goes on", trouble::after_a_power_cut_everything_goes_on),
        ]
    })
}

/// All that volumes can have.
const FILESYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// In MiB; xfsprogs refuses less than 300 MB, btrfs-progs less than 109 MiB.
fn smallest(fs: &str) -> u64 {
    match fs {
        "ext4" => 64,
        "xfs" => 320,
        _ => 200,
    }
}
