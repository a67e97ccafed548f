//! The steps of a sequence: call-outs of the kubelet, acts of the agent and of a pod, checks.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::statvfs;

use super::KubeletSim;
use super::volume::shell;

/// The node's name that the driver gets.
const NODE: &str = "node1";

/// The kubelet's folder.
const ROOT: &str = "/var/lib/kubelet";

/// Growth of a volume per `extend` step.
const GROWTH_MIB: u64 = 40;

impl KubeletSim {
    /// Executes a step: the kubelet's here, all others in `verify_or_act`.
    pub(crate) fn step(&self, step: &str) -> Result<()> {
        let parts: Vec<&str> = step.split_whitespace().collect();
        let name = self.options["volumeID"].clone();
        match parts.as_slice() {
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
                let old = &self.options["size"];
                self.call(&["expandfs", &self.json("rw"), "", &folder, &size, old])
            }
            // The agent has not extended it yet.
            ["too-small", pod] => {
                let folder = self.folder(pod);
                let size = "999999999999";
                let reply = self.answer(&["expandfs", &self.json("rw"), "", &folder, size, "0"])?;
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
            parts => self.verify_or_act(parts),
        }
    }

    /// Executes a step of the agent or a pod, or verifies the state.
    fn verify_or_act(&self, parts: &[&str]) -> Result<()> {
        match parts {
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
            _ => bail!("unknown step {parts:?}"),
        }
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

    pub(super) fn path(&self) -> String {
        format!(
            "{}/{}",
            self.options["volumegroup"], self.options["volumeID"]
        )
    }

    pub(super) fn mapper(&self) -> String {
        let group = self.options["volumegroup"].replace('-', "--");
        let name = self.options["volumeID"].replace('-', "--");
        format!("/dev/mapper/{group}-{name}")
    }

    pub(super) fn content(&self) -> String {
        format!("of-{}", self.options["volumeID"])
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
