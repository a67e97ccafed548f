//! Plays a sequence with one volume, in the guest: each call-out as the kubelet makes it, once,
//! twice, killed and repeated, or several at once; and looks, also with the node's own programs,
//! whether the world is as it has to be.

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

/// The node's name, for the driver.
const NODE: &str = "node1";

const ROOT: &str = "/var/lib/kubelet";

/// By how much a volume grows each time.
const GROWTH_MIB: u64 = 40;

/// How a call-out is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Once,
    Twice,
    Killed,
    AtOnce,
    /// Any of these, each time another.
    Mixed,
}

impl Manner {
    /// Those that one call can have.
    pub(crate) const CALLS: [Self; 4] = [Self::Once, Self::Twice, Self::Killed, Self::AtOnce];

    /// The one of this name.
    pub(crate) fn from_name(name: &str) -> Self {
        Self::CALLS
            .into_iter()
            .find(|manner| format!("{manner:?}") == name)
            .unwrap_or(Self::Mixed)
    }
}

/// The kubelet, the agent and a pod's user, all in one.
pub(crate) struct Actor {
    pub(crate) driver: String,
    pub(crate) manner: Manner,
    /// Of what is random; never 0.
    pub(crate) seed: Cell<u64>,
    /// In MiB, when the file was written.
    pub(crate) size: Cell<u64>,
    pub(crate) options: BTreeMap<String, String>,
}

impl Actor {
    /// Makes the volume new: nothing on it, and marked as fresh.
    pub(crate) fn renew(&mut self) -> Result<()> {
        self.activate()?;
        shell(&format!("blkdiscard -f /dev/{}", self.path()))?;
        self.measure()?;
        let device = self.device()?;
        Ok(self.mark()?.write_unformatted(&device.claim()?)?)
    }

    /// Takes the size of now for that when the volume was made.
    pub(crate) fn measure(&mut self) -> Result<()> {
        let size = self.size_now()?;
        self.options.insert("size".to_owned(), size);
        Ok(())
    }

    /// One step. Here are those of the kubelet.
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
                let (size, folder) = (self.size_now()?, self.folder(pod));
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
            // After its own start the kubelet knows nothing but names.
            ["restart"] => {
                let stub = format!(
                    r#"{{"kubernetes.io/pvOrVolumeName":"{name}","kubernetes.io/fsType":""}}"#
                );
                self.call(&["init"])?;
                self.call(&["getvolumename", &stub])
            }
            words => self.look_or_act(words),
        }
    }

    /// What the agent and users do, and what has to be true in between.
    fn look_or_act(&self, words: &[&str]) -> Result<()> {
        match words {
            // The PersistentVolume is gone, and all that stood in it.
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
                let (folder, mounts) = (
                    self.folder(pod),
                    std::fs::read_to_string("/proc/self/mountinfo")?,
                );
                ensure!(
                    !mounts.contains(&format!(" {folder} ")),
                    "something is mounted on {folder}"
                );
                Ok(())
            }
            ["large", pod] => {
                let (before, now) = (self.size.get(), size_in_mib(&self.folder(pod))?);
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
            _ => bail!("nobody knows what {words:?} means"),
        }
    }

    /// What has to be true when all pods are gone.
    pub(crate) fn check_end(&self, attach: bool) -> Result<()> {
        let (path, fs, mapper) = (
            self.path(),
            &self.options["kubernetes.io/fsType"],
            self.mapper(),
        );
        is(&format!("findmnt -n -S {mapper} || true"), "")?;
        // Active, and nobody has it open; or neither.
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
        ensure!(mark == FormatMarker::None, "the mark says {mark:?}");
        drop(device);
        let (source, folder) = (Path::new(&mapper), Path::new("/mnt"));
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

    /// Has a device made of the volume, unless there is one.
    fn activate(&self) -> Result<()> {
        if self.device().is_err() {
            shell(&format!("lvchange -qq -ay {}; udevadm settle", self.path()))?;
        }
        Ok(())
    }

    /// Whether the file is there, with its content.
    fn holds(&self, folder: &str) -> Result<()> {
        let found = std::fs::read_to_string(format!("{folder}/data"))?;
        ensure!(found == self.content(), "{folder}/data holds {found:?}");
        Ok(())
    }

    /// A call-out that succeeds, in this actor's manner.
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
                // As likely in the first millisecond as in the last hundred.
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
                    // What the kubelet would repeat.
                    let again = reply["message"].as_str().is_some_and(|message| {
                        message.contains("tried again") || message.contains("retries")
                    });
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
        // A program that outlives its driver keeps the lock, and the kubelet tries again.
        for _ in 0..3 {
            let reply = self.answer(args)?;
            if reply["status"] == "Success" {
                return Ok(());
            }
            let again = reply["message"].as_str().is_some_and(|message| {
                message.contains("tried again") || message.contains("retries")
            });
            ensure!(again, "{args:?}: {reply}");
        }
        bail!("{args:?}: tried again and again")
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
        command.spawn().context("the driver can't be started")
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
        let (group, name) = (
            VgName::new(&self.options["volumegroup"])?,
            LvName::new(&self.options["volumeID"])?,
        );
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

    /// A number below `end`: SplitMix64.
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

/// As the kubelet does it after an unmount; it fails when the driver lied.
fn remove_folder(folder: &str) -> Result<()> {
    if !Path::new(folder).exists() {
        return Ok(());
    }
    std::fs::remove_dir(folder).with_context(|| format!("{folder} can't be removed"))
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
        "`{script}` says {found:?}, and {expected:?} is right"
    );
    Ok(())
}

/// What a script prints; it has to succeed.
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
