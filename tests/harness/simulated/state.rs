//! The state of a simulated node: its volume groups, and what each LVM command does with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use host::Error;
use operator::agent::volumes::device;
use operator::agent::volumes::plan::Content;

use super::Hook;
use super::disk;
use super::report::uuid_of;

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
    /// Size of the device in extents if it lags behind the metadata, as after a killed command.
    pub lagging: Option<u64>,
    /// True while the device is suspended.
    pub suspended: bool,
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
    /// Maximum number of logical volumes, as by `vgchange -l`; 0 is no limit.
    pub max_lv: usize,
}

/// What a failed command prints to stderr.
pub(super) struct Stderr(pub(super) String);

impl From<String> for Stderr {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// The state of a node as far as the agent accesses it through LVM.
#[derive(Default)]
pub struct State {
    /// The volume groups.
    pub groups: Vec<Group>,
    /// The verbs that ran so far, in order, including `mark` and `look`.
    pub verbs: Vec<String>,
    /// The test's hook.
    pub hook: Option<Hook>,
    created: u64,
    backups: Option<PathBuf>,
    dev: Option<PathBuf>,
    metadata: BTreeMap<String, Metadata>,
}

/// The last change of a volume group.
#[derive(Default)]
struct Metadata {
    seqno: u64,
    /// The group after that change.
    group: String,
}

impl State {
    /// Sets the folder that LVM's backups go to, and the folder of the disks.
    pub(super) fn set_folders(&mut self, backups: PathBuf, dev: PathBuf) {
        self.backups = Some(backups);
        self.dev = Some(dev);
    }

    /// Runs a command and returns its stdout.
    pub(super) fn run(&mut self, verb: &str, arguments: &[&str]) -> Result<String, Stderr> {
        match verb {
            "version" => return Ok("  LVM version:     2.03.16(2) (2022-05-18)\n".to_owned()),
            "fullreport" => return Ok(self.report()),
            "lvcreate" => self.create(arguments)?,
            "lvextend" => {
                let path = argument_after(arguments, "--extents", 2).expect("a path");
                self.extend(path, extents_of(arguments))?;
            }
            "lvremove" => {
                let path = arguments.last().expect("a path");
                let select = argument_after(arguments, "--select", 1).unwrap_or_default();
                self.remove(path, select)?;
            }
            "lvchange" => self.change_volume(arguments)?,
            _ => return Err(format!("  Unknown command {verb}.").into()),
        }
        self.back_up();
        Ok(String::new())
    }

    fn create(&mut self, arguments: &[&str]) -> Result<(), Stderr> {
        let group = argument_after(arguments, "--name", 2).expect("a group");
        let name = argument_after(arguments, "--name", 1).expect("a name");
        let extents = extents_of(arguments);
        let tags = arguments
            .windows(2)
            .filter(|pair| pair[0] == "--addtag")
            .map(|pair| pair[1].to_owned())
            .collect();
        self.created += 1;
        let uuid = format!(
            "{:06}-{:04}-4444-4444-4444-4444-666666",
            std::process::id() % 1_000_000,
            self.created
        );
        let group = self.group(group)?;
        if group.volumes.iter().any(|volume| volume.name == name) {
            return Err(format!(
                "  Logical Volume \"{name}\" already exists in volume group \"{}\"",
                group.name
            )
            .into());
        }
        if group.max_lv > 0 && group.volumes.len() >= group.max_lv {
            return Err(format!(
                "  Maximum number of logical volumes ({}) reached in volume group {}",
                group.max_lv, group.name
            )
            .into());
        }
        let free = group.free();
        if extents > free {
            return Err(format!(
                "  Volume group \"{}\" has insufficient free space ({free} extents): {extents} required.",
                group.name
            ).into());
        }
        group.volumes.push(Volume {
            name: name.to_owned(),
            uuid,
            extents,
            tags,
            open: false,
            content: Content::Blank,
            lagging: None,
            suspended: false,
        });
        Ok(())
    }

    fn extend(&mut self, path: &str, extents: u64) -> Result<(), Stderr> {
        let (group, name) = path.split_once('/').expect("vg/lv");
        let group = self.group(group)?;
        let free = group.free();
        let volume = group.find(name)?;
        let Some(more) = extents.checked_sub(volume.extents).filter(|more| *more > 0) else {
            return Err(format!(
                "  New size ({extents} extents) matches existing size ({extents} extents)."
            )
            .into());
        };
        if more > free {
            return Err(format!(
                "  Insufficient free space: {more} extents needed, but only {free} available"
            )
            .into());
        }
        volume.extents = extents;
        Ok(())
    }

