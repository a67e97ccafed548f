//! One child process from start to end, in bounded time even if it hangs.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use super::device_change::DeviceChange;
use super::{Cmd, Output, Secret};
use crate::error::Error;

/// Limit for captured stdout, in bytes; a report of thousands of volumes is far smaller.
const STDOUT_CAP: usize = 32 << 20;
/// Limit for captured stderr, in bytes; the rest is read and dropped.
const STDERR_CAP: usize = 64 << 10;
/// How long a pipe that a grandchild holds open is still read after the child has ended.
const PIPE_GRACE: Duration = Duration::from_millis(500);
/// Maximum overrun of a command's limit: both signals, the pipes' grace period, and some time to
/// start.
pub(super) const MAX_OVERRUN: Duration = Duration::from_secs(10);
/// Grace period after SIGTERM, and again after SIGKILL (a process in D state doesn't end).
const KILL_GRACE: Duration = Duration::from_secs(1);
/// Grace period after SIGTERM for a program that changes devices: LVM finishes its change first.
const TERMINATION_GRACE: Duration = Duration::from_secs(5);

/// Starts `command` in its own process group and runs it to its end.
///
/// A program that changes devices is never killed. If it does not end, or if another one survives
/// SIGKILL, `StillRunning` is returned with a `change`, and a thread keeps that until the end.
pub(super) fn run(
    mut command: Command,
    cmd: &Cmd,
    change: Option<DeviceChange>,
) -> Result<Output, Error> {
    let not_started = |source| Error::Start {
        program: cmd.program().to_owned(),
        source,
    };
    let (out_read, out_write) = io::pipe().map_err(not_started)?;
    let (err_read, err_write) = io::pipe().map_err(not_started)?;
    let stdout = Pipe::read(out_read, STDOUT_CAP).map_err(not_started)?;
    let stderr = Pipe::read(err_read, STDERR_CAP).map_err(not_started)?;
    command
        .stdin(cmd.secret().map_or_else(Stdio::null, |_| Stdio::piped()))
        .stdout(out_write)
        .stderr(err_write)
        .process_group(0);
    let mut child = command.spawn().map_err(not_started)?;
    drop(command); // It holds the writing ends.
    if let (Some(secret), Some(stdin)) = (cmd.secret().cloned(), child.stdin.take()) {
        feed(secret, stdin).map_err(not_started)?;
    }
    let deadline = Instant::now() + cmd.limit();
    if !ends_before(&child, deadline, &[&stdout, &stderr]) {
        match change {
            Some(change) if cmd.changes_devices() => terminate(child, change)?,
            change => end(child, change)?,
        }
        return Err(Error::Deadline {
            command: cmd.line(),
            limit: cmd.limit(),
        });
    }
    let last = Instant::now() + PIPE_GRACE;
    stdout.ends_before(last);
    stderr.ends_before(last);
    let status = child.wait().map_err(not_started)?;
    let (stdout, complete) = stdout.take();
    if !complete {
        let detail = format!("more than {} MiB of output", STDOUT_CAP >> 20);
        return Err(Error::Answer {
            program: cmd.program().to_owned(),
            detail,
        });
    }
    Ok(Output {
        code: status.code(),
        stdout,
        stderr: stderr.take().0,
    })
}

/// Writes a secret into a child's standard input, on a thread of its own.
///
/// A child that reads nothing must not block the caller.
fn feed(secret: Secret, mut stdin: ChildStdin) -> io::Result<()> {
    let write = move || {
        // Fails if the child ends without having read everything, which is its own choice.
        let _ = stdin.write_all(secret.expose());
    };
    thread::Builder::new().spawn(write).map(drop)
}

