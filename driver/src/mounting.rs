//! A volume is mounted: [`phases`] has the order of the steps. They find the folder
//! ([`target_dir`]) and what is on it already ([`existing_mount`]), decide by what the device
//! carries ([`plan`]) what has to be done first ([`prepare`], [`fsck`]), mount it beside other
//! devices with the same file system ([`duplicates`]), and have it grow ([`mod@grow`]).

pub(crate) mod duplicates;
pub(crate) mod existing_mount;
pub(crate) mod fsck;
pub(crate) mod grow;
pub(crate) mod phases;
pub(crate) mod plan;
pub(crate) mod prepare;
pub(crate) mod target_dir;
