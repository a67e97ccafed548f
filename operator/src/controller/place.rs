//! Where a volume goes: which node's volume group has room for it, and if none, why.
//! Pure: called by `act.rs` with the ledger locked.

mod largest;

use crds::node_storage::PhysicalVolume;
use crds::storage_backend::Placement;
use crds::{LogicalVolume, NodeStorage, StorageBackend, StorageBackendSpec, condition, quantity};
use host::Bytes;
use host::lvm::{Cost, Layout};
use k8s_openapi::api::core::v1::{Node, TopologySelectorTerm};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;

use super::demand::Demand;
use super::disks::{self, Disk};
use super::ledger::{Ledger, Place};
use crate::{layout, names};

/// The condition by which a Node says that its kubelet is there.
pub const NODE_READY: &str = "Ready";

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// From which backend.
    pub backend: &'a StorageBackend,
    /// How many bytes at least.
    pub bytes: u64,
    /// On this node, and no other: the scheduler's choice.
    pub selected: Option<&'a str>,
    /// On a node that one of these allows; empty allows all. The scheduler has seen to it where it chose.
    pub topologies: &'a [TopologySelectorTerm],
}

/// A node that might hold a volume.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The node.
    pub node: &'a Node,
    /// What its agent reports, if it does.
    pub storage: Option<&'a NodeStorage>,
}

/// Room that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Where.
    pub place: Place,
    /// The volume's size in bytes: the order's, in whole extents.
    pub bytes: u64,
    /// What it takes, and where.
    pub demand: Demand,
    /// Bytes that nobody has been promised yet, before this volume.
    pub free: u64,
}

/// Why a node is no place for a volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The backend's selector leaves the node out.
    #[error("is not selected by the backend")]
    NotSelected,
    /// The class's `allowedTopologies` leave the node out.
    #[error("is not in the class's allowedTopologies")]
    NotAllowed,
    /// The node is cordoned.
    #[error("is cordoned")]
    Cordoned,
    /// The node is down, or its kubelet can't be reached.
    #[error("is not Ready: its kubelet does not report")]
    NodeDown,
    /// The node lacks the label that the volume's affinity would name.
    #[error("has no label {}", names::HOSTNAME_LABEL)]
    NoHostname,
    /// No agent has reported from there.
    #[error("has no FlexLVM agent that reports")]
    NoReport,
    /// The agent says that LVM doesn't answer.
    #[error("is not ready: {0}")]
    NotReady(String),
    /// The volume group is not there.
    #[error("has no volume group {0}")]
    NoVolumeGroup(String),
    /// The volume group is there, and can't be used.
    #[error("can't use volume group {0}: {1}")]
    Unusable(String, String),
    /// The volume group can't hold a volume of this layout.
    #[error("can't make the volume in volume group {0}: {1}")]
    Unsuitable(String, String),
    /// The layout needs more disks than there are.
    #[error("has {has} disk{} in volume group {group}, and {kind} as ordered needs {needs}; vgextend adds one", if *has == 1 { "" } else { "s" })]
    TooFewDisks {
        /// The volume group.
        group: String,
        /// What LVM calls the layout.
        kind: &'static str,
        /// How many disks there are.
        has: usize,
        /// How many there would have to be.
        needs: usize,
    },
    /// The layout needs more disks with room than there are.
    #[error("has too full disks in volume group {group}: {kind} as ordered needs {} free on each of {needs}, and {fitting} {} that", quantity::human(*image), if *fitting == 1 { "has" } else { "have" })]
    DisksTooFull {
        /// The volume group.
        group: String,
        /// What LVM calls the layout.
        kind: &'static str,
        /// How many disks have room.
        fitting: usize,
        /// How many would have to have it.
        needs: usize,
        /// Bytes that each would have to have.
        image: u64,
    },
    /// The disk of an image has too little room for its growth.
    #[error("has {} free on disk {name} of volume group {group}, and {} more are wanted there", quantity::human(*free), quantity::human(*needs))]
    DiskFull {
        /// The volume group.
        group: String,
        /// The disk's device.
        name: String,
        /// Bytes that nobody has been promised.
        free: u64,
        /// Bytes that are wanted.
        needs: u64,
    },
    /// There is too little room.
    #[error("has {} free of {} in volume group {group}", quantity::human(*free), quantity::human(*size))]
    TooLittle {
        /// The volume group.
        group: String,
        /// Bytes that nobody has been promised.
        free: u64,
        /// Bytes of the volume group in all.
        size: u64,
    },
}

/// What is to be done with an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Make it here.
    Here(Room),
    /// Not on the selected node, but another might do: let the scheduler choose anew.
    Elsewhere(String),
    /// Nowhere, for now.
    Nowhere(String),
}

