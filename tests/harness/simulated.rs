//! A simulation of a node's LVM, in place of its programs: parses command lines and answers as LVM
//! 2.03 does, with the same reports, refusals and exit statuses.
//!
//! For tests of the agent without a kernel that has device-mapper.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use host::{Bytes, Cmd, DevNum, DevicePath, Error, Exec, KeyDigest, Kind, LvUuid, Output};
use operator::agent::volumes::device::{self, Devices};
use operator::agent::volumes::plan::Content;
use serde_json::{Value, json};

/// The size of each extent in bytes.
pub const EXTENT: u64 = 4 << 20;

/// A simulated logical volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// The name within its volume group.
    pub name: String,
    /// The uuid in LVM's notation.
    pub uuid: String,
    /// Size in extents.
    pub extents: u64,
    /// LVM tags.
    pub tags: Vec<String>,
    /// True while a process has the device open.
    pub open: bool,
    /// The content that the agent's inspection finds.
    pub content: Content,
}

/// A simulated volume group.
#[derive(Clone, Debug)]
pub struct Group {
    /// The name, unique on the node.
    pub name: String,
    /// Size in extents.
    pub extents: u64,
    /// The logical volumes, in the order of their creation.
    pub volumes: Vec<Volume>,
    /// True if exported, as by `vgexport`.
    pub exported: bool,
}

/// A test's hook, called before (`false`) and after (`true`) a command; its error becomes the
/// command's result.
type Hook = Box<dyn FnMut(&str, bool) -> Result<(), Error> + Send>;

/// The state of a node as far as the agent accesses it through LVM.
#[derive(Default)]
pub struct State {
    /// The volume groups.
    pub groups: Vec<Group>,
    /// The verbs that ran so far, in order, including `mark` and `look`.
    pub verbs: Vec<String>,
    /// The test's hook.
    pub hook: Option<Hook>,
    made: u64,
    backups: Option<PathBuf>,
}

/// A handle of a simulated node; clones share the node.
#[derive(Clone, Default)]
pub struct SimulatedNode(Arc<Mutex<State>>);

impl SimulatedNode {
    /// Creates a node with a volume group `vg0` of `extents` extents; LVM's backups go to a folder
    /// in `lvm`.
    #[must_use]
    pub fn new(lvm: &Path, extents: u64) -> Self {
        let node = Self::default();
        node.state().backups = Some(lvm.join("backup"));
        std::fs::create_dir_all(lvm.join("backup")).expect("the folder can be made");
        node.add_group("vg0", extents);
        node
    }

    /// Locks and returns the state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Creates a volume group.
    pub fn add_group(&self, name: &str, extents: u64) {
        let group = Group {
            name: name.to_owned(),
            extents,
            volumes: Vec::new(),
            exported: false,
        };
        self.change(|state| state.groups.push(group));
    }

    /// Changes the state without the agent's knowledge, as an admin with LVM's programs would.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        state.back_up();
        result
    }

    /// Returns a copy of the volume with this name.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<Volume> {
        self.state()
            .groups
            .iter()
            .flat_map(|group| &group.volumes)
            .find(|volume| volume.name == name)
            .cloned()
    }

    /// Changes a volume without the agent's knowledge.
    pub fn change_volume(&self, name: &str, change: impl FnOnce(&mut Volume)) {
        self.change(|state| {
            let mut volumes = state.groups.iter_mut().flat_map(|group| &mut group.volumes);
            change(
                volumes
                    .find(|volume| volume.name == name)
                    .expect("the volume exists"),
            );
        });
    }

    /// Returns how often a verb has run so far.
    #[must_use]
    pub fn count(&self, verb: &str) -> usize {
        self.state().verbs.iter().filter(|run| *run == verb).count()
    }

    /// Sets the hook that runs before and after each command.
    pub fn hook(&self, hook: impl FnMut(&str, bool) -> Result<(), Error> + Send + 'static) {
        self.state().hook = Some(Box::new(hook));
    }

    /// Removes the hook.
    pub fn unhook(&self) {
        self.state().hook = None;
    }

    fn call_hook(&self, verb: &str, after: bool) -> Result<(), Error> {
        // The hook may block; the node's state stays accessible meanwhile.
        let Some(mut hook) = self.state().hook.take() else {
            return Ok(());
        };
        let answer = hook(verb, after);
        self.state().hook.get_or_insert(hook);
        answer
    }

    fn with<T>(
        &self,
        verb: &str,
        act: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.call_hook(verb, false)?;
        let mut state = self.state();
        state.verbs.push(verb.to_owned());
        let done = act(&mut state)?;
        drop(state);
        self.call_hook(verb, true)?;
        Ok(done)
    }
}

