//! Volumes that are made in a row by one and the same LVM: a third of what `lvcreate` takes is its
//! start. The first of a row is made like everything else; for those that follow closely, LVM's
//! shell is kept until nothing comes for a while.
//!
//! The shell is spoken with as lvmdbusd does it, see lvmreport(7): one line, and a JSON object with
//! its status. Only success is taken from it. After anything else the shell is let go, since it may
//! remember what is no longer so, and the command is run by itself: that counts. Nothing that
//! removes anything goes this way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use serde::Deserialize;

use crate::error::Error;
use crate::process::{Cmd, Exec, Output, Session};

/// What follows within this time belongs to the row; the shell ends after one to two of it.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the shell may take to start.
const START: Duration = Duration::from_secs(5);

/// The profile comes with LVM itself; no history is kept, and no key has another meaning.
const VARIABLES: &[(&str, &str)] = &[
    ("LVM_COMMAND_PROFILE", "lvmdbusd"),
    ("HOME", "/dev/null"),
    ("INPUTRC", "/dev/null"),
];

/// LVM's shell takes no more words.
const MOST_WORDS: usize = 60;

/// Runs programs, and keeps LVM's shell while volumes are made in a row.
pub struct LvmShell<E> {
    programs: E,
    shell_state: Arc<Mutex<ShellState>>,
}

#[derive(Default)]
struct ShellState {
    last: Option<Instant>,
    shell: Option<Session>,
    /// LVM has no shell here, none that can be understood, or one that takes too long to start.
    is_out: bool,
}

/// What became of a command that might have gone through the shell.
enum ShellOutcome {
    Done,
    NotDone,
    Late,
}

impl<E: Exec> LvmShell<E> {
    /// Has `programs` run them.
    #[must_use]
    pub fn new(programs: E) -> Self {
        Self {
            programs,
            shell_state: Arc::default(),
        }
    }

    /// Has the shell do it, if it belongs to a row.
    fn through_the_shell(&self, shell_state: &mut ShellState, cmd: &Cmd) -> ShellOutcome {
        let follows = shell_state.last.is_some_and(|last| last.elapsed() <= PAUSE);
        let Some(line) = line(cmd).filter(|_| follows && !shell_state.is_out) else {
            return ShellOutcome::NotDone;
        };
        let Some(mut shell) = shell_state.shell.take().or_else(|| self.open()) else {
            shell_state.is_out = true;
            return ShellOutcome::NotDone;
        };
        match shell.ask(&line, cmd.limit(), status) {
            Ok(true) => {
                shell_state.shell = Some(shell);
                ShellOutcome::Done
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                shell.kill();
                ShellOutcome::Late
            }
            Ok(false) | Err(_) => ShellOutcome::NotDone,
        }
    }

    /// Starts the shell, and sees to it that it ends. It has to say how one harmless command went
    /// before it is told more.
    fn open(&self) -> Option<Session> {
        let mut shell = self
            .programs
            .spawn_session(&Cmd::new("lvm"), VARIABLES)
            .ok()?;
        if !matches!(shell.ask("version", START, status), Ok(true)) {
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
        if !makes_a_volume(cmd) {
            return self.programs.exec(cmd);
        }
        let mut shell_state = lock(&self.shell_state);
        let done = match self.through_the_shell(&mut shell_state, cmd) {
            ShellOutcome::Done => Ok(Output {
                code: Some(0),
                ..Output::default()
            }),
            ShellOutcome::NotDone => self.programs.exec(cmd),
            ShellOutcome::Late => Err(Error::Deadline {
                command: cmd.line(),
                limit: cmd.limit(),
            }),
        };
        shell_state.last = Some(Instant::now());
        done
    }

    fn has(&self, program: &str) -> bool {
        self.programs.has(program)
    }
}

/// Only what agrees to every question beforehand: the shell would wait for an answer.
fn makes_a_volume(cmd: &Cmd) -> bool {
    let is = |index, word| {
        cmd.arguments()
            .get(index)
            .is_some_and(|argument: &String| argument == word)
    };
    cmd.program() == "lvm" && is(0, "lvcreate") && is(1, "--yes")
}

/// The command as a line of the shell; `None` where that might read it in another way.
fn line(cmd: &Cmd) -> Option<String> {
    let is_plain = |word: &String| {
        // A comment, quotes, and what an editor of lines may give a meaning.
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"#'\"\\".contains(&byte))
    };
    // Settings of one command have LVM read its own configuration anew.
    let is_short = cmd.arguments().len() < MOST_WORDS
        && !cmd
            .arguments()
            .iter()
            .any(|word| word.starts_with("--config"));
    (is_short && cmd.arguments().iter().all(is_plain)).then(|| cmd.arguments().join(" "))
}

/// Whether the command was done, once the shell has said all of it; what can't be understood says
/// no.
fn status(said: &[u8]) -> Option<bool> {
    #[derive(Deserialize)]
    struct Report {
        log: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        log_type: String,
        log_ret_code: String,
    }
    // Around it there may be prompts, and the line itself.
    let said = String::from_utf8_lossy(said);
    let report = said.get(said.find("{\n")?..)?;
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
        thread::sleep(PAUSE);
        let mut shell_state = lock(shell_state);
        if shell_state.last.is_none_or(|last| last.elapsed() > PAUSE) {
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