    /// Changes the tags of the volume that name and uuid select, or refreshes its device.
    fn change_volume(&mut self, arguments: &[&str]) -> Result<(), Stderr> {
        let path = arguments.last().expect("a path");
        let select = argument_after(arguments, "--select", 1).unwrap_or_default();
        let (group, name) = path.split_once('/').expect("vg/lv");
        let volume = self.group(group)?.find(name)?;
        if select != format!("lv_uuid=\"{}\"", volume.uuid) {
            return Ok(());
        }
        if arguments.contains(&"--refresh") {
            volume.lagging = None;
            volume.suspended = false;
        }
        for pair in arguments.windows(2) {
            match pair[0] {
                "--deltag" => volume.tags.retain(|tag| tag != pair[1]),
                "--addtag" => volume.tags.push(pair[1].to_owned()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Applies a selection by uuid and tag, in the form that the agent uses.
    fn remove(&mut self, path: &str, select: &str) -> Result<(), Stderr> {
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
            return Err(format!("  Logical volume {path} contains a filesystem in use.").into());
        }
        group.volumes.retain(|volume| volume.name != name);
        Ok(())
    }

    fn group(&mut self, name: &str) -> Result<&mut Group, Stderr> {
        let group = self.groups.iter_mut().find(|group| group.name == name);
        let group = group.ok_or_else(|| {
            format!("  Volume group \"{name}\" not found\n  Cannot process volume group {name}")
        })?;
        if group.exported {
            Err(format!("  Volume group {name} is exported").into())
        } else {
            Ok(group)
        }
    }

    /// Returns the volume behind a device path.
    pub(super) fn device(&mut self, path: device::LvPath<'_>) -> Result<&mut Volume, Error> {
        let volume = self
            .groups
            .iter_mut()
            .filter(|group| group.name == path.group.as_str())
            .flat_map(|group| &mut group.volumes)
            .find(|volume| volume.name == path.name.as_str());
        volume.ok_or_else(|| {
            Error::io("find", path.name.as_str())(std::io::ErrorKind::NotFound.into())
        })
    }

    /// Counts the changes of each group, and rewrites its backup, as LVM does with every change.
    pub(super) fn back_up(&mut self) {
        for group in &self.groups {
            let metadata = self.metadata.entry(group.name.clone()).or_default();
            let changed = format!("{group:?}");
            if metadata.group != changed {
                metadata.seqno += 1;
                metadata.group = changed;
            }
        }
        if let Some(folder) = &self.backups {
            self.write_backups(folder)
                .expect("the backups can be written");
        }
        if let Some(folder) = &self.dev {
            for group in &self.groups {
                let disk = disk::with_metadata(&self.metadata_of(&group.name));
                std::fs::write(folder.join(disk::name(&group.name)), disk)
                    .expect("the disks can be written");
            }
        }
    }

    fn metadata_of(&self, group: &str) -> String {
        let id = uuid_of(group);
        let seqno = self.seqno(group);
        format!("{group} {{\n\tid = \"{id}\"\n\tseqno = {seqno}\n")
    }

    fn write_backups(&self, folder: &Path) -> std::io::Result<()> {
        for name in self.metadata.keys() {
            let path = folder.join(name);
            if self.groups.iter().any(|group| group.name == *name) {
                std::fs::write(path, self.metadata_of(name))?;
            } else if path.exists() {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Returns LVM's counter of changes of a group.
    pub(super) fn seqno(&self, group: &str) -> u64 {
        self.metadata
            .get(group)
            .map_or(0, |metadata| metadata.seqno)
    }
}

impl Group {
    /// Returns the number of free extents.
    pub(super) fn free(&self) -> u64 {
        self.extents
            - self
                .volumes
                .iter()
                .map(|volume| volume.extents)
                .sum::<u64>()
    }

    fn find(&mut self, name: &str) -> Result<&mut Volume, Stderr> {
        let path = format!("{}/{name}", self.name);
        let volume = self.volumes.iter_mut().find(|volume| volume.name == name);
        volume.ok_or_else(|| format!("  Failed to find logical volume \"{path}\"").into())
    }
}

/// Returns the argument that is `distance` places after an option.
fn argument_after<'a>(arguments: &[&'a str], option: &str, distance: usize) -> Option<&'a str> {
    let position = arguments.iter().position(|argument| *argument == option)?;
    Some(arguments[position + distance])
}

fn extents_of(arguments: &[&str]) -> u64 {
    argument_after(arguments, "--extents", 1)
        .map_or(0, |extents| extents.parse().expect("a number"))
}
