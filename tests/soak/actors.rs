//! Performs the planned actions on the cluster.
//!
//! Writes, checks and kills run in the background: the power of a node may be cut, and a process
//! killed, at any of their steps.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use harness::cluster::Cluster;
use harness::installation::VOLUME_GROUP;
use harness::remote::{Output, Remote};
use kube::Client;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use crate::environment::{
    create_disks, disk_name, fail_disk, restart_containers_soon, return_disk,
};
use crate::guest_service::{Program, Request};
use crate::ledger::Ledger;
use crate::model::{Action, Claim, Model, NODES, Power, Victim};
use crate::observe::run;
use crate::tally::Tally;
use crate::tenant::{Mount, Tenant};
use crate::verify::{Finding, Kind, Volumes};

/// Time limit for an answer of a guest. A guest on a busy host is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a kill waits for a process of LVM to start, in milliseconds.
const LVM_SEARCH_MS: u64 = 4000;

/// How long a kill waits for any other program.
const SEARCH_MS: u64 = 500;

/// The cluster and all records of a run.
pub(crate) struct Soak {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) tenant: Tenant,
    pub(crate) model: Model,
    pub(crate) ledger: Ledger,
    pub(crate) volumes: Volumes,
    pub(crate) tally: Tally,
    /// Violations found before the end.
    pub(crate) findings: Vec<Finding>,
    background: JoinSet<Result<Done>>,
    seed: u64,
}

/// The result of an action in the background.
enum Done {
    /// A write that the node has synced.
    Written(Action),
    Checked {
        action: Action,
        faults: String,
    },
    Killed {
        action: Action,
        processes: u32,
    },
    /// The pod does not run, or the node did not answer: nothing is known of the write.
    Skipped(Action, String),
}

impl Soak {
    pub(crate) fn new(cluster: Cluster, seed: u64) -> Self {
        let client = cluster.api().client();
        Self {
            tenant: Tenant::new(client.clone()),
            cluster,
            client,
            model: Model::new(),
            ledger: Ledger::default(),
            volumes: Volumes::new(),
            tally: Tally::default(),
            findings: Vec::new(),
            background: JoinSet::new(),
            seed,
        }
    }

    /// Performs an action and records it.
    pub(crate) async fn perform(&mut self, action: &Action) -> Result<()> {
        self.model.apply(action);
        let has_effect = match *action {
            Action::Create { .. } => {
                let claim = self.model.claims.last().context("it was just created")?;
                let volume = self.tenant.create_claim(claim).await?;
                self.volumes.insert(claim.number, volume);
                self.tenant.create_pod(claim).await?;
                true
            }
            Action::Grow { claim, .. } => self.tenant.grow(self.model.claim(claim)).await?,
            Action::StartPod { claim } => {
                self.tenant.create_pod(self.model.claim(claim)).await?;
                true
            }
            Action::StopPod { claim } => {
                self.tenant.delete_pod(self.model.claim(claim)).await?;
                true
            }
            Action::Delete { claim } => {
                let claim = self.model.claim(claim);
                self.tenant.delete_pod(claim).await?;
                self.tenant.delete_claim(claim).await?;
                true
            }
            Action::Write { .. } | Action::Check { .. } | Action::Kill { .. } => {
                self.start(action);
                false
            }
            Action::CutPower { node } => {
                self.cluster.cut_power(node)?;
                true
            }
            Action::Boot { node } => {
                self.cluster.boot(node)?;
                true
            }
            Action::StartNode { node } => {
                self.start_node(node)?;
                true
            }
            // The end of the run returns all disks again.
            Action::FailDisk { node, disk } => {
                let failed = self.fail(node, disk);
                failed.unwrap_or_else(|error| unanswered(action, &error))
            }
            Action::ReturnDisk { node, disk } => {
                let returned = self.bring_back(node, disk);
                returned.unwrap_or_else(|error| unanswered(action, &error))
            }
        };
        if has_effect {
            self.tally.count(action);
        }
        self.collect();
        Ok(())
    }

    /// Completes the boot of a node.
    fn start_node(&mut self, node: u8) -> Result<()> {
        self.cluster.wait_until_up(node)?;
        create_disks(self.cluster.node(node))?;
        self.cluster.start_kubelet(node)?;
        restart_containers_soon(self.cluster.node(node))
    }

