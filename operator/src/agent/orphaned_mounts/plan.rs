//! Which mounts are forgotten. Every rule that keeps a pod's volume mounted is here. Pure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use flexvolume::{DriverName, VolumeFolder};
use host::mount::holders::MountHolders;
use host::mount::mountinfo::Mount;

/// A mount of a volume of ours in the folder of a pod, or in the one for all pods of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The mount's id: another mount in the same place is another one.
    pub id: u64,
    /// What is mounted.
    pub device: (u32, u32),
    /// The same, for people.
    pub source: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// What the kubelet made the folder for.
    pub folder: VolumeFolder,
}

/// The mounts that could be forgotten, says the node's mount table alone. The folder that all pods
/// share is one of them when nothing else on the node shows the volume.
#[must_use]
pub fn candidates(mounts: &[Mount], drivers: &[DriverName]) -> Vec<Candidate> {
    let is_alone = |mount: &Mount| {
        mounts
            .iter()
            .all(|other| other.id == mount.id || other.device != mount.device)
    };
    let candidate = |mount: &Mount| {
        let folder = VolumeFolder::from_path(&mount.point)
            .filter(|folder| drivers.contains(&folder.driver))?;
        (folder.pod.is_some() || is_alone(mount)).then(|| Candidate {
            id: mount.id,
            device: mount.device,
            source: mount.source.clone(),
            point: mount.point.clone(),
            folder,
        })
    };
    mounts.iter().filter_map(candidate).collect()
}

/// Those that no process can be using: none of the pod is left, and no container, of whichever pod,
/// has the volume.
#[must_use]
pub fn unheld(candidates: Vec<Candidate>, processes: &MountHolders) -> Vec<Candidate> {
    let in_container = |candidate: &Candidate| {
        let same = |mount: &&Mount| mount.device == candidate.device;
        // Services and containers that see the node's file systems have a copy of its mounts, in
        // the same folders.
        processes
            .mounts
            .iter()
            .filter(same)
            .any(|mount| VolumeFolder::from_path(&mount.point).is_none())
    };
    let runs = |candidate: &Candidate| {
        candidate
            .folder
            .pod
            .as_ref()
            .is_some_and(|pod| processes.pods.contains(pod))
    };
    candidates
        .into_iter()
        .filter(|one| !runs(one) && !in_container(one))
        .collect()
}

/// Those whose pod does not exist, and of the folders for all pods, those of which the kubelet does
/// not say that it uses the volume: `pods` are the uids of all pods of this node, `in_use` the
/// volumes in its status, `has_folder` tells whether the kubelet with this root has a folder for
/// the pod of this uid.
#[must_use]
pub fn orphaned(
    candidates: Vec<Candidate>,
    pods: &BTreeSet<String>,
    in_use: &[String],
    has_folder: impl Fn(&Path, &str) -> bool,
) -> Vec<Candidate> {
    // A root without any pod of this node is another kubelet's; or the list is not what it should
    // be.
    let is_ours = |root: &Path| pods.iter().any(|uid| has_folder(root, uid));
    let is_wanted = |folder: &VolumeFolder| match &folder.pod {
        Some(pod) => pods.contains(pod),
        // Its names have the driver's and the volume's at their end.
        None => in_use
            .iter()
            .any(|name| name.ends_with(&format!("{}/{}", folder.driver, folder.name))),
    };
    candidates
        .into_iter()
        .filter(|one| !is_wanted(&one.folder) && is_ours(&one.folder.root))
        .collect()
}

/// Remembers the look before.
#[derive(Debug, Default)]
pub struct Sightings {
    before: Vec<Candidate>,
}

impl Sightings {
    /// Those of `seen` that were seen by the look before, too.
    pub fn again(&mut self, seen: Vec<Candidate>) -> Vec<Candidate> {
        let twice = seen
            .iter()
            .filter(|one| self.before.contains(one))
            .cloned()
            .collect();
        self.before = seen;
        twice
    }
}

#[cfg(test)]
mod tests;
