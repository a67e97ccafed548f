//! LVM through its own programs: builds a command, runs it, and parses its output.

pub mod backup;
mod command;
mod duplicate_disk;
mod health;
mod model;
pub mod on_disk;
mod raid_parts;
mod raid_sync;
mod report;
mod shell;
pub mod statistics;
mod stderr_kind;
mod thin_pool;
mod vg_fault;

use device_path::DevicePath;

use crate::error::{self, Error};
use crate::process::{Cmd, Exec, Output};
use crate::units::{Bytes, Extents};
use names::{LvName, LvTag, LvUuid, VgName};
use report::ReportError;

pub use command::{Discard, NewLv, NewPool};
pub use duplicate_disk::DuplicateDisk;
pub use health::{LvHealth, MissingPart};
pub use model::{Lv, LvRole, NodeReport, Pv, PvOwner, SegmentType, Vg};
pub use raid_parts::RaidParts;
pub use raid_sync::{RaidSync, SyncKind};
pub use shell::LvmShell;
pub use statistics::LvmStatistics;
pub use storage_model::{Cost, Layout, Level, PoolCost, Stripes, names, tags};
pub use thin_pool::{PoolFault, PoolState};
pub use vg_fault::VgFault;

/// LVM on this host.
///
/// Every method runs one command, and none makes a decision. Callers observe, decide, call one
/// method, then observe again.
#[derive(Clone, Copy)]
pub struct Lvm<'a>(pub &'a dyn Exec);