/// Chooses the place for an order.
#[must_use]
pub fn choose(order: &Order<'_>, candidates: &[Candidate<'_>], ledger: &Ledger) -> Choice {
    let wanted = quantity::human(order.bytes);
    let backend = order.backend.name_any();
    let fits = |candidate: &Candidate<'_>| fit(order, *candidate, ledger);
    if let Some(selected) = order.selected {
        let Some(candidate) = candidates.iter().find(|candidate| candidate.node.name_any() == selected) else {
            return Choice::Elsewhere(format!(
                "node {selected}, which the scheduler selected, does not exist any more"
            ));
        };
        let unfit = match fits(candidate) {
            Ok(room) => return Choice::Here(room),
            Err(unfit) => unfit,
        };
        let sentence = format!("{wanted} from backend {backend} is not to be had on node {selected}: it {unfit}");
        // One that the scheduler would select: else it would select this one again, and again.
        let free = Order { selected: None, ..*order };
        let others = candidates.iter().filter(|candidate| candidate.node.name_any() != selected);
        let another = others.into_iter().any(|candidate| fit(&free, *candidate, ledger).is_ok());
        return if another { Choice::Elsewhere(sentence) } else { Choice::Nowhere(sentence) };
    }
    let rooms = candidates.iter().filter_map(|candidate| fits(candidate).ok());
    // Of equals the first by name, so that the choice can be foretold.
    let best = rooms.min_by(|a, b| {
        let by_space = match order.backend.spec.placement {
            Placement::Spread => b.free.cmp(&a.free),
            Placement::Pack => a.free.cmp(&b.free),
        };
        by_space.then_with(|| a.place.cmp(&b.place))
    });
    best.map_or_else(|| Choice::Nowhere(nowhere(order, candidates, ledger)), Choice::Here)
}

/// Why an order fits nowhere: the first nodes with their reasons, those that the backend selects before others.
fn nowhere(order: &Order<'_>, candidates: &[Candidate<'_>], ledger: &Ledger) -> String {
    const SHOWN: usize = 5;
    let reason = |candidate: &Candidate<'_>| match fit(order, *candidate, ledger) {
        Ok(_) | Err(Unfit::NotSelected) => None,
        Err(unfit) => Some(format!("node {} {unfit}", candidate.node.name_any())),
    };
    let mut reasons: Vec<String> = candidates.iter().filter_map(reason).collect();
    reasons.sort();
    let hidden = reasons.len().saturating_sub(SHOWN);
    reasons.truncate(SHOWN);
    if hidden > 0 {
        reasons.push(format!("and so on for {hidden} more nodes"));
    }
    let because = if reasons.is_empty() { "its nodeSelector selects no node".to_owned() } else { reasons.join("; ") };
    format!(
        "{} from backend {} is to be had on no node: {because}",
        quantity::human(order.bytes),
        order.backend.name_any()
    )
}

/// Room for the order on one node.
///
/// # Errors
/// Why there is none.
pub fn fit(order: &Order<'_>, candidate: Candidate<'_>, ledger: &Ledger) -> Result<Room, Unfit> {
    let node = candidate.node;
    if !order.backend.spec.node_selector.matches(node.labels()) {
        return Err(Unfit::NotSelected);
    }
    if order.selected.is_none() && !allowed(order.topologies, node) {
        return Err(Unfit::NotAllowed);
    }
    if order.selected.is_none() && node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        return Err(Unfit::Cordoned);
    }
    if order.selected.is_none() && !is_up(node) {
        return Err(Unfit::NodeDown);
    }
    if !node.labels().contains_key(names::HOSTNAME_LABEL) {
        return Err(Unfit::NoHostname);
    }
    let space = serve(&order.backend.spec, candidate, ledger)?;
    let (cost, demand) = space.take(&order.backend.spec.layout, order.bytes)?;
    Ok(space.room(cost, demand))
}

/// Whether the node's own condition says nothing against it: one without any is so new that it has none yet.
fn is_up(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().all(|condition| condition.type_ != NODE_READY || condition.status == "True")
}

/// Room for a volume to grow to so many bytes where it is. What it has already counts as its own.
///
/// # Errors
/// One sentence with the numbers.
pub fn grown(
    logical_volume: &LogicalVolume,
    backend: &StorageBackendSpec,
    bytes: u64,
    candidate: Option<Candidate<'_>>,
    ledger: &Ledger,
) -> Result<Room, String> {
    let spec = &logical_volume.spec;
    let cannot =
        |why: String| format!("the volume can't grow to {} on node {}: it {why}", quantity::human(bytes), spec.node);
    let candidate = candidate.ok_or_else(|| cannot("does not exist any more".to_owned()))?;
    let (_, maximum) =
        backend.limits().map_err(|fault| cannot(format!("belongs to backend {}: {fault}", spec.backend)))?;
    if bytes > maximum {
        let (bytes, maximum) = (quantity::human(bytes), quantity::human(maximum));
        return Err(format!(
            "the volume can't grow to {bytes}: backend {} allows {maximum} (volumeSize.maximum)",
            spec.backend
        ));
    }
    let space = space(backend, candidate, ledger).map_err(|unfit| cannot(unfit.to_string()))?;
    let grow = || {
        let (layout, cost) = space.cost(&spec.layout, bytes)?;
        Ok((cost, disks::extend(layout, cost, &Demand::of(logical_volume), &space)?))
    };
    let (cost, demand) = grow().map_err(|unfit: Unfit| cannot(unfit.to_string()))?;
    Ok(space.room(cost, demand))
}

