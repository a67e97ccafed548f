//! What the soak has requested so far: claims, pods, faults. Pure.
//!
//! The model depends on the actions alone, never on their results: so a seed replays the same
//! decisions, however fast the cluster is. What was acknowledged is in `ledger.rs`.

use std::fmt;

/// Number of nodes of the cluster.
pub(crate) const NODES: u8 = 3;

/// Number of disks of each node.
pub(crate) const DISKS: u8 = 3;

/// A request that no node can serve, in MiB: the claim must wait with an Event.
pub(crate) const UNSERVABLE_MIB: u32 = 1 << 20;

/// The layouts of volumes, each with a StorageBackend of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Linear,
    Striped,
    Raid1,
    Raid5,
    Thin,
}

impl Layout {
    pub(crate) const ALL: [Self; 5] = [
        Self::Linear,
        Self::Striped,
        Self::Raid1,
        Self::Raid5,
        Self::Thin,
    ];

    /// The name of the StorageBackend.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Striped => "striped",
            Self::Raid1 => "raid1",
            Self::Raid5 => "raid5",
            Self::Thin => "thin",
        }
    }
}

/// The file systems of volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
}

impl FileSystem {
    pub(crate) const ALL: [Self; 2] = [Self::Ext4, Self::Xfs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Size in MiB of the smallest volume that the soak requests.
    pub(crate) fn smallest_mib(self) -> u32 {
        match self {
            Self::Ext4 => 40,
            Self::Xfs => 304,
        }
    }
}

/// A StorageClass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) layout: Layout,
    pub(crate) file_system: FileSystem,
    /// True for the reclaim policy `Retain`.
    pub(crate) is_retained: bool,
}

impl Class {
    /// Returns all classes of the cluster.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for layout in Layout::ALL {
            for file_system in FileSystem::ALL {
                for is_retained in [false, true] {
                    all.push(Self {
                        layout,
                        file_system,
                        is_retained,
                    });
                }
            }
        }
        all
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = if self.is_retained { "-retain" } else { "" };
        let layout = self.layout.name();
        write!(f, "{layout}-{}{policy}", self.file_system.name())
    }
}

/// A program that the soak kills with SIGKILL on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Controller,
    Agent,
    Kubelet,
    Lvm,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Creates a claim, and its first pod.
    Create {
        class: Class,
        size_mib: u32,
    },
    /// Raises a claim's request.
    Grow {
        claim: u32,
        size_mib: u32,
    },
    StartPod {
        claim: u32,
    },
    StopPod {
        claim: u32,
    },
    /// Writes a file into the volume of a claim's pod, and syncs it.
    Write {
        claim: u32,
        number: u32,
        kib: u32,
    },
    /// Compares the acknowledged files of a claim's running pod.
    Check {
        claim: u32,
    },
    /// Deletes the pod, if there is one, and the claim.
    Delete {
        claim: u32,
    },
    /// Kills the processes of a program on a node; an LVM process after a delay from its start.
    Kill {
        node: u8,
        victim: Victim,
        delay_ms: u32,
    },
    CutPower {
        node: u8,
    },
    /// Turns the power on, without waiting for the node.
    Boot {
        node: u8,
    },
    /// Waits until the node is up, and starts containerd and the kubelet.
    StartNode {
        node: u8,
    },
    /// Makes each access to a disk fail.
    FailDisk {
        node: u8,
        disk: u8,
    },
    /// Makes a failed disk work again, with the data that it had.
    ReturnDisk {
        node: u8,
        disk: u8,
    },
}

/// A claim that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) number: u32,
    pub(crate) class: Class,
    /// Requested size.
    pub(crate) size_mib: u32,
    pub(crate) is_deleted: bool,
    pub(crate) has_pod: bool,
    /// Number of pods so far, which names the latest.
    pub(crate) pods: u32,
    /// Number of actions before the one that started the latest pod.
    pub(crate) started: u32,
    /// Number of writes so far.
    pub(crate) writes: u32,
    /// Sum of the writes so far.
    pub(crate) written_kib: u32,
}

impl Claim {
    pub(crate) fn name(&self) -> String {
        format!("c{}", self.number)
    }

    /// The name of the latest pod.
    pub(crate) fn pod(&self) -> String {
        format!("c{}-p{}", self.number, self.pods)
    }

    /// Returns true if a node can serve the request.
    pub(crate) fn is_servable(&self) -> bool {
        self.size_mib < UNSERVABLE_MIB
    }

    /// Returns true if the volume outlives the claim.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_deleted && self.class.is_retained
    }
}

