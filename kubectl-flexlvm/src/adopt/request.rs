//! Which Adoptions a command line requests, and why one is not created. Pure.

use std::collections::BTreeMap;

use crds::adoption::{AdoptingClaim, AdoptionSpec};
use crds::condition::{self, ADOPTED};
use crds::logical_volume::{Filesystem, FilesystemType, Fsck, ReclaimPolicy};
use crds::node_storage::OrphanedVolume;
use crds::{Adoption, NodeStorage};
use placement::claim::VOLUME_PREFIX;

use crate::objects::bound_volume;
use crate::snapshot::Snapshot;

/// What the command line requests.
#[derive(Clone, Debug)]
pub struct AdoptRequest {
    /// The logical volumes.
    pub selection: Selection,
    /// Claim that gets the volume; `None` for the one in the tags.
    pub claim: Option<AdoptingClaim>,
    /// LVM's UUID of the logical volume; `None` for the one that has the name.
    pub uuid: Option<String>,
    /// The StorageBackend; `None` for the one in the tags.
    pub backend: Option<String>,
    /// The StorageClass; `None` for the one in the tags.
    pub storage_class: Option<String>,
    /// The file system; `None` for the one in the tags.
    pub filesystem: Option<FilesystemType>,
    /// Access modes; empty for those in the tags.
    pub access_modes: Vec<String>,
    /// What happens to the volume when its claim is deleted.
    pub reclaim_policy: ReclaimPolicy,
}

/// The requested logical volumes.
#[derive(Clone, Debug)]
pub enum Selection {
    /// One logical volume.
    One {
        /// The node.
        node: String,
        /// The volume group.
        group: String,
        /// Name of the logical volume.
        name: String,
    },
    /// All orphans.
    Orphans {
        /// Only those on this node.
        node: Option<String>,
        /// Only those of claims in this namespace.
        namespace: Option<String>,
    },
}

/// One requested logical volume.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The node.
    pub node: String,
    /// Volume group and name of the logical volume.
    pub path: String,
    /// Namespace and name of the claim; empty if the tags have it and no agent has reported it.
    pub claim: String,
    /// The Adoption, or why it is not created.
    pub adoption: Result<Adoption, String>,
}

/// A logical volume before it is checked.
struct Requested<'a> {
    node: &'a str,
    group: &'a str,
    name: &'a str,
    /// What the agent reports of it, if it has the tag of a claim and no LogicalVolume.
    orphan: Option<&'a OrphanedVolume>,
}

/// Returns the requested logical volumes, each with its Adoption or the reason why it has none.
/// `existing` are the Adoptions by name.
#[must_use]
pub fn candidates(
    request: &AdoptRequest,
    snapshot: &Snapshot,
    existing: &BTreeMap<String, Adoption>,
) -> Vec<Candidate> {
    let mut all = Vec::new();
    for requested in selected(&request.selection, snapshot) {
        let claim = claim_of(request, &requested);
        all.push(Candidate {
            node: requested.node.to_owned(),
            path: format!("{}/{}", requested.group, requested.name),
            claim: claim.as_ref().map(text).unwrap_or_default(),
            adoption: check(request, &requested, claim.as_ref(), snapshot, existing)
                .map(|()| adoption(request, &requested)),
        });
    }
    all
}

/// Returns the logical volumes of a selection.
fn selected<'a>(selection: &'a Selection, snapshot: &'a Snapshot) -> Vec<Requested<'a>> {
    match selection {
        Selection::One { node, group, name } => {
            let storage = snapshot.storages.get(node);
            let mut orphans = storage.into_iter().flat_map(orphans);
            vec![Requested {
                node,
                group,
                name,
                orphan: orphans.find(|one| one.volume_group == *group && one.name == *name),
            }]
        }
        Selection::Orphans { node, namespace } => {
            let mut all = Vec::new();
            for (on, storage) in &snapshot.storages {
                if node.as_ref().is_some_and(|node| node != on) {
                    continue;
                }
                for orphan in orphans(storage) {
                    let claim = orphan.claim.as_deref().and_then(|it| it.split_once('/'));
                    let of = claim.map(|(namespace, _)| namespace);
                    if namespace.is_none() || namespace.as_deref() == of {
                        all.push(Requested {
                            node: on,
                            group: &orphan.volume_group,
                            name: &orphan.name,
                            orphan: Some(orphan),
                        });
                    }
                }
            }
            all
        }
    }
}

