//! Adoptions: reports the logical volumes that Adoptions of this node name, for the controller.
//! [`report`] builds the report.
//!
//! The controller decides with it what LogicalVolume to create. The agent does not rely on that: it
//! compares name, uuid and tags again before it changes anything (`volumes/plan/adopted.rs`).

pub mod report;

use std::sync::Arc;
use std::time::Duration;

use crds::adoption::AdoptionReport;
use crds::condition::{self, ADOPTED};
use crds::{Adoption, LogicalVolume};
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::lvm::state::LvmState;
use super::watches::logical_volumes::NodeVolumes;
use crate::kube::error::ApiError;
use crate::kube::names;
use crate::kube::watch_cache;

/// Time until an Adoption is examined again without a change: its problem may be another
/// LogicalVolume, or the last write failed.
const REVISIT: Duration = Duration::from_secs(10);

/// The Adoptions of the cluster.
struct Adoptions {
    store: Store<Adoption>,
    changed: Notify,
}

/// Watches the Adoptions, and reports on those of this node; never returns.
pub async fn run(client: &Client, lvm: &LvmState, volumes: &NodeVolumes) {
    let (store, writer) = reflector::store();
    let adoptions = Arc::new(Adoptions {
        store,
        changed: Notify::new(),
    });
    tokio::join!(
        watch_cache::follow(client, writer, |_| true, &adoptions, Adoptions::on_event),
        adoptions.report_all(client, lvm, volumes)
    );
}

impl Adoptions {
    fn on_event(&self, event: &Event<Adoption>) {
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            self.changed.notify_one();
        }
    }

    async fn report_all(&self, client: &Client, lvm: &LvmState, volumes: &NodeVolumes) {
        // Without all LogicalVolumes, an Adoption could name a volume that one of them describes.
        let _ = volumes.store.wait_until_ready().await;
        let mut reports = lvm.report();
        loop {
            let groups = reports.borrow_and_update().groups.clone();
            let objects: Vec<Arc<LogicalVolume>> = volumes.all().collect();
            let mut is_complete = true;
            for adoption in self.store.state() {
                if !is_pending(&adoption, &volumes.node, &objects) {
                    continue;
                }
                let Some(groups) = &groups else {
                    continue;
                };
                let report = report::build(&adoption, groups, &objects);
                is_complete &= report.problem.is_none();
                let status = adoption.status.as_ref();
                if status.and_then(|status| status.report.as_ref()) == Some(&report) {
                    continue;
                }
                if let Err(error) = write(client, &adoption, &report).await
                    && !error.is_not_found()
                {
                    is_complete = false;
                    tracing::warn!(
                        adoption = adoption.name_any(),
                        error = host::error::chain(&error),
                        "can't report on an Adoption; retrying"
                    );
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                Ok(()) = reports.changed() => {}
                () = sleep(REVISIT), if !is_complete => {}
            }
        }
    }
}

/// Returns whether the Adoption names a logical volume of this node and has no LogicalVolume yet.
fn is_pending(adoption: &Adoption, node: &str, objects: &[Arc<LogicalVolume>]) -> bool {
    let is_adopted = adoption
        .status
        .as_ref()
        .is_some_and(|status| condition::is_true(&status.conditions, ADOPTED));
    adoption.spec.node == node
        && !is_adopted
        && !objects.iter().any(|object| report::is_of(object, adoption))
}

async fn write(
    client: &Client,
    adoption: &Adoption,
    report: &AdoptionReport,
) -> Result<(), ApiError> {
    let name = adoption.name_any();
    let object = json!({
        "apiVersion": Adoption::api_version(&()),
        "kind": Adoption::kind(&()),
        "metadata": {"name": name, "uid": adoption.uid()},
        "status": {"report": report},
    });
    let params = PatchParams::apply(names::AGENT).force();
    let api: Api<Adoption> = Api::all(client.clone());
    let written = api
        .patch_status(&name, &params, &Patch::Apply(&object))
        .await;
    written
        .map(drop)
        .map_err(ApiError::of("report on", "Adoption", &name))
}
