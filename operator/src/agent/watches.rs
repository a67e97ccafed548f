//! The agent's watches: objects of the API ([`logical_volumes`], [`backends`]), and changes of the
//! node's folders ([`folders`]) and mounts ([`mounts`]).

pub mod backends;
pub mod folders;
pub mod logical_volumes;
pub mod mounts;
