//! The only module that starts programs. A command is a value, and tests can replace its runner.
//!
//! [`cmd`] defines commands, outputs and runners; [`system`] runs commands on this machine, with
//! [`child`] for the life of one process, [`device_change`] for those that are never killed,
//! [`secret`] for its input, [`session`] for a process that stays open for several commands, and
//! [`nsenter`] to run in the host's namespaces.

mod child;
mod cmd;
mod device_change;
#[expect(
    clippy::disallowed_methods,
    reason = "the rule is about every place but this"
)]
mod nsenter;
mod secret;
mod session;
mod system;

pub use cmd::{Cmd, Exec, Output, TIMEOUT};
pub use secret::Secret;
pub use session::Session;
pub use system::System;
