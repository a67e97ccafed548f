//! FlexLVM's operator: the controller, which decides, and the agent, which carries out what
//! concerns its node.
//!
//! In reading order:
//!
//! - [`controller`]: one of several works; [`agent`]: one on each node.
//! - [`kube`]: what both need of Kubernetes beside its client.
//! - [`http`]: the probes.

pub mod agent;
pub mod controller;
pub mod http;
pub mod kube;
