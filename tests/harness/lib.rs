//! What the tests and the demo stand on: a real API server, guests with real LVM, and a whole cluster of both.
//!
//! API tests: `ApiServer::shared().await` is one server per test program; `client()`, `client_of(namespace, account)`,
//! `kubectl(&[…])`, `start_controllers(&[])`; `namespace::create` keeps tests apart.

pub mod access;
pub mod apiserver;
pub mod isolation;
pub mod kubernetes;
pub mod namespace;
pub mod wait;
pub mod workplace;
