//! The logical volume of a call-out: which one it is ([`identity`]), whether the options authorize
//! its use ([`authorize`], [`static_volume`]), its device on this node ([`context`]), the diagnosis
//! of a missing device ([`diagnose`]), and the names under which it is attached ([`attachments`]).

pub(crate) mod attachments;
pub(crate) mod authorize;
pub(crate) mod context;
pub(crate) mod diagnose;
pub(crate) mod identity;
pub(crate) mod static_volume;
