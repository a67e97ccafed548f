//! A volume that is brought into a state again and again, and somebody else's beside it, in the
//! guest.

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

use super::door::Door;

/// What the volume's file holds.
const DATA: &str = "seventeen kittens";

/// That volumes are attached, for all call-outs but `mount`, which would make a bind mount then and
/// run no program.
const SETTINGS: &str = "/run/attach.json";

/// What is looked at, at the begin; less at the end.
const EDGE: &[u8] = &[0; 5 << 20];

/// The volume, where it is mounted, and its neighbour.
pub(crate) struct Ground {
    pub(crate) json: String,
    pub(crate) fs: String,
    pub(crate) folder: String,
    /// Whether what was made for the last call-out is good for the next.
    pub(crate) kept: Cell<bool>,
    /// Where it is mounted for all pods.
    pub(crate) global: String,
    /// The options of the same volume, had an admin made it: without its uuid.
    pub(crate) by_name: String,
    group: VgName,
    name: LvName,
    proof: Proof,
    path: String,
    foreign: String,
    foreign_bytes: Vec<u8>,
}

impl Ground {
    /// Of a volume by its options, and the neighbour's device, which is filled.
    pub(crate) fn new(json: &str, foreign: &str) -> Result<Self> {
        let Options {
            group,
            volume: name,
            proof,
            filesystem,
            ..
        } = options::parse(json)?;
        let proof = proof.context("a claim's volume has a uuid")?;
        let path = format!("{group}/{name}");
        let folder = format!("/var/lib/kubelet/pods/faults/volumes/flexlvm.dev~lvm/{name}");
        let global = format!(
            "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/{name}"
        );
        let mut by_name: BTreeMap<String, String> = serde_json::from_str(json)?;
        by_name.retain(|key, _| !["uuid", "size"].contains(&key.as_str()));
        let (by_name, kept) = (serde_json::to_string(&by_name)?, Cell::new(false));
        std::fs::write(SETTINGS, r#"{"attach": true, "node": "node1"}"#)?;
        shell(&format!(
            "mkdir -p {folder} {global}; dd if=/dev/urandom of={foreign} bs=1M count=4 conv=fsync status=none"
        ))?;
        let foreign_bytes = read(foreign)?;
        let (json, fs, foreign) = (json.to_owned(), filesystem.to_string(), foreign.to_owned());
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

    /// Zeros wherever anybody looks for anything.
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

    /// What somebody left on the disk before: nothing that any program knows, and not zero.
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

    /// Marks the volume as fresh, or as one that mkfs was begun on.
    pub(crate) fn mark(&self, begun: bool) -> Result<()> {
        let (mark, file) = (
            FormatMarkerBlock::new(&self.proof.uuid, self.proof.size)?,
            self.open()?.claim()?,
        );
        mark.write_unformatted(&file)?;
        if begun {
            mark.begin(&file)?;
        }
        Ok(())
    }

    /// A file system, of all the volume or of so many MiB of it.
    pub(crate) fn make(&self, mib: Option<u64>) -> Result<()> {
        let (device, size) = (self.device(), mib.map(|mib| mib << 20));
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

    /// Mounts it by hand.
    pub(crate) fn mount(&self) -> Result<()> {
        let (fs, device) = (
            Filesystem::from_name(&self.fs).context("which?")?,
            self.device(),
        );
        let (source, folder) = (Path::new(&device), Path::new(&self.folder));
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

    /// Puts the file in.
    pub(crate) fn fill(&self) -> Result<()> {
        self.mount()?;
        let folder = Path::new(&self.folder);
        std::fs::write(folder.join("data"), DATA)?;
        Ok(host::mount::unmount_all(folder, folder).map(drop)?)
    }

    /// Whether the file is in, when the volume is mounted.
    pub(crate) fn is_filled(&self) -> Result<bool> {
        Ok(std::fs::read_to_string(Path::new(&self.folder).join("data"))? == DATA)
    }

    /// Takes the device away, as it is after a reboot. It fails when anybody still has it open.
    pub(crate) fn deactivate(&self) -> Result<()> {
        let deactivate = format!("lvm lvchange --activate n {}", self.path);
        // udev looks at what was written to, and has it open then.
        shell(&format!(
            "{deactivate} 2>/dev/null || {{ udevadm settle; {deactivate}; }}"
        ))
    }

    /// Gives the volume the tags of an admin's, and that nothing is on it yet.
    pub(crate) fn tag(&self) -> Result<()> {
        let tags = "--addtag flexlvm.dev/static --addtag flexlvm.dev/format";
        shell(&format!("lvm lvchange -qq {tags} {}", self.path))
    }

    /// Gives the volume the tag of a claim's.
    pub(crate) fn tag_with_key(&self) -> Result<()> {
        shell(&format!(
            "lvm lvchange -qq --addtag {} {}",
            self.proof.key.digest().tag(),
            self.path
        ))
    }

    /// Has the superblock say that there are errors.
    pub(crate) fn doubt(&self) -> Result<()> {
        shell(&format!(
            "debugfs -w -R 'ssv state 3' {} 2>/dev/null",
            self.device()
        ))
    }

    /// The volume's name.
    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Whether there is a device.
    pub(crate) fn is_active(&self) -> bool {
        Path::new(&self.device()).exists()
    }

    /// How often something is mounted on either folder.
    pub(crate) fn mounts(&self) -> Result<usize> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        let at = |folder: &str| table.matches(&format!(" {folder} ")).count();
        Ok(at(&self.folder) + at(&self.global))
    }

    /// How many sectors were ever written to the device, as the kernel counts them.
    pub(crate) fn written(&self) -> Result<u64> {
        let device = self.open()?;
        device.file().sync_all()?;
        let (major, minor) = device.number();
        let counts = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"))?;
        Ok(counts
            .split_whitespace()
            .nth(6)
            .context("no such count")?
            .parse()?)
    }

    /// Whether the neighbour is as it was.
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

/// A call-out through this door; it has so much time.
pub(crate) fn call(args: &[&str], door: &Door, time: Option<Duration>) -> Result<Reply> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let node = Node::current(door);
    let mut node = if let Some(time) = time {
        node.within(time)
    } else {
        node
    };
    if args[0] != "mount" {
        node.settings = SETTINGS.into();
    }
    let (reply, _) = driver::run(&args, &node);
    let json: serde_json::Value = serde_json::from_str(&reply.to_json())?;
    ensure!(json["status"].is_string(), "{json}");
    Ok(reply)
}

/// Runs a script that has to succeed.
pub(crate) fn shell(script: &str) -> Result<()> {
    let output = Command::new("sh").args(["-ec", script]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`{script}` ended with {}: {said}",
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
