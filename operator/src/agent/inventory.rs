//! The node's storage: builds its NodeStorage ([`build`], pure), publishes it ([`publish`]) and
//! publishes it again after its deletion ([`deleted`]). [`cache_disks`] finds the disks for caches,
//! [`disk_paths`] stable paths of all disks, [`audit`] what deviates from the LogicalVolumes,
//! `metadata_area` the groups whose metadata area is full.

pub mod audit;
pub mod build;
pub mod cache_disks;
pub mod deleted;
pub mod disk_paths;
mod metadata_area;
pub mod publish;
