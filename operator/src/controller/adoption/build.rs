//! Builds the LogicalVolume of an Adoption. Pure.

use crds::adoption::AdoptableVolume;
use crds::logical_volume::{AdoptedVolume, ClaimReference, LogicalVolumeSpec, State};
use crds::thin_pool::VolumeThinPool;
use crds::{Adoption, LogicalVolume, StorageBackend, quantity};
use host::KeyDigest;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

use super::settings::AdoptionSettings;
use crate::controller::volume;

/// Builds the LogicalVolume.
///
/// It is created with its finalizer, as that of a new volume.
#[must_use]
pub fn logical_volume(
    adoption: &Adoption,
    found: &AdoptableVolume,
    settings: AdoptionSettings,
    backend: &StorageBackend,
    thin_pool: Option<VolumeThinPool>,
    key_digest: &KeyDigest,
) -> LogicalVolume {
    let spec = &adoption.spec;
    let claim = ClaimReference {
        namespace: settings.claim.namespace,
        name: settings.claim.name,
        uid: settings.claim_uid,
    };
    let is_thin = thin_pool.is_some();
    LogicalVolume {
        metadata: ObjectMeta {
            name: Some(spec.logical_volume.clone()),
            labels: Some(volume::labels(&spec.node)),
            finalizers: Some(vec![crds::FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: LogicalVolumeSpec {
            node: spec.node.clone(),
            backend: settings.backend,
            volume_group: spec.volume_group.clone(),
            layout: settings.layout,
            size: found.size.clone(),
            physical_volumes: if is_thin {
                Vec::new()
            } else {
                found.physical_volumes.clone()
            },
            thin_pool,
            cache: None,
            state: State::Present,
            claim: claim.clone(),
            current_claim: Some(claim),
            key_digest: key_digest.as_str().to_owned(),
            storage_class: settings.storage_class,
            reclaim_policy: spec.reclaim_policy,
            erase: backend.spec.erase,
            filesystem: settings.filesystem,
            access_modes: settings.access_modes,
            released: false,
            adopted: Some(AdoptedVolume {
                uuid: found.uuid.clone(),
                adoption: adoption.name_any(),
                adoption_uid: adoption.uid().unwrap_or_default(),
                created_size: settings.created_size.map(quantity::format),
            }),
            node_lost_time: None,
        },
        status: None,
    }
}
