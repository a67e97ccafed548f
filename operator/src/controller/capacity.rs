//! Publishes free capacity to the stock scheduler, so that it places no pod on a full node.
//!
//! Writes one CSIStorageCapacity for each class and node and, last of all, a CSIDriver that makes
//! the scheduler use them. Nothing else here is CSI: the scheduler only looks up a CSIDriver of the
//! class's provisioner. See `docs/decisions/0006`.
//!
//! `wanted` computes the capacities, `plan` compares them with the published ones, `act` writes.
//! Nothing is published to API servers without `storage.k8s.io/v1` CSIStorageCapacity (before
//! 1.24).

pub mod act;
pub mod object;
pub mod plan;
pub mod uninstall;
pub mod wanted;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt as _;
use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use self::act::Publisher;
use self::object::Capacity;
use self::plan::{CapacityPlan, plan};
use super::plan::GRACE;
use super::state::ClusterState;
use crate::kube::backoff::Backoff;
use crate::kube::error::ApiError;
use crate::kube::names;
use crate::kube::watch_cache::follow_some;

/// Delay before an update, so that changes in quick succession cause one write.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// Timeout of one round of writes, and maximum wait after a failure.
const ROUND_TIMEOUT: Duration = Duration::from_mins(1);

/// Publishes capacity while it is polled; returns if there is nothing to do.
///
/// With `publish` false, removes what was published before.
pub async fn run(client: Client, state: Arc<ClusterState>, namespace: &str, publish: bool) {
    if !retry("failed to list the API server's resources", async || {
        is_supported(&client).await
    })
    .await
    {
        tracing::info!(
            "the API server has no CSIStorageCapacity (storage.k8s.io/v1): no capacity is published"
        );
        return;
    }
    let publisher = Publisher::new(client.clone(), namespace);
    if !publish {
        return retry("failed to remove the published capacity", async || {
            publisher.remove_all().await
        })
        .await;
    }
    let (observed, follow) = ObservedCapacity::watch(&client, namespace);
    tokio::join!(follow, keep_published(&publisher, &state, &observed));
}

/// Returns true if the API server supports CSIStorageCapacity.
async fn is_supported(client: &Client) -> Result<bool, ApiError> {
    const VERSION: &str = "storage.k8s.io/v1";
    let resources = client.list_api_group_resources(VERSION).await;
    let resources = resources.map_err(ApiError::of("list resources of", "API group", VERSION))?;
    Ok(resources
        .resources
        .iter()
        .any(|resource| resource.name == "csistoragecapacities"))
}

/// Retries with backoff until a request succeeds.
async fn retry<T>(failed: &str, request: impl AsyncFn() -> Result<T, ApiError>) -> T {
    let backoff = Backoff::default();
    loop {
        match request().await {
            Ok(answer) => return answer,
            Err(error) => {
                let (_, wait) = backoff.failed(&());
                tracing::warn!(
                    error = host::error::chain(&error),
                    "{failed}, retrying in {} s",
                    wait.as_secs()
                );
                sleep(wait).await;
            }
        }
    }
}

/// The published objects according to the API server; users may change or delete them.
struct ObservedCapacity {
    capacities: Store<CSIStorageCapacity>,
    drivers: Store<CSIDriver>,
    changed: watch::Sender<()>,
}

impl ObservedCapacity {
    fn watch(client: &Client, namespace: &str) -> (Arc<Self>, impl Future<Output = ()>) {
        let (capacities, capacities_writer) = store();
        let (drivers, drivers_writer) = store();
        let observed = Arc::new(Self {
            capacities,
            drivers,
            changed: watch::Sender::new(()),
        });
        let ours = watcher::Config::default().labels(&format!(
            "{}={}",
            names::MANAGED_BY,
            names::CONTROLLER
        ));
        let named = watcher::Config::default().fields(&format!("metadata.name={}", crds::GROUP));
        let api = Api::namespaced(client.clone(), namespace);
        let follow_capacities = follow_some(
            api,
            ours,
            capacities_writer,
            |_| true,
            &observed,
            Self::on_event,
        );
        let api = Api::all(client.clone());
        let follow_drivers = follow_some(
            api,
            named,
            drivers_writer,
            |_| true,
            &observed,
            Self::on_event,
        );
        (
            observed,
            futures::future::join(follow_capacities, follow_drivers).map(|_| ()),
        )
    }

