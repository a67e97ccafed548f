//! The logical volume that a call-out is about: which one ([`identity`]), whether the options may
//! have it ([`authorize`], [`static_volume`]), its device on this node ([`context`]) or why there is
//! none ([`diagnose`]), and under which names it was attached ([`attachments`]).

pub(crate) mod attachments;
pub(crate) mod authorize;
pub(crate) mod context;
pub(crate) mod diagnose;
pub(crate) mod identity;
pub(crate) mod static_volume;
