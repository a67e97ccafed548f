//! FlexLVM's FlexVolume driver: the call-outs that the kubelet makes. The part of the contract that
//! the controller and the agent share is in the crate `flexvolume`.
//!
//! In reading order:
//!
//! - [`callouts`]: arguments in, reply out; one file per call-out or pair of call-outs.
//! - `volume`: the logical volume of a call-out, its authorization, its device on this node.
//! - `mounting`: the phases of a mount: an existing mount, the file system, the mount itself.
//! - `error` and [`note`](Note): why a call-out fails, and what it logs besides its reply.

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
