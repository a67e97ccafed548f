//! The agent's copy of the node's LVM report ([`state`]), refreshed when another program changes
//! LVM ([`watch`]), and the volume groups whose metadata went back to an older state ([`rollback`]).
//! [`activity`] records what runs, and [`hang`] decides whether it hangs. [`measured`] and [`waits`]
//! measure commands, and the waits for the lock.

pub mod activity;
pub mod hang;
pub mod measured;
mod observe;
pub mod record;
pub mod report;
pub mod rollback;
pub mod state;
pub mod waits;
pub mod watch;

pub use observe::EvidencePaths;
