//! A simulation of the kubelet: replays a sequence with one volume, in the guest. Makes each
//! call-out once, twice, killed and repeated, or several times concurrently; and verifies the
//! state, also with the node's own programs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use host::mount::{Flags, MountRequest, MountTarget};
use host::{
    Bytes, Device, Filesystem, FormatMarker, FormatMarkerBlock, LvName, LvUuid, Roots, VgName,
};
use rustix::fs::statvfs;
use serde_json::Value;

/// The node's name that the driver gets.
const NODE: &str = "node1";

const ROOT: &str = "/var/lib/kubelet";

/// Growth of a volume per `extend` step.
const GROWTH_MIB: u64 = 40;

/// The way in which a call-out is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Once,
    Twice,
    Killed,
    AtOnce,
    /// A random one of these for each call.
    Mixed,
}

impl Manner {
    /// The manners of a single call.
    pub(crate) const CALLS: [Self; 4] = [Self::Once, Self::Twice, Self::Killed, Self::AtOnce];

    /// Returns the manner with this name.
    pub(crate) fn from_name(name: &str) -> Self {
        Self::CALLS
            .into_iter()
            .find(|manner| format!("{manner:?}") == name)
            .unwrap_or(Self::Mixed)
    }
}

/// The kubelet, the agent and a pod's program in one.
pub(crate) struct KubeletSim {
    pub(crate) driver: String,
    pub(crate) manner: Manner,
    /// State of the random numbers; never 0.
    pub(crate) seed: Cell<u64>,
    /// Size in MiB when the file was written.
    pub(crate) size: Cell<u64>,
    pub(crate) options: BTreeMap<String, String>,
}

impl KubeletSim {
    /// Recreates the volume: empty, with the format marker `Unformatted`.
    pub(crate) fn renew(&mut self) -> Result<()> {
        self.activate()?;
        shell(&format!("blkdiscard -f /dev/{}", self.path()))?;
        self.measure()?;
        let device = self.device()?;
        Ok(self.mark()?.write_unformatted(&device.claim()?)?)
    }

    /// Sets the size in the options to the present one.
    pub(crate) fn measure(&mut self) -> Result<()> {
        let size = self.size_now()?;
        self.options.insert("size".to_owned(), size);
        Ok(())
    }

    /// Executes a step: the kubelet's here, all others in `verify_or_act`.
    pub(crate) fn step(&self, step: &str) -> Result<()> {
        let words: Vec<&str> = step.split_whitespace().collect();
        let name = self.options["volumeID"].clone();
        match words.as_slice() {
            ["mount", pod, readwrite] => {
                let folder = self.make_folder(pod)?;
                let json = self.json(readwrite);
                self.call(&["mount", &folder, &json])
            }
            ["unmount", pod] => {
                let folder = self.folder(pod);
                self.call(&["unmount", &folder])?;
                remove_folder(&folder)
            }
            ["attach"] => self.call(&["attach", &self.json("rw"), NODE]),
            ["waitforattach"] => self.call(&["waitforattach", &self.mapper(), &self.json("rw")]),
            ["mountdevice"] => {
                let all = self.make_folder("all")?;
                self.call(&["mountdevice", &all, &self.mapper(), &self.json("rw")])
            }
            ["unmountdevice"] => {
                let all = self.folder("all");
                self.call(&["unmountdevice", &all])?;
                remove_folder(&all)
            }
            ["detach"] => self.call(&["detach", &name, NODE]),
            ["expandfs", pod] => {
                let size = self.size_now()?;
                let folder = self.folder(pod);
                self.call(&[
                    "expandfs",
                    &self.json("rw"),
                    "",
                    &folder,
                    &size,
                    &self.options["size"],
                ])
            }
            // The agent has not extended it yet.
            ["too-small", pod] => {
                let folder = self.folder(pod);
                let reply = self.answer(&[
                    "expandfs",
                    &self.json("rw"),
                    "",
                    &folder,
                    "999999999999",
                    "0",
                ])?;
                let message = reply["message"].to_string();
                ensure!(message.contains("not extended it yet"), "{reply}");
                Ok(())
            }
            // After its start the kubelet knows only names.
            ["restart"] => {
                let stub = format!(
                    r#"{{"kubernetes.io/pvOrVolumeName":"{name}","kubernetes.io/fsType":""}}"#
                );
                self.call(&["init"])?;
                self.call(&["getvolumename", &stub])
            }
            words => self.verify_or_act(words),
        }
    }

