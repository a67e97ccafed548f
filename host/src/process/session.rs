//! A program that stays open and executes one line after the other.
//!
//! For programs whose start costs more than their work. Created by
//! [`System`](crate::process::System).

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::child::{self, Pipe};
use super::device_change::{DeviceChange, DeviceChanges};
use crate::error::Error;

/// Limit for the output of one line, in bytes.
const MAX_OUTPUT: usize = 4 << 20;

/// A running program that reads lines from its standard input. Dropping this ends it, but never in
/// the middle of a line: that may change devices.
pub struct Session {
    /// `None` once it was reaped.
    child: Option<Child>,
    /// `None` once its standard input was closed.
    input: Option<io::PipeWriter>,
    /// Its standard output and standard error.
    output: Pipe,
    changes: DeviceChanges,
    /// The line that the program executes.
    current: Option<DeviceChange>,
}

impl Session {
    pub(super) fn start(mut command: Command, changes: DeviceChanges) -> io::Result<Self> {
        let (stdin, input) = io::pipe()?;
        let (reader, output) = io::pipe()?;
        let pipe = Pipe::read(reader, MAX_OUTPUT)?;
        command
            .stdin(stdin)
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let child = command.spawn()?;
        Ok(Self {
            child: Some(child),
            input: Some(input),
            output: pipe,
            changes,
            current: None,
        })
    }

    /// Sends one line, and waits until `parse` accepts the output received since.
    ///
    /// Output from before the line is discarded: it belongs to no answer.
    ///
    /// # Errors
    /// `TimedOut` at the limit, `UnexpectedEof` when the program has ended, `InvalidData` when its
    /// output exceeds the limit. The program may have executed the line all the same; drop the
    /// session then. `ResourceBusy` while an earlier program changes devices beyond its time limit.
    pub fn send<T>(
        &mut self,
        line: &str,
        limit: Duration,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<T> {
        let deadline = Instant::now() + limit;
        if self.changes.refuse_while_abandoned().is_err() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.current = Some(self.changes.begin(line.to_owned()));
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        drop(self.output.take());
        input.write_all(format!("{line}\n").as_bytes())?;
        let mut received = Vec::new();
        loop {
            let more = self.output.more_before(deadline);
            let (bytes, complete) = self.output.take();
            received.extend(bytes);
            if let Some(answer) = parse(&received) {
                self.current = None;
                return Ok(answer);
            }
            match more {
                _ if !complete || received.len() > MAX_OUTPUT => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }

    /// Ends the program after a line that exceeded its time limit; never kills it.
    ///
    /// # Errors
    /// `StillRunning` when it continues.
    pub fn terminate(mut self) -> Result<(), Error> {
        self.input = None;
        match (self.child.take(), self.current.take()) {
            (Some(child), Some(current)) => child::terminate(child, current),
            (Some(child), None) => child::end(child, None),
            (None, _) => Ok(()),
        }
    }

    /// Kills the program at once, together with its current line, which must change nothing.
    pub fn kill(mut self) {
        self.input = None;
        if let Some(child) = self.child.take() {
            // Without a change it returns no error.
            let _ = child::end(child, None);
        }
    }
}

impl Drop for Session {
    /// Closes the program's standard input and gives it a second to end.
    fn drop(&mut self) {
        self.input = None;
        if let Some(child) = self.child.take() {
            child::reap(child, &self.output, self.current.take());
        }
    }
}
