//! Waits for changes of the objects of a snapshot: a watch per kind, which transfers metadata only.

use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use futures::stream::{BoxStream, StreamExt as _, select_all};
use kube::api::{ApiResource, DynamicObject, WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use super::kind::Kind;
use super::{NAMESPACE, Snapshot};

/// Delay after a change, so that changes in quick succession cause one report.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// Longest time between two snapshots: no watch covers Leases, permissions and the clock.
const LONGEST: Duration = Duration::from_mins(1);

/// Time between two snapshots if the objects can't be watched.
const POLL: Duration = Duration::from_secs(5);

/// Waits until an object of one of these kinds has changed since the snapshot. With a namespace,
/// claims and pods are those of that one only.
pub async fn next(client: &Client, snapshot: &Snapshot, kinds: &[Kind], namespace: Option<&str>) {
    let mut starting = Vec::new();
    for kind in kinds {
        if let (true, Some(version)) = (kind.is_watched(), snapshot.versions.get(kind)) {
            starting.push(watch(client, *kind, version, namespace));
        }
    }
    let started: Result<Vec<_>, kube::Error> = join_all(starting).await.into_iter().collect();
    let Ok(watches) = started else {
        sleep(POLL).await;
        return;
    };
    let mut changes = select_all(watches);
    // An ended watch and one that failed are changes, too: the next snapshot shows what is wrong.
    let _ = timeout(LONGEST, changes.next()).await;
    sleep(DEBOUNCE).await;
}

/// Starts the watch of one kind; the stream has an item per change.
async fn watch(
    client: &Client,
    kind: Kind,
    version: &str,
    namespace: Option<&str>,
) -> Result<BoxStream<'static, ()>, kube::Error> {
    let api = api(client, kind, namespace);
    let selector = kind.selector();
    let params = WatchParams {
        label_selector: selector.label_selector,
        field_selector: selector.field_selector,
        ..WatchParams::default()
    };
    let events = api.watch_metadata(&params, version).await?;
    let changes = events.filter_map(|event| async move {
        match event {
            Ok(WatchEvent::Bookmark(_)) => None,
            _ => Some(()),
        }
    });
    Ok(changes.boxed())
}

/// Returns the API of one kind.
fn api(client: &Client, kind: Kind, namespace: Option<&str>) -> Api<DynamicObject> {
    let (plural, group) = match kind.resource().split_once('.') {
        Some((plural, group)) => (plural, group),
        None => (kind.resource(), ""),
    };
    let version = if group == crds::GROUP {
        "v1alpha1"
    } else {
        "v1"
    };
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: String::new(), // metadata are of the kind PartialObjectMetadata
        plural: plural.to_owned(),
    };
    let client = client.clone();
    match kind {
        Kind::SystemPods | Kind::Deployments | Kind::DaemonSets => {
            Api::namespaced_with(client, NAMESPACE, &resource)
        }
        Kind::PersistentVolumeClaims | Kind::Pods => match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        },
        _ => Api::all_with(client, &resource),
    }
}
