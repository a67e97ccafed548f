//! FlexLVM's operator: the controller, which decides, and the agent, which carries out what
//! concerns its node.

pub mod agent;
pub mod controller;
pub mod error;
pub mod events;
pub mod http;
pub mod lease;
pub mod mirror;
pub mod names;
pub mod queue;
pub mod retry;