/// The power of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    Off,
    Booting,
}

/// The requested state of all objects and nodes.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Number of actions so far.
    pub(crate) actions: u32,
    pub(crate) claims: Vec<Claim>,
    /// The power of each node.
    pub(crate) power: [Power; NODES as usize],
    /// The failed disk, as node and disk: one at a time.
    pub(crate) failed: Option<(u8, u8)>,
}

impl Model {
    pub(crate) const fn new() -> Self {
        Self {
            actions: 0,
            claims: Vec::new(),
            power: [Power::On; NODES as usize],
            failed: None,
        }
    }

    /// The power of a node, counted from 1.
    pub(crate) fn power_of(&self, node: u8) -> Power {
        self.power[usize::from(node) - 1]
    }

    pub(crate) fn claim(&self, number: u32) -> &Claim {
        &self.claims[number as usize]
    }

    /// Returns the claims that are not deleted.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Claim> {
        self.claims.iter().filter(|claim| !claim.is_deleted)
    }

    /// Records an action.
    pub(crate) fn apply(&mut self, action: &Action) {
        match *action {
            Action::Create { class, size_mib } => self.create(class, size_mib),
            Action::Grow { claim, size_mib } => self.claim_mut(claim).size_mib = size_mib,
            Action::StartPod { claim } => {
                let started = self.actions;
                let claim = self.claim_mut(claim);
                claim.has_pod = true;
                claim.pods += 1;
                claim.started = started;
            }
            Action::StopPod { claim } => self.claim_mut(claim).has_pod = false,
            Action::Write { claim, number, kib } => {
                let claim = self.claim_mut(claim);
                claim.writes = number + 1;
                claim.written_kib += kib;
            }
            Action::Delete { claim } => {
                let claim = self.claim_mut(claim);
                claim.has_pod = false;
                claim.is_deleted = true;
            }
            Action::CutPower { node } => {
                self.power[usize::from(node) - 1] = Power::Off;
                // The boot creates the devices of the disks anew.
                self.failed = self.failed.filter(|(failed, _)| *failed != node);
            }
            Action::Boot { node } => self.power[usize::from(node) - 1] = Power::Booting,
            Action::StartNode { node } => self.power[usize::from(node) - 1] = Power::On,
            Action::FailDisk { node, disk } => self.failed = Some((node, disk)),
            Action::ReturnDisk { .. } => self.failed = None,
            Action::Check { .. } | Action::Kill { .. } => {}
        }
        self.actions += 1;
    }

    fn claim_mut(&mut self, number: u32) -> &mut Claim {
        &mut self.claims[number as usize]
    }

    fn create(&mut self, class: Class, size_mib: u32) {
        self.claims.push(Claim {
            number: u32::try_from(self.claims.len()).expect("a soak creates fewer claims"),
            class,
            size_mib,
            is_deleted: false,
            has_pod: true,
            pods: 1,
            started: self.actions,
            writes: 0,
            written_kib: 0,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Class, Model, Power};

    #[test]
    fn model_follows_a_claim_to_its_deletion() {
        let class = Class::all()[1];
        let mut model = Model::new();
        for action in [
            Action::Create {
                class,
                size_mib: 64,
            },
            Action::Write {
                claim: 0,
                number: 0,
                kib: 8,
            },
            Action::StopPod { claim: 0 },
            Action::StartPod { claim: 0 },
            Action::Grow {
                claim: 0,
                size_mib: 96,
            },
        ] {
            model.apply(&action);
        }
        let claim = model.claim(0);
        assert_eq!((claim.pod().as_str(), claim.size_mib), ("c0-p2", 96));
        assert_eq!((claim.writes, claim.written_kib), (1, 8));
        assert!(claim.has_pod && !claim.is_kept());
        model.apply(&Action::Delete { claim: 0 });
        assert!(model.claim(0).is_kept() && model.live().next().is_none());
    }

    #[test]
    fn power_cut_returns_the_disk_of_its_node_only() {
        let mut model = Model::new();
        model.apply(&Action::FailDisk { node: 2, disk: 1 });
        model.apply(&Action::CutPower { node: 1 });
        assert_eq!(model.failed, Some((2, 1)));
        model.apply(&Action::CutPower { node: 2 });
        assert_eq!(model.failed, None);
        assert_eq!(model.power_of(2), Power::Off);
        model.apply(&Action::Boot { node: 2 });
        model.apply(&Action::StartNode { node: 2 });
        assert_eq!(model.power_of(2), Power::On);
    }
}
