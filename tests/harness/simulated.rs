//! A simulation of a node's LVM, in place of its programs: parses command lines and answers as LVM
//! 2.03 does, with the same reports, refusals and exit statuses.
//!
//! For tests of the agent without a kernel that has device-mapper. [`state`] holds the volume groups
//! and answers commands, [`report`] builds LVM's reports.

mod disk;
mod report;
mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use host::block::DeviceState;
use host::fs::NewBlocks;
use host::{Bytes, Cmd, DevNum, DevicePath, Error, Exec, KeyDigest, LvUuid, Output};
use operator::agent::volumes::device::{self, Devices};
use operator::agent::volumes::growing::GrowingVolume;
use operator::agent::volumes::plan::Content;

pub use report::disk_of;
use state::Stderr;
pub use state::{Group, State, Volume};

/// The size of each extent in bytes.
pub const EXTENT: u64 = 4 << 20;

/// A test's hook, called before (`false`) and after (`true`) a command; its error becomes the
/// command's result.
type Hook = Box<dyn FnMut(&str, bool) -> Result<(), Error> + Send>;

/// A handle of a simulated node; clones share the node.
#[derive(Clone, Default)]
pub struct SimulatedNode(Arc<Mutex<State>>);

impl SimulatedNode {
    /// Creates a node with a volume group `vg0` of `extents` extents; LVM's backups go to a folder
    /// in `lvm`, the disks to `dev`.
    #[must_use]
    pub fn new(lvm: &Path, dev: &Path, extents: u64) -> Self {
        let node = Self::default();
        let backups = lvm.join("backup");
        for folder in [&backups, dev] {
            std::fs::create_dir_all(folder).expect("the folder can be created");
        }
        node.state().set_folders(backups, dev.to_owned());
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
            max_lv: 0,
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
        if cmd.program() == "nice" {
            // The agent executes the driver that it has installed.
            return Ok(Output {
                code: Some(0),
                ..Output::default()
            });
        }
        assert_eq!(cmd.program(), "lvm");
        let arguments: Vec<&str> = cmd.arguments().iter().map(String::as_str).collect();
        let (verb, arguments) = arguments.split_first().expect("a verb");
        self.with(verb, |state| {
            Ok(match state.run(verb, arguments) {
                Ok(stdout) => Output {
                    code: Some(0),
                    stdout: stdout.into_bytes(),
                    stderr: Vec::new(),
                },
                Err(Stderr(stderr)) => Output {
                    code: Some(5),
                    stdout: Vec::new(),
                    stderr: stderr.into_bytes(),
                },
            })
        })
    }
}

impl Devices for SimulatedNode {
    fn mark_new(
        &self,
        path: device::LvPath<'_>,
        uuid: &LvUuid,
        blocks: NewBlocks,
    ) -> Result<(), Error> {
        self.mark_blank(path, uuid, blocks)
    }

    fn record_key(&self, _: &LvUuid, _: &KeyDigest) -> Result<(), Error> {
        Ok(())
    }

    fn mark_blank(
        &self,
        path: device::LvPath<'_>,
        uuid: &LvUuid,
        _: NewBlocks,
    ) -> Result<(), Error> {
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

    fn hold_to_grow(
        &self,
        _: device::LvPath<'_>,
        _: &LvUuid,
    ) -> Result<Option<GrowingVolume>, Error> {
        Ok(None)
    }

    fn zero_new_end(
        &self,
        _: device::LvPath<'_>,
        _: GrowingVolume,
        _: NewBlocks,
    ) -> Result<(), Error> {
        Ok(())
    }

    fn number_at(&self, _: &DevicePath) -> Option<DevNum> {
        None
    }

    fn stable_paths(&self) -> BTreeMap<DevNum, String> {
        BTreeMap::new()
    }

    fn device_state(&self, path: device::LvPath<'_>, uuid: &LvUuid) -> Option<DeviceState> {
        let mut state = self.state();
        let volume = state.device(path).ok()?;
        if volume.uuid != uuid.as_str() {
            return None;
        }
        let extents = volume.lagging.unwrap_or(volume.extents);
        Some(DeviceState {
            size: Bytes(extents * EXTENT),
            is_suspended: volume.suspended,
        })
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