    /// Makes a disk fail, if no volume loses data by that; returns true if it did.
    ///
    /// A RAID that is not in sync has data on one disk only. A thin pool whose disk fails needs an
    /// admin's repair. Volumes without redundancy can't be used until the disk returns.
    fn fail(&self, node: u8, disk: u8) -> Result<bool> {
        let guest = self.cluster.node(node);
        let report = run(
            guest,
            &format!(
                "lvs -a --noheadings --separator '|' -o lv_layout,lv_role,sync_percent,devices {VOLUME_GROUP}"
            ),
        );
        // LVM may be killed meanwhile, and a busy host answers late.
        let Ok(report) = report else {
            return Ok(false);
        };
        let name = format!("/dev/mapper/{}(", disk_name(disk));
        for line in report.lines() {
            let fields: Vec<&str> = line.trim().split('|').collect();
            let [layout, role, sync, devices] = fields[..] else {
                bail!("lvs printed {line}");
            };
            let is_syncing = layout.contains("raid") && !["", "100.00"].contains(&sync);
            if is_syncing || role.contains("thin,pool") && devices.contains(&name) {
                return Ok(false);
            }
        }
        fail_disk(guest, disk)?;
        Ok(true)
    }

    /// Makes a failed disk work again; returns false if it had not failed.
    pub(crate) fn bring_back(&self, node: u8, disk: u8) -> Result<bool> {
        let guest = self.cluster.node(node);
        let name = disk_name(disk);
        if !run(guest, &format!("dmsetup table {name}"))?.contains("error") {
            return Ok(false);
        }
        return_disk(guest, disk)?;
        self.repair(node)?;
        Ok(true)
    }

    /// Follows docs/operations.md, "A disk died", for a disk that is back; returns true if LVM
    /// reports no fault of a RAID any more.
    ///
    /// LVM may be killed meanwhile, so a failure is not one of the node.
    pub(crate) fn repair(&self, node: u8) -> Result<bool> {
        let script = format!(
            "for disk in $(pvs --noheadings -o pv_name -S 'vg_name={VOLUME_GROUP} && pv_attr=~m'); do
                vgextend -qq --restoremissing {VOLUME_GROUP} $disk || true
             done
             for volume in $(lvs --noheadings -o lv_full_name -S 'lv_attr=~^r && lv_health_status!=\"\"'); do
                lvchange -qq --refresh $volume || true
             done
             lvs --noheadings -o lv_full_name -S 'lv_attr=~^r && lv_health_status!=\"\"'"
        );
        let output = self.cluster.node(node).run(&["sh", "-c", &script])?;
        Ok(output.status == 0 && output.stdout.trim().is_empty())
    }

    /// Starts an action in the background.
    fn start(&mut self, action: &Action) {
        let action = action.clone();
        match action {
            Action::Write { claim, number, kib } => {
                let claim = self.model.claim(claim).clone();
                let volume = self.content_of(&claim);
                let request = move |folder| Request::Write {
                    folder,
                    volume,
                    number,
                    kib,
                };
                self.start_on_mount(action, claim, request, |action, _| Done::Written(action));
            }
            Action::Check { claim } => {
                let claim = self.model.claim(claim).clone();
                let volume = self.content_of(&claim);
                let writes = self.ledger.of(claim.number).to_vec();
                let request = move |folder| Request::check(folder, volume, &writes);
                self.start_on_mount(action, claim, request, |action, output| Done::Checked {
                    action,
                    faults: output,
                });
            }
            Action::Kill {
                node,
                victim,
                delay_ms,
            } => {
                let remotes = self.remotes_to_search(node, victim);
                let request = kill_request(victim, delay_ms);
                self.background.spawn(async move {
                    Ok(match kill_first(&remotes, &request).await {
                        Ok(processes) => Done::Killed { action, processes },
                        Err(error) => Done::Skipped(action, format!("{error:#}")),
                    })
                });
            }
            _ => unreachable!("only these run in the background"),
        }
    }

    /// Returns the nodes where a program may run, beginning with this one.
    ///
    /// The two controllers run on two of the nodes; each other program runs on all.
    fn remotes_to_search(&self, node: u8, victim: Victim) -> Vec<Remote> {
        if victim != Victim::Controller {
            return vec![self.cluster.node(node).remote()];
        }
        let others = (1..=NODES).filter(|other| *other != node);
        std::iter::once(node)
            .chain(others)
            .filter(|node| self.model.power_of(*node) == Power::On)
            .map(|node| self.cluster.node(node).remote())
            .collect()
    }

