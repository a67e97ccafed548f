//! Which mounts are forgotten. Every rule that keeps a pod's volume mounted is here.
//! Pure. Called by `forgotten`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use host::mountinfo::Mount;

use driver::DriverName;
use driver::VolumeFolder;

/// A mount of a volume of ours in the folder of a pod.
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
    /// The kubelet's root.
    pub root: PathBuf,
    /// The pod's uid.
    pub pod: String,
}

/// What is known of the node's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// The pods of the candidates that have a process, if only the one that holds their namespaces.
    pub pods: BTreeSet<String>,
    /// The mounts of the candidates' devices in all mount namespaces but that of the node itself.
    pub mounts: Vec<Mount>,
}

/// The mounts that could be forgotten, says the node's mount table alone. Never the folder that all pods share: whether
/// anybody still wants that is for the kubelet to know.
#[must_use]
pub fn candidates(mounts: &[Mount], drivers: &[DriverName]) -> Vec<Candidate> {
    let candidate = |mount: &Mount| {
        let folder = VolumeFolder::of(&mount.point).filter(|folder| drivers.contains(&folder.driver))?;
        Some(Candidate {
            id: mount.id,
            device: mount.device,
            source: mount.source.clone(),
            point: mount.point.clone(),
            root: folder.root,
            pod: folder.pod?,
        })
    };
    mounts.iter().filter_map(candidate).collect()
}

/// Those that no process can be using: none of the pod is left, and no container, of whichever pod, has the volume.
#[must_use]
pub fn unheld(candidates: Vec<Candidate>, processes: &Processes) -> Vec<Candidate> {
    let in_container = |candidate: &Candidate| {
        let same = |mount: &&Mount| mount.device == candidate.device;
        // Services and containers that see the node's file systems have a copy of its mounts, in the same folders.
        processes.mounts.iter().filter(same).any(|mount| VolumeFolder::of(&mount.point).is_none())
    };
    candidates.into_iter().filter(|one| !processes.pods.contains(&one.pod) && !in_container(one)).collect()
}

/// Those whose pod does not exist: `pods` are the uids of all pods of this node, `has_folder` tells whether the kubelet
/// with this root has a folder for the pod of this uid.
#[must_use]
pub fn forgotten(
    candidates: Vec<Candidate>,
    pods: &BTreeSet<String>,
    has_folder: impl Fn(&Path, &str) -> bool,
) -> Vec<Candidate> {
    // A root without any pod of this node is another kubelet's; or the list is not what it should be.
    let is_ours = |root: &Path| pods.iter().any(|uid| has_folder(root, uid));
    candidates.into_iter().filter(|one| !pods.contains(&one.pod) && is_ours(&one.root)).collect()
}

/// Remembers the look before.
#[derive(Debug, Default)]
pub struct Looks {
    before: Vec<Candidate>,
}

impl Looks {
    /// Those of `seen` that were seen by the look before, too.
    pub fn again(&mut self, seen: Vec<Candidate>) -> Vec<Candidate> {
        let twice = seen.iter().filter(|one| self.before.contains(one)).cloned().collect();
        self.before = seen;
        twice
    }
}

#[cfg(test)]
mod tests;
