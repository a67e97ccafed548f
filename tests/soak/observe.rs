//! The state of the cluster as plain values, from the API and from LVM on each node.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use crds::{LogicalVolume, NodeStorage, condition, quantity};
use harness::cluster::Cluster;
use harness::guest::Guest;
use harness::installation::VOLUME_GROUP;
use harness::remote::Call;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use crate::environment::NAMESPACE;

/// The state of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    /// By name.
    pub(crate) claims: BTreeMap<String, ObservedClaim>,
    /// PersistentVolumes: the phase by name.
    pub(crate) volumes: BTreeMap<String, String>,
    /// LogicalVolumes by name.
    pub(crate) objects: BTreeMap<String, ObservedObject>,
    pub(crate) nodes: Vec<ObservedNode>,
}

/// A claim.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedClaim {
    pub(crate) is_bound: bool,
    /// Bytes that the claim has.
    pub(crate) capacity: u64,
    /// Bytes that the claim requests.
    pub(crate) request: u64,
    /// Warnings of FlexLVM's on the claim, as `reason: message`.
    pub(crate) warnings: Vec<String>,
}

/// A LogicalVolume.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedObject {
    pub(crate) node: String,
    pub(crate) uuid: String,
    /// Why it is not Ready; `None` if it is.
    pub(crate) unready: Option<String>,
    /// Bytes that it takes from the volume group, without a thin pool.
    pub(crate) reserved: u64,
}

/// LVM on a node, and the agent's report of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedNode {
    pub(crate) name: String,
    /// All logical volumes, internal ones too.
    pub(crate) logical_volumes: Vec<ObservedLv>,
    /// Bytes in the volume group that LVM allocated, and that it did not.
    pub(crate) allocated: u64,
    pub(crate) free: u64,
    /// Free bytes of the volume group in NodeStorage.
    pub(crate) reported_free: u64,
    /// Why the NodeStorage or its volume group is not usable; `None` if it is.
    pub(crate) unready: Option<String>,
    /// LVM's uuids of the active devices, without hyphens, with each device's name.
    pub(crate) devices: Vec<(String, String)>,
    /// Names of suspended devices.
    pub(crate) suspended: Vec<String>,
}

/// A logical volume of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedLv {
    /// Without the brackets of an internal one.
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) is_internal: bool,
    /// True for the data and the metadata of a thin pool.
    pub(crate) is_part_of_pool: bool,
    pub(crate) size: u64,
}

/// Reads the state of the cluster, whose nodes must have power.
pub(crate) async fn observe(cluster: &Cluster, client: &Client) -> Result<Observed> {
    let all = ListParams::default();
    let reports: Api<NodeStorage> = Api::all(client.clone());
    let reports = reports.list(&all).await?.items;
    let mut nodes = Vec::new();
    for guest in cluster.nodes() {
        let report = reports
            .iter()
            .find(|report| report.name_any() == guest.name());
        nodes.push(node(guest, report)?);
    }
    let objects: Api<LogicalVolume> = Api::all(client.clone());
    let objects = objects.list(&all).await?.items;
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let volumes = volumes.list(&all).await?.items;
    Ok(Observed {
        claims: claims(client).await?,
        volumes: volumes
            .into_iter()
            .map(|volume| {
                let phase = volume.status.as_ref().and_then(|it| it.phase.clone());
                (volume.name_any(), phase.unwrap_or_default())
            })
            .collect(),
        objects: objects
            .iter()
            .map(|object| (object.name_any(), self::object(object)))
            .collect(),
        nodes,
    })
}

async fn claims(client: &Client) -> Result<BTreeMap<String, ObservedClaim>> {
    let all = ListParams::default();
    let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
    let events = events.list(&all).await?.items;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), NAMESPACE);
    let observe = |claim: &PersistentVolumeClaim| {
        let status = claim.status.clone().unwrap_or_default();
        let requests = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
        let warnings = events
            .iter()
            .filter(|event| event.involved_object.uid == claim.metadata.uid && is_warning(event))
            .map(|event| {
                let reason = event.reason.as_deref().unwrap_or_default();
                format!("{reason}: {}", event.message.as_deref().unwrap_or_default())
            });
        ObservedClaim {
            is_bound: status.phase.as_deref() == Some("Bound"),
            capacity: storage(status.capacity.as_ref()),
            request: storage(requests),
            warnings: warnings.collect(),
        }
    };
    let claims = claims.list(&all).await?.items;
    Ok(claims
        .iter()
        .map(|claim| (claim.name_any(), observe(claim)))
        .collect())
}

