//! A simulated node with the folders that its agent reads: the environment of the real agent's code
//! in a test or a benchmark.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use flexvolume::DriverSettings;
use flexvolume::load_stamp::{self, FileIdentity, LoadStamp};
use host::Roots;
use operator::agent::volumes::jobs::device::NodeJobDevices;
use operator::agent::{self, AgentSettings, NodeAccess};

use crate::simulated::SimulatedNode;

/// The plugin folder in the agent's settings, unless a test changes it.
const PLUGINS: &str = "/plugins";

/// A node's LVM and folders. Dropping it removes the folders.
pub struct Site {
    /// The name of the Node object.
    pub name: String,
    /// The simulated LVM of the node.
    pub node: SimulatedNode,
    /// The plugin folder in the agent's settings, as a path on the node; `None` lets the agent find
    /// it.
    pub plugin_dir: Option<PathBuf>,
    /// The limit in the agent's settings after which a command of LVM hangs.
    pub hang_limit: Duration,
    folder: tempfile::TempDir,
}

impl Site {
    /// Creates a node whose volume group `vg0` has `extents` extents of 4 MiB.
    pub fn new(name: &str, extents: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("flexlvm-driver"), "the driver")?;
        std::fs::create_dir_all(folder.path().join("proc/1"))?;
        std::fs::write(folder.path().join("proc/1/mountinfo"), "")?;
        std::fs::create_dir(folder.path().join("root"))?;
        symlink(
            folder.path().join("root"),
            folder.path().join("proc/1/root"),
        )?;
        let dev = folder.path().join("root/dev");
        let node = SimulatedNode::new(&folder.path().join("lvm"), &dev, extents);
        Ok(Self {
            name: name.to_owned(),
            node,
            plugin_dir: Some(PLUGINS.into()),
            hang_limit: agent::lvm::hang::LIMIT,
            folder,
        })
    }

    /// The parent of the node's folders.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a path of the node, as a test sees it.
    #[must_use]
    pub fn on_node(&self, path: &str) -> PathBuf {
        self.folder()
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    /// The kubelet's folder for drivers.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        self.on_node(PLUGINS)
    }

    /// Adds a kubelet with this PID and this flag to the node's processes.
    pub fn start_kubelet(&self, pid: u32, flag: &str) -> Result<()> {
        let process = self.folder().join("proc").join(pid.to_string());
        std::fs::create_dir_all(&process)?;
        std::fs::write(process.join("comm"), "kubelet\n")?;
        std::fs::write(process.join("cmdline"), format!("kubelet\0{flag}\0"))?;
        std::fs::write(process.join("status"), format!("PPid:\t1\nNSpid:\t{pid}\n"))?;
        symlink(self.folder().join("root"), process.join("root"))?;
        Ok(())
    }

    /// Ends a kubelet.
    pub fn stop_kubelet(&self, pid: u32) -> Result<()> {
        std::fs::remove_dir_all(self.folder().join("proc").join(pid.to_string()))?;
        Ok(())
    }

    /// Leaves the load stamp that the driver in this plugin folder leaves when a kubelet loads it.
    pub fn load_driver(&self, pid: u32, plugins: &str) -> Result<()> {
        let program = Path::new(plugins).join("flexlvm.dev~lvm/lvm");
        let settings = std::fs::read(self.folder().join("state/driver.json"))?;
        let stamp = LoadStamp {
            file: FileIdentity::read(&self.on_node(&program.display().to_string()))?,
            program,
            settings: DriverSettings::parse(&settings)?,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let folder = self.on_node(load_stamp::FOLDER);
        host::atomic_file::write(
            &folder,
            &LoadStamp::file_name(pid),
            stamp.to_json().as_bytes(),
        )?;
        Ok(())
    }

    /// Returns the agent's access to the node.
    #[must_use]
    pub fn host(&self) -> NodeAccess {
        let node = Arc::new(self.node.clone());
        NodeAccess {
            exec: node.clone(),
            devices: node,
            job_devices: Arc::new(NodeJobDevices {
                roots: Roots {
                    dev: self.on_node("/dev"),
                    sys: self.on_node("/sys"),
                },
            }),
            proc: self.folder().join("proc"),
        }
    }

    /// Returns the agent's settings.
    #[must_use]
    pub fn settings(&self) -> AgentSettings {
        AgentSettings {
            node: self.name.clone(),
            driver: self.folder().join("flexlvm-driver"),
            plugin_dir: self.plugin_dir.clone(),
            state: self.folder().join("state"),
            attach: false,
            aliases: Vec::new(),
            lvm: self.folder().join("lvm"),
            scan_interval: agent::orphaned_mounts::EVERY,
            hang_limit: self.hang_limit,
        }
    }
}
