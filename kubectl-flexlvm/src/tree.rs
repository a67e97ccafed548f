//! `tree`: backends, their nodes with volume groups and pools, volumes, claims, pods. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crds::condition::{self, HEALTHY, READY};
use crds::logical_volume::State;
use crds::{LogicalVolume, NodeStorage};
use kube::ResourceExt as _;
use serde::Serialize;

use crate::objects::{claims_of, human, volume_conditions};
use crate::output::Report;
use crate::snapshot::Snapshot;

/// An object, with those below it.
#[derive(Debug, Serialize)]
pub struct Branch {
    /// The object, as in `node/n1`.
    pub object: String,
    /// What matters about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The objects below it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Branch>,
}

/// All backends.
#[derive(Debug, Serialize)]
pub struct Tree(pub Vec<Branch>);

/// What the tree shows.
#[derive(Clone, Debug, Default)]
pub struct TreeFilter {
    /// Only this backend.
    pub backend: Option<String>,
    /// Only this node.
    pub node: Option<String>,
    /// Only volumes with claims of this namespace.
    pub namespace: Option<String>,
}

/// Volumes with their names.
type NamedVolumes<'a> = Vec<(&'a str, &'a LogicalVolume)>;

/// The volumes of each node, by backend; and the pods of each claim.
struct Index<'a> {
    volumes: BTreeMap<&'a str, BTreeMap<&'a str, NamedVolumes<'a>>>,
    pods: BTreeMap<String, Vec<&'a str>>,
}

impl<'a> Index<'a> {
    fn new(snapshot: &'a Snapshot, filter: &TreeFilter) -> Self {
        let mut volumes: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
        for (name, volume) in &snapshot.logical_volumes {
            let claim = volume.spec.current_claim();
            if filter
                .namespace
                .as_ref()
                .is_some_and(|it| *it != claim.namespace)
            {
                continue;
            }
            volumes
                .entry(volume.spec.backend.as_str())
                .or_default()
                .entry(volume.spec.node.as_str())
                .or_default()
                .push((name.as_str(), volume));
        }
        let mut pods: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (key, pod) in &snapshot.pods {
            let namespace = pod.namespace().unwrap_or_default();
            for claim in claims_of(pod) {
                pods.entry(format!("{namespace}/{claim}"))
                    .or_default()
                    .push(key);
            }
        }
        Self { volumes, pods }
    }
}

/// Builds the tree.
#[must_use]
pub fn tree(snapshot: &Snapshot, filter: &TreeFilter) -> Tree {
    let index = Index::new(snapshot, filter);
    let mut names: BTreeSet<&str> = snapshot.backends.keys().map(String::as_str).collect();
    names.extend(index.volumes.keys());
    names.retain(|name| filter.backend.as_ref().is_none_or(|it| it == name));
    let mut backends = Vec::new();
    for name in names {
        let branch = of_backend(snapshot, filter, &index, name);
        if filter.namespace.is_none() || !branch.children.is_empty() {
            backends.push(branch);
        }
    }
    Tree(backends)
}

fn of_backend(snapshot: &Snapshot, filter: &TreeFilter, index: &Index<'_>, name: &str) -> Branch {
    let backend = snapshot.backends.get(name);
    let volumes = index.volumes.get(name);
    let mut nodes: BTreeSet<&str> = BTreeSet::new();
    nodes.extend(volumes.into_iter().flat_map(BTreeMap::keys));
    if let (Some(backend), None) = (backend, &filter.namespace) {
        for (node, storage) in &snapshot.storages {
            let object = snapshot.nodes.get(node);
            let is_selected =
                object.is_some_and(|it| backend.spec.node_selector.matches(it.labels()));
            let groups = storage.status.iter().flat_map(|it| &it.volume_groups);
            let has_group = groups
                .into_iter()
                .any(|it| it.name == backend.spec.volume_group);
            if is_selected && has_group {
                nodes.insert(node);
            }
        }
    }
    nodes.retain(|node| filter.node.as_ref().is_none_or(|it| it == node));
    let detail = match backend {
        Some(backend) => format!(
            "volume group {}, {}",
            backend.spec.volume_group,
            backend.spec.layout.type_.as_str()
        ),
        None => "deleted".to_owned(),
    };
    let mut children = Vec::new();
    for node in nodes {
        let of_node = volumes.and_then(|volumes| volumes.get(node));
        children.push(of_node_in(snapshot, index, node, of_node, backend));
    }
    Branch {
        object: format!("storagebackend.flexlvm.dev/{name}"),
        detail,
        children,
    }
}

