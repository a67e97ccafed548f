//! What the agent knows of the node's LVM ([`state`]), and when it has to ask again because another
//! program changed something ([`watch`]).

pub mod state;
pub mod watch;