    /// Executes a step of the agent or a pod, or verifies the state.
    fn verify_or_act(&self, words: &[&str]) -> Result<()> {
        match words {
            // The PersistentVolume is gone, and its options with it.
            ["forget"] => Ok(()),
            ["extend"] => {
                shell(&format!("lvextend -qq -L +{GROWTH_MIB}M {}", self.path())).map(drop)
            }
            ["folder", pod] => self.make_folder(pod).map(drop),
            ["write", pod] => {
                let folder = self.folder(pod);
                self.size.set(size_in_mib(&folder)?);
                let mut file = File::create(format!("{folder}/data"))?;
                file.write_all(self.content().as_bytes())?;
                Ok(file.sync_all()?)
            }
            ["read", pod] => self.holds(&self.folder(pod)),
            ["locked", pod] => {
                let made = File::create(format!("{}/other", self.folder(pod)));
                let kind = made.map_err(|error| error.kind());
                ensure!(
                    matches!(kind, Err(ErrorKind::ReadOnlyFilesystem)),
                    "{pod} can write: {kind:?}"
                );
                Ok(())
            }
            ["free", pod] => {
                let folder = self.folder(pod);
                let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
                ensure!(
                    !mounts.contains(&format!(" {folder} ")),
                    "something is mounted on {folder}"
                );
                Ok(())
            }
            ["large", pod] => {
                let before = self.size.get();
                let now = size_in_mib(&self.folder(pod))?;
                ensure!(
                    now > before + GROWTH_MIB / 2,
                    "{now} MiB now, and {before} MiB before"
                );
                Ok(())
            }
            ["inactive"] => {
                ensure!(self.device().is_err(), "it is active");
                Ok(())
            }
            _ => bail!("unknown step {words:?}"),
        }
    }

    /// Verifies the state after the last pod.
    pub(crate) fn check_end(&self, attach: bool) -> Result<()> {
        let path = self.path();
        let fs = &self.options["kubernetes.io/fsType"];
        let mapper = self.mapper();
        is(&format!("findmnt -n -S {mapper} || true"), "")?;
        // Active and not open, or inactive.
        let (columns, state) = if attach {
            ("lv_active", "")
        } else {
            ("lv_active,lv_device_open", "active")
        };
        is(&format!("lvs --noheadings -o {columns} {path}"), state)?;
        self.activate()?;
        is(&format!("blkid -p -s TYPE -o value {mapper}"), fs)?;
        let device = self.device()?;
        let mark = self.mark()?.read(device.file())?;
        ensure!(mark == FormatMarker::None, "the format marker is {mark:?}");
        drop(device);
        let source = Path::new(&mapper);
        let folder = Path::new("/mnt");
        let fs = Filesystem::from_name(fs).context("which?")?;
        let request = MountRequest {
            source,
            fs,
            flags: Flags::empty(),
            data: "",
            read_only: false,
        };
        host::mount::mount(
            &request,
            MountTarget {
                folder,
                top: folder,
            },
        )?;
        self.holds("/mnt")?;
        Ok(host::mount::unmount_all(folder, folder).map(drop)?)
    }

    /// Activates the volume, unless it is active.
    fn activate(&self) -> Result<()> {
        if self.device().is_err() {
            shell(&format!("lvchange -qq -ay {}; udevadm settle", self.path()))?;
        }
        Ok(())
    }

    /// Checks the content of the file.
    fn holds(&self, folder: &str) -> Result<()> {
        let found = std::fs::read_to_string(format!("{folder}/data"))?;
        ensure!(found == self.content(), "{folder}/data holds {found:?}");
        Ok(())
    }

    /// Makes a call-out that must succeed, in the manner of this simulation.
    fn call(&self, args: &[&str]) -> Result<()> {
        let manner = match self.manner {
            Manner::Mixed => {
                Manner::CALLS[usize::try_from(self.below(Manner::CALLS.len() as u64))?]
            }
            manner => manner,
        };
        match manner {
            Manner::Twice => self.succeeds(args)?,
            Manner::Killed => {
                let mut child = self.start(args)?;
                // Log-uniform: as likely in the first millisecond as in the last hundred.
                let least = 200 << self.below(11);
                sleep(Duration::from_micros(least + self.below(least)));
                child.kill()?;
                child.wait()?;
            }
            Manner::AtOnce => {
                let children = (0..3)
                    .map(|_| self.start(args))
                    .collect::<Result<Vec<_>>>()?;
                for child in children {
                    let reply = answer_of(child)?;
                    // The kubelet would repeat this one.
                    let again = reply["message"]
                        .as_str()
                        .is_some_and(|message| message.contains("Kubernetes retries"));
                    ensure!(
                        reply["status"] == "Success" || again,
                        "at once, {args:?}: {reply}"
                    );
                }
            }
            Manner::Once | Manner::Mixed => {}
        }
        self.succeeds(args).with_context(|| format!("{manner:?}"))
    }

