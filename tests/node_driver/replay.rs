//! The kubelet's sequences of call-outs on real LVM: in both modes, through restarts and a power
//! cut, and each with its calls repeated, killed at a random point and repeated, and made several
//! at once.

mod actor;
mod sequences;

use std::cell::Cell;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use flexvolume::DriverSettings;

use crate::stage::{Stage, Volume};
use crate::{FILESYSTEMS, smallest};
use actor::{Actor, Manner};
use sequences::{ALL, Sequence};

/// The first argument that makes this program play sequences, in the guest.
pub(crate) const REPLAY: &str = "--replay";

/// A file system and a manner, with a volume for either mode.
struct Lane {
    manner: Manner,
    volumes: [Volume; 2],
}

/// Where a sequence is cut by a reboot.
const REBOOT: &str = "reboot;";

/// All that can be had before the power is cut.
pub(crate) fn the_kubelets_sequences_end_as_they_should(stage: &Stage) {
    for lane in lanes(stage) {
        lane.play(stage, "before");
    }
}

/// The rest, after one power cut for all.
pub(crate) fn and_after_a_power_cut_they_go_on(stage: &Stage) {
    // The other test may have been left out.
    for lane in lanes(stage) {
        lane.play(stage, "until");
    }
    stage.shell("sync");
    stage.power_cut();
    for lane in lanes(stage) {
        stage.shell(&format!("vgchange -qq -an {} || true", crate::stage::GROUP));
        lane.play(stage, "after");
    }
}

/// Each manner with ext4, but the one that another begins with; of the others, all manners mixed,
/// and what differs.
fn lanes(stage: &Stage) -> &'static [Lane] {
    static LANES: OnceLock<Vec<Lane>> = OnceLock::new();
    LANES.get_or_init(|| {
        let ext4 = [Manner::Twice, Manner::Killed, Manner::AtOnce].map(|manner| ("ext4", manner));
        let all = ext4
            .into_iter()
            .chain([("xfs", Manner::Mixed), ("btrfs", Manner::Mixed)]);
        all.map(|(fs, manner)| Lane {
            manner,
            volumes: [(); 2].map(|()| stage.bare_volume(fs, smallest(fs) + 32)),
        })
        .collect()
    })
}

impl Lane {
    fn play(&self, stage: &Stage, part: &str) {
        let seed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_micros()
            .to_string();
        let [mounting, attaching] = self.volumes.each_ref().map(|volume| volume.json("rw"));
        let manner = format!("{:?}", self.manner);
        println!(
            "{}",
            stage.program(&[
                REPLAY,
                part,
                stage.driver(),
                &manner,
                &seed,
                &mounting,
                &attaching
            ])
        );
    }
}

/// In the guest: `--replay before|until|after DRIVER MANNER SEED OPTIONS OPTIONS`.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let [part, driver, manner, seed, mounting, attaching] = arguments.as_slice() else {
        anyhow::bail!(
            "{REPLAY} takes a part, the driver, a manner, a seed, and the options of two volumes"
        );
    };
    let actor = |json: &str| -> Result<Actor> {
        let (driver, manner, seed) = (
            driver.clone(),
            Manner::from_name(manner),
            Cell::new(seed.parse()?),
        );
        Ok(Actor {
            driver,
            manner,
            seed,
            size: Cell::new(0),
            options: serde_json::from_str(json)?,
        })
    };
    let mut actors = [actor(mounting)?, actor(attaching)?];
    for sequence in ALL
        .iter()
        .filter(|sequence| (part == "before") != sequence.steps.contains(REBOOT))
    {
        let begun = Instant::now();
        if sequence.of_any && actors[0].options["kubernetes.io/fsType"] != FILESYSTEMS[0] {
            continue;
        }
        let actor = &mut actors[usize::from(sequence.attach)];
        let fs = actor.options["kubernetes.io/fsType"].clone();
        play(actor, sequence, part).with_context(|| {
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

fn play(actor: &mut Actor, sequence: &Sequence, part: &str) -> Result<()> {
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
        actor.measure()?;
        second
    } else {
        actor.renew()?;
        first
    };
    for step in steps
        .split(';')
        .map(str::trim)
        .filter(|step| !step.is_empty())
    {
        actor.step(step).with_context(|| format!("step `{step}`"))?;
    }
    if part != "until" {
        actor.check_end(sequence.attach)?;
        std::fs::remove_file(flexvolume::settings::PATH)?;
    }
    rustix::fs::sync();
    Ok(())
}
