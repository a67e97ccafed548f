//! The soak's part in a guest: writes and compares files through a pod's mount, and kills programs.
//!
//! It runs in the server of the guest, see [`harness::remote::serves`]: starting a program takes a
//! guest a hundred times as long, and a kill would come too late.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::remote::Call;
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::content;
use crate::ledger::Acknowledged;

/// A request to a guest.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Request {
    /// Writes a file into a mounted folder, and syncs it.
    Write {
        folder: String,
        volume: u64,
        number: u32,
        kib: u32,
    },
    /// Compares files in a mounted folder, as number and KiB; prints a line for each fault.
    Check {
        folder: String,
        volume: u64,
        files: Vec<(u32, u32)>,
    },
    /// Waits for a process of a program and kills it after a delay; prints the number of processes
    /// that it killed.
    Kill {
        program: Program,
        limit_ms: u64,
        delay_ms: u64,
    },
}

/// The programs to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Program {
    Controller,
    Agent,
    Kubelet,
    /// Any process of LVM.
    Lvm,
}

impl Request {
    /// Returns a request to compare acknowledged writes.
    pub(crate) fn check(folder: String, volume: u64, writes: &[Acknowledged]) -> Self {
        let files = writes
            .iter()
            .map(|write| (write.number, write.kib))
            .collect();
        Self::Check {
            folder,
            volume,
            files,
        }
    }

    /// Returns the call that makes a guest execute this request.
    pub(crate) fn call(&self) -> Result<Call> {
        Ok(Call::service([serde_json::to_string(self)?]))
    }
}

/// Executes a request, in a guest.
pub(crate) fn serve(arguments: &[String]) -> Result<String> {
    let [request] = arguments else {
        bail!("a request is one argument");
    };
    match serde_json::from_str(request)? {
        Request::Write {
            folder,
            volume,
            number,
            kib,
        } => write(&folder, number, &content::bytes(volume, number, bytes(kib))),
        Request::Check {
            folder,
            volume,
            files,
        } => check(&folder, volume, &files),
        Request::Kill {
            program,
            limit_ms,
            delay_ms,
        } => kill(
            program,
            Duration::from_millis(limit_ms),
            Duration::from_millis(delay_ms),
        ),
    }
}

fn bytes(kib: u32) -> usize {
    kib as usize * 1024
}

/// Opens the root of a mount.
///
/// An open folder keeps the mount, so it is checked after it is opened: a folder without a mount
/// belongs to the node's own file system, and what is written there is lost with the pod.
fn open_mount(folder: &str) -> Result<File> {
    let opened = File::open(folder).with_context(|| format!("cannot open {folder}"))?;
    let inside = statat(&opened, "", AtFlags::EMPTY_PATH)?;
    let outside = statat(&opened, "..", AtFlags::empty())?;
    ensure!(
        inside.st_dev != outside.st_dev,
        "nothing is mounted on {folder}"
    );
    Ok(opened)
}

/// Writes a file and syncs it, and the folder that lists it.
fn write(folder: &str, number: u32, content: &[u8]) -> Result<String> {
    let root = open_mount(folder)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(openat(&root, number.to_string(), flags, mode)?);
    file.write_all(content)?;
    file.sync_all()?;
    root.sync_all()?;
    Ok(String::new())
}

/// Returns a line for each file that is missing or differs.
fn check(folder: &str, volume: u64, files: &[(u32, u32)]) -> Result<String> {
    let root = open_mount(folder)?;
    let mut faults = String::new();
    for &(number, kib) in files {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fault = match openat(&root, number.to_string(), flags, Mode::empty()) {
            Ok(file) => {
                let mut found = Vec::new();
                File::from(file)
                    .read_to_end(&mut found)
                    .with_context(|| format!("cannot read file {number} in {folder}"))?;
                content::first_difference(volume, number, bytes(kib), &found).map(|at| {
                    format!(
                        "file {number} ({kib} KiB) has {} bytes and differs from byte {at} on",
                        found.len()
                    )
                })
            }
            Err(error) if std::io::Error::from(error).kind() == ErrorKind::NotFound => {
                Some(format!("file {number} ({kib} KiB) is missing"))
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot open file {number} in {folder}"));
            }
        };
        if let Some(fault) = fault {
            faults += &fault;
            faults.push('\n');
        }
    }
    Ok(faults)
}

/// Interval of the search for a process.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

fn kill(program: Program, limit: Duration, delay: Duration) -> Result<String> {
    let start = Instant::now();
    while processes(program)?.is_empty() {
        if start.elapsed() > limit {
            return Ok("0".to_owned());
        }
        sleep(POLL_INTERVAL);
    }
    sleep(delay);
    let mut killed = 0;
    for process in processes(program)? {
        // It may have ended by itself.
        killed += u32::from(kill_process(process, Signal::KILL).is_ok());
    }
    Ok(killed.to_string())
}

/// Returns the processes of a program in this guest.
fn processes(program: Program) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(id) = id.and_then(Pid::from_raw)
            && is_program(program, &entry.path())
        {
            found.push(id);
        }
    }
    Ok(found)
}

fn is_program(program: Program, process: &Path) -> bool {
    let read = |name| std::fs::read(process.join(name)).unwrap_or_default();
    let starts_with = |arguments: &[u8]| read("cmdline").starts_with(arguments);
    match program {
        Program::Controller => starts_with(b"/flexlvm\0controller"),
        Program::Agent => starts_with(b"/flexlvm\0agent"),
        Program::Kubelet => read("comm") == b"kubelet\n",
        Program::Lvm => read("comm") == b"lvm\n",
    }
}
