//! What the node has: its NodeStorage is built ([`build`], pure), published ([`publish`]) and
//! published again if it is deleted ([`deleted`]). [`cache_disks`] finds out which disks are for
//! caches.

pub mod build;
pub mod cache_disks;
pub mod deleted;
pub mod publish;