impl Exec for SimulatedNode {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        assert_eq!(cmd.program(), "lvm");
        let words: Vec<&str> = cmd.arguments().iter().map(String::as_str).collect();
        let (verb, words) = words.split_first().expect("a verb");
        self.with(verb, |state| {
            let (code, stdout, stderr) = match state.run(verb, words) {
                Ok(stdout) => (0, stdout, String::new()),
                Err(stderr) => (5, String::new(), stderr),
            };
            Ok(Output {
                code: Some(code),
                stdout: stdout.into_bytes(),
                stderr: stderr.into_bytes(),
            })
        })
    }
}

impl Devices for SimulatedNode {
    fn mark_new(&self, path: device::LvPath<'_>, uuid: &LvUuid) -> Result<(), Error> {
        self.mark_blank(path, uuid)
    }

    fn record_key(&self, _: &LvUuid, _: &KeyDigest) -> Result<(), Error> {
        Ok(())
    }

    fn mark_blank(&self, path: device::LvPath<'_>, uuid: &LvUuid) -> Result<(), Error> {
        self.with("mark", |state| {
            let volume = state.device(path)?;
            assert_eq!(volume.uuid, uuid.as_str());
            assert!(
                !matches!(volume.content, Content::Data(_)),
                "the volume has data and is marked as unformatted"
            );
            volume.content = Content::Unformatted;
            Ok(())
        })
    }

    fn identify(&self, path: device::LvPath<'_>) -> Result<(LvUuid, Bytes), Error> {
        let mut state = self.state();
        let volume = state.device(path)?;
        Ok((
            LvUuid::new(&volume.uuid).expect("a uuid"),
            Bytes(volume.extents * EXTENT),
        ))
    }

    fn inspect(&self, path: device::LvPath<'_>, uuid: &LvUuid) -> Result<Content, Error> {
        self.with("look", |state| {
            let volume = state.device(path)?;
            assert_eq!(volume.uuid, uuid.as_str());
            Ok(volume.content.clone())
        })
    }

    fn number_at(&self, _: &DevicePath) -> Option<DevNum> {
        None
    }

    fn mount_points(&self, path: device::LvPath<'_>, _: &LvUuid) -> Vec<PathBuf> {
        let open = self.state().device(path).is_ok_and(|volume| volume.open);
        if open {
            vec!["/mnt/data".into()]
        } else {
            Vec::new()
        }
    }
}

impl State {
    fn run(&mut self, verb: &str, words: &[&str]) -> Result<String, String> {
        let last = words.last().copied().unwrap_or_default();
        let behind = |option: &str, by: usize| {
            words
                .iter()
                .position(|word| *word == option)
                .map(|at| words[at + by])
        };
        let after = |option: &str| behind(option, 1);
        let extents = after("--extents").map_or(0, |extents| extents.parse().expect("a number"));
        let select = after("--select").unwrap_or_default();
        match verb {
            "version" => return Ok("  LVM version:     2.03.16(2) (2022-05-18)\n".to_owned()),
            "fullreport" => return Ok(self.report()),
            "lvcreate" => {
                let tags = words
                    .windows(2)
                    .filter(|pair| pair[0] == "--addtag")
                    .map(|pair| pair[1].to_owned())
                    .collect();
                let group = behind("--name", 2).expect("a group");
                self.create(group, after("--name").expect("a name"), extents, tags)?;
            }
            "lvextend" => self.extend(behind("--extents", 2).expect("a path"), extents)?,
            "lvremove" => self.remove(last, select)?,
            "lvchange" => {}
            _ => return Err(format!("  Unknown command {verb}.")),
        }
        self.back_up();
        Ok(String::new())
    }

    fn report(&self) -> String {
        let parts: Vec<Value> = self.groups.iter().map(Group::report).collect();
        json!({"report": parts}).to_string()
    }

    fn create(
        &mut self,
        group: &str,
        name: &str,
        extents: u64,
        tags: Vec<String>,
    ) -> Result<(), String> {
        self.made += 1;
        let uuid = format!(
            "{:06}-{:04}-4444-4444-4444-4444-666666",
            std::process::id() % 1_000_000,
            self.made
        );
        let group = self.group(group)?;
        if group.volumes.iter().any(|volume| volume.name == name) {
            return Err(format!(
                "  Logical Volume \"{name}\" already exists in volume group \"{}\"",
                group.name
            ));
        }
        let free = group.free();
        if extents > free {
            return Err(format!(
                "  Volume group \"{}\" has insufficient free space ({free} extents): {extents} required.",
                group.name
            ));
        }
        let content = Content::Blank;
        group.volumes.push(Volume {
            name: name.to_owned(),
            uuid,
            extents,
            tags,
            open: false,
            content,
        });
        Ok(())
    }

    fn extend(&mut self, path: &str, extents: u64) -> Result<(), String> {
        let (group, name) = path.split_once('/').expect("vg/lv");
        let group = self.group(group)?;
        let free = group.free();
        let volume = group.find(name)?;
        let Some(more) = extents.checked_sub(volume.extents).filter(|more| *more > 0) else {
            return Err(format!(
                "  New size ({extents} extents) matches existing size ({extents} extents)."
            ));
        };
        if more > free {
            return Err(format!(
                "  Insufficient free space: {more} extents needed, but only {free} available"
            ));
        }
        volume.extents = extents;
        Ok(())
    }

