//! The LogicalVolumes of this node.
//!
//! [`reconcile`] handles one of them at a time: it compares the spec ([`spec`]) with the node
//! ([`plan`], pure), acts step by step ([`execute`], with LVM and the volume's [`device`], held by
//! [`growing`] while LVM extends it; [`new_entry`] predicts LVM's report of a new volume), and writes
//! the outcome ([`outcome`]) to the status ([`status`], [`written_statuses`]). Steps that take
//! minutes are [`jobs`]. [`device_check`] finds devices that lag behind LVM's metadata.

pub mod device;
pub mod device_check;
pub mod device_io;
pub mod erasure;
pub mod execute;
pub mod growing;
pub mod jobs;
mod new_entry;
pub mod outcome;
pub mod plan;
pub mod reconcile;
pub mod spec;
pub mod status;
mod written_statuses;
