//! Why a claim has no volume yet: the controller's own reading of claim, class and backend, and its
//! own placement. Pure.

use std::fmt;

use crds::StorageBackend;
use crds::orphans::OrphanOf;
use crds::quantity;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;
use placement::backend_limits::{self, BackendError};
use placement::choose::{self, Choice};
use placement::claim::{self, ClaimError};
use placement::class::{self, ClassError};
use placement::fit::{Fit, fit};
use placement::rejection::Rejection;
use placement::request::PlacementRequest;
use placement::reservations::Reservations;
use storage_model::Bytes;

use crate::objects::bound_volume;
use crate::snapshot::Snapshot;
use crate::snapshot::kind::Kind;

/// Kinds on which the placement of a volume depends.
const READ: [Kind; 5] = [
    Kind::LogicalVolumes,
    Kind::StorageClasses,
    Kind::StorageBackends,
    Kind::Nodes,
    Kind::NodeStorages,
];

/// A claim that FlexLVM serves, without a volume.
pub struct WaitingClaim<'a> {
    snapshot: &'a Snapshot,
    claim: &'a PersistentVolumeClaim,
    class: Option<&'a StorageClass>,
}

/// Why a claim waits.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// The user may not list this kind, on which the reason depends.
    Unreadable(Kind),
    /// The claim's class can't be used.
    Class(ClassError),
    /// The class's backend can't be used.
    Backend(BackendError),
    /// A node has a logical volume with the claim's data, without an object.
    HasData(Orphan),
    /// The claim itself is at fault.
    Invalid(ClaimError),
    /// The backend allows no volume of the size.
    TooLarge(BackendError),
    /// A volume populator provides the volume. Holds kind and name of its source.
    Populator(String),
    /// The volume waits for the claim's first pod; it fits on this node.
    FirstPod(Placed),
    /// The node that the scheduler selected does not fit; another one does. Holds the message.
    OtherNode(String),
    /// No node fits.
    NoSpace(NoSpace),
    /// The volume fits on this node: the controller creates it next.
    Placeable(Placed),
}

/// Where a volume fits, and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The node.
    pub node: String,
    /// The volume's size.
    pub size: Bytes,
}

/// A logical volume with a claim's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The node.
    pub node: String,
    /// Volume group and name; `None` if the node's report omits it.
    pub path: Option<String>,
}

/// No node has the space for a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSpace {
    /// The backend.
    pub backend: String,
    /// The volume's size.
    pub size: Bytes,
    /// The nodes that the backend selects, each with its reason, in full.
    pub nodes: Vec<RejectedNode>,
}

/// A node that can't hold a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedNode {
    /// The node.
    pub node: String,
    /// The reason, which completes a sentence that begins with the node's name.
    pub reason: String,
}

impl fmt::Display for NoSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let size = quantity::human(self.size);
        write!(
            f,
            "no node can provide {size} from StorageBackend {}: ",
            self.backend
        )?;
        if self.nodes.is_empty() {
            return write!(f, "its nodeSelector matches no node");
        }
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .take(SHOWN)
            .map(|it| format!("{} {}", it.node, it.reason))
            .collect();
        write!(f, "{}", nodes.join(", "))?;
        match self.nodes.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, ", and {more} more nodes"),
        }
    }
}

impl<'a> WaitingClaim<'a> {
    /// Returns the claim if FlexLVM is to provide its volume and has created no LogicalVolume.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, claim: &'a PersistentVolumeClaim) -> Option<Self> {
        let volume = claim::volume_name(claim)?;
        let is_done = bound_volume(claim).is_some()
            || claim.metadata.deletion_timestamp.is_some()
            || snapshot.logical_volumes.contains_key(&volume);
        if is_done {
            return None;
        }
        let class = claim::class_name(claim).and_then(|name| snapshot.classes.get(name));
        let is_ours = match class {
            Some(class) => class.provisioner == crds::GROUP,
            None => claim::provisioner(claim) == Some(crds::GROUP),
        };
        is_ours.then_some(Self {
            snapshot,
            claim,
            class,
        })
    }

    /// Returns why the claim waits. `reservations` are those of all volumes.
    #[must_use]
    pub fn cause(&self, reservations: &Reservations) -> Cause {
        self.find(reservations).unwrap_or_else(|cause| cause)
    }

    /// Returns the outcome of a placement, or, as an error, what comes before it: in the
    /// controller's order.
    fn find(&self, reservations: &Reservations) -> Result<Cause, Cause> {
        if let Some(kind) = READ
            .into_iter()
            .find(|kind| !self.snapshot.is_readable(*kind))
        {
            return Err(Cause::Unreadable(kind));
        }
        if let Some(source) = claim::populator_source(self.claim) {
            return Err(Cause::Populator(format!("{} {}", source.kind, source.name)));
        }
        let Some(class) = self.class else {
            let error = match claim::class_name(self.claim) {
                Some(name) => ClassError::NotFound(name.to_owned()),
                None => ClassError::NotNamed,
            };
            return Err(Cause::Class(error));
        };
        let backend = class::backend_of(class).and_then(|name| self.snapshot.backends.get(name));
        let default = backend.and_then(|backend| backend.spec.filesystem.as_ref());
        let class = class::read_ours(class, default).map_err(Cause::Class)?;
        if let Some(orphan) = self.orphan() {
            return Err(Cause::HasData(orphan));
        }
        let requested = claim::validate(self.claim).map_err(Cause::Invalid)?;
        let size =
            backend_limits::size(requested, &class, backend).map_err(|error| match error {
                BackendError::TooLarge { .. } => Cause::TooLarge(error),
                _ => Cause::Backend(error),
            })?;
        let Some(backend) = backend else {
            return Err(Cause::Backend(BackendError::NotFound(class.backend)));
        };
        let selected = claim::selected_node(self.claim).filter(|_| class.waits_for_consumer);
        let request = PlacementRequest {
            backend,
            size,
            selected,
            topologies: &class.allowed_topologies,
        };
        let candidates = self.snapshot.candidates();
        let is_waiting = class.waits_for_consumer && selected.is_none();
        Ok(match choose::choose(&request, &candidates, reservations) {
            Choice::Here(fit) if is_waiting => Cause::FirstPod(placed(&fit)),
            Choice::Here(fit) => Cause::Placeable(placed(&fit)),
            Choice::Elsewhere(message) => Cause::OtherNode(message),
            Choice::Nowhere(_) => {
                Cause::NoSpace(no_space(&request, backend, self.snapshot, reservations))
            }
        })
    }

    fn orphan(&self) -> Option<Orphan> {
        let uid = self.claim.uid()?;
        for (node, storage) in &self.snapshot.storages {
            let Some(status) = &storage.status else {
                continue;
            };
            let path = match status.orphan_of(&uid) {
                Some(OrphanOf::Listed(orphan)) => {
                    Some(format!("{}/{}", orphan.volume_group, orphan.name))
                }
                Some(OrphanOf::Unlisted) => None,
                None => continue,
            };
            return Some(Orphan {
                node: node.clone(),
                path,
            });
        }
        None
    }
}

