//! Mounting a volume: [`phases`] has the order of the steps. They open the target folder
//! ([`target_dir`]) and examine an existing mount ([`existing_mount`]), decide by the device's
//! content ([`plan`]) how to prepare it ([`prepare`], [`fsck`]), mount it in spite of other devices
//! with the same file system ([`duplicates`]), and resize it ([`mod@grow`]).

pub(crate) mod duplicates;
pub(crate) mod existing_mount;
pub(crate) mod fsck;
pub(crate) mod grow;
pub(crate) mod phases;
pub(crate) mod plan;
pub(crate) mod prepare;
pub(crate) mod target_dir;
