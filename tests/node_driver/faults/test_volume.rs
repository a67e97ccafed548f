//! The test volume in the guest, which is repeatedly brought into a defined state, and a foreign
//! volume next to it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use driver::{Node, Reply};
use flexvolume::options::{self, Options, Proof};
use host::mount::{Flags, MountRequest, MountTarget};
use host::{Device, Filesystem, FormatMarkerBlock, LvName, Roots, VgName};

use super::faulty_exec::FaultyExec;

/// Content of the volume's file.
const DATA: &str = "seventeen kittens";

/// Settings with attach mode, for all call-outs but `mount`, which would then make a bind mount and
/// run no program.
const SETTINGS: &str = "/run/attach.json";

/// The size of the region at the device's start that the driver inspects; it inspects less at the
/// end.
const EDGE: &[u8] = &[0; 5 << 20];

/// The volume, its mount points, and the foreign volume.
pub(crate) struct TestVolume {
    pub(crate) json: String,
    pub(crate) fs: String,
    pub(crate) folder: String,
    /// True if the state for the last call-out also fits the next.
    pub(crate) kept: Cell<bool>,
    /// Mount point for all pods.
    pub(crate) global: String,
    /// The options of the same volume as a static one: without its uuid.
    pub(crate) by_name: String,
    group: VgName,
    name: LvName,
    proof: Proof,
    path: String,
    foreign: String,
    foreign_bytes: Vec<u8>,
}

impl TestVolume {
    /// Creates the state from a volume's options and the foreign device, which is filled with
    /// random data.
    pub(crate) fn new(json: &str, foreign: &str) -> Result<Self> {
        let Options {
            group,
            volume: name,
            proof,
            filesystem,
            ..
        } = options::parse(json)?;
        let proof = proof.context("a claim's volume needs a uuid")?;
        let path = format!("{group}/{name}");
        let folder = format!("/var/lib/kubelet/pods/faults/volumes/flexlvm.dev~lvm/{name}");
        let global = format!(
            "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/{name}"
        );
        let mut by_name: BTreeMap<String, String> = serde_json::from_str(json)?;
        by_name.retain(|key, _| !["uuid", "size"].contains(&key.as_str()));
        let by_name = serde_json::to_string(&by_name)?;
        let kept = Cell::new(false);
        std::fs::write(SETTINGS, r#"{"attach": true, "node": "node1"}"#)?;
        shell(&format!(
            "mkdir -p {folder} {global}; dd if=/dev/urandom of={foreign} bs=1M count=4 conv=fsync status=none"
        ))?;
        let foreign_bytes = read(foreign)?;
        let json = json.to_owned();
        let fs = filesystem.to_string();
        let foreign = foreign.to_owned();
        Ok(Self {
            json,
            fs,
            folder,
            kept,
            global,
            by_name,
            group,
            name,
            proof,
            path,
            foreign,
            foreign_bytes,
        })
    }

    /// Writes zeros to all regions that any program inspects.
    pub(crate) fn empty(&self) -> Result<()> {
        if !self.is_active() {
            shell(&format!(
                "lvm lvchange --activate y {}; udevadm settle",
                self.path
            ))?;
        }
        let device = self.open()?.claim()?;
        let end = &EDGE[..2 << 20];
        device.write_all_at(EDGE, 0)?;
        device.write_all_at(end, self.proof.size.0 - end.len() as u64)?;
        Ok(device.sync_all()?)
    }

    /// Simulates old content of the disk: no known signature, and not zero.
    pub(crate) fn litter(&self) -> Result<()> {
        self.empty()?;
        self.poke(&b"litter\n".repeat(10_000), 200_000)
    }

    /// Writes bytes.
    pub(crate) fn poke(&self, bytes: &[u8], at: u64) -> Result<()> {
        let device = self.open()?.claim()?;
        device.write_all_at(bytes, at)?;
        Ok(device.sync_all()?)
    }

    /// Writes the format marker: unformatted, or with mkfs begun.
    pub(crate) fn mark(&self, begun: bool) -> Result<()> {
        let mark = FormatMarkerBlock::new(&self.proof.uuid, self.proof.size)?;
        let file = self.open()?.claim()?;
        mark.write_unformatted(&file)?;
        if begun {
            mark.begin(&file)?;
        }
        Ok(())
    }

    /// Creates a file system, on all of the volume or on its first `mib` MiB.
    pub(crate) fn make(&self, mib: Option<u64>) -> Result<()> {
        let device = self.device();
        let size = mib.map(|mib| mib << 20);
        shell(&match (self.fs.as_str(), size) {
            ("ext4", size) => {
                let size = size
                    .map(|size| format!("{}k", size >> 10))
                    .unwrap_or_default();
                format!("mkfs.ext4 -q -F -E nodiscard {device} {size}")
            }
            ("xfs", size) => {
                let size = size
                    .map(|size| format!("-d size={size}"))
                    .unwrap_or_default();
                format!("mkfs.xfs -q -f -K {size} {device}")
            }
            (other, size) => {
                let size = size.map(|size| format!("-b {size}")).unwrap_or_default();
                format!("mkfs.{other} -q -f -K {size} {device}")
            }
        })
    }

    /// Mounts the volume without the driver.
    pub(crate) fn mount(&self) -> Result<()> {
        let fs = Filesystem::from_name(&self.fs).context("which?")?;
        let device = self.device();
        let source = Path::new(&device);
        let folder = Path::new(&self.folder);
        let request = MountRequest {
            source,
            fs,
            flags: Flags::empty(),
            data: "",
            read_only: false,
        };
        Ok(host::mount::mount(
            &request,
            MountTarget {
                folder,
                top: folder,
            },
        )?)
    }

    /// Writes the file.
    pub(crate) fn fill(&self) -> Result<()> {
        self.mount()?;
        let folder = Path::new(&self.folder);
        std::fs::write(folder.join("data"), DATA)?;
        Ok(host::mount::unmount_all(folder, folder).map(drop)?)
    }

    /// Returns true if the file exists on the mounted volume.
    pub(crate) fn is_filled(&self) -> Result<bool> {
        Ok(std::fs::read_to_string(Path::new(&self.folder).join("data"))? == DATA)
    }

    /// Deactivates the device, as after a reboot. Fails if a process has it open.
    pub(crate) fn deactivate(&self) -> Result<()> {
        let deactivate = format!("lvm lvchange --activate n {}", self.path);
        // udev inspects devices after writes, and holds them open meanwhile.
        shell(&format!(
            "{deactivate} 2>/dev/null || {{ udevadm settle; {deactivate}; }}"
        ))
    }

    /// Adds the tags of a static volume that may be formatted.
    pub(crate) fn tag(&self) -> Result<()> {
        let tags = "--addtag flexlvm.dev/static --addtag flexlvm.dev/format";
        shell(&format!("lvm lvchange -qq {tags} {}", self.path))
    }

    /// Adds the tag of a claim's volume.
    pub(crate) fn tag_with_key(&self) -> Result<()> {
        shell(&format!(
            "lvm lvchange -qq --addtag {} {}",
            self.proof.key.digest().tag(),
            self.path
        ))
    }

    /// Sets the error flag in the superblock.
    pub(crate) fn doubt(&self) -> Result<()> {
        shell(&format!(
            "debugfs -w -R 'ssv state 3' {} 2>/dev/null",
            self.device()
        ))
    }

    /// The name of the logical volume.
    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Returns true if the device exists.
    pub(crate) fn is_active(&self) -> bool {
        Path::new(&self.device()).exists()
    }

    /// Returns the number of mounts on both folders.
    pub(crate) fn mounts(&self) -> Result<usize> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        let folders = [&self.folder, &self.global].into_iter();
        Ok(folders
            .map(|folder| table.matches(&format!(" {folder} ")).count())
            .sum())
    }

