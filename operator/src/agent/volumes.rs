//! The LogicalVolumes of this node.
//!
//! [`reconcile`] takes one of them at a time: what it asks for ([`spec`]) is compared with what is
//! on the node ([`plan`], pure), done step by step ([`execute`], with LVM and the volume's
//! [`device`]), and what came of it ([`outcome`]) is reported ([`status`]).

pub mod device;
pub mod execute;
pub mod outcome;
pub mod plan;
pub mod reconcile;
pub mod spec;
pub mod status;
