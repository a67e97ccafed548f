//! Chooses node, volume group and disks for a volume, or explains why none fits.
//!
//! Pure: no API server, no clock, no runtime, so that the controller and a command-line tool run
//! the same code.
//!
//! In reading order:
//!
//! - [`claim`], [`class`] and [`backend_limits`]: what a claim requests, or why it can't be served.
//! - [`request`]: a placement request, and the candidate nodes.
//! - [`reservations`]: space reserved on each volume group, disk and thin pool.
//! - [`allocation`]: space of one volume, the unit of those sums.
//! - [`filter`]: filters the nodes, independent of their free space.
//! - [`free_space`]: what may still be reserved on one node.
//! - [`fit`]: the space that a volume takes, or why it doesn't fit; with [`layout`] for LVM's
//!   arithmetic, [`pv_allocation`] for the disks and [`thin`] for thin pools.
//! - [`choose`]: the best of the nodes where it fits.
//! - [`growth`]: the same for an existing volume.
//! - [`largest`]: the largest volume that fits, for the scheduler.
//! - `volume_limit`: LVM's limit on the number of logical volumes.
//! - [`rejection`]: reasons why a node can't hold a volume.
//! - [`node_loss`]: whether the node of a volume is lost.

pub mod allocation;
pub mod backend_limits;
pub mod choose;
pub mod claim;
pub mod class;
pub mod filter;
pub mod fit;
pub mod free_space;
pub mod growth;
mod largest;
pub mod layout;
pub mod node_loss;
pub mod pv_allocation;
pub mod rejection;
pub mod request;
pub mod reservations;
pub mod thin;
mod volume_limit;
