//! LVM through its own programs: a command is built, run, and its answer read.

pub mod backup;
mod command;
mod geometry;
mod model;
pub mod names;
mod report;
mod shell;
mod stderr_kind;
pub mod tags;
mod thin_pool;

use crate::error::Error;
use crate::process::{Cmd, Exec, Output};
use crate::units::{Bytes, Extents};
use names::{DevicePath, LvName, LvTag, LvUuid, VgName};

pub use command::{NewLv, NewPool};
pub use geometry::{Cost, Layout, Level, Stripes};
pub use model::{Lv, LvKind, Pv, PvOwner, Vg};
pub use shell::LvmShell;
pub use thin_pool::{PoolCost, PoolState};

/// LVM on this host. Every verb is one command; none decides anything: observe, decide, then call
/// one, then observe.
#[derive(Clone, Copy)]
pub struct Lvm<'a>(pub &'a dyn Exec);

impl Lvm<'_> {
    /// Every volume group with its logical volumes.
    ///
    /// # Errors
    /// When LVM fails or its answer can't be understood. It is never taken for "nothing there".
    pub fn report(self) -> Result<Vec<Vg>, Error> {
        let cmd = command::report();
        let mut vgs = read(&cmd, &self.run(&cmd)?, report::parse)?;
        // Which other host's groups this host may use all the same is configured in many places:
        // ask LVM itself.
        if vgs.iter().any(|vg| !vg.system_id.is_empty()) {
            let cmd = command::usable_groups();
            report::mark_foreign(
                &mut vgs,
                &read(&cmd, &self.run(&cmd)?, report::parse_uuids)?,
            );
        }
        Ok(vgs)
    }

    /// Makes an active logical volume; its first sectors are zero.
    ///
    /// # Errors
    /// Hints: [`Kind::NoSpace`](crate::Kind), [`Kind::Exists`](crate::Kind).
    pub fn create(self, vg: &VgName, lv: &LvName, new: &NewLv<'_>) -> Result<(), Error> {
        self.run(&command::create(vg, lv, new)).map(drop)
    }

    /// Makes an active logical volume of so many bytes in a thin pool.
    ///
    /// # Errors
    /// Hint: [`Kind::Exists`](crate::Kind).
    pub fn create_thin(
        self,
        vg: &VgName,
        pool: &LvName,
        lv: &LvName,
        size: Bytes,
        tags: &[LvTag],
    ) -> Result<(), Error> {
        self.run(&command::create_thin(vg, pool, lv, size, tags))
            .map(drop)
    }

    /// Makes a thin pool.
    ///
    /// # Errors
    /// Hints: [`Kind::NoSpace`](crate::Kind), [`Kind::Exists`](crate::Kind).
    pub fn create_pool(self, vg: &VgName, pool: &LvName, new: &NewPool<'_>) -> Result<(), Error> {
        self.run(&command::create_pool(vg, pool, new)).map(drop)
    }

    /// Makes one logical volume the cache of another; what was on it is lost.
    ///
    /// # Errors
    /// When LVM fails.
    pub fn attach_cache(
        self,
        vg: &VgName,
        lv: &LvName,
        cache: &LvName,
        mode: &str,
    ) -> Result<(), Error> {
        self.run(&command::attach_cache(vg, lv, cache, mode))
            .map(drop)
    }

    /// Extends a logical volume to this size, on these devices; none named means on any.
    ///
    /// # Errors
    /// Hints: [`Kind::NoSpace`](crate::Kind); [`Kind::Exists`](crate::Kind) when it is that large
    /// or larger.
    pub fn extend(
        self,
        vg: &VgName,
        lv: &LvName,
        extents: Extents,
        disks: &[String],
    ) -> Result<(), Error> {
        self.run(&command::extend(vg, lv, extents, disks)).map(drop)
    }

    /// Gives the images of a RAID their checksums, where making it was cut short before that.
    ///
    /// # Errors
    /// Hint: [`Kind::NoSpace`](crate::Kind).
    pub fn add_integrity(self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.run(&command::add_integrity(vg, lv)).map(drop)
    }

    /// Makes the device of a logical volume; nothing when it is there, or when the uuid is
    /// another's.
    ///
    /// # Errors
    /// When LVM fails.
    pub fn activate(self, vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Result<(), Error> {
        self.run(&command::activate(vg, lv, uuid)).map(drop)
    }

    /// One logical volume, by its name.
    ///
    /// # Errors
    /// When LVM fails or its answer can't be understood; also when there is no such volume, which
    /// only a whole [`report`](Self::report) says for sure.
    pub fn volume(self, vg: &VgName, lv: &LvName) -> Result<Lv, Error> {
        let cmd = command::volume(vg, lv);
        let volume = read(&cmd, &self.run(&cmd)?, report::parse_volume)?;
        if volume.name == lv.as_str() {
            return Ok(volume);
        }
        Err(Error::Answer {
            program: cmd.line(),
            detail: format!("it is about {}", volume.name),
        })
    }

    /// Takes the device of a logical volume away; nothing when it is gone, or when the uuid is
    /// another's.
    ///
    /// # Errors
    /// Hint: [`Kind::Busy`](crate::Kind) when somebody has it open.
    pub fn deactivate(self, vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Result<(), Error> {
        self.run(&command::deactivate(vg, lv, uuid)).map(drop)
    }

    /// Takes tags off a logical volume and gives it others, all at once; nothing when the uuid is
    /// another's.
    ///
    /// # Errors
    /// When LVM fails.
    pub fn change_tags(
        self,
        vg: &VgName,
        lv: &LvName,
        uuid: &LvUuid,
        remove: &[LvTag],
        add: &[LvTag],
    ) -> Result<(), Error> {
        self.run(&command::change_tags(vg, lv, uuid, remove, add))
            .map(drop)
    }

    /// Removes a logical volume, with what is on it, if its name, its uuid and one of its tags are
    /// these and it is of this kind. Success says that LVM found nothing to complain about: whether
    /// the volume is gone, or is another than was meant, shows when one looks.
    ///
    /// # Errors
    /// Hint: [`Kind::Busy`](crate::Kind) when somebody has it open.
    pub fn remove(
        self,
        vg: &VgName,
        lv: &LvName,
        uuid: &LvUuid,
        tag: &LvTag,
        kind: LvKind,
    ) -> Result<(), Error> {
        self.run(&command::remove(vg, lv, uuid, tag, kind))
            .map(drop)
    }

    /// Every physical volume, and whose it is.
    ///
    /// # Errors
    /// When LVM fails or its answer can't be understood.
    pub fn disks(self) -> Result<Vec<PvOwner>, Error> {
        let cmd = command::disks();
        read(&cmd, &self.run(&cmd)?, report::parse_disks)
    }

    /// Makes a physical volume of this uuid. LVM claims the device, and refuses when anything has
    /// it in use or is on it.
    ///
    /// # Errors
    /// When LVM refuses or fails.
    pub fn create_disk(self, disk: &DevicePath, uuid: &LvUuid) -> Result<(), Error> {
        self.run(&command::create_disk(disk, uuid)).map(drop)
    }

    /// Makes a volume group of physical volumes that no group has.
    ///
    /// # Errors
    /// When LVM refuses or fails.
    pub fn create_group(
        self,
        vg: &VgName,
        tags: &[LvTag],
        disks: &[DevicePath],
    ) -> Result<(), Error> {
        self.run(&command::create_group(vg, tags, disks)).map(drop)
    }

    /// The version of LVM, as in `2.03.16(2)`.
    ///
    /// # Errors
    /// When LVM fails or its answer can't be understood.
    pub fn version(self) -> Result<String, Error> {
        let cmd = command::version();
        read(&cmd, &self.run(&cmd)?, |text| {
            let text = String::from_utf8_lossy(text);
            let version = text
                .lines()
                .find_map(|line| line.trim().strip_prefix("LVM version:"));
            let version = version.and_then(|rest| rest.split_whitespace().next());
            version
                .map(str::to_owned)
                .ok_or_else(|| "no version in it".to_owned())
        })
    }

    fn run(self, cmd: &Cmd) -> Result<Output, Error> {
        let output = self.0.exec(cmd)?;
        // A failing report still prints JSON, with nothing in it.
        if output.success() {
            Ok(output)
        } else {
            Err(output.failed(cmd, stderr_kind::kind(&output.stderr)))
        }
    }
}

fn read<T>(
    cmd: &Cmd,
    output: &Output,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, Error> {
    parse(&output.stdout).map_err(|detail| Error::Answer {
        program: cmd.line(),
        detail,
    })
}
