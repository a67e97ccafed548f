//! FlexLVM's FlexVolume driver: the call-outs that the kubelet makes. What the controller and the
//! agent have to know of them is in the crate `flexvolume`.
//!
//! In reading order:
//!
//! - [`callouts`]: arguments in, reply out; one file per call-out.
//! - `volume`: which logical volume is meant, whether it may be used, its device on this node.
//! - `mounting`: the steps of a mount: what is mounted already, the file system, the mount itself.

pub mod callouts;
mod error;
mod mounting;
mod volume;

pub use callouts::panic::catch_panics;
pub use callouts::reply::Reply;
pub use callouts::{log, run};
pub use volume::context::Node;
