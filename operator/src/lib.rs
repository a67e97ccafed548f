//! FlexLVM's operator: the controller, which places volumes, and the agent, which manages LVM on
//! its node.
//!
//! In reading order:
//!
//! - [`controller`]: one active replica per cluster; [`agent`]: one per node.
//! - [`kube`]: what both roles need of Kubernetes in addition to its client.
//! - [`volume_record`]: the tag from which an Adoption makes the objects of a volume again.
//! - [`cli`]: the command line.
//! - [`metrics`]: the metrics of a role; [`http`]: the probes and the metrics.

pub mod agent;
pub mod cli;
pub mod controller;
pub mod http;
pub mod kube;
pub mod metrics;
pub mod volume_record;
