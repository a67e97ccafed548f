//! A watch cache of one kind of object: the controller has one per kind, an agent has one of its
//! LogicalVolumes.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt as _, pin_mut};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

/// Watches the objects of one kind.
///
/// `keep` prunes unused fields from an object and returns whether to store it. `changed` receives
/// each event after the cache has been updated.
pub fn follow<K, W>(
    client: &Client,
    writer: Writer<K>,
    keep: fn(&mut K) -> bool,
    state: &Arc<W>,
    changed: fn(&W, &Event<K>),
) -> impl Future<Output = ()> + Send + use<K, W>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    follow_some(
        Api::all(client.clone()),
        watcher::Config::default(),
        writer,
        keep,
        state,
        changed,
    )
}

/// Watches only the objects that `api` reaches and `selection` selects.
pub fn follow_some<K, W>(
    api: Api<DeserializeGuard<K>>,
    selection: watcher::Config,
    mut writer: Writer<K>,
    keep: fn(&mut K) -> bool,
    state: &Arc<W>,
    changed: fn(&W, &Event<K>),
) -> impl Future<Output = ()> + Send + use<K, W>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    let events = watch(api, selection).default_backoff();
    let state = state.clone();
    async move {
        pin_mut!(events);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), error = host::error::chain(&error), "the watch was interrupted, restarting it");
                    continue;
                }
            };
            if let Some(event) = readable(event, keep) {
                writer.apply_watcher_event(&event);
                changed(&state, &event);
            }
        }
    }
}

/// Returns the event if its object is readable and relevant. An object that `keep` no longer wants
/// counts as deleted.
fn readable<K>(event: Event<DeserializeGuard<K>>, keep: fn(&mut K) -> bool) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()>,
{
    match event {
        Event::Apply(guard) => read(guard).map(|mut object| {
            if prune(&mut object, keep) {
                Event::Apply(object)
            } else {
                Event::Delete(object)
            }
        }),
        Event::Delete(guard) => read(guard).map(Event::Delete),
        Event::Init => Some(Event::Init),
        Event::InitApply(guard) => read(guard)
            .and_then(|mut object| prune(&mut object, keep).then_some(Event::InitApply(object))),
        Event::InitDone => Some(Event::InitDone),
    }
}

fn read<K: Resource<DynamicType = ()>>(guard: DeserializeGuard<K>) -> Option<K> {
    match guard.0 {
        Ok(object) => Some(object),
        Err(invalid) => {
            tracing::error!(kind = %K::kind(&()), name = invalid.metadata.name, error = invalid.error, "ignoring an unreadable object");
            None
        }
    }
}

fn prune<K: Resource<DynamicType = ()>>(object: &mut K, keep: fn(&mut K) -> bool) -> bool {
    object.managed_fields_mut().clear();
    keep(object)
}