/// Waits until the child has ended, without reaping it.
///
/// Until the child is reaped, no other process can get its process group id.
fn ends_before(child: &Child, deadline: Instant, pipes: &[&Pipe]) -> bool {
    loop {
        if ended(child) {
            return true;
        }
        let now = Instant::now();
        if now >= deadline {
            return false;
        }
        // Both pipes nearly always close when the child ends, which ends this wait at once.
        let slice = deadline.min(now + Duration::from_millis(20));
        if pipes.iter().all(|pipe| pipe.ends_before(slice)) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    // An error can only mean that the child no longer exists.
    waitid(WaitId::Pid(Pid::from_child(child)), options).map_or(true, |status| status.is_some())
}

/// Waits for a child whose input was closed; ends it if it doesn't end within the grace period.
///
/// With a `change` it is in the middle of a command, and never killed.
pub(super) fn reap(mut child: Child, output: &Pipe, change: Option<DeviceChange>) {
    if ends_before(&child, Instant::now() + KILL_GRACE, &[output]) {
        let _ = child.wait();
    } else if let Some(change) = change {
        // The next LVM command reports a child that continues.
        let _ = terminate(child, change);
    } else {
        let _ = end(child, None);
    }
}

/// Sends SIGTERM to a child that changes devices, and waits for its end for a while.
///
/// The child alone gets the signal, not its group: programs that LVM has started for a change end
/// with it.
///
/// # Errors
/// `StillRunning`: the child continues, and a thread waits for its end.
pub(super) fn terminate(mut child: Child, change: DeviceChange) -> Result<(), Error> {
    // Fails when the child has ended already, which is the goal.
    let _ = kill_process(Pid::from_child(&child), Signal::TERM);
    if ends_before(&child, Instant::now() + TERMINATION_GRACE, &[]) {
        let _ = child.wait();
        return Ok(());
    }
    let error = change.running().abandon();
    wait_in_background(child, change);
    Err(error)
}

/// Waits for a child's end on a thread of its own, which owns the change until then.
fn wait_in_background(child: Child, change: DeviceChange) {
    let child = Arc::new(Mutex::new(Some((child, change))));
    let wait = move || {
        let taken = child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((mut child, change)) = taken {
            let _ = child.wait();
            drop(change);
        }
    };
    // Without a thread the caller waits: the change must not be dropped before the child's end.
    if thread::Builder::new().spawn(wait.clone()).is_err() {
        wait();
    }
}

/// Kills the child and its whole group.
///
/// # Errors
/// `StillRunning` with a `change`: the child survives SIGKILL, as a process in D state does, and a
/// thread waits for its end.
pub(super) fn end(mut child: Child, change: Option<DeviceChange>) -> Result<(), Error> {
    let group = Pid::from_child(&child);
    for signal in [Signal::TERM, Signal::KILL] {
        // Fails when the group is gone already, which is the goal.
        let _ = kill_process_group(group, signal);
        ends_before(&child, Instant::now() + KILL_GRACE, &[]);
    }
    if ended(&child) {
        let _ = child.wait();
        return Ok(());
    }
    // In D state: a thread reaps it when the kernel releases it, if this process lives that long.
    if let Some(change) = change {
        let error = change.running().abandon();
        wait_in_background(child, change);
        return Err(error);
    }
    let _ = thread::Builder::new().spawn(move || child.wait());
    Ok(())
}

/// A pipe that a dedicated thread reads to its end.
pub(super) struct Pipe {
    captured: Arc<Mutex<Captured>>,
    /// Receives a message for each chunk read; disconnected at the end of the pipe.
    progress: Receiver<()>,
}

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    overflow: bool,
}

impl Pipe {
    pub(super) fn read(mut from: impl Read + Send + 'static, cap: usize) -> io::Result<Self> {
        let captured = Arc::new(Mutex::new(Captured::default()));
        let shared = Arc::clone(&captured);
        let (sender, progress) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            loop {
                let length = match from.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                let mut captured = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let space = cap.saturating_sub(captured.bytes.len()).min(length);
                captured.overflow |= space < length;
                captured.bytes.extend(chunk.iter().take(space));
                drop(captured);
                // Fails after the receiver is dropped: `take` still returns what was read.
                let _ = sender.send(());
            }
        })?;
        Ok(Self { captured, progress })
    }

    fn ends_before(&self, deadline: Instant) -> bool {
        loop {
            match self.more_before(deadline) {
                Ok(()) => {}
                Err(end) => return end == RecvTimeoutError::Disconnected,
            }
        }
    }

    /// Waits until more was read.
    pub(super) fn more_before(&self, deadline: Instant) -> Result<(), RecvTimeoutError> {
        self.progress
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
    }

    /// Returns the bytes read since the last call, and whether none were ever dropped.
    pub(super) fn take(&self) -> (Vec<u8>, bool) {
        let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut captured.bytes), !captured.overflow)
    }
}
