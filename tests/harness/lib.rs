//! What the tests and the demo stand on: a real API server, guests with real LVM, and a whole cluster of both.
//!
//! API tests: `ApiServer::shared().await` is one server per test program; `client()`, `client_of(namespace, account)`,
//! `kubectl(&[…])`, `start_controllers(&[])`; `namespace::create` keeps tests apart.
//!
//! Tests in a guest: `cargo build -p tests --bin in-guest`, then `in-guest [--disks MIB,MIB…] [--memory MIB] PROGRAM …` runs
//! any program of the host in a fresh guest. As cargo's runner it does so for a whole `cargo test`.

pub mod access;
pub mod apiserver;
pub mod audit;
pub mod cluster;
pub mod guest;
pub mod isolation;
pub mod kubernetes;
pub mod namespace;
pub mod network;
mod node;
pub mod remote;
pub mod simulated;
pub mod suite;
pub mod wait;
pub mod workplace;

pub use isolation::main;
