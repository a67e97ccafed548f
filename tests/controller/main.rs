//! The controller against a real API server, with the rights of its own account: from claims to
//! volumes and back.

mod fixture;

// The life of a claim, and of a volume that existed before.
mod adoption;
mod drain;
mod growth;
mod health;
mod lost_node;
mod many_claims;
mod provisioning;
mod readiness_events;
mod rejection;
mod removal;
mod waiting;

// What admins configure.
mod backends;
mod definitions;
mod kinds;
mod rules;

// What the scheduler is given.
mod capacity;

// The controller as a process.
mod account;
mod lease;
mod master_key;
mod metrics;

// What admins recover from, and how volumes leave: the commands of the pages.
mod departure;
mod operations;
mod pages;

// What admins look with.
mod plugin;