impl Lvm<'_> {
    /// Reports every volume group with its logical volumes, and what LVM warned of.
    ///
    /// # Errors
    /// When LVM fails or its output can't be parsed. A failure never counts as "no volume groups".
    pub fn report(self) -> Result<NodeReport, Error> {
        let cmd = command::report();
        let output = self.run(&cmd)?;
        let mut groups = read(&cmd, &output, report::parse)?;
        // Whether this host may use another host's volume group depends on several LVM settings:
        // query LVM itself.
        if groups.iter().any(|vg| !vg.system_id.is_empty()) {
            let cmd = command::usable_groups();
            report::mark_foreign(
                &mut groups,
                &read(&cmd, &self.run(&cmd)?, report::parse_uuids)?,
            );
        }
        if report::mark_duplicates(&mut groups, &output.stderr) && self.allows_duplicates() {
            for vg in &mut groups {
                vg.change_fault = None;
            }
        }
        let mut messages = output.stderr;
        if let Err(error) = self.read_mismatches(&mut groups) {
            // They are informational: everything else works without them.
            messages.extend(format!("\n{}", error::chain(&error)).into_bytes());
        }
        Ok(NodeReport {
            groups,
            warnings: report::warnings(&messages),
            statistics: statistics::parse(&output.stdout),
        })
    }

    /// Reads the integrity mismatches, if a volume has checksums.
    fn read_mismatches(self, groups: &mut [Vg]) -> Result<(), Error> {
        let mut volumes: Vec<&mut Lv> = groups.iter_mut().flat_map(|vg| &mut vg.lvs).collect();
        if volumes.iter().all(|lv| !lv.integrity) {
            return Ok(());
        }
        let cmd = command::mismatches();
        let mismatches = read(&cmd, &self.run(&cmd)?, report::parse_mismatches)?;
        for lv in &mut volumes {
            lv.integrity_mismatches = mismatches.get(&lv.uuid).copied().unwrap_or(0);
        }
        Ok(())
    }

    /// Creates an active logical volume; its first sectors are zero.
    ///
    /// # Errors
    /// Hints: [`Kind::NoSpace`](crate::Kind), [`Kind::Exists`](crate::Kind).
    pub fn create(self, vg: &VgName, lv: &LvName, new: &NewLv<'_>) -> Result<(), Error> {
        self.run(&command::create(vg, lv, new)).map(drop)
    }

    /// Creates an active logical volume of `size` bytes in a thin pool.
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

    /// Creates a thin pool.
    ///
    /// # Errors
    /// Hints: [`Kind::NoSpace`](crate::Kind), [`Kind::Exists`](crate::Kind).
    pub fn create_pool(self, vg: &VgName, pool: &LvName, new: &NewPool<'_>) -> Result<(), Error> {
        self.run(&command::create_pool(vg, pool, new)).map(drop)
    }

    /// Makes one logical volume the cache of another; the former's data is lost.
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

    /// Extends a logical volume to this size on these devices; an empty list allows any device.
    ///
    /// # Errors
    /// Hints: [`Kind::NoSpace`](crate::Kind); [`Kind::Exists`](crate::Kind) when the volume has
    /// that size or a larger one.
    pub fn extend(
        self,
        vg: &VgName,
        lv: &LvName,
        extents: Extents,
        disks: &[String],
    ) -> Result<(), Error> {
        self.run(&command::extend(vg, lv, extents, disks)).map(drop)
    }

    /// Adds checksums to the images of a RAID whose creation was interrupted before that step.
    ///
    /// # Errors
    /// Hint: [`Kind::NoSpace`](crate::Kind).
    pub fn add_integrity(self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.run(&command::add_integrity(vg, lv)).map(drop)
    }

    /// Activates a logical volume.
    ///
    /// Does nothing when it is active already, or when another volume has the name.
    ///
    /// # Errors
    /// When LVM fails.
    pub fn activate(self, vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Result<(), Error> {
        self.run(&command::activate(vg, lv, uuid)).map(drop)
    }

    /// Reports one logical volume, by its name.
    ///
    /// # Errors
    /// When LVM fails or its output can't be parsed; also when there is no such volume, which only
    /// a whole [`report`](Self::report) proves.
    pub fn volume(self, vg: &VgName, lv: &LvName) -> Result<Lv, Error> {
        let cmd = command::volume(vg, lv);
        let output = self.run(&cmd)?;
        let volume = read(&cmd, &output, report::parse_volume)?;
        if volume.name == lv.as_str() {
            return Ok(volume);
        }
        let defect = format!("it describes {} instead", volume.name);
        Err(output.unusable(&cmd, &defect))
    }

    /// Loads the table of LVM's metadata into a logical volume's device, and resumes it.
    ///
    /// Does nothing when the volume is inactive, or when another volume has the name.
    ///
    /// # Errors
    /// When LVM fails, or refuses since a part of the volume is on a missing disk.
    pub fn refresh(self, vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Result<(), Error> {
        self.run(&command::refresh(vg, lv, uuid)).map(drop)
    }

    /// Deactivates a logical volume.
    ///
    /// Does nothing when it is inactive already, or when another volume has the name.
    ///
    /// # Errors
    /// Hint: [`Kind::Busy`](crate::Kind) when its device is open.
    pub fn deactivate(self, vg: &VgName, lv: &LvName, uuid: &LvUuid) -> Result<(), Error> {
        self.run(&command::deactivate(vg, lv, uuid)).map(drop)
    }

    /// Removes tags from a logical volume and adds others in one metadata change.
    ///
    /// Does nothing when another volume has the name.
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

    /// Removes a logical volume and its data if name, uuid, type and one of its tags match, and no
    /// other volume depends on it.
    ///
    /// Success only means that LVM reported no error: the caller observes again whether the volume
    /// is gone, or whether another volume has the name.
    ///
    /// # Errors
    /// Hint: [`Kind::Busy`](crate::Kind) when its device is open.
    pub fn remove(
        self,
        vg: &VgName,
        lv: &LvName,
        uuid: &LvUuid,
        tag: &LvTag,
        segment_type: SegmentType,
        discard: Discard,
    ) -> Result<(), Error> {
        let command = command::remove(vg, lv, uuid, tag, segment_type, discard);
        self.run(&command).map(drop)
    }

    /// Removes a RAID that was never active ([`RaidParts::NeverActive`]), and has this tag.
    ///
    /// Success only means that LVM reported no error, as for [`remove`](Self::remove).
    ///
    /// # Errors
    /// When LVM fails.
    pub fn remove_never_active(
        self,
        vg: &VgName,
        lv: &LvName,
        uuid: &LvUuid,
        tag: &LvTag,
    ) -> Result<(), Error> {
        let command = command::remove_never_active(vg, lv, uuid, tag);
        self.run(&command).map(drop)
    }

    /// Lists every physical volume with the volume group that contains it.
    ///
    /// # Errors
    /// When LVM fails or its output can't be parsed.
    pub fn disks(self) -> Result<Vec<PvOwner>, Error> {
        let cmd = command::disks();
        read(&cmd, &self.run(&cmd)?, report::parse_disks)
    }

    /// Creates a physical volume with this uuid.
    ///
    /// LVM claims the device, and refuses one that is in use or has a signature.
    ///
    /// # Errors
    /// When LVM refuses or fails.
    pub fn create_disk(self, disk: &DevicePath, uuid: &LvUuid) -> Result<(), Error> {
        self.run(&command::create_disk(disk, uuid)).map(drop)
    }

    /// Creates a volume group from physical volumes that belong to no group.
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

    /// Returns the version of LVM, such as `2.03.16(2)`.
    ///
    /// # Errors
    /// When LVM fails or its output can't be parsed.
    pub fn version(self) -> Result<String, Error> {
        let cmd = command::version();
        read(&cmd, &self.run(&cmd)?, report::parse_version)
    }

    /// Returns whether lvm.conf lets LVM change volume groups with duplicate physical volumes.
    fn allows_duplicates(self) -> bool {
        self.run(&command::allows_duplicates())
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("_pvs=1"))
    }

    fn run(self, cmd: &Cmd) -> Result<Output, Error> {
        let output = self.0.exec(cmd)?;
        // A failing report still prints JSON, with an empty report in it.
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
    parse: impl FnOnce(&[u8]) -> Result<T, ReportError>,
) -> Result<T, Error> {
    parse(&output.stdout).map_err(|error| output.unusable(cmd, &error))
}

#[cfg(test)]
mod tests;