fn orphans(storage: &NodeStorage) -> &[OrphanedVolume] {
    let status = storage.status.as_ref();
    status.map_or(&[], |status| &status.orphans)
}

/// Returns the claim that gets the volume: the one of the command line, or else of the tags.
fn claim_of(request: &AdoptRequest, requested: &Requested<'_>) -> Option<AdoptingClaim> {
    if let Some(claim) = &request.claim {
        return Some(claim.clone());
    }
    let (namespace, name) = requested.orphan?.claim.as_deref()?.split_once('/')?;
    Some(AdoptingClaim {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

fn text(claim: &AdoptingClaim) -> String {
    format!("{}/{}", claim.namespace, claim.name)
}

/// Checks what can be checked before the agent has examined the logical volume.
///
/// # Errors
/// Why the logical volume is not adopted, and what to do.
fn check(
    request: &AdoptRequest,
    requested: &Requested<'_>,
    claim: Option<&AdoptingClaim>,
    snapshot: &Snapshot,
    existing: &BTreeMap<String, Adoption>,
) -> Result<(), String> {
    check_place(requested, snapshot)?;
    check_name(requested)?;
    check_settings(request, requested, claim, snapshot)?;
    check_objects(requested, snapshot, existing)?;
    match claim {
        Some(claim) => check_claim(request, requested, claim, snapshot),
        None => Ok(()),
    }
}

/// Checks that the node reports the volume group.
fn check_place(requested: &Requested<'_>, snapshot: &Snapshot) -> Result<(), String> {
    let Requested { node, group, .. } = *requested;
    let Some(storage) = snapshot.storages.get(node) else {
        let names: Vec<&str> = snapshot.storages.keys().map(String::as_str).collect();
        return Err(format!(
            "no agent reports on node {node}: use one of {}",
            listed(&names)
        ));
    };
    let groups = storage.status.iter().flat_map(|it| &it.volume_groups);
    let names: Vec<&str> = groups.map(|it| it.name.as_str()).collect();
    if names.contains(&group) {
        return Ok(());
    }
    Err(format!(
        "node {node} has no volume group {group}: use one of {}",
        listed(&names)
    ))
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        _ => names.join(", "),
    }
}

/// Checks that objects can have the name of the logical volume.
fn check_name(requested: &Requested<'_>) -> Result<(), String> {
    let Requested {
        node, group, name, ..
    } = *requested;
    let is_part = |part: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let (first, last) = (part.bytes().next(), part.bytes().next_back());
        first.is_some_and(is_allowed)
            && last.is_some_and(is_allowed)
            && part.bytes().all(|byte| is_allowed(byte) || byte == b'-')
    };
    let rest = name.strip_prefix(VOLUME_PREFIX);
    if rest.is_some_and(|rest| rest.split('.').all(is_part)) {
        return Ok(());
    }
    let plain: String = name
        .strip_prefix(VOLUME_PREFIX)
        .unwrap_or(name)
        .to_ascii_lowercase()
        .replace(['_', '+'], "-");
    let plain = plain.trim_matches(['-', '.']);
    Err(format!(
        "LogicalVolume and PersistentVolume get the name of the logical volume, and {name} can't be one: it must \
         begin with {VOLUME_PREFIX}, and have lowercase letters, digits, hyphens and dots only; on node {node}: \
         lvrename {group}/{name} {VOLUME_PREFIX}{plain}"
    ))
}

/// Checks that the command line has what the tags of the logical volume don't state.
fn check_settings(
    request: &AdoptRequest,
    requested: &Requested<'_>,
    claim: Option<&AdoptingClaim>,
    snapshot: &Snapshot,
) -> Result<(), String> {
    let Requested {
        node, group, name, ..
    } = *requested;
    if requested.orphan.is_some() && claim.is_none() {
        return Err("its tags don't name its claim: adopt it alone, with --claim".to_owned());
    }
    if requested.orphan.is_none() {
        let options = [
            ("--claim", request.claim.is_none()),
            ("--backend", request.backend.is_none()),
            ("--class", request.storage_class.is_none()),
            ("--filesystem", request.filesystem.is_none()),
        ];
        let missing = options.into_iter().filter(|(_, is_missing)| *is_missing);
        let missing: Vec<&str> = missing.map(|(option, _)| option).collect();
        if !missing.is_empty() && !is_adopted(requested, snapshot) {
            return Err(format!(
                "node {node} reports no orphan {group}/{name}, so its tags don't describe it: add {}",
                missing.join(", ")
            ));
        }
    }
    if let Some(backend) = &request.backend
        && !snapshot.backends.contains_key(backend)
    {
        return Err(format!("StorageBackend {backend} does not exist"));
    }
    if let Some(class) = &request.storage_class
        && !snapshot.classes.contains_key(class)
    {
        return Err(format!("StorageClass {class} does not exist"));
    }
    Ok(())
}

/// Returns whether an earlier Adoption made the LogicalVolume.
fn is_adopted(requested: &Requested<'_>, snapshot: &Snapshot) -> bool {
    let found = snapshot.logical_volumes.get(requested.name);
    found.is_some_and(|volume| volume.spec.adopted.is_some())
}

/// Checks that no other object has the logical volume or its name.
fn check_objects(
    requested: &Requested<'_>,
    snapshot: &Snapshot,
    existing: &BTreeMap<String, Adoption>,
) -> Result<(), String> {
    let Requested {
        node, group, name, ..
    } = *requested;
    if let Some(volume) = snapshot.logical_volumes.get(name)
        && !is_adopted(requested, snapshot)
    {
        return Err(format!(
            "LogicalVolume {name} exists already, and describes {}/{name} on node {}",
            volume.spec.volume_group, volume.spec.node
        ));
    }
    for (other, adoption) in existing {
        let spec = &adoption.spec;
        if spec.logical_volume != name && other != name {
            continue;
        }
        let is_same = (
            spec.node.as_str(),
            spec.volume_group.as_str(),
            spec.logical_volume.as_str(),
        ) == (node, group, name);
        let status = adoption.status.clone().unwrap_or_default();
        let is_over = condition::is_true(&status.conditions, ADOPTED);
        if is_same && (other == name || is_over) {
            continue;
        }
        return Err(format!(
            "Adoption {other} is about {}/{} on node {}; to cancel it: kubectl delete adoptions.flexlvm.dev {other}",
            spec.volume_group, spec.logical_volume, spec.node
        ));
    }
    Ok(())
}

/// Checks that the claim can be bound to the volume.
fn check_claim(
    request: &AdoptRequest,
    requested: &Requested<'_>,
    claim: &AdoptingClaim,
    snapshot: &Snapshot,
) -> Result<(), String> {
    let key = text(claim);
    // It may be created later.
    let Some(found) = snapshot.claims.get(&key) else {
        return Ok(());
    };
    if let Some(volume) = bound_volume(found)
        && volume != requested.name
    {
        return Err(format!(
            "claim {key} is bound to volume {volume}: delete the claim first, or name another one with --claim"
        ));
    }
    let class = found
        .spec
        .as_ref()
        .and_then(|spec| spec.storage_class_name.as_deref());
    if let (Some(class), Some(requested)) = (class, &request.storage_class)
        && class != requested
    {
        return Err(format!(
            "claim {key} has StorageClass {class}, not {requested}: it could not be bound"
        ));
    }
    Ok(())
}

/// Builds the Adoption; it has the name of its logical volume.
fn adoption(request: &AdoptRequest, requested: &Requested<'_>) -> Adoption {
    let filesystem = request.filesystem.map(|type_| Filesystem {
        type_,
        mkfs_options: Vec::new(),
        mount_options: Vec::new(),
        fsck: Fsck::default(),
    });
    let spec = AdoptionSpec {
        node: requested.node.to_owned(),
        volume_group: requested.group.to_owned(),
        logical_volume: requested.name.to_owned(),
        uuid: request.uuid.clone(),
        claim: request.claim.clone(),
        backend: request.backend.clone(),
        storage_class: request.storage_class.clone(),
        filesystem,
        access_modes: request.access_modes.clone(),
        reclaim_policy: request.reclaim_policy,
    };
    Adoption::new(requested.name, spec)
}