/// Returns true for a Warning of FlexLVM's controller.
fn is_warning(event: &Event) -> bool {
    let source = event.source.as_ref().and_then(|it| it.component.as_deref());
    let reporter = event.reporting_component.as_deref();
    event.type_.as_deref() == Some("Warning") && [source, reporter].contains(&Some("flexlvm.dev"))
}

fn storage(sizes: Option<&BTreeMap<String, Quantity>>) -> u64 {
    sizes.and_then(|it| it.get("storage")).map_or(0, bytes)
}

fn bytes(size: &Quantity) -> u64 {
    quantity::parse(size).unwrap_or_default()
}

fn object(object: &LogicalVolume) -> ObservedObject {
    let status = object.status.clone().unwrap_or_default();
    let shares = &object.spec.physical_volumes;
    ObservedObject {
        node: object.spec.node.clone(),
        uuid: status.uuid.clone().unwrap_or_default(),
        unready: unready(&status.conditions),
        reserved: shares.iter().map(|share| bytes(&share.size)).sum(),
    }
}

/// Returns reason and message of the condition Ready, unless it is True.
fn unready(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
) -> Option<String> {
    if condition::is_true(conditions, condition::READY) {
        return None;
    }
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == condition::READY);
    Some(
        ready.map_or("it has no condition Ready".to_owned(), |ready| {
            format!("{}: {}", ready.reason, ready.message)
        }),
    )
}

fn node(guest: &Guest, report: Option<&NodeStorage>) -> Result<ObservedNode> {
    let status = report
        .and_then(|report| report.status.clone())
        .unwrap_or_default();
    let group = status
        .volume_groups
        .iter()
        .find(|group| group.name == VOLUME_GROUP);
    let fault = match group {
        None => Some("its NodeStorage has no volume group".to_owned()),
        Some(group) => unready(&status.conditions).or(group.unusable_reason.clone()),
    };
    let mut space = run(
        guest,
        &format!("vgs --noheadings --units b --nosuffix -o vg_size,vg_free {VOLUME_GROUP}"),
    )?
    .split_whitespace()
    .map(str::parse)
    .collect::<Result<Vec<u64>, _>>()?
    .into_iter();
    let (size, free) = space.next().zip(space.next()).context("vgs has no sizes")?;
    let (devices, suspended) = devices(guest)?;
    Ok(ObservedNode {
        name: guest.name(),
        logical_volumes: logical_volumes(guest)?,
        allocated: size - free,
        free,
        reported_free: group.map_or(0, |group| bytes(&group.free)),
        unready: fault,
        devices,
        suspended,
    })
}

fn logical_volumes(guest: &Guest) -> Result<Vec<ObservedLv>> {
    let report = run(
        guest,
        "lvs -a --noheadings --units b --nosuffix --separator '|' -o lv_name,lv_uuid,lv_role,lv_size",
    )?;
    report
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.trim().split('|').collect();
            let [name, uuid, role, size] = fields[..] else {
                anyhow::bail!("lvs printed {line}");
            };
            Ok(ObservedLv {
                name: name.trim_matches(['[', ']']).to_owned(),
                uuid: uuid.to_owned(),
                is_internal: name.starts_with('['),
                is_part_of_pool: role.contains("thin,pool,"),
                size: size.parse()?,
            })
        })
        .collect()
}

/// Active devices of logical volumes as uuid and name, and the names of suspended ones.
type Devices = (Vec<(String, String)>, Vec<String>);

fn devices(guest: &Guest) -> Result<Devices> {
    let report = run(
        guest,
        "dmsetup info -c --noheadings --separator '|' -o name,suspended,uuid",
    )?;
    let mut devices = Vec::new();
    let mut suspended = Vec::new();
    for line in report.lines() {
        let fields: Vec<&str> = line.trim().split('|').collect();
        let [name, state, uuid] = fields[..] else {
            continue;
        };
        if state == "Suspended" {
            suspended.push(name.to_owned());
        }
        // `LVM-`, the uuid of the volume group and that of the logical volume, of 32 characters
        // each.
        if let Some(uuid) = uuid.strip_prefix("LVM-").and_then(|uuid| uuid.get(32..64)) {
            devices.push((uuid.to_owned(), name.to_owned()));
        }
    }
    Ok((devices, suspended))
}

/// Runs a shell script on a node, at most half a minute.
pub(crate) fn run(guest: &Guest, script: &str) -> Result<String> {
    let mut call = Call::new(["sh", "-ec", script]);
    call.limit_s = Some(30);
    let output = guest.remote().output(&call)?;
    ensure!(
        output.status == 0,
        "on {}: `{script}` ended with {}:\n{}",
        guest.name(),
        output.status,
        output.stderr
    );
    Ok(output.stdout)
}
