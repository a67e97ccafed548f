//! Metrics of the space on each node, as the controller accounts for it, and of the nodes' reports.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crds::condition::{self, DRIVER_INSTALLED, KUBELET_READY, READY};
use crds::node_storage::VolumeGroup;
use crds::{NodeStorage, NodeStorageStatus, quantity};
use host::Bytes;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use placement::reservations::{Location, Reservations};
use placement::thin;

use crate::controller::state::ClusterState;
use crate::metrics::series::{Gauge, Scrape, Value};

const fn of_group(name: &'static str, help: &'static str) -> Gauge<2> {
    Gauge::new(name, help, ["node", "volume_group"])
}

const RESERVED: Gauge<2> = of_group(
    "flexlvm_space_reserved_bytes",
    "Space of a volume group that volumes and thin pools of FlexLVM have or will get.",
);

const USED_BY_OTHERS: Gauge<2> = of_group(
    "flexlvm_space_used_by_others_bytes",
    "Space of a volume group that no LogicalVolume accounts for.",
);

const FREE: Gauge<2> = of_group(
    "flexlvm_space_free_bytes",
    "Space of a volume group that is neither reserved nor used by others.",
);

const SIZE: Gauge<2> = of_group(
    "flexlvm_space_size_bytes",
    "Size of a volume group, as its agent reported it.",
);

/// A gauge of volume groups, and its value.
type SpaceGauge = (Gauge<2>, fn(&GroupSpace) -> Bytes);

const VALUES: [SpaceGauge; 4] = [
    (SIZE, |group| group.size),
    (USED_BY_OTHERS, |group| group.used_by_others),
    (RESERVED, |group| group.reserved),
    (FREE, GroupSpace::free),
];

const POOL_VOLUMES: Gauge<3> = Gauge::new(
    "flexlvm_space_thin_volumes_bytes",
    "Total size of the volumes of FlexLVM in a thin pool, written to or not.",
    ["node", "volume_group", "thin_pool"],
);

const CONDITION: Gauge<2> = Gauge::new(
    "flexlvm_node_condition",
    "1 if the condition of a NodeStorage is True, else 0.",
    ["node", "condition"],
);

const NODE_ORPHANS: Gauge<1> = Gauge::new(
    "flexlvm_node_orphaned_volumes",
    "Logical volumes of claims that no LogicalVolume describes, as the agent reported them.",
    ["node"],
);

const MISSING_GROUPS: Gauge<1> = Gauge::new(
    "flexlvm_node_missing_volume_groups",
    "Volume groups that were on the node before and are not there now.",
    ["node"],
);

const NODES: Gauge<0> = Gauge::new("flexlvm_nodes", "Nodes of the cluster.", []);

const REPORTED: Gauge<0> = Gauge::new(
    "flexlvm_nodes_reported",
    "Nodes whose storage an agent has reported.",
    [],
);

/// The conditions of a NodeStorage.
const CONDITIONS: [&str; 3] = [READY, DRIVER_INSTALLED, KUBELET_READY];

/// The space of one volume group.
struct GroupSpace {
    location: Location,
    size: Bytes,
    used_by_others: Bytes,
    reserved: Bytes,
    /// The sizes of the volumes in each thin pool.
    pools: BTreeMap<String, Bytes>,
}

impl GroupSpace {
    fn new(node: &str, group: &VolumeGroup, reservations: &Reservations) -> Self {
        let location = Location {
            node: node.to_owned(),
            volume_group: group.name.clone(),
        };
        let pools = reservations.pools(&location);
        let pooled = thin::allocated(group, &pools).total;
        let volumes = pools
            .iter()
            .map(|(name, pool)| ((*name).to_owned(), pool.volumes));
        Self {
            size: bytes(&group.size),
            used_by_others: bytes(&group.used_by_others),
            reserved: reservations.reserved(&location).saturating_add(pooled),
            pools: volumes.collect(),
            location,
        }
    }

    fn free(&self) -> Bytes {
        let used = self.reserved.saturating_add(self.used_by_others);
        self.size.saturating_sub(used)
    }

    fn labels(&self) -> [&str; 2] {
        [&self.location.node, &self.location.volume_group]
    }
}

/// Writes the samples of all nodes.
pub(super) fn samples(scrape: &mut Scrape<'_>, state: &ClusterState) -> fmt::Result {
    let mut storages = Vec::new();
    for storage in state.storages.state() {
        storages.push((storage.name_any(), storage));
    }
    storages.sort_by(|a, b| a.0.cmp(&b.0));
    let mut groups = Vec::new();
    {
        let reservations = state.reservations();
        for (node, storage) in &storages {
            for group in &status(storage).volume_groups {
                groups.push(GroupSpace::new(node, group, &reservations));
            }
        }
    }
    scrape.value(&NODES, state.nodes.len())?;
    scrape.value(&REPORTED, storages.len())?;
    of_groups(scrape, &groups)?;
    of_nodes(scrape, &storages)
}

fn of_groups(scrape: &mut Scrape<'_>, groups: &[GroupSpace]) -> fmt::Result {
    for (gauge, value) in &VALUES {
        let samples = groups
            .iter()
            .map(|group| (group.labels(), value(group).0.into()));
        scrape.gauge(gauge, samples)?;
    }
    let mut pools = Vec::new();
    for group in groups {
        let [node, volume_group] = group.labels();
        for (pool, volumes) in &group.pools {
            pools.push(([node, volume_group, pool.as_str()], Value::from(volumes.0)));
        }
    }
    scrape.gauge(&POOL_VOLUMES, pools)
}

fn of_nodes(scrape: &mut Scrape<'_>, storages: &[(String, Arc<NodeStorage>)]) -> fmt::Result {
    let mut conditions = Vec::new();
    let mut orphans = Vec::new();
    let mut missing = Vec::new();
    for (node, storage) in storages {
        let status = status(storage);
        for type_ in CONDITIONS {
            // A condition that the agent has not written yet is unknown.
            if condition::get(&status.conditions, type_).is_some() {
                let is_true = condition::is_true(&status.conditions, type_);
                conditions.push(([node.as_str(), type_], is_true.into()));
            }
        }
        orphans.push(([node.as_str()], status.orphans.len().into()));
        missing.push(([node.as_str()], status.missing_volume_groups.len().into()));
    }
    scrape.gauge(&CONDITION, conditions)?;
    scrape.gauge(&NODE_ORPHANS, orphans)?;
    scrape.gauge(&MISSING_GROUPS, missing)
}

fn status(storage: &NodeStorage) -> &NodeStorageStatus {
    static EMPTY: std::sync::LazyLock<NodeStorageStatus> =
        std::sync::LazyLock::new(NodeStorageStatus::default);
    storage.status.as_ref().unwrap_or(&EMPTY)
}

fn bytes(size: &Quantity) -> Bytes {
    Bytes(quantity::parse(size).unwrap_or_default())
}
