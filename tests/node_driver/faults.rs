//! Each program that the driver runs goes wrong, in each way, at each place, for each file system:
//! one answer, no byte changed that was not ours to change, and the same call succeeds as soon as
//! the program works again.
//!
//! In the guest, in one program, with the driver's own code and a door of which one program is
//! broken.

mod door;
mod ground;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use driver::Reply;
use host::Filesystem;

use crate::smallest;
use crate::stage::Stage;
use door::{Door, Fault};
use ground::Ground;

/// The first argument that makes this program run the faults, in the guest.
pub(crate) const FAULTS: &str = "--faults";

/// How long the driver waits for what a lying program said to have done.
const SHORT: Duration = Duration::from_secs(2);

/// A state of the volume, a call-out, and what comes of it.
struct Scenario {
    name: &'static str,
    prepare: fn(&Ground) -> Result<()>,
    args: fn(&Ground) -> Vec<&str>,
    end: End,
}

/// What holds after a call-out without any fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is refused, whatever the programs say, and nothing was written to the device.
    Refused,
    /// The volume is mounted.
    Mounted,
    /// The same, and its file is in.
    Filled,
    /// Its device is there.
    Active,
    /// Its device is gone.
    Inactive,
}

/// What differs between file systems.
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

/// What does not, or is ext4's alone.
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

fn mount(ground: &Ground) -> Vec<&str> {
    vec!["mount", &ground.folder, &ground.json]
}

fn mount_by_name(ground: &Ground) -> Vec<&str> {
    vec!["mount", &ground.folder, &ground.by_name]
}

fn expandfs(ground: &Ground) -> Vec<&str> {
    vec![
        "expandfs",
        &ground.json,
        "",
        &ground.folder,
        "33554432",
        "33554432",
    ]
}

fn attach(ground: &Ground) -> Vec<&str> {
    vec!["attach", &ground.json, "node1"]
}

fn wait_for_attach(ground: &Ground) -> Vec<&str> {
    vec!["waitforattach", "", &ground.json]
}

fn mount_device(ground: &Ground) -> Vec<&str> {
    vec!["mountdevice", &ground.global, "", &ground.json]
}

fn detach(ground: &Ground) -> Vec<&str> {
    vec!["detach", ground.name(), "node1"]
}

fn fresh(ground: &Ground) -> Result<()> {
    ground.litter()?;
    ground.mark(false)
}

fn tagged(ground: &Ground) -> Result<()> {
    ground.litter()?;
    ground.tag()
}

fn cut_short(ground: &Ground) -> Result<()> {
    ground.empty()?;
    ground.make(Some(smallest(&ground.fs)))?;
    ground.mark(true)
}

/// Made for the first of several: nobody writes to it.
fn used(ground: &Ground) -> Result<()> {
    if !ground.kept.replace(true) {
        ground.empty()?;
        ground.make(None)?;
        ground.fill()?;
    }
    Ok(())
}

fn inactive(ground: &Ground) -> Result<()> {
    used(ground)?;
    ground.deactivate()
}

/// As it is when the agent has not met the volume since the node started.
fn unknown_key(ground: &Ground) -> Result<()> {
    used(ground)?;
    ground.tag_with_key()?;
    ground::shell("rm -rf /run/flexlvm/keys")
}

fn grown(ground: &Ground) -> Result<()> {
    ground.empty()?;
    ground.make(Some(smallest(&ground.fs)))?;
    ground.fill()
}

/// An ext4 that says of itself that it has errors.
fn unchecked(ground: &Ground) -> Result<()> {
    ground.kept.set(false);
    used(ground)?;
    ground.doubt()
}

fn mounted(ground: &Ground) -> Result<()> {
    grown(ground)?;
    ground.mount()
}

/// A LUKS header, and a mark that says nothing against formatting.
fn foreign(ground: &Ground) -> Result<()> {
    ground.litter()?;
    ground.poke(b"LUKS\xba\xbe\0\x01aes\0", 0)?;
    ground.mark(false)
}

fn unmarked(ground: &Ground) -> Result<()> {
    ground.litter()
}

fn attached(ground: &Ground) -> Result<()> {
    ground.kept.set(true);
    let reply = ground::call(&attach(ground), &Door::new(None), None)?;
    ensure!(matches!(reply, Reply::Device(_)), "{reply:?}");
    Ok(())
}

/// The test: a volume for each file system, and a neighbour.
pub(crate) fn each_program_fails_in_each_way_at_each_place(stage: &Stage) {
    for fs in Filesystem::ALL {
        // A claim's by the key that the driver was told, and an admin's by its tags.
        let volume = stage.untagged_volume(fs.name(), smallest(fs.name()) + 100);
        stage.tell_key(&volume);
        let neighbour = stage.bare_volume(fs.name(), 4);
        println!(
            "{}",
            stage.program(&[FAULTS, &volume.json("rw"), &neighbour.device()])
        );
        stage.shell(&format!(
            "lvremove -qq -y {} {}",
            volume.path(),
            neighbour.path()
        ));
    }
}