    fn on_event<K>(&self, event: &Event<K>) {
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            self.changed.send_replace(());
        }
    }

    async fn ready(&self) {
        // An error means that the watches have ended, with the process.
        let _ = self.capacities.wait_until_ready().await;
        let _ = self.drivers.wait_until_ready().await;
    }

    /// Returns the capacities by name; `None` for an object with content that FlexLVM never writes.
    fn found(&self) -> BTreeMap<String, Option<Capacity>> {
        self.capacities
            .state()
            .iter()
            .map(|object| (object.name_any(), object::read(object)))
            .collect()
    }

    fn driver(&self) -> Option<Arc<CSIDriver>> {
        self.drivers.get(&ObjectRef::new(crds::GROUP))
    }
}

/// Keeps the published objects current.
async fn keep_published(publisher: &Publisher, state: &ClusterState, observed: &ObservedCapacity) {
    observed.ready().await;
    let mut space = state.space_changed.subscribe();
    let mut own = observed.changed.subscribe();
    let mut written = HashMap::new();
    let mut faults = ClassFaults::default();
    let backoff = Backoff::default();
    loop {
        space.mark_unchanged();
        own.mark_unchanged();
        let CapacityPlan { steps, next_due } = next(state, observed, &mut written, &mut faults);
        let error = match timeout(ROUND_TIMEOUT, publisher.carry_out(steps, &mut written)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(host::error::chain(&error)),
            Err(_) => Some(format!(
                "the API server did not answer within {} s",
                ROUND_TIMEOUT.as_secs()
            )),
        };
        if let Some(error) = error {
            let wait = backoff.failed(&()).1.min(ROUND_TIMEOUT);
            tracing::warn!(
                error,
                "failed to publish capacity, retrying in {} s",
                wait.as_secs()
            );
            sleep(wait).await;
            continue;
        }
        backoff.succeeded(&());
        let changed = futures::future::select(Box::pin(space.changed()), Box::pin(own.changed()));
        match next_due {
            Some(rest) => drop(timeout(rest, changed).await),
            None => drop(changed.await),
        }
        sleep(DEBOUNCE).await;
    }
}

/// Tracks classes with a fault, for the grace period before it is published.
#[derive(Default)]
struct ClassFaults {
    /// When each fault was first observed; `None` if in the first round. Its capacities may have
    /// been published before a restart, which must not remove them.
    since: HashMap<String, Option<Instant>>,
    started: bool,
}

/// Returns the writes that are due; `written` is when each object was last written.
fn next(
    state: &ClusterState,
    observed: &ObservedCapacity,
    written: &mut HashMap<String, Instant>,
    faults: &mut ClassFaults,
) -> CapacityPlan {
    let candidates = state.candidates();
    let classes = state.classes.state();
    let backends = state.backends.state();
    let mut since = HashMap::new();
    let mut next_fault: Option<Duration> = None;
    let wanted = wanted::wanted(
        &classes,
        &backends,
        &ClusterState::borrow(&candidates),
        &state.reservations(),
        |class: &str| {
            let first = match faults.since.get(class) {
                Some(first) => *first,
                None => faults.started.then(Instant::now),
            };
            since.insert(class.to_owned(), first);
            let rest = first.map_or(Duration::ZERO, |first| {
                GRACE.saturating_sub(first.elapsed())
            });
            if !rest.is_zero() {
                next_fault = Some(next_fault.map_or(rest, |other| other.min(rest)));
            }
            rest.is_zero()
        },
    );
    *faults = ClassFaults {
        since,
        started: true,
    };
    let driver = observed.driver();
    state.set_capacity_tracking_active(driver.as_deref().is_some_and(object::is_as_wanted));
    written.retain(|_, at: &mut Instant| at.elapsed() < plan::DECREASE_INTERVAL);
    let mut plan = plan(&wanted, &observed.found(), driver.as_deref(), |name| {
        written.get(name).map(Instant::elapsed)
    });
    plan.next_due = [plan.next_due, next_fault].into_iter().flatten().min();
    plan
}
