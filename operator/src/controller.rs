//! The controller: watches claims and creates LogicalVolumes and PersistentVolumes for them. Of
//! several controllers, only the leader works.
//!
//! In reading order:
//!
//! - [`state`]: watch caches of all objects, and which volume a change of one affects.
//! - [`master_key`]: the secret from which the keys of volumes are derived.
//! - [`worker`]: reconciles one volume from its observed objects.
//! - [`plan`]: a volume's next step, as a pure function; `placement::claim` and `placement::class`
//!   read its input.
//! - [`sizes`]: a volume's size according to claim, PersistentVolume and LogicalVolume.
//! - [`act`]: carries out the step; the crate `placement` chooses the node, [`volume`] builds the
//!   objects.
//! - [`drain`]: releases claims of pods that were evicted from a cordoned node.
//! - [`adoption`]: makes the objects of existing logical volumes that an admin names.
//! - [`backend`]: the status of StorageBackends.
//! - [`readiness_events`]: Events on StorageBackends and NodeStorages.
//! - [`capacity`]: free space for the scheduler.
//! - [`metrics`]: the series that the controller exposes.

pub mod act;
pub mod adoption;
pub mod backend;
pub mod capacity;
pub mod drain;
pub mod master_key;
pub mod metrics;
pub mod plan;
pub mod readiness_events;
pub mod sizes;
pub mod state;
pub mod volume;
pub mod worker;

use std::sync::Arc;

use kube::Client;

use crate::http::Endpoint;
use crate::kube::events::Recorder;
use crate::kube::queue::{self, WorkQueue};
use state::ClusterState;
use worker::Worker;

/// Number of volumes that are reconciled concurrently.
const AT_ONCE: usize = 16;

/// The controller's command line settings.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    /// The controller's identity in leader election: the name of its pod.
    pub identity: String,
    /// The controller's namespace, for the Lease, the master key and the published capacity.
    pub namespace: String,
    /// Whether to publish free capacity to the scheduler, if the API server supports that.
    pub publish_capacity: bool,
}

/// Runs the controller. Call it once the Lease is held, and drop the future when it is lost.
pub async fn run(client: Client, settings: &ControllerSettings, endpoint: Endpoint) {
    let (queue, requests) = WorkQueue::channel();
    let (state, follow) = ClusterState::watch(&client, queue);
    let recorder = Arc::new(Recorder::new(client.clone(), &settings.identity));
    metrics::register(&endpoint.metrics, &state, &recorder.counts());
    let worker = Worker::new(client.clone(), state.clone(), recorder.clone());
    let work = async {
        state.ready(&client).await;
        endpoint.ready.set(true);
        tokio::join!(
            queue::run(requests, state.queue_statistics(), AT_ONCE, |name| worker
                .work(name)),
            backend::run(client.clone(), state.clone()),
            Box::pin(adoption::run(
                client.clone(),
                state.clone(),
                recorder.clone()
            )),
            Box::pin(drain::run(client.clone(), state.clone(), recorder.clone())),
            Box::pin(readiness_events::run(state.clone(), recorder)),
            capacity::run(
                client.clone(),
                state.clone(),
                &settings.namespace,
                settings.publish_capacity
            ),
        );
    };
    tokio::join!(
        follow,
        work,
        master_key::run(client.clone(), &state, &settings.namespace)
    );
}
