//! Fault injection: each program that the driver runs fails in each way, at each call, for each
//! file system.
//!
//! The driver must return one answer, write no byte that it may not write, and succeed on the same
//! call as soon as the program works again. Runs in the guest, in one process, with the driver's
//! code and an `Exec` that breaks one program.

mod faulty_exec;
mod scenarios;
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
use scenarios::{End, OF_EACH, OF_EXT4, Scenario};
use test_volume::TestVolume;

/// The first argument that makes this program run the faults in the guest.
pub(crate) const FAULTS: &str = "--faults";

/// The driver's time limit for an effect that a program falsely reported.
const SHORT: Duration = Duration::from_secs(2);

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
