//! Where a volume goes: on which node, in which volume group, on which of its disks; and if nowhere,
//! why. Pure: no API server, no clock, no runtime, so that the controller and a command-line tool
//! decide by the same code.
//!
//! In reading order:
//!
//! - [`request`]: what is to be placed, and the nodes that could hold it.
//! - [`reservations`]: what is promised already, of each volume group, disk and thin pool.
//! - [`allocation`]: what one volume takes, the unit of that count.
//! - [`filter`]: which nodes come into question, whatever is free there.
//! - [`free_space`]: what may still be promised on one node.
//! - [`fit`]: what a volume takes of it, or why it doesn't fit; with [`layout`] for LVM's
//!   arithmetic, [`pv_allocation`] for the disks and [`thin`] for thin pools.
//! - [`choose`]: the best of the nodes where it fits.
//! - [`growth`]: the same for a volume that is there already.
//! - [`largest`]: the largest volume that would fit, for the scheduler.
//! - [`rejection`]: why a node is no place for a volume.

pub mod allocation;
pub mod choose;
pub mod filter;
pub mod fit;
pub mod free_space;
pub mod growth;
mod largest;
pub mod layout;
pub mod pv_allocation;
pub mod rejection;
pub mod request;
pub mod reservations;
pub mod thin;
