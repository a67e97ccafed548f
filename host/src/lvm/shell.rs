//! Reuses one `lvm` shell process for consecutive lvcreates; process start-up is a third of
//! lvcreate's time.
//!
//! The first lvcreate runs in a process of its own; for those that follow closely, an LVM shell is
//! started and stays open until it is idle.
//!
//! Communicates with the shell as lvmdbusd does, see lvmreport(7): one line in, one JSON object
//! with a status out. Only success is accepted from it. After any other result the shell is
//! dropped, since its caches may be stale, and the command runs again in a process of its own,
//! whose result counts. Commands that remove anything never go through the shell. A shell is never
//! killed in the middle of a command.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use serde::Deserialize;

use crate::error::Error;
use crate::process::{Cmd, Exec, Output, Session};

/// Minimum of [`LastCommand::max_pause`], and the interval at which an idle shell is looked for.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Maximum pause between consecutive commands, in durations of the first of both: on a slow or
/// busy machine the agent's work between two commands takes longer, too.
const MAX_PAUSE_IN_COMMANDS: u32 = 10;

/// Duration beyond which a command has waited for a lock or a disk: it does not show the machine's
/// speed, and would keep the shell open for minutes.
const LONGEST_COMMAND: Duration = Duration::from_secs(10);

/// Time limit for the start of the shell. It runs no command that waits for a lock or a disk, so only
/// a busy machine makes it slow.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Time without a shell after a start that failed: LVM may have been built without one.
const RETRY_START_AFTER: Duration = Duration::from_mins(10);

/// LVM itself ships the profile; no history file, no key bindings.
const VARIABLES: &[(&str, &str)] = &[
    ("LVM_COMMAND_PROFILE", "lvmdbusd"),
    ("HOME", "/dev/null"),
    ("INPUTRC", "/dev/null"),
];

/// Maximum number of arguments that LVM's shell accepts.
const MAX_ARGUMENTS: usize = 60;

/// Runs programs, and reuses an LVM shell for consecutive lvcreates.
pub struct LvmShell<E> {
    programs: E,
    shell_state: Arc<Mutex<ShellState>>,
}

#[derive(Default)]
struct ShellState {
    last_command: Option<LastCommand>,
    shell: Option<Session>,
    /// When a start failed: LVM has no shell here, its output can't be parsed, or the time limit was
    /// exceeded.
    failed_start: Option<Instant>,
}

impl ShellState {
    fn may_use_shell(&self) -> bool {
        let follows = self.last_command.is_some_and(LastCommand::is_recent);
        let may_start = self
            .failed_start
            .is_none_or(|at| at.elapsed() >= RETRY_START_AFTER);
        follows && (self.shell.is_some() || may_start)
    }
}

/// The last lvcreate, in the shell or in a process of its own.
#[derive(Clone, Copy)]
struct LastCommand {
    end: Instant,
    duration: Duration,
}

impl LastCommand {
    /// Returns whether a command that starts now follows closely.
    fn is_recent(self) -> bool {
        self.end.elapsed() <= self.max_pause()
    }

    fn max_pause(self) -> Duration {
        if self.duration > LONGEST_COMMAND {
            return MAX_PAUSE;
        }
        MAX_PAUSE.max(self.duration * MAX_PAUSE_IN_COMMANDS)
    }
}

/// The outcome of a command that may go through the shell.
enum ShellOutcome {
    Done,
    NotDone,
    /// It exceeded its time limit.
    Late(Error),
}

impl<E: Exec> LvmShell<E> {
    /// Creates a runner that delegates to `programs`.
    #[must_use]
    pub fn new(programs: E) -> Self {
        Self {
            programs,
            shell_state: Arc::default(),
        }
    }

    /// Runs the command in the shell, if it follows another one closely.
    fn try_shell(&self, shell_state: &mut ShellState, cmd: &Cmd) -> ShellOutcome {
        let Some(line) = line(cmd).filter(|_| shell_state.may_use_shell()) else {
            return ShellOutcome::NotDone;
        };
        let Some(mut shell) = shell_state.shell.take().or_else(|| self.open()) else {
            shell_state.failed_start = Some(Instant::now());
            return ShellOutcome::NotDone;
        };
        match shell.send(&line, cmd.limit(), status) {
            Ok(true) => {
                shell_state.shell = Some(shell);
                ShellOutcome::Done
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let deadline = Error::Deadline {
                    command: cmd.line(),
                    limit: cmd.limit(),
                };
                ShellOutcome::Late(shell.terminate().err().unwrap_or(deadline))
            }
            Ok(false) | Err(_) => ShellOutcome::NotDone,
        }
    }