/// The space of a backend on one node, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Where.
    pub place: Place,
    /// One extent.
    pub extent: u64,
    /// The whole volume group.
    pub size: u64,
    /// What is kept back.
    pub reserve: u64,
    /// What nobody has been promised, nobody else uses, and is not kept back.
    pub free: u64,
    /// The disks; none when the agent does not report them.
    pub disks: Vec<Disk>,
}

impl Space {
    /// What a volume of so many bytes takes here.
    fn cost(&self, asked: &crds::layout::Layout, bytes: u64) -> Result<(Layout, Cost), Unfit> {
        let unsuitable = |why: String| Unfit::Unsuitable(self.place.volume_group.clone(), why);
        let layout = layout::of(asked).map_err(unsuitable)?;
        let cost = layout.cost(Bytes(bytes), Bytes(self.extent));
        Ok((layout, cost.map_err(|error| unsuitable(error.to_string()))?))
    }

    /// What a new volume of at least so many bytes takes here, and from which disks.
    fn take(&self, asked: &crds::layout::Layout, bytes: u64) -> Result<(Cost, Demand), Unfit> {
        let (layout, cost) = self.cost(asked, bytes)?;
        Ok((cost, disks::assign(layout, cost, self)?))
    }

    fn room(self, cost: Cost, demand: Demand) -> Room {
        let bytes = cost.size.bytes(Bytes(self.extent)).0;
        Room { place: self.place, bytes, demand, free: self.free }
    }

    /// That there is too little here.
    #[must_use]
    pub fn too_little(&self) -> Unfit {
        Unfit::TooLittle { group: self.place.volume_group.clone(), free: self.free, size: self.size }
    }
}

/// The space of a backend on one node that can make volumes of its layout.
///
/// # Errors
/// Why no volume can be made there, however small.
pub fn serve(backend: &StorageBackendSpec, candidate: Candidate<'_>, ledger: &Ledger) -> Result<Space, Unfit> {
    let space = space(backend, candidate, ledger)?;
    let (layout, _) = space.cost(&backend.layout, 1)?;
    disks::check_number(layout, &space)?;
    Ok(space)
}

/// The space of a backend on one node.
///
/// # Errors
/// Why no volume can be made there at all.
pub fn space(backend: &StorageBackendSpec, candidate: Candidate<'_>, ledger: &Ledger) -> Result<Space, Unfit> {
    let volume_group = backend.volume_group.as_str();
    let missing = || Unfit::NoVolumeGroup(volume_group.to_owned());
    let unusable = |why: String| Unfit::Unusable(volume_group.to_owned(), why);
    let status = candidate.storage.and_then(|storage| storage.status.as_ref()).ok_or(Unfit::NoReport)?;
    match condition::get(&status.conditions, condition::READY) {
        Some(ready) if ready.status == "True" => {}
        Some(unready) => return Err(Unfit::NotReady(unready.message.clone())),
        None => return Err(Unfit::NoReport),
    }
    let group = status.volume_groups.iter().find(|group| group.name == volume_group).ok_or_else(missing)?;
    if let Some(reason) = &group.unusable {
        return Err(unusable(reason.clone()));
    }
    let read = |quantity: &Quantity| quantity::parse(quantity).map_err(|error| unusable(error.to_string()));
    let (size, extent, other) = (read(&group.size)?, read(&group.extent_size)?, read(&group.other_use)?);
    let place = Place { node: candidate.node.name_any(), volume_group: volume_group.to_owned() };
    let reserve = backend.reserve.as_ref().map_or(Ok(0), |reserve| reserve.bytes(size)).map_err(unusable)?;
    let taken = other.saturating_add(ledger.promised(&place)).saturating_add(reserve);
    let disk = |reported: &PhysicalVolume| {
        let taken = read(&reported.other_use)?.saturating_add(ledger.promised_on(&place, &reported.uuid));
        let free = read(&reported.size)?.saturating_sub(taken);
        Ok(Disk { uuid: reported.uuid.clone(), name: reported.name.clone(), free })
    };
    let disks = group.physical_volumes.iter().map(disk).collect::<Result<_, _>>()?;
    Ok(Space { place, extent: extent.max(1), size, reserve, free: size.saturating_sub(taken), disks })
}

/// True when one of the terms allows the node. No terms allow every node.
fn allowed(terms: &[TopologySelectorTerm], node: &Node) -> bool {
    let holds = |term: &TopologySelectorTerm| {
        term.match_label_expressions
            .iter()
            .flatten()
            .all(|expression| node.labels().get(&expression.key).is_some_and(|value| expression.values.contains(value)))
    };
    terms.is_empty() || terms.iter().any(holds)
}

#[cfg(test)]
mod tests;
