//! The simulation's volume: recreated before a sequence, verified after it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use host::mount::{Flags, MountRequest, MountTarget};
use host::{
    Bytes, Device, Filesystem, FormatMarker, FormatMarkerBlock, LvName, LvUuid, Roots, VgName,
};

use super::KubeletSim;

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
    pub(super) fn holds(&self, folder: &str) -> Result<()> {
        let found = std::fs::read_to_string(format!("{folder}/data"))?;
        ensure!(found == self.content(), "{folder}/data holds {found:?}");
        Ok(())
    }

    pub(super) fn device(&self) -> Result<Device> {
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

    pub(super) fn size_now(&self) -> Result<String> {
        match self.device() {
            Ok(device) => Ok(device.size()?.0.to_string()),
            Err(_) => shell(&format!(
                "lvs --noheadings --units b --nosuffix -o lv_size {}",
                self.path()
            )),
        }
    }
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
pub(super) fn shell(script: &str) -> Result<String> {
    let output = Command::new("sh").args(["-ec", script]).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`{script}` ended with {}: {stderr}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
