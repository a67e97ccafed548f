//! Each violation is found in an observed state that otherwise matches the model.

use std::collections::BTreeMap;

use super::{Kind, Verdict, Volumes, verify};
use crate::model::{Action, Class, FileSystem, Layout, Model, UNSERVABLE_MIB};
use crate::observe::{Observed, ObservedClaim, ObservedLv, ObservedNode, ObservedObject};

const EXTENT: u64 = 4 << 20;

/// Two claims, the second with the policy `Retain`, and their volumes on node1.
struct Run {
    model: Model,
    volumes: Volumes,
    observed: Observed,
}

impl Run {
    fn new() -> Self {
        let mut model = Model::new();
        for is_retained in [false, true] {
            let class = Class {
                layout: Layout::Linear,
                file_system: FileSystem::Ext4,
                is_retained,
            };
            model.apply(&Action::Create { class, size_mib: 4 });
        }
        let mut observed = Observed::default();
        let mut volumes = Volumes::new();
        for number in 0..2 {
            let volume = format!("pvc-{number}");
            let claim = ObservedClaim {
                is_bound: true,
                capacity: EXTENT,
                request: EXTENT,
                warnings: Vec::new(),
            };
            observed.claims.insert(format!("c{number}"), claim);
            observed.volumes.insert(volume.clone(), "Bound".to_owned());
            let object = ObservedObject {
                node: "node1".to_owned(),
                uuid: format!("u-{number}"),
                unready: None,
                reserved: EXTENT,
            };
            observed.objects.insert(volume.clone(), object);
            volumes.insert(number, volume);
        }
        observed.nodes = vec![node("node1", &["pvc-0", "pvc-1"]), node("node2", &[])];
        Self {
            model,
            volumes,
            observed,
        }
    }

    fn verdict(&self) -> Verdict {
        verify(&self.model, &self.volumes, &self.observed)
    }

    fn kinds(&self) -> Vec<Kind> {
        let findings = self.verdict().findings;
        findings.iter().map(|finding| finding.kind).collect()
    }
}

fn node(name: &str, volumes: &[&str]) -> ObservedNode {
    let lvs: Vec<ObservedLv> = volumes.iter().map(|volume| lv(volume)).collect();
    let allocated = EXTENT * lvs.len() as u64;
    ObservedNode {
        name: name.to_owned(),
        devices: lvs
            .iter()
            .map(|lv| (lv.uuid.replace('-', ""), lv.name.clone()))
            .collect(),
        logical_volumes: lvs,
        allocated,
        free: 9,
        reported_free: 9,
        ..ObservedNode::default()
    }
}

fn lv(name: &str) -> ObservedLv {
    ObservedLv {
        name: name.to_owned(),
        uuid: name.replace("pvc", "u"),
        size: EXTENT,
        ..ObservedLv::default()
    }
}

#[test]
fn matching_state_has_no_finding() {
    assert_eq!(Run::new().verdict(), Verdict::default());
}

#[test]
fn unbound_claim_needs_an_event() {
    let mut run = Run::new();
    let claim = run.observed.claims.get_mut("c0").unwrap();
    *claim = ObservedClaim::default();
    // Its volume exists already, which is no violation.
    assert_eq!(run.kinds(), [Kind::Unexplained]);
    let claim = run.observed.claims.get_mut("c0").unwrap();
    claim.warnings.push("ProvisioningFailed: full".to_owned());
    let verdict = run.verdict();
    assert!(verdict.findings.is_empty());
    assert_eq!(verdict.explained, ["c0: ProvisioningFailed: full"]);
    run.model.claims[0].size_mib = UNSERVABLE_MIB;
    assert!(run.verdict().explained.is_empty());
}

#[test]
fn incomplete_growth_needs_an_event() {
    let mut run = Run::new();
    run.observed.claims.get_mut("c0").unwrap().request = 2 * EXTENT;
    assert_eq!(run.kinds(), [Kind::Unexplained]);
}

#[test]
fn missing_volume_is_lost() {
    let mut run = Run::new();
    run.observed.nodes[0] = node("node1", &["pvc-1"]);
    run.observed.nodes[0].allocated = 2 * EXTENT;
    assert_eq!(run.kinds(), [Kind::Lost]);
    let mut run = Run::new();
    run.observed.nodes[0].logical_volumes[0].uuid = "other".to_owned();
    run.observed.nodes[0].devices.clear();
    assert_eq!(run.kinds(), [Kind::Lost]);
}

#[test]
fn volume_on_two_nodes_is_doubled() {
    let mut run = Run::new();
    run.observed.nodes[1] = node("node2", &["pvc-0"]);
    // The second one has no object on its node, and its space is unaccounted for.
    assert_eq!(run.kinds(), [Kind::Doubled, Kind::Leaked, Kind::Leaked]);
}

#[test]
fn deleted_claim_leaves_nothing_unless_retained() {
    let mut run = Run::new();
    run.model.apply(&Action::Delete { claim: 0 });
    assert_eq!(run.kinds(), [Kind::Leaked; 4]);
    let mut run = Run::new();
    run.model.apply(&Action::Delete { claim: 1 });
    run.observed.claims.remove("c1");
    assert_eq!(run.kinds(), [Kind::Unexplained]);
    let phase = run.observed.volumes.get_mut("pvc-1").unwrap();
    "Released".clone_into(phase);
    assert!(run.kinds().is_empty());
}

#[test]
fn what_no_object_describes_is_leaked() {
    let mut run = Run::new();
    let node = &mut run.observed.nodes[0];
    node.logical_volumes.push(ObservedLv {
        is_internal: true,
        ..lv("pvc-9_rmeta_0")
    });
    node.allocated += EXTENT;
    assert_eq!(run.kinds(), [Kind::Leaked, Kind::Leaked]);

    let mut run = Run::new();
    let left = ("u9".to_owned(), "flexlvm-pvc--9".to_owned());
    run.observed.nodes[0].devices.push(left);
    assert_eq!(run.kinds(), [Kind::Leaked]);
}

#[test]
fn space_adds_up_with_thin_pool_and_internal_volumes() {
    let mut run = Run::new();
    let node = &mut run.observed.nodes[0];
    node.logical_volumes.push(lv("flexlvm-thin"));
    node.logical_volumes.push(ObservedLv {
        is_internal: true,
        is_part_of_pool: true,
        ..lv("flexlvm-thin_tdata")
    });
    node.allocated += EXTENT;
    assert!(run.kinds().is_empty());
    run.observed.nodes[0].reported_free += EXTENT;
    assert_eq!(run.kinds(), [Kind::Leaked]);
}

#[test]
fn suspended_device_and_unready_node_are_unexplained() {
    let mut run = Run::new();
    let node = &mut run.observed.nodes[0];
    node.suspended.push("flexlvm-pvc--0".to_owned());
    node.unready = Some("partial".to_owned());
    assert_eq!(run.kinds(), [Kind::Unexplained, Kind::Unexplained]);
    let objects: &mut BTreeMap<_, _> = &mut run.observed.objects;
    objects.get_mut("pvc-0").unwrap().unready = Some("LvmFailed: x".to_owned());
    assert_eq!(run.kinds().len(), 3);
}
