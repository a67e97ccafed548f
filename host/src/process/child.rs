//! One child process from start to end, in bounded time whatever it does.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::{Cmd, Output, Secret};
use crate::error::Error;

/// More than any report of thousands of volumes; a program that says more is out of its mind.
const STDOUT_CAP: usize = 32 << 20;
/// What is kept of stderr; the rest is read and dropped.
const STDERR_CAP: usize = 64 << 10;
/// How long a pipe that somebody else holds open is read after the child has ended.
const STRAGGLERS: Duration = Duration::from_millis(500);
/// How much longer than its limit all may take: both signals, the stragglers, and some time to
/// start.
pub(super) const LONGEST_END: Duration = Duration::from_secs(10);
/// How long the child has between SIGTERM and SIGKILL, and after SIGKILL (in D state it doesn't
/// die).
const DYING: Duration = Duration::from_secs(1);

/// Starts `command` in a process group of its own and runs it to its end.
pub(super) fn run(mut command: Command, cmd: &Cmd) -> Result<Output, Error> {
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
        end(child);
        return Err(Error::Deadline {
            command: cmd.line(),
            limit: cmd.limit(),
        });
    }
    let last = Instant::now() + STRAGGLERS;
    stdout.ends_before(last);
    stderr.ends_before(last);
    let status = child.wait().map_err(not_started)?;
    let (stdout, all) = stdout.take();
    if !all {
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

/// Writes a secret into a child's standard input, on a thread of its own: a child that reads nothing
/// must not block the caller.
fn feed(secret: Secret, mut stdin: ChildStdin) -> io::Result<()> {
    let write = move || {
        // Fails if the child ends without having read everything, which is its own choice.
        let _ = stdin.write_all(secret.expose());
    };
    thread::Builder::new().spawn(write).map(drop)
}

/// Waits until the child has ended, without reaping it: as long as it is not reaped, its process
/// group is its own.
fn ends_before(child: &Child, deadline: Instant, pipes: &[&Pipe]) -> bool {
    loop {
        if ended(child) {
            return true;
        }
        let now = Instant::now();
        if now >= deadline {
            return false;
        }
        // The end of both pipes is nearly always the end of the child, and wakes us at once.
        let slice = deadline.min(now + Duration::from_millis(20));
        if pipes.iter().all(|pipe| pipe.ends_before(slice)) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    // An error can only mean that there is no such child any more.
    waitid(WaitId::Pid(Pid::from_child(child)), options).map_or(true, |status| status.is_some())
}

/// Waits for a child that was told to end; one that does not is ended like any other.
pub(super) fn reap(mut child: Child, output: &Pipe) {
    if ends_before(&child, Instant::now() + DYING, &[output]) {
        let _ = child.wait();
    } else {
        end(child);
    }
}

/// Ends the child and its whole group; gives up on what not even SIGKILL ends.
pub(super) fn end(mut child: Child) {
    let group = Pid::from_child(&child);
    for signal in [Signal::TERM, Signal::KILL] {
        // Fails when all are gone already: as wanted.
        let _ = kill_process_group(group, signal);
        ends_before(&child, Instant::now() + DYING, &[]);
    }
    if ended(&child) {
        let _ = child.wait();
    } else {
        // In D state. Whoever lives long enough reaps it when the kernel lets go of it.
        let _ = thread::Builder::new().spawn(move || child.wait());
    }
}

/// A pipe that is read to its end on a thread of its own.
pub(super) struct Pipe {
    kept: Arc<Mutex<Captured>>,
    /// Hears of whatever was read, and of the end.
    news: Receiver<()>,
}

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    overflow: bool,
}

impl Pipe {
    pub(super) fn read(mut from: impl Read + Send + 'static, cap: usize) -> io::Result<Self> {
        let kept = Arc::new(Mutex::new(Captured::default()));
        let shared = Arc::clone(&kept);
        let (sender, news) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            loop {
                let length = match from.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let room = cap.saturating_sub(kept.bytes.len()).min(length);
                kept.overflow |= room < length;
                kept.bytes.extend(chunk.iter().take(room));
                drop(kept);
                // Whoever does not listen any more takes what there is later.
                let _ = sender.send(());
            }
        })?;
        Ok(Self { kept, news })
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
        self.news
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
    }

    /// What was read since the last time, and whether nothing was ever dropped.
    pub(super) fn take(&self) -> (Vec<u8>, bool) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut kept.bytes), !kept.overflow)
    }
}
