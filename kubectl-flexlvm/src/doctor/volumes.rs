//! Checks of LogicalVolumes. Pure.

use crds::condition::{self, HEALTHY, PROGRESSING, READY, REMOVED, reason};
use crds::logical_volume::State;
use kube::ResourceExt as _;

use super::check::{Check, Fault, Probe};
use super::facts::Facts;
use crate::objects::{age, volume_conditions};
use crate::snapshot::kind::Kind;

/// Seconds within which an agent reports a new volume, and the controller publishes it.
const REPORT_SECONDS: i64 = 120;

const CONDITIONS: &str = "kubectl describe OBJECT: the message has the remedy with its numbers";

pub(super) const CHECKS: &[Check] = &[
    Check::fault(
        "volume-failed",
        "a volume can't be used: a part of it is on a missing disk, or its thin pool has failed",
        "follow docs/operations.md, a disk died",
        Probe::Volume(HEALTHY, reason::FAILED),
    ),
    Check::fault(
        "volume-missing",
        "the logical volume of a LogicalVolume is gone from its node",
        "return its disk, restore LVM's metadata, or rename it back; it is never created anew",
        Probe::Volume(READY, reason::LOGICAL_VOLUME_MISSING),
    ),
    Check::fault(
        "volume-degraded",
        "a RAID has lost a disk: another lost disk may cost its data",
        "follow docs/operations.md, a disk died: return or replace the disk, then lvconvert --repair",
        Probe::Volume(HEALTHY, reason::DEGRADED),
    ),
    Check::fault(
        "volume-cache-failed",
        "the cache of a volume has failed",
        "follow docs/operations.md, a disk died: return the disk, or lvconvert --uncache --force",
        Probe::Volume(HEALTHY, reason::CACHE_FAILED),
    ),
    Check::fault(
        "volume-integrity",
        "a disk of a volume returned wrong data",
        "replace the disk: kubectl describe OBJECT has the lvconvert command",
        Probe::Volume(HEALTHY, reason::INTEGRITY_MISMATCHES),
    ),
    Check::fault(
        "volume-images",
        "a check found that the images of a RAID differ",
        "lvchange --syncaction repair GROUP/VOLUME, then check: kubectl describe OBJECT has the details",
        Probe::Volume(HEALTHY, reason::IMAGE_MISMATCHES),
    ),
    Check::fault(
        "volume-pool-full",
        "the thin pool of a volume is full: writes fail or wait",
        "lvextend the pool, raise thinPool.maximumSize, or delete files and run fstrim",
        Probe::Volume(HEALTHY, reason::POOL_FULL),
    ),
    Check::fault(
        "volume-pool-metadata-full",
        "the metadata of a volume's thin pool is full: writes fail",
        "on the node: lvextend --poolmetadatasize, then lvconvert --repair if the pool stays read-only",
        Probe::Volume(HEALTHY, reason::POOL_METADATA_FULL),
    ),
    Check::fault(
        "volume-pool-read-only",
        "the thin pool of a volume accepts no changes: writes fail",
        "unmount the pool's volumes, then lvconvert --repair GROUP/POOL",
        Probe::Volume(HEALTHY, reason::POOL_READ_ONLY),
    ),
    Check::fault(
        "volume-read-only",
        "a logical volume is read-only: writes fail",
        "lvchange --permission rw GROUP/VOLUME, then restart its pods; kubectl describe OBJECT has the cause",
        Probe::Volume(HEALTHY, reason::READ_ONLY),
    ),
    Check::warning(
        "volume-resyncing",
        "a RAID has not got all its redundancy yet",
        "wait for the end of the synchronization; kubectl describe OBJECT shows its progress",
        Probe::Volume(HEALTHY, reason::RESYNCING),
    ),
    Check::fault(
        "volume-device-outdated",
        "the device of a volume is suspended, or smaller than in LVM's metadata",
        "on the node: dmsetup info -c, dmesg; the agent refreshes it every half minute",
        Probe::Volume(READY, reason::DEVICE_OUTDATED),
    ),
    Check::fault(
        "volume-foreign",
        "a logical volume has the name of a LogicalVolume and is another one",
        CONDITIONS,
        Probe::Volume(READY, reason::FOREIGN_LOGICAL_VOLUME),
    ),
    Check::fault(
        "volume-not-empty",
        "a logical volume carries data although no pod can have used it",
        "follow docs/operations.md, LogicalVolumes are restored from a backup: only an admin can determine whose data it is",
        Probe::Volume(READY, reason::NOT_EMPTY),
    ),
    Check::fault(
        "volume-create-failed",
        "a node can't create a volume",
        CONDITIONS,
        Probe::Volume(READY, reason::CREATE_FAILED),
    ),
    Check::fault(
        "volume-no-space",
        "a volume group lacks the space that is reserved for a volume",
        "remove logical volumes that FlexLVM does not manage, or vgextend the volume group",
        Probe::Volume(READY, reason::INSUFFICIENT_SPACE),
    ),
    Check::fault(
        "volume-lvm-failed",
        "an LVM command about a volume fails",
        CONDITIONS,
        Probe::Volume(READY, reason::LVM_FAILED),
    ),
    Check::fault(
        "volume-invalid",
        "the spec of a LogicalVolume can't be applied",
        "restore the field that the message names: LogicalVolumes are not edited by hand",
        Probe::Volume(READY, reason::INVALID_SPEC),
    ),
    Check::warning(
        "volume-removal-waits",
        "a volume is not removed while it is in use",
        "stop what uses it on the node: kubectl describe OBJECT has the mount points",
        Probe::Volume(REMOVED, reason::IN_USE),
    ),
    Check::fault(
        "volume-removal-failed",
        "an LVM command that removes a volume fails",
        CONDITIONS,
        Probe::Volume(REMOVED, reason::LVM_FAILED),
    ),
    Check::fault(
        "volume-deletion-blocked",
        "a LogicalVolume was deleted by hand while its volume is still required",
        "delete the claim instead; for reclaim policy Retain see docs/limitations.md",
        Probe::Volume(REMOVED, reason::DELETION_BLOCKED),
    ),
    Check::fault(
        "volume-erase-failed",
        "the content of a volume can't be erased, so it is not removed",
        "repair the disk; or give up the erasure: kubectl patch OBJECT --type merge -p '{\"spec\": {\"erase\": \"None\"}}'",
        Probe::Volume(REMOVED, reason::ERASE_FAILED),
    ),
    Check::fault(
        "volume-job-stalled",
        "the erasure of a volume makes no progress",
        "look at the disk on the node: dmesg, iostat",
        Probe::Volume(PROGRESSING, reason::JOB_STALLED),
    ),
    Check::fault(
        "volume-job-failed",
        "the erasure of a volume fails",
        CONDITIONS,
        Probe::Volume(PROGRESSING, reason::JOB_FAILED),
    ),
    Check::fault(
        "volume-not-reported",
        "the agent of a node has not reported a volume",
        "kubectl -n flexlvm-system logs of the agent's pod on the node",
        Probe::Rule(not_reported),
    ),
    Check::fault(
        "volume-unlabelled",
        "a LogicalVolume lacks the label by which its agent finds it",
        "start the controller, which restores the label",
        Probe::Rule(unlabelled),
    ),
    Check::fault(
        "volume-not-published",
        "a volume is ready, and its claim has no PersistentVolume",
        "kubectl flexlvm explain pvc of the claim: the Event has the reason, often a lost Secret flexlvm-volume-keys",
        Probe::Rule(not_published),
    ),
    Check::warning(
        "volume-abandoned",
        "a volume whose claim was released is on its node again",
        "follow docs/operations.md, a lost node comes back: use its data, or remove it",
        Probe::Volume(READY, reason::ABANDONED),
    ),
    Check::warning(
        "volume-kept",
        "a retained volume keeps its space, and no claim uses it",
        "to remove it: kubectl patch OBJECT --type merge -p '{\"spec\": {\"state\": \"Absent\"}}'",
        Probe::Rule(kept),
    ),
];

