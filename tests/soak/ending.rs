//! The end of a run: heals all faults, restarts all pods, waits until the cluster is as requested,
//! and compares all acknowledged bytes.

use std::time::{Duration, Instant};

use anyhow::Result;
use harness::installation::VOLUME_GROUP;
use harness::wait::{LIMIT, until};

use crate::actors::{Soak, call};
use crate::guest_service::Request;
use crate::model::{Action, Claim, DISKS, NODES};
use crate::observe::observe;
use crate::plan;
use crate::tenant::{Mount, node_number};
use crate::verify::{Finding, Kind, Verdict, verify};

/// Time limit until the cluster is as requested: kubelets back off for two minutes, and agents
/// check a mount that the kubelet lost twice, three minutes apart.
const QUIET_LIMIT: Duration = Duration::from_secs(600);

/// Time limit for the repair of the RAIDs of a node.
const REPAIR_LIMIT: Duration = Duration::from_secs(60);

/// Time limit for claims whose Event explains why they wait: the removal of another claim may serve
/// them.
const EXPLAINED_LIMIT: Duration = Duration::from_secs(90);

/// Ends the run and returns all findings.
pub(crate) async fn end(soak: &mut Soak) -> Result<Vec<Finding>> {
    heal(soak).await?;
    eprintln!("all faults are over; restarting the pods");
    soak.tenant.end_pods(QUIET_LIMIT).await?;
    let numbers: Vec<u32> = soak.model.live().map(|claim| claim.number).collect();
    for claim in &numbers {
        soak.perform(&Action::StartPod { claim: *claim }).await?;
    }
    let mut findings = std::mem::take(&mut soak.findings);
    findings.extend(wait_until_quiet(soak).await?.findings);
    for number in numbers {
        findings.extend(check_live(soak, &soak.model.claim(number).clone()).await?);
    }
    for claim in soak.model.claims.iter().filter(|claim| claim.is_kept()) {
        let finding = check_kept(soak, claim).await.unwrap_or_else(|error| {
            let message = format!("retained {} can't be read: {error:#}", claim.name());
            Some(Finding::new(Kind::Lost, message))
        });
        findings.extend(finding);
    }
    Ok(findings)
}

/// Ends all faults and waits until all nodes are Ready.
async fn heal(soak: &mut Soak) -> Result<()> {
    for action in plan::heal(&soak.model) {
        soak.perform(&action).await?;
    }
    soak.drain().await;
    for node in 1..=NODES {
        soak.cluster.wait_until_ready(node).await?;
    }
    for node in 1..=NODES {
        for disk in 1..=DISKS {
            soak.bring_back(node, disk)?;
        }
        let what = format!("LVM reports no fault of a RAID on node{node}");
        let repaired = async || Ok(soak.repair(node)?.then_some(()));
        // The comparison shows what the fault means for the volumes.
        if let Err(error) = until(&what, REPAIR_LIMIT, repaired).await {
            eprintln!("{error:#}");
        }
    }
    Ok(())
}

/// Waits until the observed state is the requested one, and returns the last verdict.
async fn wait_until_quiet(soak: &Soak) -> Result<Verdict> {
    let start = Instant::now();
    loop {
        let observed = observe(&soak.cluster, &soak.client).await?;
        let verdict = verify(&soak.model, &soak.volumes, &observed);
        let waited = start.elapsed();
        let is_served = verdict.explained.is_empty() || waited > EXPLAINED_LIMIT;
        if waited > QUIET_LIMIT || verdict.findings.is_empty() && is_served {
            for claim in &verdict.explained {
                eprintln!("waits with a reason: {claim}");
            }
            eprintln!("the state is final after {} s", waited.as_secs());
            return Ok(verdict);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Compares the acknowledged writes of a claim through its pod.
async fn check_live(soak: &Soak, claim: &Claim) -> Result<Option<Finding>> {
    if soak.ledger.of(claim.number).is_empty() {
        return Ok(None);
    }
    let what = format!("pod {} runs", claim.pod());
    let mount = until(&what, LIMIT, async || soak.tenant.mount(claim).await).await;
    match mount {
        Ok(mount) => check(soak, claim, mount).await,
        Err(error) => {
            let message = format!("claim {} can't be read: {error:#}", claim.name());
            Ok(Some(Finding::new(Kind::Lost, message)))
        }
    }
}

/// Compares the acknowledged writes of a volume whose claim was deleted, as an admin would read it.
async fn check_kept(soak: &Soak, claim: &Claim) -> Result<Option<Finding>> {
    if soak.ledger.of(claim.number).is_empty() {
        return Ok(None);
    }
    let volume = &soak.volumes[&claim.number];
    let jsonpath = "jsonpath={.spec.node}";
    let query = ["get", "logicalvolumes", volume, "-o", jsonpath];
    let node = node_number(&soak.cluster.api().kubectl(&query)?)?;
    let folder = format!("/run/soak/{volume}");
    soak.cluster.node(node).shell(&format!(
        "lvchange -qq -ay {VOLUME_GROUP}/{volume}
         mkdir -p {folder}; mount -o ro /dev/{VOLUME_GROUP}/{volume} {folder}"
    ))?;
    let finding = check(
        soak,
        claim,
        Mount {
            node,
            folder: folder.clone(),
        },
    )
    .await?;
    soak.cluster.node(node).shell(&format!("umount {folder}"))?;
    Ok(finding)
}

async fn check(soak: &Soak, claim: &Claim, mount: Mount) -> Result<Option<Finding>> {
    let writes = soak.ledger.of(claim.number);
    let request = Request::check(mount.folder, soak.content_of(claim), writes);
    let remote = soak.cluster.node(mount.node).remote();
    let faults = match call(remote, request).await {
        Ok(faults) => faults,
        Err(error) => format!("{error:#}"),
    };
    if faults.is_empty() {
        return Ok(None);
    }
    let volume = &soak.volumes[&claim.number];
    let message = format!(
        "{volume} of claim {} ({}) on node{}: {}",
        claim.name(),
        claim.class,
        mount.node,
        faults.trim_end().replace('\n', "; ")
    );
    Ok(Some(Finding::new(Kind::Lost, message)))
}
