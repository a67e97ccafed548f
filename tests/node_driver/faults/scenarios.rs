//! The scenarios: a state of the volume, a call-out, and the expected state after it.

use anyhow::{Result, ensure};
use driver::Reply;

use super::faulty_exec::FaultyExec;
use super::test_volume::{self, TestVolume};
use crate::smallest;

/// A state of the volume, a call-out, and the expected state after it.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) prepare: fn(&TestVolume) -> Result<()>,
    pub(super) args: fn(&TestVolume) -> Vec<&str>,
    pub(super) end: End,
}

/// The expected state after a call-out without a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Rejected in any case, without a write to the device.
    Refused,
    /// The volume is mounted.
    Mounted,
    /// The volume is mounted and contains its file.
    Filled,
    /// The device exists.
    Active,
    /// The device does not exist.
    Inactive,
}

impl Scenario {
    /// Checks the state after a call without a fault, or with a harmless one.
    pub(super) fn check(&self, volume: &TestVolume, reply: &Reply) -> Result<()> {
        let failed = matches!(reply, Reply::Failure(_));
        ensure!(failed == (self.end == End::Refused), "{reply:?}");
        let mounts = volume.mounts()?;
        let right = match self.end {
            End::Refused => mounts == 0,
            End::Mounted => mounts == 1,
            End::Filled => mounts == 1 && volume.is_filled()?,
            End::Active => volume.is_active(),
            End::Inactive => !volume.is_active(),
        };
        ensure!(
            right,
            "{reply:?}, with {mounts} mounts and {}",
            if volume.is_active() {
                "a device"
            } else {
                "no device"
            }
        );
        Ok(())
    }
}

/// Scenarios that differ between file systems.
pub(super) const OF_EACH: &[Scenario] = &[
    Scenario {
        name: "first mount",
        prepare: unformatted,
        args: mount,
        end: End::Mounted,
    },
    Scenario {
        name: "mkfs cut short",
        prepare: cut_short,
        args: mount,
        end: End::Mounted,
    },
    Scenario {
        name: "mount that grows",
        prepare: grown,
        args: mount,
        end: End::Filled,
    },
    Scenario {
        name: "expandfs",
        prepare: mounted,
        args: expandfs,
        end: End::Filled,
    },
];

/// Scenarios that do not, or that only ext4 has.
pub(super) const OF_EXT4: &[Scenario] = &[
    Scenario {
        name: "first mount by name",
        prepare: tagged,
        args: mount_by_name,
        end: End::Mounted,
    },
    Scenario {
        name: "mount with a key to look up",
        prepare: unknown_key,
        args: mount,
        end: End::Filled,
    },
    Scenario {
        name: "mount after a reboot",
        prepare: inactive,
        args: mount,
        end: End::Filled,
    },
    Scenario {
        name: "mount that checks",
        prepare: unchecked,
        args: mount,
        end: End::Filled,
    },
    Scenario {
        name: "a foreign signature",
        prepare: foreign,
        args: mount,
        end: End::Refused,
    },
    Scenario {
        name: "no mark, no signature",
        prepare: unmarked,
        args: mount,
        end: End::Refused,
    },
    Scenario {
        name: "attach",
        prepare: inactive,
        args: attach,
        end: End::Active,
    },
    Scenario {
        name: "waitforattach",
        prepare: inactive,
        args: wait_for_attach,
        end: End::Active,
    },
    Scenario {
        name: "mountdevice",
        prepare: inactive,
        args: mount_device,
        end: End::Mounted,
    },
    Scenario {
        name: "detach",
        prepare: attached,
        args: detach,
        end: End::Inactive,
    },
];

fn mount(volume: &TestVolume) -> Vec<&str> {
    vec!["mount", &volume.folder, &volume.json]
}

fn mount_by_name(volume: &TestVolume) -> Vec<&str> {
    vec!["mount", &volume.folder, &volume.by_name]
}

fn expandfs(volume: &TestVolume) -> Vec<&str> {
    vec![
        "expandfs",
        &volume.json,
        "",
        &volume.folder,
        "33554432",
        "33554432",
    ]
}

fn attach(volume: &TestVolume) -> Vec<&str> {
    vec!["attach", &volume.json, "node1"]
}

fn wait_for_attach(volume: &TestVolume) -> Vec<&str> {
    vec!["waitforattach", "", &volume.json]
}

fn mount_device(volume: &TestVolume) -> Vec<&str> {
    vec!["mountdevice", &volume.global, "", &volume.json]
}

fn detach(volume: &TestVolume) -> Vec<&str> {
    vec!["detach", volume.name(), "node1"]
}

fn unformatted(volume: &TestVolume) -> Result<()> {
    volume.litter()?;
    volume.mark(false)
}

fn tagged(volume: &TestVolume) -> Result<()> {
    volume.litter()?;
    volume.tag()
}

fn cut_short(volume: &TestVolume) -> Result<()> {
    volume.empty()?;
    volume.make(Some(smallest(&volume.fs)))?;
    volume.mark(true)
}

/// Created for the first of several scenarios, which do not write to it.
fn used(volume: &TestVolume) -> Result<()> {
    if !volume.kept.replace(true) {
        volume.empty()?;
        volume.make(None)?;
        volume.fill()?;
    }
    Ok(())
}

fn inactive(volume: &TestVolume) -> Result<()> {
    used(volume)?;
    volume.deactivate()
}

/// The state after a boot, before the agent has observed the volume.
fn unknown_key(volume: &TestVolume) -> Result<()> {
    used(volume)?;
    volume.tag_with_key()?;
    test_volume::shell("rm -rf /run/flexlvm/keys")
}

fn grown(volume: &TestVolume) -> Result<()> {
    volume.empty()?;
    volume.make(Some(smallest(&volume.fs)))?;
    volume.fill()
}

/// An ext4 whose superblock reports errors.
fn unchecked(volume: &TestVolume) -> Result<()> {
    volume.kept.set(false);
    used(volume)?;
    volume.doubt()
}

fn mounted(volume: &TestVolume) -> Result<()> {
    grown(volume)?;
    volume.mount()
}

/// A LUKS header, and a format marker that permits formatting.
fn foreign(volume: &TestVolume) -> Result<()> {
    volume.litter()?;
    volume.poke(b"LUKS\xba\xbe\0\x01aes\0", 0)?;
    volume.mark(false)
}

fn unmarked(volume: &TestVolume) -> Result<()> {
    volume.litter()
}

fn attached(volume: &TestVolume) -> Result<()> {
    volume.kept.set(true);
    let reply = test_volume::call(&attach(volume), &FaultyExec::new(None), None)?;
    ensure!(matches!(reply, Reply::Device(_)), "{reply:?}");
    Ok(())
}
