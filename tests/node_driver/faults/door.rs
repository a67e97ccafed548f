//! The door to the host with one program behind it that goes wrong: the n-th that is started.

use std::sync::Mutex;

use host::{Cmd, Error, Exec, Output, System};

/// How a program goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails without doing anything.
    Fails,
    /// It is killed before it did anything.
    Killed,
    /// It hangs, as the real door says it when it has ended it.
    Hangs,
    /// It claims success, prints garbage, and has done nothing.
    Garbage,
    /// It claims success, prints nothing, and has done nothing.
    Silent,
    /// What blkid says when it finds nothing.
    Nothing,
    /// It does its work, and fails then.
    FailsAfterwards,
}

impl Fault {
    /// Those that this program can have. `fewer`: of those that the driver can't tell apart, one.
    pub(crate) fn of(program: &str, fewer: bool) -> Vec<Self> {
        let mut faults = vec![Self::Silent, Self::FailsAfterwards];
        if !fewer {
            faults.extend([Self::Fails, Self::Killed, Self::Hangs, Self::Garbage]);
        }
        faults.extend((program == "blkid").then_some(Self::Nothing));
        faults
    }

    /// Whether the program says that all went well, and did nothing: the driver may wait for what
    /// never comes.
    pub(crate) fn is_lie(self) -> bool {
        matches!(self, Self::Garbage | Self::Silent)
    }
}

/// The door.
pub(crate) struct Door {
    fault: Option<(usize, Fault)>,
    started: Mutex<Vec<&'static str>>,
}

impl Door {
    /// With a fault at the program of this number, or none.
    pub(crate) fn new(fault: Option<(usize, Fault)>) -> Self {
        Self {
            fault,
            started: Mutex::new(Vec::new()),
        }
    }

    /// The programs that were asked for.
    pub(crate) fn started(&self) -> Vec<&'static str> {
        self.started.lock().unwrap().clone()
    }
}

impl Exec for Door {
    fn exec(&self, cmd: &Cmd) -> Result<Output, Error> {
        let number = {
            let mut started = self.started.lock().unwrap();
            started.push(cmd.program());
            started.len() - 1
        };
        let really = || System::current().exec(cmd);
        let ended = |code, stdout: &str, stderr: &str| {
            Ok(Output {
                code,
                stdout: stdout.into(),
                stderr: stderr.into(),
            })
        };
        match self
            .fault
            .filter(|(at, _)| *at == number)
            .map(|(_, fault)| fault)
        {
            None => really(),
            Some(Fault::Fails) => ended(Some(1), "", "something went wrong"),
            Some(Fault::Killed) => ended(None, "", ""),
            Some(Fault::Hangs) => Err(Error::Deadline {
                command: cmd.line(),
                limit: cmd.limit(),
            }),
            Some(Fault::Garbage) => ended(Some(0), "\u{1}\u{2}{]garbage\n", ""),
            Some(Fault::Silent) => ended(Some(0), "", ""),
            Some(Fault::Nothing) => ended(Some(2), "", ""),
            Some(Fault::FailsAfterwards) => really().and_then(|_| ended(Some(1), "", "too late")),
        }
    }
}