    /// Sends a request to the node of a claim's pod, if the pod runs on a node with power.
    fn start_on_mount(
        &mut self,
        action: Action,
        claim: Claim,
        request: impl FnOnce(String) -> Request + Send + 'static,
        done: fn(Action, String) -> Done,
    ) {
        let tenant = self.tenant.clone();
        let remotes: Vec<(Power, Remote)> = (1..)
            .zip(self.cluster.nodes())
            .map(|(node, guest)| (self.model.power_of(node), guest.remote()))
            .collect();
        self.background.spawn(async move {
            let Some(Mount { node, folder }) = tenant.mount(&claim).await? else {
                return Ok(Done::Skipped(action, "the pod does not run".to_owned()));
            };
            let (power, remote) = remotes[usize::from(node) - 1];
            if power != Power::On {
                return Ok(Done::Skipped(action, format!("node{node} has no power")));
            }
            Ok(match call(remote, request(folder)).await {
                Ok(output) => done(action, output),
                Err(error) => Done::Skipped(action, format!("{error:#}")),
            })
        });
    }

    /// Identifies the content of a claim's volume.
    pub(crate) fn content_of(&self, claim: &Claim) -> u64 {
        (self.seed << 20) ^ u64::from(claim.number)
    }

    /// Records the results of the background so far.
    fn collect(&mut self) {
        while let Some(done) = self.background.try_join_next() {
            self.record(done);
        }
    }

    /// Waits for all actions in the background.
    pub(crate) async fn drain(&mut self) {
        while let Some(done) = self.background.join_next().await {
            self.record(done);
        }
    }

    fn record(&mut self, done: Result<Result<Done>, tokio::task::JoinError>) {
        match done.map_err(anyhow::Error::from).flatten() {
            Ok(Done::Written(action)) => {
                if let Action::Write { claim, number, kib } = action {
                    self.ledger.acknowledge(claim, number, kib);
                }
                self.tally.count(&action);
            }
            Ok(Done::Checked { action, faults }) => {
                for fault in faults.lines() {
                    let message = format!("{action:?} during the run: {fault}");
                    self.findings.push(Finding::new(Kind::Lost, message));
                }
                self.tally.count(&action);
            }
            Ok(Done::Killed { action, processes }) => {
                if processes > 0 {
                    self.tally.count(&action);
                    self.tally.kills += processes;
                }
            }
            Ok(Done::Skipped(action, why)) => eprintln!("  no result of {action:?}: {why}"),
            Err(error) => eprintln!("  an action in the background failed: {error:#}"),
        }
    }
}

/// Reports an action that a node did not answer; returns that it had no effect.
fn unanswered(action: &Action, error: &anyhow::Error) -> bool {
    eprintln!("  no result of {action:?}: {error:#}");
    false
}

fn kill_request(victim: Victim, delay_ms: u32) -> Request {
    let (program, limit_ms, delay_ms) = match victim {
        Victim::Controller => (Program::Controller, SEARCH_MS, 0),
        Victim::Agent => (Program::Agent, SEARCH_MS, 0),
        Victim::Kubelet => (Program::Kubelet, SEARCH_MS, 0),
        Victim::Lvm => (Program::Lvm, LVM_SEARCH_MS, u64::from(delay_ms)),
    };
    Request::Kill {
        program,
        limit_ms,
        delay_ms,
    }
}

/// Kills the processes of a program on the first of these nodes that has any, and returns their
/// number.
async fn kill_first(remotes: &[Remote], request: &Request) -> Result<u32> {
    for remote in remotes {
        let killed = call(*remote, request.clone()).await?.parse()?;
        if killed > 0 {
            return Ok(killed);
        }
    }
    Ok(0)
}

/// Sends a request to a guest and returns what it prints.
pub(crate) async fn call(remote: Remote, request: Request) -> Result<String> {
    let call = request.call()?;
    let answer = spawn_blocking(move || remote.output(&call));
    let Output {
        status,
        stdout,
        stderr,
    } = timeout(PATIENCE, answer)
        .await
        .context("the guest did not answer in time")???;
    anyhow::ensure!(status == 0, "{stderr}");
    Ok(stdout)
}
