//! The kubelet's sequences of call-outs on real LVM: in both modes, through restarts and a power
//! cut; with calls repeated, killed at a random point and repeated, or made concurrently.

mod kubelet_sim;
mod sequences;

use std::cell::Cell;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use flexvolume::DriverSettings;

use crate::fixture::{Fixture, Volume};
use crate::{FILESYSTEMS, smallest};
use kubelet_sim::{KubeletSim, Manner};
use sequences::{ALL, Sequence};

/// The first argument that makes this program replay sequences in the guest.
pub(crate) const REPLAY: &str = "--replay";

/// A file system and a manner, with a volume for either mode.
struct Lane {
    manner: Manner,
    volumes: [Volume; 2],
}

/// The step at which a sequence is split by a reboot.
const REBOOT: &str = "reboot;";

/// Runs the sequences, as far as they need no power cut.
pub(crate) fn kubelets_sequences_have_expected_end(fixture: &Fixture) {
    for lane in lanes(fixture) {
        lane.play(fixture, "before");
    }
}

/// Runs the remaining parts, with one power cut for all.
pub(crate) fn kubelets_sequences_continue_after_power_cut(fixture: &Fixture) {
    // The other test may have been filtered out.
    for lane in lanes(fixture) {
        lane.play(fixture, "until");
    }
    fixture.shell("sync");
    fixture.power_cut();
    for lane in lanes(fixture) {
        fixture.shell(&format!(
            "vgchange -qq -an {} || true",
            crate::fixture::GROUP
        ));
        lane.play(fixture, "after");
    }
}

/// The combinations: ext4 with each manner but `Once`, which `Twice` includes; the other file
/// systems with all manners mixed, and only the sequences that differ.
fn lanes(fixture: &Fixture) -> &'static [Lane] {
    static LANES: OnceLock<Vec<Lane>> = OnceLock::new();
    LANES.get_or_init(|| {
        let ext4 = [Manner::Twice, Manner::Killed, Manner::AtOnce].map(|manner| ("ext4", manner));
        let all = ext4
            .into_iter()
            .chain([("xfs", Manner::Mixed), ("btrfs", Manner::Mixed)]);
        all.map(|(fs, manner)| Lane {
            manner,
            volumes: [(); 2].map(|()| fixture.bare_volume(fs, smallest(fs) + 32)),
        })
        .collect()
    })
}

impl Lane {
    fn play(&self, fixture: &Fixture, part: &str) {
        let seed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_micros()
            .to_string();
        let [mounting, attaching] = self.volumes.each_ref().map(|volume| volume.json("rw"));
        let manner = format!("{:?}", self.manner);
        println!(
            "{}",
            fixture.program(&[
                REPLAY,
                part,
                fixture.driver(),
                &manner,
                &seed,
                &mounting,
                &attaching
            ])
        );
    }
}

/// Runs in the guest: `--replay before|until|after DRIVER MANNER SEED OPTIONS OPTIONS`.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let [part, driver, manner, seed, mounting, attaching] = arguments.as_slice() else {
        anyhow::bail!(
            "{REPLAY} needs a part, the driver, a manner, a seed, and the options of two volumes"
        );
    };
    let mut simulations = Vec::new();
    for options in [mounting, attaching] {
        simulations.push(KubeletSim {
            driver: driver.clone(),
            manner: Manner::from_name(manner),
            seed: Cell::new(seed.parse()?),
            size: Cell::new(0),
            options: serde_json::from_str(options)?,
        });
    }
    for sequence in ALL
        .iter()
        .filter(|sequence| (part == "before") != sequence.steps.contains(REBOOT))
    {
        let begun = Instant::now();
        if sequence.of_any && simulations[0].options["kubernetes.io/fsType"] != FILESYSTEMS[0] {
            continue;
        }
        let simulation = &mut simulations[usize::from(sequence.attach)];
        let fs = simulation.options["kubernetes.io/fsType"].clone();
        play(simulation, sequence, part).with_context(|| {
            format!(
                "{}, {fs}, {manner}, seed {seed}, {part} a reboot",
                sequence.name
            )
        })?;
        println!(
            "{}, {fs}, {manner}: in {} ms",
            sequence.name,
            begun.elapsed().as_millis()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn play(simulation: &mut KubeletSim, sequence: &Sequence, part: &str) -> Result<()> {
    let settings = DriverSettings {
        attach: sequence.attach,
        node: Some("node1".to_owned()),
    };
    std::fs::create_dir_all("/var/lib/flexlvm")?;
    std::fs::write(flexvolume::settings::PATH, settings.to_json())?;
    let (first, second) = sequence
        .steps
        .split_once(REBOOT)
        .unwrap_or((sequence.steps, ""));
    let steps = if part == "after" {
        simulation.measure()?;
        second
    } else {
        simulation.renew()?;
        first
    };
    for step in steps
        .split(';')
        .map(str::trim)
        .filter(|step| !step.is_empty())
    {
        simulation
            .step(step)
            .with_context(|| format!("step `{step}`"))?;
    }
    if part != "until" {
        simulation.check_end(sequence.attach)?;
        std::fs::remove_file(flexvolume::settings::PATH)?;
    }
    rustix::fs::sync();
    Ok(())
}
