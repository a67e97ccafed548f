//! A program that is kept, and told one line after the other: starting it each time would cost more
//! than its work. Made by [`System`](crate::process::System).

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::child::{self, Pipe};

/// No answer is longer, however much the program has been told to say of its work.
const LONGEST: usize = 4 << 20;

/// A program that waits for its next line. It ends with this.
pub struct Session {
    /// `None` once it was seen off.
    child: Option<Child>,
    /// `None` once it was told that nothing more comes.
    input: Option<io::PipeWriter>,
    /// What it writes, to standard output and standard error.
    output: Pipe,
}

impl Session {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let ((stdin, input), (from, output)) = (io::pipe()?, io::pipe()?);
        let pipe = Pipe::read(from, LONGEST)?;
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
        })
    }

    /// Tells it one line, and waits until `understand` makes something of what it said since; what
    /// it said before that, is no answer.
    ///
    /// # Errors
    /// `TimedOut` when it has not said it by then, `UnexpectedEof` when it has ended, `InvalidData`
    /// when it says more and more. What it was told may have been done all the same; it can't be
    /// told anything else then.
    pub fn ask<T>(
        &mut self,
        line: &str,
        limit: Duration,
        understand: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<T> {
        let deadline = Instant::now() + limit;
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        drop(self.output.take());
        input.write_all(format!("{line}\n").as_bytes())?;
        let mut said = Vec::new();
        loop {
            let more = self.output.more_before(deadline);
            let (bytes, all) = self.output.take();
            said.extend(bytes);
            if let Some(answer) = understand(&said) {
                return Ok(answer);
            }
            match more {
                _ if !all || said.len() > LONGEST => return Err(io::ErrorKind::InvalidData.into()),
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }

    /// Ends it at once, with whatever it is doing.
    pub fn kill(mut self) {
        self.input = None;
        self.child.take().into_iter().for_each(child::end);
    }
}

impl Drop for Session {
    /// Nothing more comes: it has a second to end.
    fn drop(&mut self) {
        self.input = None;
        if let Some(child) = self.child.take() {
            child::reap(child, &self.output);
        }
    }
}