/// In the guest: `--faults OPTIONS FOREIGN`.
pub(crate) fn run(arguments: impl Iterator<Item = std::ffi::OsString>) -> Result<ExitCode> {
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let [json, foreign] = arguments.as_slice() else {
        anyhow::bail!("{FAULTS} takes a volume's options and a foreign device");
    };
    let ground = Ground::new(json, foreign)?;
    let is_first = ground.fs == Filesystem::ALL[0].name();
    let scenarios = OF_EACH.iter().chain(if is_first { OF_EXT4 } else { &[] });
    for scenario in scenarios {
        let ended = all_faults(&ground, scenario, is_first).with_context(|| scenario.name)?;
        println!("{}, {}: {ended}", ground.fs, scenario.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// What does not depend on the file system is tried with the first.
const OF_ALL: [&str; 3] = ["lvm", "blkid", "wipefs"];

fn all_faults(ground: &Ground, scenario: &Scenario, is_first: bool) -> Result<String> {
    let begun = Instant::now();
    ground.kept.set(false);
    let programs = dry_run(ground, scenario).context("without any fault")?;
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for (number, program) in programs
        .iter()
        .enumerate()
        .filter(|(_, program)| is_first || !OF_ALL.contains(program))
    {
        for fault in Fault::of(program, programs.len() > 4) {
            let outcome = with_fault(ground, scenario, (number, fault), program);
            let outcome =
                outcome.with_context(|| format!("{program}, number {number}: {fault:?}"))?;
            *outcomes.entry(outcome).or_default() += 1;
        }
    }
    // Nobody has it open any more, whatever went wrong.
    ground.deactivate()?;
    Ok(format!(
        "{programs:?}: {outcomes:?} in {} s",
        begun.elapsed().as_secs()
    ))
}

/// Which programs the call-out runs when nothing goes wrong.
fn dry_run(ground: &Ground, scenario: &Scenario) -> Result<Vec<&'static str>> {
    (scenario.prepare)(ground)?;
    let door = Door::new(None);
    let reply = ground::call(&(scenario.args)(ground), &door, None)?;
    scenario.check(ground, &reply)?;
    leave(ground)?;
    Ok(door.started())
}

/// One fault; returns what came of it in a word.
fn with_fault(
    ground: &Ground,
    scenario: &Scenario,
    fault: (usize, Fault),
    program: &str,
) -> Result<&'static str> {
    (scenario.prepare)(ground)?;
    let (mounts, written) = (
        ground.mounts()?,
        (scenario.end == End::Refused)
            .then(|| ground.written())
            .transpose()?,
    );
    let time = (program == "lvm" && fault.1.is_lie()).then_some(SHORT);
    let args = (scenario.args)(ground);
    let reply = ground::call(&args, &Door::new(Some(fault)), time)?;
    if let Some(written) = written {
        ensure!(
            ground.written()? == written,
            "{reply:?}, and the device was written to"
        );
    }
    if let Reply::Failure(_) = reply {
        ensure!(
            ground.mounts()? == mounts,
            "{reply:?}, and {} mounts are left of {mounts}",
            ground.mounts()?
        );
        let again = ground::call(&args, &Door::new(None), None)?;
        scenario
            .check(ground, &again)
            .with_context(|| format!("again, after {reply:?}"))?;
    } else {
        scenario.check(ground, &reply)?;
    }
    ground.check_foreign()?;
    leave(ground)?;
    Ok(reply.outcome())
}

/// Nothing is mounted any more.
fn leave(ground: &Ground) -> Result<()> {
    for (call, folder) in [
        ("unmount", &ground.folder),
        ("unmountdevice", &ground.global),
    ] {
        let reply = ground::call(&[call, folder], &Door::new(None), None)?;
        ensure!(reply == Reply::Success, "{reply:?}");
    }
    ensure!(ground.mounts()? == 0, "something is still mounted");
    Ok(())
}

impl Scenario {
    /// Whether all is as it has to be after a call without a fault, or with one that did no harm.
    fn check(&self, ground: &Ground, reply: &Reply) -> Result<()> {
        let failed = matches!(reply, Reply::Failure(_));
        ensure!(failed == (self.end == End::Refused), "{reply:?}");
        let mounts = ground.mounts()?;
        let right = match self.end {
            End::Refused => mounts == 0,
            End::Mounted => mounts == 1,
            End::Filled => mounts == 1 && ground.is_filled()?,
            End::Active => ground.is_active(),
            End::Inactive => !ground.is_active(),
        };
        ensure!(
            right,
            "{reply:?}, with {mounts} mounts and {}",
            if ground.is_active() {
                "a device"
            } else {
                "no device"
            }
        );
        Ok(())
    }
}
