//! Tells the stock scheduler how much room there is, so that it sends no pod to a full node: one
//! CSIStorageCapacity for each class and node, and, last of all, a CSIDriver that makes the
//! scheduler heed them. Nothing here is CSI: the scheduler looks for a CSIDriver of the class's
//! provisioner, and at nothing else. See `docs/decisions/0006`.
//!
//! `wanted` adds up what there is, `plan` compares it with what is published, `act` writes. Servers
//! that have no `storage.k8s.io/v1` CSIStorageCapacity (before 1.24) are left alone.

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

/// Changes that come together are written together.
const SETTLE: Duration = Duration::from_millis(500);

/// What is written together is done by then, or taken for failed; nor is anything that failed left
/// for longer.
const LIMIT: Duration = Duration::from_mins(1);

/// Publishes for as long as it is polled; returns where there is nothing to do. With `publish`
/// false, takes back what was published before.
pub async fn run(client: Client, state: Arc<ClusterState>, namespace: &str, publish: bool) {
    if !insist(
        "the API server could not be asked for what it serves",
        async || served(&client).await,
    )
    .await
    {
        tracing::info!(
            "this API server has no CSIStorageCapacity (storage.k8s.io/v1): no capacity is published"
        );
        return;
    }
    let publisher = Publisher::new(client.clone(), namespace);
    if !publish {
        return insist(
            "the published capacity could not be withdrawn",
            async || publisher.withdraw().await,
        )
        .await;
    }
    let (observed, follow) = ObservedCapacity::watch(&client, namespace);
    tokio::join!(follow, keep(&publisher, &state, &observed));
}

/// Whether the API server has what we publish.
async fn served(client: &Client) -> Result<bool, ApiError> {
    const VERSION: &str = "storage.k8s.io/v1";
    let resources = client.list_api_group_resources(VERSION).await;
    let resources = resources.map_err(ApiError::of("list resources of", "API group", VERSION))?;
    Ok(resources
        .resources
        .iter()
        .any(|resource| resource.name == "csistoragecapacities"))
}

/// Asks again, less and less often, until there is an answer.
async fn insist<T>(failed: &str, ask: impl AsyncFn() -> Result<T, ApiError>) -> T {
    let backoff = Backoff::default();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                let (_, wait) = backoff.failed(&());
                tracing::warn!(
                    error = host::error::chain(&error),
                    "{failed}; asked again in {} s",
                    wait.as_secs()
                );
                sleep(wait).await;
            }
        }
    }
}

/// What we have published, as the API has it: somebody else may have changed or deleted it.
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
            Self::heard,
        );
        let api = Api::all(client.clone());
        let follow_drivers =
            follow_some(api, named, drivers_writer, |_| true, &observed, Self::heard);
        (
            observed,
            futures::future::join(follow_capacities, follow_drivers).map(|_| ()),
        )
    }

    fn heard<K>(&self, event: &Event<K>) {
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            self.changed.send_replace(());
        }
    }

    async fn ready(&self) {
        // An error here means that the followers have ended, with the process.
        let _ = self.capacities.wait_until_ready().await;
        let _ = self.drivers.wait_until_ready().await;
    }

    /// The capacities by name; `None` for one that says nothing that we could have written.
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

/// Keeps what is published current.
async fn keep(publisher: &Publisher, state: &ClusterState, observed: &ObservedCapacity) {
    observed.ready().await;
    let (mut space, mut own) = (
        state.space_changed.subscribe(),
        observed.changed.subscribe(),
    );
    let mut written = HashMap::new();
    let mut faults = Faults::default();
    let backoff = Backoff::default();
    loop {
        space.mark_unchanged();
        own.mark_unchanged();
        let CapacityPlan { steps, again } = next(state, observed, &mut written, &mut faults);
        let error = match timeout(LIMIT, publisher.carry_out(steps, &mut written)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(host::error::chain(&error)),
            Err(_) => Some(format!(
                "the API server did not answer within {} s",
                LIMIT.as_secs()
            )),
        };
        if let Some(error) = error {
            let wait = backoff.failed(&()).1.min(LIMIT);
            tracing::warn!(
                error,
                "capacity is not published; tried again in {} s",
                wait.as_secs()
            );
            sleep(wait).await;
            continue;
        }
        backoff.succeeded(&());
        let changed = futures::future::select(Box::pin(space.changed()), Box::pin(own.changed()));
        match again {
            Some(rest) => drop(timeout(rest, changed).await),
            None => drop(changed.await),
        }
        sleep(SETTLE).await;
    }
}

/// The classes that have a fault, for the grace period before that is published.
#[derive(Default)]
struct Faults {
    /// When each was first observed; `None` for those of the first pass. Their capacities may have
    /// been published before a restart, which must not remove them.
    since: HashMap<String, Option<Instant>>,
    started: bool,
}

/// What is to be done now; `written` says when each object was last written by us.
fn next(
    state: &ClusterState,
    observed: &ObservedCapacity,
    written: &mut HashMap<String, Instant>,
    faults: &mut Faults,
) -> CapacityPlan {
    let candidates = state.candidates();
    let (classes, backends) = (state.classes.state(), state.backends.state());
    let mut since = HashMap::new();
    let mut next_fault: Option<Duration> = None;
    let lasts = |class: &str| {
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
    };
    let wanted = wanted::wanted(
        &classes,
        &backends,
        &ClusterState::borrow(&candidates),
        &state.reservations(),
        lasts,
    );
    *faults = Faults {
        since,
        started: true,
    };
    let driver = observed.driver();
    state.set_capacity_tracking_active(driver.as_deref().is_some_and(object::is_as_wanted));
    written.retain(|_, at: &mut Instant| at.elapsed() < plan::LEISURE);
    let mut plan = plan(&wanted, &observed.found(), driver.as_deref(), |name| {
        written.get(name).map(Instant::elapsed)
    });
    plan.again = [plan.again, next_fault].into_iter().flatten().min();
    plan
}
