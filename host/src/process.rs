//! The one door through which programs are started: a command is a value, and whoever runs it can
//! be replaced.
//!
//! [`cmd`] is what is run and by whom; [`system`] runs it on this machine, with [`child`] for a
//! program's whole life, [`secret`] for what it reads, [`session`] for one that is kept, and [`nsenter`] to run it as on the host.

mod child;
mod cmd;
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
