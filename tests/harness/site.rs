//! A simulated node with the folders that its agent reads: the environment of the real agent's code
//! in a test or a benchmark.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use operator::agent::{self, AgentSettings, NodeAccess};

use crate::simulated::SimulatedNode;

/// A node's LVM and folders. Dropping it removes the folders.
pub struct Site {
    /// The name of the Node object.
    pub name: String,
    /// The simulated LVM of the node.
    pub node: SimulatedNode,
    folder: tempfile::TempDir,
}

impl Site {
    /// Creates a node whose volume group `vg0` has `extents` extents of 4 MiB.
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

    /// The parent of the node's folders.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The kubelet's folder for drivers.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        self.folder().join("plugins")
    }

    /// Returns the agent's access to the node.
    #[must_use]
    pub fn host(&self) -> NodeAccess {
        let node = Arc::new(self.node.clone());
        NodeAccess {
            exec: node.clone(),
            devices: node,
            proc: self.folder().join("proc"),
        }
    }

    /// Returns the agent's settings.
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
