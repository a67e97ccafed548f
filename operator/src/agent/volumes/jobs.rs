//! Jobs: steps on a logical volume that take minutes, such as overwriting a terabyte with zeros.
//!
//! A job works in portions of some seconds, each durable before the volume's own cursor
//! ([`host::job_cursor`]) records it. So an agent that was killed at any point resumes where the
//! cursor is. A job has the device open exclusively from its first to its last portion, on a thread
//! of its own: it never holds the lock for LVM, and a device that hangs blocks its job only.
//!
//! The reconcile of the volume is in control. It runs LVM's commands before and after the job as
//! ordinary steps (activate, remove), and while the volume's spec requires the job, each pass calls
//! [`JobRunner::ensure`](runner::JobRunner::ensure) and publishes what it returns as the condition
//! `Progressing`. Nothing else keeps a job alive: intent and request are in the API.
//!
//! - [`job`]: a job as a value, its state and its errors. Pure.
//! - [`plan`]: the next step of a job, and which jobs may start. Pure.
//! - [`progress`]: the state as a condition. Pure.
//! - [`device`]: the interface to the devices.
//! - [`run`]: runs one job to its end.
//! - [`runner`]: starts, observes and stops the jobs of the node.

pub mod device;
pub mod job;
pub mod plan;
pub mod progress;
mod run;
pub mod runner;

#[cfg(test)]
mod tests;
