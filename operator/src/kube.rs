//! What controller and agent need of Kubernetes in addition to its client: watch caches
//! ([`watch_cache`]), a work queue ([`queue`]), waiting after a failure ([`backoff`]), [`events`],
//! leader election ([`lease`]), [`error`] for a failed request, and the [`names`] of Kubernetes'
//! own labels, annotations and finalizers.

pub mod backoff;
pub mod error;
pub mod events;
pub mod lease;
pub mod names;
pub mod queue;
pub mod watch_cache;
