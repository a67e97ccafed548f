//! The controller: watches claims and turns them into LogicalVolumes and PersistentVolumes. Of
//! several, one works.
//!
//! In reading order:
//!
//! - [`state`]: local copies of all objects, and which volume a change of one concerns.
//! - [`worker`]: one pass over one volume, with everything that the API says about it.
//! - [`plan`]: its next step, as a pure function; [`claim`] and [`class`] read what it goes by.
//! - [`sizes`]: what claim, PersistentVolume and LogicalVolume say of a volume's size.
//! - [`act`]: the step is done; the crate `placement` says where, [`volume`] builds the objects.
//! - [`backend`]: the status of StorageBackends.
//! - [`capacity`]: free space for the scheduler.

pub mod act;
pub mod backend;
pub mod capacity;
pub mod claim;
pub mod class;
pub mod plan;
pub mod sizes;
pub mod state;
pub mod volume;
pub mod worker;

use kube::Client;

use crate::http::Ready;
use crate::kube::events::Recorder;
use crate::kube::queue::{self, WorkQueue};
use state::ClusterState;
use worker::Worker;

/// Volumes that are worked on at the same time.
const AT_ONCE: usize = 16;

/// What the controller is told on its command line.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    /// The name that this controller has among others: its pod's.
    pub identity: String,
    /// The namespace that it lives in: for the Lease, and for the capacity that it publishes.
    pub namespace: String,
    /// Whether the scheduler is told how full the nodes are, where the API server has the means.
    pub publish_capacity: bool,
}

/// Does the controller's work for ever: to be called once the lease is held, and dropped when it is
/// lost.
pub async fn run(client: Client, settings: &ControllerSettings, ready: Ready) {
    let (queue, requests) = WorkQueue::channel();
    let (state, follow) = ClusterState::watch(&client, queue);
    let recorder = Recorder::new(client.clone(), &settings.identity);
    let worker = Worker::new(client.clone(), state.clone(), recorder);
    let work = async {
        state.ready().await;
        ready.set(true);
        tokio::join!(
            queue::run(requests, AT_ONCE, |name| worker.work(name)),
            backend::run(client.clone(), state.clone()),
            capacity::run(
                client.clone(),
                state.clone(),
                &settings.namespace,
                settings.publish_capacity
            ),
        );
    };
    tokio::join!(follow, work);
}
