//! The agent on a node with real LVM and an API server, without a kubelet: the volumes that it
//! creates, and the state that LVM reports.

mod fixture;

// Volumes.
mod abandoned;
mod adoption;
mod crashes;
mod ends;
mod erasure;
mod hangs;
mod inactive;
mod jobs;
mod known_keys;
mod lagging_devices;
mod lvm_shell;
mod orphaned_global_mounts;
mod orphaned_mounts;
mod removal;
mod reports;
mod rollback;
mod volumes;

// Volumes of each layout, pools and caches.
mod cached;
mod faulty_disks;
mod image_mismatches;
mod kinds;
mod partial_groups;
mod thin;
mod unfinished_raids;

// Volume groups that the agent creates.
mod volume_groups;

use std::process::ExitCode;

use fixture::Fixture;
use harness::suite::{self, Test};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.split_first() {
        Some((first, _)) if first == fixture::AGENT => Some(fixture::run_agent()),
        Some((first, further)) if first == adoption::DRIVER => {
            Some(Ok(adoption::run_driver(further)))
        }
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
    suite::isolated(|| [of_volumes(), of_each_kind(), of_volume_groups()].concat())
}

fn of_volumes() -> Vec<Test> {
    harness::tests_with!(
        Fixture::get(),
        "",
        [
            volumes::volume_is_created_tagged_and_unformatted,
            volumes::volume_grows_and_never_shrinks,
            volumes::read_only_volume_is_reported,
            volumes::archives_of_metadata_are_bounded,
            removal::mounted_volume_is_removed_once_unmounted,
            removal::removed_volume_leaves_neither_lock_nor_digest,
            removal::foreign_volume_is_never_removed,
            removal::origin_is_kept_with_its_snapshots,
            removal::only_empty_volume_counts_as_never_used,
            removal::retained_volume_follows_its_claim_and_ends_with_its_tag,
            reports::report_settings_do_not_change_what_the_agent_reads,
            reports::damaged_metadata_of_another_group_stops_nothing,
            reports::vgextend_is_reported_within_five_seconds,
            reports::limit_of_logical_volumes_is_reported,
            reports::full_metadata_area_is_reported,
            reports::disk_that_exists_twice_is_reported_and_stops_no_volume,
            reports::volume_group_disappears_and_returns,
            rollback::mounted_volume_is_not_overwritten_after_older_metadata_are_restored,
            rollback::fallen_seqno_holds_new_volumes_back_until_it_is_accepted,
            hangs::node_is_not_ready_while_another_process_holds_the_lock_of_lvm,
            hangs::no_lvm_command_starts_while_a_report_survives_sigkill,
            rollback::reduced_volume_is_not_extended,
            crashes::volume_is_completed_after_its_agent_was_killed,
            volumes::unwiped_volume_is_not_provided,
            volumes::volume_of_earlier_version_waits_for_its_admin,
            volumes::restored_object_gets_its_volume_back,
            volumes::restored_object_of_renamed_volume_creates_none,
            abandoned::returned_node_lists_its_abandoned_volume_and_leaves_the_data,
            adoption::volume_without_objects_is_adopted_and_mounted_with_its_data,
            ends::copy_of_partition_table_does_not_reach_the_next_volume,
            ends::ends_of_new_volume_are_zero_after_its_agent_was_killed,
            ends::signature_at_grown_end_is_zeroed_before_the_size_is_reported,
            crashes::agent_killed_at_any_time_creates_nothing_twice,
            lvm_shell::consecutive_volumes_are_created_by_one_lvm_shell,
            lvm_shell::volumes_are_created_although_lvm_shell_is_killed,
            orphaned_mounts::only_orphaned_mounts_are_unmounted,
            orphaned_mounts::mount_used_by_process_is_not_orphaned,
            orphaned_global_mounts::mount_for_all_pods_is_removed_with_last_pod,
            lagging_devices::lagging_device_is_refreshed,
            lagging_devices::device_that_can_not_be_refreshed_is_reported,
            inactive::detached_volume_stays_inactive_and_can_be_extended_and_removed,
            erasure::removed_volume_is_zeroed_although_its_agent_is_killed,
            erasure::volume_that_is_read_or_lost_its_tag_is_not_erased,
            erasure::removed_volume_is_discarded,
            erasure::erasure_that_fails_is_reported_and_ends_after_the_repair,
            inactive::volume_that_lvm_does_not_activate_is_reported,
            known_keys::keys_of_all_volumes_are_recorded_again_after_a_restart_of_the_node,
            jobs::job_is_resumed_after_kills,
            jobs::job_excludes_other_users_of_its_volume_only,
            crashes::power_cut_loses_nothing,
        ]
    )
}

/// Tests that `tests/run` selects by their prefix and runs in a guest of their own.
fn of_each_kind() -> Vec<Test> {
    harness::tests_with!(
        Fixture::get(),
        "kind: ",
        [
            kinds::each_layout_is_created_grown_and_removed,
            kinds::allocation_by_lvm_matches_cost_model,
            kinds::missing_checksums_are_added_after_crash,
            unfinished_raids::raid_is_created_again_after_lvm_was_killed_before_its_first_activation,
            unfinished_raids::raid_is_removed_although_lvm_was_killed_before_its_first_activation,
            unfinished_raids::interrupted_conversion_of_a_volume_with_data_is_left_to_its_admin,
            kinds::raid1_with_snapshot_is_kept,
            kinds::raid1_counts_as_one_logical_volume,
            kinds::too_few_disks_do_not_degrade_layout,
            partial_groups::volumes_on_intact_disks_of_partial_group_stay_ready,
            faulty_disks::lost_disk_is_listed_with_its_volumes_until_they_are_repaired,
            faulty_disks::volume_is_not_healthy_until_returned_disk_has_all_data,
            faulty_disks::lost_cache_is_reported_and_can_be_removed_without_loss,
            faulty_disks::wrong_data_of_a_disk_are_corrected_and_reported,
            image_mismatches::images_that_differ_are_reported_until_they_are_repaired,
            thin::pool_is_created_and_removed_with_its_volumes,
            thin::pool_counts_in_addition_to_its_volume,
            thin::pool_grows_as_it_fills_up,
            thin::full_pool_is_reported_with_instructions,
            thin::pool_of_admin_is_left_unchanged,
            thin::allocation_of_pool_matches_cost_model,
            ends::ends_of_thin_volume_are_zero_in_pool_without_zeroing,
            ends::ends_of_thin_volume_stay_zero_when_large_chunks_are_written,
            rollback::devices_of_all_kinds_of_volumes_are_no_evidence,
            cached::cached_volume_is_created_grown_and_removed,
            cached::cache_counts_while_its_volume_is_created,
            cached::missing_cache_is_attached_after_crash,
            cached::cache_disks_are_reported_by_stable_paths,
        ]
    )
}

fn of_volume_groups() -> Vec<Test> {
    harness::tests_with!(
        Fixture::get(),
        "",
        [
            volume_groups::volume_group_is_created_of_blank_devices_only,
            volume_groups::existing_volume_group_is_not_recreated,
            volume_groups::creation_is_resumed_after_agent_is_killed_at_each_step,
            volume_groups::creation_is_resumed_after_lvm_is_killed,
            volume_groups::disk_that_lvm_only_marked_waits_for_admin,
            volume_groups::two_agents_create_one_volume_group,
            volume_groups::file_system_created_before_pvcreate_is_not_overwritten,
        ]
    )
}