fn placed(fit: &Fit) -> Placed {
    Placed {
        node: fit.location.node.clone(),
        size: fit.size,
    }
}

/// Returns why each node that the backend selects rejects a request.
fn no_space(
    request: &PlacementRequest<'_>,
    backend: &StorageBackend,
    snapshot: &Snapshot,
    reservations: &Reservations,
) -> NoSpace {
    let mut nodes = Vec::new();
    for candidate in snapshot.candidates() {
        match fit(request, candidate, reservations) {
            Ok(_) | Err(Rejection::NotSelected) => {}
            Err(rejection) => nodes.push(RejectedNode {
                node: candidate.node.name_any(),
                reason: rejection.to_string(),
            }),
        }
    }
    NoSpace {
        backend: backend.name_any(),
        size: request.size,
        nodes,
    }
}

impl Cause {
    /// Returns the cause as a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Unreadable(kind) => format!(
                "the reason depends on {}, which can't be listed; the controller's Events about the claim have it, too",
                kind.resource()
            ),
            Self::Class(error) => error.to_string(),
            Self::Backend(error) | Self::TooLarge(error) => error.to_string(),
            Self::HasData(Orphan {
                node,
                path: Some(path),
            }) => format!(
                "logical volume {path} on node {node} carries the claim's uid, but no LogicalVolume describes it"
            ),
            Self::HasData(Orphan { node, path: None }) => format!(
                "a logical volume on node {node} carries the claim's uid, but no LogicalVolume describes it; it is among \
                 those that the NodeStorage has no space for"
            ),
            Self::Invalid(error) => error.to_string(),
            Self::Populator(source) => {
                format!("the volume populator of {source} has not provided the volume")
            }
            Self::FirstPod(placed) => format!(
                "the class waits for the claim's first pod (WaitForFirstConsumer); node {} has space for {}",
                placed.node,
                quantity::human(placed.size)
            ),
            Self::OtherNode(message) => format!("{message}; the scheduler selects another node"),
            Self::NoSpace(fault) => fault.to_string(),
            Self::Placeable(placed) => format!(
                "node {} has space for {}, and the controller has not created the LogicalVolume yet",
                placed.node,
                quantity::human(placed.size)
            ),
        }
    }

    /// Returns the next command, for a claim of this namespace and name.
    #[must_use]
    pub fn next(&self, namespace: &str, name: &str) -> String {
        match self {
            Self::Class(_) => "kubectl get storageclasses".to_owned(),
            Self::Backend(_) => "kubectl get storagebackends.flexlvm.dev".to_owned(),
            Self::HasData(orphan) => {
                let path = orphan.path.as_deref().unwrap_or("GROUP/NAME");
                format!("kubectl flexlvm adopt {} {path}", orphan.node)
            }
            Self::Invalid(_) => format!("kubectl -n {namespace} edit pvc {name}"),
            Self::TooLarge(BackendError::TooLarge { backend, .. }) => {
                format!("kubectl edit storagebackend.flexlvm.dev {backend}")
            }
            Self::Populator(_) | Self::Unreadable(_) => {
                format!("kubectl -n {namespace} describe pvc {name}")
            }
            Self::FirstPod(_) => format!("kubectl -n {namespace} get pods"),
            Self::NoSpace(fault) => format!(
                "kubectl flexlvm capacity {} --backend {}",
                quantity::format(fault.size).0,
                fault.backend
            ),
            Self::TooLarge(_) | Self::OtherNode(_) | Self::Placeable(_) => {
                "kubectl -n flexlvm-system logs deployment/flexlvm-controller".to_owned()
            }
        }
    }
}
