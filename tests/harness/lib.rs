//! Shared infrastructure of the tests and the demo: a real API server, guests with real LVM, and a
//! cluster of both.
//!
//! - API tests: `ApiServer::shared().await` is one server per test program; `namespace::create`
//!   separates tests.
//! - In a guest: `in-guest [--disks MIB,…] PROGRAM …` runs any program of the host, and is a
//!   runner for cargo. A test program that starts guests itself uses [`main`] or
//!   `suite::isolated` as its main function, and `Guest`.
//! - On a cluster: the same, with `Cluster::start`.

pub mod access;
pub mod agents;
pub mod apiserver;
pub mod audit;
pub mod cluster;
pub mod dump;
pub mod guest;
pub mod helm;
pub mod installation;
pub mod isolation;
pub mod kubernetes;
pub mod md;
pub mod namespace;
pub mod network;
mod node;
pub mod prometheus;
pub mod remote;
pub mod scrape;
pub mod simulated;
pub mod site;
pub mod suite;
pub mod wait;
pub mod workplace;

pub use isolation::main;
