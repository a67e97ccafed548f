//! A guest: a node that is a User-Mode Linux kernel, an ordinary program of the host, with real
//! device-mapper and LVM.
//!
//! Its root is the host's file system, read only, under an overlay on the guest's own disk.

mod kernel;
mod pulse;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::network;
use crate::remote::{Call, Output, Remote};
use crate::wait::until_blocking;
use crate::workplace::{Program, Workplace, last_lines_of};

pub use kernel::{Host, compile};
pub use pulse::Pulse;

/// Memory and disks of a guest.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// Memory in MiB. The host provides only what the guest uses.
    pub memory_mib: u32,
    /// Sizes in MiB of the data disks `/dev/ubdb`, `/dev/ubdc` and so on. The files are sparse.
    pub disks_mib: Vec<u64>,
    /// Sizes in MiB of further disks, which follow the data disks and belong to no volume group.
    pub spare_mib: Vec<u64>,
    /// The host type that the guest's kernel detects.
    pub host: Host,
}

impl Default for Hardware {
    fn default() -> Self {
        Self {
            memory_mib: 1024,
            disks_mib: vec![4096],
            spare_mib: Vec::new(),
            host: Host::Usual,
        }
    }
}

/// A guest, running or without power.
#[derive(Debug)]
pub struct Guest {
    number: u8,
    memory_mib: u32,
    host: Host,
    disks: Vec<PathBuf>,
    /// Number of data disks after the first that volume groups are created of.
    data_disks: usize,
    kernel: Option<Program>,
    /// Set once the guest is up.
    pulse: Option<Pulse>,
}

/// Environment variable with the processor of the first guest. Programs that run in parallel should
/// use different ones.
const FIRST_PROCESSOR: &str = "FLEXLVM_PROCESSOR";

/// Time limit for a guest's boot, on a loaded host too.
const BOOT_LIMIT: Duration = Duration::from_secs(240);

/// The init script of every guest.
const INIT: &str = include_str!("../cluster/node-init");

impl Guest {
    /// Creates the disks of guest `number` and starts it, without waiting until it is up.
    pub fn create(workplace: &Workplace, number: u8, hardware: &Hardware) -> Result<Self> {
        anyhow::ensure!(
            (1..=network::NODES).contains(&number),
            "no guest can have number {number}"
        );
        let own = ("system".to_owned(), 8192);
        let data = hardware
            .disks_mib
            .iter()
            .chain(&hardware.spare_mib)
            .zip('b'..)
            .map(|(size, letter)| (format!("data-{letter}"), *size));
        let mut disks = Vec::new();
        for (name, size_mib) in std::iter::once(own).chain(data) {
            let path = workplace.path(&format!("node{number}-{name}.disk"));
            std::fs::File::create(&path)?.set_len(size_mib << 20)?;
            disks.push(path);
        }
        // Formatted on the host: in a guest it takes seconds.
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(&disks[0])
            .status()
            .context("cannot run mkfs.ext4")?;
        anyhow::ensure!(made.success(), "mkfs.ext4 could not format the system disk");
        let mut guest = Self {
            number,
            memory_mib: hardware.memory_mib,
            host: hardware.host,
            disks,
            data_disks: hardware.disks_mib.len(),
            kernel: None,
            pulse: None,
        };
        guest.power_on(workplace)?;
        Ok(guest)
    }

    /// Starts the guest, without waiting until it is up.
    pub fn power_on(&mut self, workplace: &Workplace) -> Result<()> {
        anyhow::ensure!(self.kernel.is_none(), "{} already runs", self.name());
        let init = workplace.path("node-init");
        if !init.exists() {
            workplace.write("node-init", INIT)?;
            Command::new("chmod").arg("+x").arg(&init).status()?;
            std::os::unix::fs::symlink(std::env::current_exe()?, workplace.path("program"))?;
        }
        let tap = network::tap(self.number);
        let mac = network::mac(self.number);
        let mut kernel = Command::new("taskset");
        kernel
            .env("LD_PRELOAD", kernel::preloads(workplace, self.host)?)
            // Pinned to one processor: each step of a program in the guest switches between two
            // processes of the host, which takes twice as long across processors.
            .args(["--cpu-list", &self.processor()?.to_string(), "linux.uml"])
            .args([
                "root=/dev/root",
                "rootfstype=hostfs",
                "rootflags=/",
                "ro",
                "quiet",
            ])
            .args(["con0=null,fd:1", "con=null", "ssl=null"])
            .arg(format!("init={}", init.display()))
            .arg(format!("mem={}M", self.memory_mib))
            .arg(format!("uml_dir={}/", workplace.folder().display()))
            // The same hardware address at each boot: neighbours cache it.
            .arg(format!(
                "vec0:transport=tap,ifname={tap},mac={mac},depth=128,gro=1"
            ));
        for (disk, letter) in self.disks.iter().zip('a'..) {
            kernel.arg(format!("ubd{letter}={}", disk.display()));
        }
        // Parameters that the kernel does not know become environment variables of init.
        kernel
            .arg(format!("node_name={}", self.name()))
            .arg(format!("node_address={}", self.address()));
        self.kernel = Some(workplace.start(&self.name(), &mut kernel)?);
        Ok(())
    }

