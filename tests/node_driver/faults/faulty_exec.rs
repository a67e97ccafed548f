//! An `Exec` that breaks one program: the n-th that the driver starts.

use std::sync::Mutex;

use host::{Cmd, Error, Exec, Output, System};

/// A way in which a program fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Exits with an error, without an effect.
    Fails,
    /// Is killed before it has an effect.
    Killed,
    /// Hangs until its time limit, with the error of the real `Exec`.
    Hangs,
    /// Reports success with garbage on stdout, without an effect.
    Garbage,
    /// Reports success with empty output, without an effect.
    Silent,
    /// The exit status of blkid when it finds nothing.
    Nothing,
    /// Does its work, and exits with an error.
    FailsAfterwards,
}

impl Fault {
    /// Returns the faults that this program can have.
    ///
    /// With `fewer`, only one of those that the driver cannot distinguish.
    pub(crate) fn of(program: &str, fewer: bool) -> Vec<Self> {
        let mut faults = vec![Self::Silent, Self::FailsAfterwards];
        if !fewer {
            faults.extend([Self::Fails, Self::Killed, Self::Hangs, Self::Garbage]);
        }
        faults.extend((program == "blkid").then_some(Self::Nothing));
        faults
    }

    /// Returns true if the program falsely reports success: the driver may wait for an effect until
    /// its time limit.
    pub(crate) fn reports_false_success(self) -> bool {
        matches!(self, Self::Garbage | Self::Silent)
    }
}

/// The fault-injecting `Exec`.
pub(crate) struct FaultyExec {
    fault: Option<(usize, Fault)>,
    started: Mutex<Vec<&'static str>>,
}

impl FaultyExec {
    /// Creates an `Exec` with a fault at the program of this number, or without a fault.
    pub(crate) fn new(fault: Option<(usize, Fault)>) -> Self {
        Self {
            fault,
            started: Mutex::new(Vec::new()),
        }
    }

    /// Returns the programs that the driver started.
    pub(crate) fn started(&self) -> Vec<&'static str> {
        self.started.lock().unwrap().clone()
    }
}

impl Exec for FaultyExec {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        let number = {
            let mut started = self.started.lock().unwrap();
            started.push(cmd.program());
            started.len() - 1
        };
        match self
            .fault
            .filter(|(at, _)| *at == number)
            .map(|(_, fault)| fault)
        {
            None => System::current().exec(cmd),
            Some(Fault::Fails) => Ok(ended(Some(1), "", "something went wrong")),
            Some(Fault::Killed) => Ok(ended(None, "", "")),
            Some(Fault::Hangs) => Err(Error::Deadline {
                command: cmd.line(),
                limit: cmd.limit(),
            }),
            Some(Fault::Garbage) => Ok(ended(Some(0), "\u{1}\u{2}{]garbage\n", "")),
            Some(Fault::Silent) => Ok(ended(Some(0), "", "")),
            Some(Fault::Nothing) => Ok(ended(Some(2), "", "")),
            Some(Fault::FailsAfterwards) => System::current()
                .exec(cmd)
                .map(|_| ended(Some(1), "", "too late")),
        }
    }
}

fn ended(code: Option<i32>, stdout: &str, stderr: &str) -> Output {
    Output {
        code,
        stdout: stdout.into(),
        stderr: stderr.into(),
    }
}