    fn succeeds(&self, args: &[&str]) -> Result<()> {
        // A program that outlives its driver keeps the lock, and the kubelet retries.
        for _ in 0..3 {
            let reply = self.answer(args)?;
            if reply["status"] == "Success" {
                return Ok(());
            }
            let again = reply["message"]
                .as_str()
                .is_some_and(|message| message.contains("Kubernetes retries"));
            ensure!(again, "{args:?}: {reply}");
        }
        bail!("{args:?}: no success after all retries")
    }

    fn answer(&self, args: &[&str]) -> Result<Value> {
        answer_of(self.start(args)?)
    }

    fn start(&self, args: &[&str]) -> Result<Child> {
        let mut command = Command::new(&self.driver);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().context("cannot start the driver")
    }

    fn json(&self, readwrite: &str) -> String {
        let mut options = self.options.clone();
        options.insert("kubernetes.io/readwrite".to_owned(), readwrite.to_owned());
        serde_json::json!(options).to_string()
    }

    fn folder(&self, pod: &str) -> String {
        let name = &self.options["volumeID"];
        match pod {
            "all" => {
                format!("{ROOT}/plugins/kubernetes.io/flexvolume/flexlvm.dev/lvm/mounts/{name}")
            }
            pod => format!("{ROOT}/pods/replay-{pod}/volumes/flexlvm.dev~lvm/{name}"),
        }
    }

    fn make_folder(&self, pod: &str) -> Result<String> {
        let folder = self.folder(pod);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn path(&self) -> String {
        format!(
            "{}/{}",
            self.options["volumegroup"], self.options["volumeID"]
        )
    }

    fn mapper(&self) -> String {
        let doubled = |key: &str| self.options[key].replace('-', "--");
        format!(
            "/dev/mapper/{}-{}",
            doubled("volumegroup"),
            doubled("volumeID")
        )
    }

    fn content(&self) -> String {
        format!("of-{}", self.options["volumeID"])
    }

    fn device(&self) -> Result<Device> {
        let group = VgName::new(&self.options["volumegroup"])?;
        let name = LvName::new(&self.options["volumeID"])?;
        Ok(Device::open(
            &Roots::current(),
            &group,
            &name,
            &LvUuid::new(&self.options["uuid"])?,
        )?)
    }

    fn mark(&self) -> Result<FormatMarkerBlock> {
        Ok(FormatMarkerBlock::new(
            &LvUuid::new(&self.options["uuid"])?,
            Bytes(self.options["size"].parse()?),
        )?)
    }

    fn size_now(&self) -> Result<String> {
        match self.device() {
            Ok(device) => Ok(device.size()?.0.to_string()),
            Err(_) => shell(&format!(
                "lvs --noheadings --units b --nosuffix -o lv_size {}",
                self.path()
            )),
        }
    }

    /// Returns a random number below `end`, by SplitMix64.
    fn below(&self, end: u64) -> u64 {
        self.seed
            .set(self.seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mixed = (self.seed.get() ^ (self.seed.get() >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn size_in_mib(folder: &str) -> Result<u64> {
    let found = statvfs(folder)?;
    Ok((found.f_blocks * found.f_frsize) >> 20)
}

/// Removes a folder as the kubelet does after an unmount; fails if the driver lied.
fn remove_folder(folder: &str) -> Result<()> {
    if !Path::new(folder).exists() {
        return Ok(());
    }
    std::fs::remove_dir(folder).with_context(|| format!("cannot remove {folder}"))
}

fn answer_of(child: Child) -> Result<Value> {
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
}

fn is(script: &str, expected: &str) -> Result<()> {
    let found = shell(script)?;
    ensure!(
        found == expected,
        "`{script}` prints {found:?} instead of {expected:?}"
    );
    Ok(())
}

/// Runs a script, which must succeed, and returns its stdout.
fn shell(script: &str) -> Result<String> {
    let output = Command::new("sh").args(["-ec", script]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`{script}` ended with {}: {said}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
