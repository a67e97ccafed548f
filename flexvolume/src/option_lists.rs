//! The mkfs and mount options that are allowed for each file system. The controller rejects a
//! StorageClass by them, and the driver a volume. Pure.
//!
//! [`mount`] and [`mkfs`] check and parse by the tables in `mount_table` and `mkfs_table`;
//! [`value`] is the grammar of an option's value; [`fsck_policy`] is the option `fsck`.

pub mod fsck_policy;
pub mod mkfs;
mod mkfs_table;
pub mod mount;
mod mount_table;
pub mod value;
