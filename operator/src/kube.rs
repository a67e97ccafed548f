//! What controller and agent need of Kubernetes beside its client: a local copy of a kind of object
//! ([`watch_cache`]), a work queue ([`queue`]), waiting after a failure ([`backoff`]), [`events`],
//! leader election ([`lease`]), [`error`] for a failed call, and the [`names`] of others that are
//! read and written.

pub mod backoff;
pub mod error;
pub mod events;
pub mod lease;
pub mod names;
pub mod queue;
pub mod watch_cache;