    /// Applies a selection by uuid and tag, in the form that the agent uses.
    fn remove(&mut self, path: &str, select: &str) -> Result<(), String> {
        let (group, name) = path.split_once('/').expect("vg/lv");
        let group = self.group(group)?;
        let volume = group.find(name)?;
        let uuid = format!("lv_uuid=\"{}\" && ", volume.uuid);
        let tag = volume
            .tags
            .iter()
            .any(|tag| select.contains(&format!("lv_tags=\"{tag}\"")));
        if !select.starts_with(&uuid) || !tag {
            return Ok(());
        }
        if volume.open {
            return Err(format!(
                "  Logical volume {path} contains a filesystem in use."
            ));
        }
        group.volumes.retain(|volume| volume.name != name);
        Ok(())
    }

    fn group(&mut self, name: &str) -> Result<&mut Group, String> {
        let group = self.groups.iter_mut().find(|group| group.name == name);
        let group = group.ok_or_else(|| {
            format!("  Volume group \"{name}\" not found\n  Cannot process volume group {name}")
        })?;
        if group.exported {
            Err(format!("  Volume group {name} is exported"))
        } else {
            Ok(group)
        }
    }

    fn device(&mut self, path: device::LvPath<'_>) -> Result<&mut Volume, Error> {
        let none = || Error::refused(Kind::NotFound, "no such device");
        let group = self
            .groups
            .iter_mut()
            .find(|group| group.name == path.group.as_str())
            .ok_or_else(none)?;
        group
            .volumes
            .iter_mut()
            .find(|volume| volume.name == path.name.as_str())
            .ok_or_else(none)
    }

    /// Rewrites the backup, as LVM does with every change.
    fn back_up(&self) {
        if let Some(folder) = &self.backups {
            std::fs::write(folder.join("vg0"), format!("{:?}", self.groups))
                .expect("the backup can be written");
        }
    }
}

impl Group {
    fn free(&self) -> u64 {
        self.extents
            - self
                .volumes
                .iter()
                .map(|volume| volume.extents)
                .sum::<u64>()
    }

    fn find(&mut self, name: &str) -> Result<&mut Volume, String> {
        let path = format!("{}/{name}", self.name);
        let volume = self.volumes.iter_mut().find(|volume| volume.name == name);
        volume.ok_or_else(|| format!("  Failed to find logical volume \"{path}\""))
    }

    fn report(&self) -> Value {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let volumes = self.volumes.iter().map(|volume| {
            let open = if volume.open { 'o' } else { '-' };
            json!({
                "lv_name": volume.name, "lv_uuid": volume.uuid, "lv_attr": format!("-wi-a{open}----"),
                "lv_size": (volume.extents * EXTENT).to_string(), "lv_tags": volume.tags.join(","),
                "lv_time": now.to_string(), "pool_lv": "", "data_percent": "", "metadata_percent": "", "lv_metadata_size": "",
            })
        });
        let exported = if self.exported { 'x' } else { '-' };
        let disk = disk_of(&self.name);
        let piece = |name: &str, extents: u64| json!({"pv_uuid": disk, "pvseg_size": extents.to_string(), "lv_name": name});
        let mut pieces: Vec<Value> = self
            .volumes
            .iter()
            .map(|volume| piece(&volume.name, volume.extents))
            .collect();
        pieces.push(piece("", self.free()));
        json!({"vg": [{
            "vg_name": self.name, "vg_uuid": uuid_of(&self.name), "vg_attr": format!("wz{exported}-n-"),
            "vg_extent_size": EXTENT.to_string(), "vg_extent_count": self.extents.to_string(),
            "vg_free_count": self.free().to_string(), "vg_missing_pv_count": "0", "vg_systemid": "", "vg_lock_type": "", "vg_seqno": "0",
        }], "pv": [{
            "pv_name": "/dev/sda", "pv_uuid": disk, "pv_attr": format!("a{exported}-"),
            "pv_pe_count": self.extents.to_string(), "pv_pe_alloc_count": (self.extents - self.free()).to_string(),
        }], "lv": volumes.collect::<Vec<_>>(), "pvseg": pieces})
    }
}

/// Returns LVM's uuid of the one disk of a group.
#[must_use]
pub fn disk_of(group: &str) -> String {
    uuid_of(&format!("disk of {group}"))
}

fn uuid_of(name: &str) -> String {
    let digits = format!("{:016x}", crds::hash(name));
    format!(
        "{}-{}-{}-4444-4444-4444-666666",
        &digits[..6],
        &digits[6..10],
        &digits[10..14]
    )
}