/// Returns the faults of volumes on nodes whose LVM works, each with its claim in the detail.
fn each(
    facts: &Facts<'_>,
    fault: impl Fn(&str, &crds::LogicalVolume) -> Option<String>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, volume) in &facts.snapshot.logical_volumes {
        let is_hidden = facts.is_lost(&volume.spec.node) || !facts.reports(&volume.spec.node);
        if is_hidden {
            continue;
        }
        if let Some(detail) = fault(name, volume) {
            let claim = volume.spec.current_claim();
            let detail = format!("claim {}/{}: {detail}", claim.namespace, claim.name);
            faults.push(Fault::new(
                format!("logicalvolume.flexlvm.dev/{name}"),
                detail,
            ));
        }
    }
    faults
}

fn is_labelled(volume: &crds::LogicalVolume) -> bool {
    let wanted = crds::node_label_value(&volume.spec.node);
    volume.labels().get(crds::NODE_LABEL) == Some(&wanted)
}

fn not_reported(facts: &Facts<'_>) -> Vec<Fault> {
    let now = facts.snapshot.now;
    each(facts, |_, volume| {
        let age = age(&volume.metadata, now);
        let is_silent = volume_conditions(volume).is_empty() && is_labelled(volume);
        (is_silent && age > REPORT_SECONDS)
            .then(|| format!("node {} has reported nothing for {age} s", volume.spec.node))
    })
}

fn unlabelled(facts: &Facts<'_>) -> Vec<Fault> {
    each(facts, |_, volume| {
        (!is_labelled(volume)).then(|| {
            format!(
                "{}={} is missing",
                crds::NODE_LABEL,
                crds::node_label_value(&volume.spec.node)
            )
        })
    })
}

fn not_published(facts: &Facts<'_>) -> Vec<Fault> {
    let snapshot = facts.snapshot;
    if !snapshot.is_readable(Kind::PersistentVolumes) {
        return Vec::new();
    }
    each(facts, |name, volume| {
        let ready = condition::get(volume_conditions(volume), READY)?;
        let seconds = snapshot
            .now
            .duration_since(ready.last_transition_time.0)
            .as_secs();
        let claim = volume.spec.current_claim();
        let claim = format!("{}/{}", claim.namespace, claim.name);
        let is_wanted = volume.spec.state == State::Present && snapshot.claims.contains_key(&claim);
        let is_published = snapshot.persistent_volumes.contains_key(name);
        (ready.status == "True" && is_wanted && !is_published && seconds > REPORT_SECONDS)
            .then(|| format!("it has been ready for {seconds} s"))
    })
}

fn kept(facts: &Facts<'_>) -> Vec<Fault> {
    let snapshot = facts.snapshot;
    if !snapshot.is_readable(Kind::PersistentVolumeClaims) {
        return Vec::new();
    }
    each(facts, |_, volume| {
        let claim = volume.spec.current_claim();
        let claim = snapshot
            .claims
            .get(&format!("{}/{}", claim.namespace, claim.name))
            .filter(|found| found.uid().as_deref() == Some(&claim.uid));
        let is_retained = volume.spec.reclaim_policy == crds::logical_volume::ReclaimPolicy::Retain;
        let is_present = volume.spec.state == State::Present;
        (claim.is_none() && is_retained && is_present).then(|| {
            format!(
                "{} on node {}",
                crate::objects::human(&volume.spec.size),
                volume.spec.node
            )
        })
    })
}
