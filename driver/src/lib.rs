//! FlexLVM's FlexVolume driver: the call-outs that the kubelet makes. The part of the contract that
//! the controller and the agent share is in the crate `flexvolume`.
//!
//! In reading order:
//!
//! - [`callouts`]: arguments in, reply out; one file per call-out.
//! - `volume`: the logical volume of a call-out, its authorization, its device on this node.
//! - `mounting`: the steps of a mount: an existing mount, the file system, the mount itself.

pub mod callouts;
mod error;
mod mounting;
mod note;
mod volume;

pub use callouts::panic::catch_panics;
pub use callouts::reply::Reply;
pub use callouts::{Outcome, log, run};
pub use note::Note;
pub use volume::context::Node;
