//! The agent's copy of the node's LVM report ([`state`]), refreshed when another program changes
//! LVM ([`watch`]).

pub mod state;
pub mod watch;