/// Returns a node with the backend's volume group, and the groups of its volumes.
fn of_node_in(
    snapshot: &Snapshot,
    index: &Index<'_>,
    node: &str,
    volumes: Option<&NamedVolumes<'_>>,
    backend: Option<&crds::StorageBackend>,
) -> Branch {
    let mut places: BTreeMap<(&str, Option<&str>), Vec<Branch>> = BTreeMap::new();
    if let Some(backend) = backend {
        places
            .entry((&backend.spec.volume_group, None))
            .or_default();
    }
    for (name, volume) in volumes.into_iter().flatten() {
        let pool = volume
            .spec
            .thin_pool
            .as_ref()
            .map(|pool| pool.name.as_str());
        places
            .entry((&volume.spec.volume_group, pool))
            .or_default()
            .push(of_volume(index, name, volume));
    }
    let storage = snapshot.storages.get(node);
    let mut children: Vec<Branch> = Vec::new();
    for ((group, pool), below) in places {
        let branch = Branch {
            object: match pool {
                Some(pool) => format!("thinpool/{group}/{pool}"),
                None => format!("volumegroup/{group}"),
            },
            detail: describe(storage, group, pool),
            children: below,
        };
        let of_group = format!("volumegroup/{group}");
        match children.iter_mut().find(|it| it.object == of_group) {
            Some(parent) => parent.children.push(branch),
            None => children.push(branch),
        }
    }
    Branch {
        object: format!("node/{node}"),
        detail: String::new(),
        children,
    }
}

/// Returns the numbers of a volume group, or of a thin pool in it.
fn describe(storage: Option<&NodeStorage>, group: &str, pool: Option<&str>) -> String {
    let status = storage.and_then(|storage| storage.status.as_ref());
    let mut groups = status.into_iter().flat_map(|it| &it.volume_groups);
    let Some(group) = groups.find(|it| it.name == group) else {
        return "not reported".to_owned();
    };
    let Some(pool) = pool else {
        let fault = group.unusable_reason.as_ref();
        let fault = fault
            .map(|reason| format!("; {reason}"))
            .unwrap_or_default();
        return format!("{}{fault}", human(&group.size));
    };
    match group.thin_pools.iter().find(|it| it.name == pool) {
        None => "not created".to_owned(),
        Some(pool) => format!(
            "{}, {} % of its data and {} % of its metadata in use",
            human(&pool.size),
            pool.data_used,
            pool.metadata_used
        ),
    }
}

fn of_volume(index: &Index<'_>, name: &str, volume: &LogicalVolume) -> Branch {
    let conditions = volume_conditions(volume);
    let mut state = "not reported";
    for type_ in [READY, HEALTHY] {
        if let Some(condition) = condition::get(conditions, type_) {
            state = &condition.reason;
            if condition.status != "True" {
                break;
            }
        }
    }
    match volume.spec.state {
        State::Present => {}
        State::Abandoned => state = "Abandoned",
        State::Absent | State::AbsentIfNeverUsed => state = "being removed",
    }
    let claim = volume.spec.current_claim();
    let key = format!("{}/{}", claim.namespace, claim.name);
    let pods = index.pods.get(&key).into_iter().flatten();
    let pods = pods.map(|pod| Branch {
        object: format!("pod/{pod}"),
        detail: String::new(),
        children: Vec::new(),
    });
    let of_claim = Branch {
        object: format!("persistentvolumeclaim/{key}"),
        detail: String::new(),
        children: pods.collect(),
    };
    Branch {
        object: format!("logicalvolume.flexlvm.dev/{name}"),
        detail: format!("{}, {state}", human(&volume.spec.size)),
        children: vec![of_claim],
    }
}

impl Branch {
    /// Adds the lines of this object's children.
    fn render(&self, indent: &str, text: &mut String) {
        let last = self.children.len().saturating_sub(1);
        for (number, child) in self.children.iter().enumerate() {
            let (mark, more) = if number == last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            let _ = writeln!(text, "{indent}{mark}{}", child.line());
            child.render(&format!("{indent}{more}"), text);
        }
    }

    fn line(&self) -> String {
        if self.detail.is_empty() {
            return self.object.clone();
        }
        format!("{}: {}", self.object, self.detail)
    }

    fn names(&self, names: &mut Vec<String>) {
        names.push(self.object.clone());
        for child in &self.children {
            child.names(names);
        }
    }
}

impl Report for Tree {
    fn text(&self, _wide: bool) -> String {
        let mut text = String::new();
        for branch in &self.0 {
            let _ = writeln!(text, "{}", branch.line());
            branch.render("", &mut text);
        }
        text
    }

    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for branch in &self.0 {
            branch.names(&mut names);
        }
        names
    }

    fn is_good(&self) -> bool {
        !self.0.is_empty()
    }
}
