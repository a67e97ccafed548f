//! A simulated node with the folders that its agent looks into: what the real agent's code needs to
//! run in a test or a bench.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use operator::agent::{self, AgentSettings, NodeAccess};

use crate::simulated::SimulatedNode;

/// A node's LVM and its folders, which are removed when this is dropped.
pub struct Site {
    /// The name of the Node object.
    pub name: String,
    /// Its LVM.
    pub node: SimulatedNode,
    folder: tempfile::TempDir,
}

impl Site {
    /// A node whose volume group `vg0` has so many extents of 4 MiB.
    pub fn new(name: &str, extents: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("flexlvm-driver"), "the driver")?;
        std::fs::create_dir_all(folder.path().join("proc/1"))?;
        std::fs::write(folder.path().join("proc/1/mountinfo"), "")?;
        let node = SimulatedNode::new(&folder.path().join("lvm"), extents);
        Ok(Self {
            name: name.to_owned(),
            node,
            folder,
        })
    }

    /// Where all its folders are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The kubelet's folder for drivers.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        self.folder().join("plugins")
    }

    /// The agent's ways to the node.
    #[must_use]
    pub fn host(&self) -> NodeAccess {
        let node = Arc::new(self.node.clone());
        NodeAccess {
            exec: node.clone(),
            devices: node,
            proc: self.folder().join("proc"),
        }
    }

    /// The agent's settings.
    #[must_use]
    pub fn settings(&self) -> AgentSettings {
        AgentSettings {
            node: self.name.clone(),
            driver: self.folder().join("flexlvm-driver"),
            plugins: self.plugins(),
            state: self.folder().join("state"),
            attach: false,
            aliases: Vec::new(),
            lvm: self.folder().join("lvm"),
            scan_interval: agent::orphaned_mounts::EVERY,
        }
    }
}
