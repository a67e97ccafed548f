//! File systems on a device: probe, make, check and grow.
//!
//! Examines whether data may be overwritten: a device that is not positively blank is not blank.

mod blank;
mod fsck;
mod mkfs;
mod new_end;
mod probe;
mod resize;
mod size;
pub mod superblock;
mod zero_ends;

pub use fsck::fsck;
pub use mkfs::{MkfsRequest, mkfs};
pub use new_end::{is_write_refused, zero_behind_filesystem, zero_new_end};
pub use probe::{Content, Probe, examine, is_blank, probe};
pub use resize::{fills, resize};
pub use size::size;
pub use storage_model::{Filesystem, MkfsOptions};
pub use zero_ends::{NewBlocks, zero_ends};
