//! A local copy of one kind of object, kept current by a watch: the controller has one per kind, an
//! agent has its orders.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt as _, pin_mut};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

/// Follows the objects of one kind for ever. `keep` takes what nobody reads out of an object and
/// says whether it concerns us at all; what doesn't is not stored. `changed` hears of each change,
/// after the copy has it.
pub fn follow<K, W>(
    client: &Client,
    writer: Writer<K>,
    keep: fn(&mut K) -> bool,
    world: &Arc<W>,
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
        world,
        changed,
    )
}

/// The same for those objects only that `api` reaches and `selection` selects.
pub fn follow_some<K, W>(
    api: Api<DeserializeGuard<K>>,
    selection: watcher::Config,
    mut writer: Writer<K>,
    keep: fn(&mut K) -> bool,
    world: &Arc<W>,
    changed: fn(&W, &Event<K>),
) -> impl Future<Output = ()> + Send + use<K, W>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    let events = watch(api, selection).default_backoff();
    let world = world.clone();
    async move {
        pin_mut!(events);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), error = host::error::chain(&error), "the watch was cut, and is taken up again");
                    continue;
                }
            };
            if let Some(event) = readable(event, keep) {
                writer.apply_watcher_event(&event);
                changed(&world, &event);
            }
        }
    }
}

/// The event about an object that we can read and that concerns us. An object that stopped to
/// concern us counts as deleted.
fn readable<K>(event: Event<DeserializeGuard<K>>, keep: fn(&mut K) -> bool) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()>,
{
    let read = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(object) => Some(object),
        Err(invalid) => {
            tracing::error!(kind = %K::kind(&()), name = invalid.metadata.name, error = invalid.error, "this object can't be read and is left alone");
            None
        }
    };
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

fn prune<K: Resource<DynamicType = ()>>(object: &mut K, keep: fn(&mut K) -> bool) -> bool {
    object.managed_fields_mut().clear();
    keep(object)
}
