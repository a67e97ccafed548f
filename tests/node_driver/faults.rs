//! Fault injection: each program that the driver runs fails in each way, at each call, for each
//! file system.
//!
//! The driver must return one answer, write no byte that it may not write, and succeed on the same
//! call as soon as the program works again. Runs in the guest, in one process, with the driver's
//! code and an `Exec` that breaks one program.

mod faulty_exec;
mod test_volume;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use driver::Reply;
use host::Filesystem;

use crate::fixture::Fixture;
use crate::smallest;
use faulty_exec::{Fault, FaultyExec};
use test_volume::TestVolume;

/// The first argument that makes this program run the faults in the guest.
pub(crate) const FAULTS: &str = "--faults";

/// The driver's time limit for an effect that a program falsely reported.
const SHORT: Duration = Duration::from_secs(2);

/// A state of the volume, a call-out, and the expected state after it.
struct Scenario {
    name: &'static str,
    prepare: fn(&TestVolume) -> Result<()>,
    args: fn(&TestVolume) -> Vec<&str>,
    end: End,
}

/// The expected state after a call-out without a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
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

/// Scenarios that differ between file systems.
const OF_EACH: &[Scenario] = &[
    Scenario {
        name: "first mount",
        prepare: fresh,
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
const OF_EXT4: &[Scenario] = &[
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

fn fresh(volume: &TestVolume) -> Result<()> {
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

/// Creates a volume and a neighbouring one for each file system, and runs the faults.
pub(crate) fn driver_survives_each_fault_of_each_program(fixture: &Fixture) {
    for fs in Filesystem::ALL {
        // A claim's volume is found by its key in the driver's folder, a static one by its tags.
        let volume = fixture.untagged_volume(fs.name(), smallest(fs.name()) + 100);
        fixture.write_key_digest(&volume);
        let neighbour = fixture.bare_volume(fs.name(), 4);
        println!(
            "{}",
            fixture.program(&[FAULTS, &volume.json("rw"), &neighbour.device()])
        );
        fixture.shell(&format!(
            "lvremove -qq -y {} {}",
            volume.path(),
            neighbour.path()
        ));
    }
}

/// Runs in the guest: `--faults OPTIONS FOREIGN`.
pub(crate) fn run(arguments: impl Iterator<Item = std::ffi::OsString>) -> Result<ExitCode> {
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let [json, foreign] = arguments.as_slice() else {
        anyhow::bail!("{FAULTS} needs a volume's options and a foreign device");
    };
    let volume = TestVolume::new(json, foreign)?;
    let is_first = volume.fs == Filesystem::ALL[0].name();
    let scenarios = OF_EACH.iter().chain(if is_first { OF_EXT4 } else { &[] });
    for scenario in scenarios {
        let ended = all_faults(&volume, scenario, is_first).with_context(|| scenario.name)?;
        println!("{}, {}: {ended}", volume.fs, scenario.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// Programs whose faults do not depend on the file system: tested with the first one only.
const OF_ALL: [&str; 3] = ["lvm", "blkid", "wipefs"];

fn all_faults(volume: &TestVolume, scenario: &Scenario, is_first: bool) -> Result<String> {
    let begun = Instant::now();
    volume.kept.set(false);
    let programs = dry_run(volume, scenario).context("without any fault")?;
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for (number, program) in programs
        .iter()
        .enumerate()
        .filter(|(_, program)| is_first || !OF_ALL.contains(program))
    {
        for fault in Fault::of(program, programs.len() > 4) {
            let outcome = with_fault(volume, scenario, (number, fault), program);
            let outcome =
                outcome.with_context(|| format!("{program}, number {number}: {fault:?}"))?;
            *outcomes.entry(outcome).or_default() += 1;
        }
    }
    // No process has the device open, after any fault.
    volume.deactivate()?;
    Ok(format!(
        "{programs:?}: {outcomes:?} in {} s",
        begun.elapsed().as_secs()
    ))
}

/// Returns the programs that the call-out runs without a fault.
fn dry_run(volume: &TestVolume, scenario: &Scenario) -> Result<Vec<&'static str>> {
    (scenario.prepare)(volume)?;
    let exec = FaultyExec::new(None);
    let reply = test_volume::call(&(scenario.args)(volume), &exec, None)?;
    scenario.check(volume, &reply)?;
    leave(volume)?;
    Ok(exec.started())
}

/// Runs the call-out with one fault and returns its outcome in short.
fn with_fault(
    volume: &TestVolume,
    scenario: &Scenario,
    fault: (usize, Fault),
    program: &str,
) -> Result<&'static str> {
    (scenario.prepare)(volume)?;
    let mounts = volume.mounts()?;
    let written = (scenario.end == End::Refused)
        .then(|| volume.written())
        .transpose()?;
    let time = (program == "lvm" && fault.1.reports_false_success()).then_some(SHORT);
    let args = (scenario.args)(volume);
    let reply = test_volume::call(&args, &FaultyExec::new(Some(fault)), time)?;
    if let Some(written) = written {
        ensure!(
            volume.written()? == written,
            "{reply:?}, and the device was written to"
        );
    }
    if let Reply::Failure(_) = reply {
        ensure!(
            volume.mounts()? == mounts,
            "{reply:?}, and {} mounts are left of {mounts}",
            volume.mounts()?
        );
        let again = test_volume::call(&args, &FaultyExec::new(None), None)?;
        scenario
            .check(volume, &again)
            .with_context(|| format!("again, after {reply:?}"))?;
    } else {
        scenario.check(volume, &reply)?;
    }
    volume.check_foreign()?;
    leave(volume)?;
    Ok(reply.outcome())
}

/// Unmounts the volume everywhere.
fn leave(volume: &TestVolume) -> Result<()> {
    for (call, folder) in [
        ("unmount", &volume.folder),
        ("unmountdevice", &volume.global),
    ] {
        let reply = test_volume::call(&[call, folder], &FaultyExec::new(None), None)?;
        ensure!(reply == Reply::Success, "{reply:?}");
    }
    ensure!(volume.mounts()? == 0, "something is still mounted");
    Ok(())
}

impl Scenario {
    /// Checks the state after a call without a fault, or with a harmless one.
    fn check(&self, volume: &TestVolume, reply: &Reply) -> Result<()> {
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