    /// Starts the shell and the thread that closes it.
    ///
    /// The shell must report success for one harmless command first.
    fn open(&self) -> Option<Session> {
        let mut shell = self
            .programs
            .spawn_session(&Cmd::new("lvm"), VARIABLES)
            .ok()?;
        if !matches!(shell.send("version", START_LIMIT, status), Ok(true)) {
            shell.kill();
            return None;
        }
        let shell_state = self.shell_state.clone();
        thread::Builder::new()
            .spawn(move || close_when_idle(&shell_state))
            .ok()?;
        Some(shell)
    }
}

impl<E: Exec> Exec for LvmShell<E> {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        if !is_lvcreate(cmd) {
            return self.programs.exec(cmd);
        }
        let mut shell_state = lock(&self.shell_state);
        let start = Instant::now();
        let done = match self.try_shell(&mut shell_state, cmd) {
            ShellOutcome::Done => Ok(Output {
                code: Some(0),
                ..Output::default()
            }),
            ShellOutcome::NotDone => self.programs.exec(cmd),
            ShellOutcome::Late(error) => Err(error),
        };
        let end = Instant::now();
        shell_state.last_command = Some(LastCommand {
            end,
            duration: end - start,
        });
        done
    }

    fn is_lvm_blocked(&self) -> bool {
        self.programs.is_lvm_blocked()
    }

    fn has(&self, program: &str) -> bool {
        self.programs.has(program)
    }
}

/// Accepts only commands that confirm all prompts in advance: the shell would wait for input.
fn is_lvcreate(cmd: &Cmd) -> bool {
    let is = |index, word| {
        cmd.arguments()
            .get(index)
            .is_some_and(|argument: &String| argument == word)
    };
    cmd.program() == "lvm" && is(0, "lvcreate") && is(1, "--yes")
}

/// Formats the command as a shell line; `None` if the shell might parse it differently.
fn line(cmd: &Cmd) -> Option<String> {
    // `--config` makes LVM read its whole configuration again.
    let is_short = cmd.arguments().len() < MAX_ARGUMENTS
        && !cmd
            .arguments()
            .iter()
            .any(|word| word.starts_with("--config"));
    let is_plain = cmd.arguments().iter().all(|argument| is_plain(argument));
    if is_short && is_plain {
        Some(cmd.arguments().join(" "))
    } else {
        None
    }
}

/// Returns whether the shell passes an argument on unchanged.
fn is_plain(argument: &str) -> bool {
    // Comments, quotes, and characters that line editors may interpret.
    !argument.is_empty()
        && argument
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"#'\"\\".contains(&byte))
}

/// Parses the command's status; `None` while the output is incomplete.
///
/// Malformed output counts as a failure.
fn status(output: &[u8]) -> Option<bool> {
    #[derive(Deserialize)]
    struct Report {
        log: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        log_type: String,
        log_ret_code: String,
    }
    // The output may also contain prompts, and the echoed line.
    let output = String::from_utf8_lossy(output);
    let report = output.get(output.find("{\n")?..)?;
    let report: Report = match serde_json::Deserializer::from_str(report)
        .into_iter()
        .next()?
    {
        Ok(report) => report,
        Err(error) if error.is_eof() => return None,
        Err(_) => return Some(false),
    };
    let status = report.log.iter().rfind(|entry| entry.log_type == "status");
    Some(status.is_some_and(|status| status.log_ret_code == "1"))
}

fn close_when_idle(shell_state: &Mutex<ShellState>) {
    loop {
        thread::sleep(MAX_PAUSE);
        let mut shell_state = lock(shell_state);
        if !shell_state.last_command.is_some_and(LastCommand::is_recent) {
            let shell = shell_state.shell.take();
            drop(shell_state);
            drop(shell);
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