    /// Returns the host processor of the guest.
    ///
    /// Guests of one program have different ones, as far as the host has enough.
    fn processor(&self) -> Result<usize> {
        let first =
            std::env::var(FIRST_PROCESSOR).map_or(Ok(0), |number| number.parse::<usize>())?;
        Ok((first + usize::from(self.number) - 1) % std::thread::available_parallelism()?.get())
    }

    /// Waits until the guest can run programs.
    ///
    /// If the guest ended, the last line of the error is the cause.
    pub fn wait_until_up(&mut self) -> Result<()> {
        let name = self.name();
        let remote = self.remote();
        let kernel = self
            .kernel
            .as_mut()
            .with_context(|| format!("{name} has no power"))?;
        until_blocking(&format!("{name} is up"), BOOT_LIMIT, || {
            Ok((kernel.has_ended() || remote.answers()).then_some(()))
        })
        .with_context(|| {
            format!(
                "{name} does not come up; its console:\n{}",
                kernel.last_lines(20)
            )
        })?;
        if kernel.has_ended() {
            let console = kernel.last_lines(1000);
            let cause = kernel::cause_of_end(&console);
            let end = last_lines_of(&console, 20);
            anyhow::bail!("{name} ended at boot:\n{end}\n{name} ended at boot: {cause}");
        }
        self.pulse = Some(Pulse::start(name, remote, kernel.id()));
        Ok(())
    }

    /// Returns the longest time without a sign of life since the guest came up.
    #[must_use]
    pub fn longest_silence(&self) -> Duration {
        self.pulse
            .as_ref()
            .map(Pulse::longest_silence)
            .unwrap_or_default()
    }

    /// Cuts the power: the guest stops between two instructions and loses what it had not synced.
    pub fn cut_power(&mut self) -> Result<()> {
        self.pulse = None;
        let Some(mut kernel) = self.kernel.take() else {
            return Ok(());
        };
        // The kernel leads a process group of its own: each program in the guest is a process on
        // the host.
        let group = Pid::from_raw(i32::try_from(kernel.id())?).context("the process has an id")?;
        // A guest that has ended by itself has no group any more.
        match kill_process_group(group, Signal::KILL) {
            Err(Errno::SRCH) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        kernel.kill();
        // Tap device and disks are in use until the last process is gone.
        until_blocking("the guest is gone", Duration::from_secs(20), || {
            Ok(test_kill_process_group(group).is_err().then_some(()))
        })
    }

    /// Returns a report while the guest stands still.
    #[must_use]
    pub fn stall(&self) -> Option<String> {
        self.pulse.as_ref().and_then(Pulse::stall)
    }

    /// Stops the guest's kernel between two instructions.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Resumes a paused kernel.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let kernel = self.kernel.as_ref().context("the guest has no power")?;
        let id = Pid::from_raw(i32::try_from(kernel.id())?).context("the process has an id")?;
        Ok(rustix::process::kill_process(id, signal)?)
    }

    /// The node's name, `node` and its number.
    #[must_use]
    pub fn name(&self) -> String {
        format!("node{}", self.number)
    }

    /// The node's address on the bridge.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        network::node_address(self.number)
    }

    /// Returns the client that runs programs in the guest.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote::new(self.address())
    }

    /// Runs a program in the guest and returns its output and exit status.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.remote().output(&Call::new(arguments.iter().copied()))
    }

    /// Runs a shell script in the guest and returns its stdout without the last newline.
    ///
    /// Fails if the script fails. Background processes must not keep the script's output open.
    pub fn shell(&self, script: &str) -> Result<String> {
        let output = self.run(&["sh", "-ec", script])?;
        let Output {
            status,
            stdout,
            stderr,
        } = &output;
        anyhow::ensure!(
            *status == 0,
            "on {}: `{script}` ended with {status}:\n{stdout}{stderr}",
            self.name()
        );
        Ok(stdout.trim_end().to_owned())
    }

    /// Creates a volume group in the guest of all data disks except the spare ones.
    pub fn make_volume_group(&self, name: &str) -> Result<()> {
        let devices: Vec<String> = ('b'..)
            .take(self.data_disks)
            .map(|letter| format!("/dev/ubd{letter}"))
            .collect();
        self.shell(&format!("vgcreate {name} {}", devices.join(" ")))
            .map(drop)
    }

    /// Returns the last lines of the console.
    #[must_use]
    pub fn console(&self, count: usize) -> String {
        self.kernel
            .as_ref()
            .map(|kernel| kernel.last_lines(count))
            .unwrap_or_default()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Err(error) = self.cut_power() {
            eprintln!("{} cannot be stopped: {error:#}", self.name());
        }
    }
}

/// Runs `call` in a new guest, passes its output on, and returns its exit status.
///
/// Call it within [`crate::main`].
pub fn run_in_guest(hardware: &Hardware, call: &Call) -> Result<i32> {
    let workplace = Workplace::isolated()?;
    network::create()?;
    let mut guest = Guest::create(&workplace, 1, hardware)?;
    guest.wait_until_up()?;
    let status = guest.remote().stream(
        call,
        std::io::empty(),
        &mut std::io::stdout(),
        &mut std::io::stderr(),
    )?;
    Ok(status)
}