    /// Returns the number of sectors ever written to the device, from the kernel's statistics.
    pub(crate) fn written(&self) -> Result<u64> {
        let device = self.open()?;
        device.file().sync_all()?;
        let path = format!("/sys/dev/block/{}/stat", device.number());
        let counts = std::fs::read_to_string(path)?;
        Ok(counts
            .split_whitespace()
            .nth(6)
            .context("no such count")?
            .parse()?)
    }

    /// Checks that the foreign volume is unchanged.
    pub(crate) fn check_foreign(&self) -> Result<()> {
        ensure!(
            read(&self.foreign)? == self.foreign_bytes,
            "the foreign device was changed"
        );
        Ok(())
    }

    fn open(&self) -> Result<Device> {
        Ok(Device::open(
            &Roots::current(),
            &self.group,
            &self.name,
            &self.proof.uuid,
        )?)
    }

    fn device(&self) -> String {
        format!("/dev/{}", self.path)
    }
}

/// Makes a call-out with this `Exec` and time limit.
pub(crate) fn call(args: &[&str], exec: &FaultyExec, time: Option<Duration>) -> Result<Reply> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let node = Node::current(exec);
    let mut node = if let Some(time) = time {
        node.within(time)
    } else {
        node
    };
    if args[0] != "mount" {
        node.settings = SETTINGS.into();
    }
    let reply = driver::run(&args, &node).reply;
    let json: serde_json::Value = serde_json::from_str(&reply.to_json())?;
    ensure!(json["status"].is_string(), "{json}");
    Ok(reply)
}

/// Runs a script, which must succeed.
pub(crate) fn shell(script: &str) -> Result<()> {
    let output = Command::new("sh").args(["-ec", script]).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`{script}` ended with {}: {stderr}",
        output.status
    );
    Ok(())
}

fn read(path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {path}"))?;
    Ok(bytes)
}
