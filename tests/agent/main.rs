//! The agent against a real API server, with its own account's rights and simulated LVM: from
//! LogicalVolume objects to LVs and their removal, with failures at each step.

mod fixture;

// The life of a volume.
mod abandoned;
mod creation;
mod many_volumes;
mod metrics;
mod removal;

// What goes wrong.
mod failures;
mod faults;
mod hangs;
mod lagging_devices;
mod overwritten_status;

// The agent's node.
mod backends;
mod kubelet;
mod reports;

// What the API server lets the agent do.
mod account;
mod policy;
