//! Decides which mounts are orphaned. Every rule that keeps a pod's volume mounted is here. Pure.

use host::DevNum;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use flexvolume::{DriverName, VolumeFolder};
use host::mount::mountinfo::Mount;
use host::stack::processes::MountHolders;

/// A mount of a FlexLVM volume in a pod's folder, or the node-wide mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Mount ID: identifies this mount, also if another one replaces it at the same path.
    pub id: u64,
    /// Device number (major, minor).
    pub device: DevNum,
    /// Source in the mount table, for messages.
    pub source: PathBuf,
    /// Mount point.
    pub point: PathBuf,
    /// The volume folder that the mount point belongs to.
    pub folder: VolumeFolder,
}

/// Returns the mounts that may be orphaned according to the node's mount table.
///
/// A node-wide mount is a candidate if no other mount on the node has the device.
#[must_use]
pub fn candidates(mounts: &[Mount], drivers: &[DriverName]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for mount in mounts {
        let Some(folder) = VolumeFolder::from_path(&mount.point) else {
            continue;
        };
        let is_alone = mounts
            .iter()
            .all(|other| other.id == mount.id || other.device != mount.device);
        if drivers.contains(&folder.driver) && (folder.pod.is_some() || is_alone) {
            candidates.push(Candidate {
                id: mount.id,
                device: mount.device,
                source: mount.source.clone(),
                point: mount.point.clone(),
                folder,
            });
        }
    }
    candidates
}

/// Returns the candidates that no process uses: their pod has no process, and no container of any
/// pod has the volume mounted.
#[must_use]
pub fn unused(candidates: Vec<Candidate>, processes: &MountHolders) -> Vec<Candidate> {
    candidates
        .into_iter()
        .filter(|candidate| {
            !has_process(candidate, processes) && !in_container(candidate, processes)
        })
        .collect()
}

fn in_container(candidate: &Candidate, processes: &MountHolders) -> bool {
    // Services and containers with the node's file systems have copies of its mounts, at the
    // same paths.
    processes
        .mounts
        .iter()
        .filter(|mount| mount.device == candidate.device)
        .any(|mount| VolumeFolder::from_path(&mount.point).is_none())
}

fn has_process(candidate: &Candidate, processes: &MountHolders) -> bool {
    candidate
        .folder
        .pod
        .as_ref()
        .is_some_and(|pod| processes.pods.contains(pod))
}

/// Returns the candidates whose pod does not exist, and the node-wide mounts that kubelet does not
/// report as in use.
///
/// `pods` are the uids of all pods of this node, `in_use` the volumes in the Node's status;
/// `has_folder` returns whether kubelet with this root has a folder for the pod of this uid.
#[must_use]
pub fn orphaned(
    candidates: Vec<Candidate>,
    pods: &BTreeSet<String>,
    in_use: &[String],
    has_folder: impl Fn(&Path, &str) -> bool,
) -> Vec<Candidate> {
    let mut orphaned = Vec::new();
    for candidate in candidates {
        let folder = &candidate.folder;
        let is_in_use = match &folder.pod {
            Some(pod) => pods.contains(pod),
            // Volume names in the status end with the driver's and the volume's name.
            None => in_use
                .iter()
                .any(|name| name.ends_with(&format!("{}/{}", folder.driver, folder.name))),
        };
        // A root without any pod of this node belongs to another kubelet, or the list of pods is
        // incomplete.
        if !is_in_use && pods.iter().any(|uid| has_folder(&folder.root, uid)) {
            orphaned.push(candidate);
        }
    }
    orphaned
}

/// The candidates of the previous scan.
#[derive(Debug, Default)]
pub struct PreviousScan {
    candidates: Vec<Candidate>,
}

impl PreviousScan {
    /// Returns the candidates that the previous scan found, too.
    pub fn confirm(&mut self, seen: Vec<Candidate>) -> Vec<Candidate> {
        let confirmed = seen
            .iter()
            .filter(|one| self.candidates.contains(one))
            .cloned()
            .collect();
        self.candidates = seen;
        confirmed
    }
}

#[cfg(test)]
mod tests;
