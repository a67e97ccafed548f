//! Jobs on regular files, which take the place of devices.

mod crash;
mod files;
mod plan;
mod progress;
mod side_by_side;
