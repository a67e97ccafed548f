//! The demo's scenario: a cluster, FlexLVM on it, a claim from creation to deletion. Each step
//! verifies its result.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::cluster::{Cluster, Plan};
use harness::guest::{Guest, Hardware};
use harness::installation::{self, IMAGE, VOLUME_GROUP};
use harness::wait::until;

use crate::output;

/// Time limit for a step.
const LIMIT: Duration = Duration::from_secs(240);

/// The cluster and the steps on it.
struct Scenario {
    cluster: Cluster,
}

/// Runs the whole scenario; on a failure prints the state of Kubernetes and FlexLVM.
pub(crate) async fn run() -> Result<()> {
    let plan = Plan {
        nodes: 2,
        hardware: Hardware::default(),
        volume_group: Some(VOLUME_GROUP.to_owned()),
        images: vec![installation::file(IMAGE)],
    };
    let cluster = output::step(
        "a control plane and two nodes with real LVM are up",
        Cluster::start(&plan),
    )
    .await?;
    let mut scenario = Scenario { cluster };
    let result = match scenario.run().await {
        Ok(numbers) => numbers,
        Err(error) => {
            scenario.print_diagnostics();
            return Err(error);
        }
    };
    if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty()) {
        scenario.keep().await?;
    }
    println!("{result}");
    Ok(())
}

impl Scenario {
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.api().kubectl(arguments)
    }

    fn apply(&self, file: &str) -> Result<()> {
        self.kubectl(&[
            "apply",
            "-f",
            &installation::file(file).display().to_string(),
        ])
        .map(drop)
    }

    /// Runs kubectl and prints its output.
    fn show(&self, line: &str) -> Result<()> {
        let output = self.kubectl(&line.split(' ').collect::<Vec<_>>())?;
        output::show(&format!("kubectl {line}"), &output);
        Ok(())
    }

    /// Runs a program on a node and prints its output.
    fn show_on(node: &Guest, line: &str) -> Result<()> {
        output::show(&format!("{} # {line}", node.name()), &node.shell(line)?);
        Ok(())
    }

    /// Polls kubectl until its output satisfies `is`.
    async fn until(
        &self,
        what: &str,
        arguments: &[&str],
        mut is: impl FnMut(&str) -> bool,
    ) -> Result<String> {
        until(what, LIMIT, async || {
            Ok(self.kubectl(arguments).ok().filter(|output| is(output)))
        })
        .await
    }

    async fn run(&mut self) -> Result<String> {
        let version = self.cluster.api().kubernetes().version()?;
        output::step("FlexLVM is installed and ready", self.cluster.install()).await?;
        self.show("get pods,nodestorages,storagebackends -A")?;
        self.show_sizes()?;

        let free = self.free_extents()?;
        let begin = Instant::now();
        output::step("the claim is bound to a new logical volume", self.claim()).await?;
        let claim_to_bound_s = begin.elapsed();
        output::step("the pod runs", self.pod_runs()).await?;
        let pod_running_s = begin.elapsed();
        let node = self.kubectl(&["get", "pod", "app", "-o", "jsonpath={.spec.nodeName}"])?;
        self.show("get pvc,logicalvolumes,pv,pods -o wide")?;
        let guest = self.cluster.node_named(&node)?;
        Self::show_on(guest, "lvs -o lv_name,lv_size,lv_tags flexlvm")?;
        Self::show_on(
            guest,
            "findmnt --raw --noheadings --output TARGET,SOURCE,FSTYPE,OPTIONS | grep ^/var/lib/kubelet/.*flexlvm.dev",
        )?;

        let sum = output::step("the pod writes 8 MiB", async { self.write() }).await?;
        output::show("sha256sum /data/blob", &sum);
        output::step("another pod reads the same data", self.recreate(&sum)).await?;

        let begin = Instant::now();
        output::step("the claim grows to 2 GiB while the pod runs", self.grow()).await?;
        let grow_s = begin.elapsed();
        self.show("exec app -- df -Ph /data")?;
        ensure!(
            self.checksum()? == sum,
            "the data changed when the volume grew"
        );

        let begin = Instant::now();
        output::step(
            "pod and claim are deleted, and the space is free again",
            self.delete(guest, &free),
        )
        .await?;
        let delete_s = begin.elapsed();
        Self::show_on(guest, "lvs flexlvm; vgs flexlvm")?;

        let seconds = |duration: Duration| (duration.as_secs_f64() * 10.0).round() / 10.0;
        Ok(format!(
            r#"{{"demo":"ok","kubernetes":"{version}","claim_to_bound_s":{},"pod_running_s":{},"grow_s":{},"delete_s":{}}}"#,
            seconds(claim_to_bound_s),
            seconds(pod_running_s),
            seconds(grow_s),
            seconds(delete_s)
        ))
    }

    /// Prints the resident memory of the programs at rest.
    fn show_sizes(&self) -> Result<()> {
        let script = "for pid in $(pidof flexlvm); do tr '\\0' ' ' </proc/$pid/cmdline; grep VmRSS /proc/$pid/status; done";
        for node in self.cluster.nodes() {
            output::show(
                &format!("{} # resident memory", node.name()),
                &node.shell(script)?,
            );
        }
        Ok(())
    }

    /// Returns the number of free extents on each node.
    fn free_extents(&self) -> Result<Vec<String>> {
        self.cluster.nodes().iter().map(free_extents_of).collect()
    }

    /// Creates the claim and a pod, whose scheduling selects the node.
    async fn claim(&self) -> Result<()> {
        for sample in ["storageclass", "claim", "pod"] {
            self.apply(&format!("config/samples/{sample}.yaml"))?;
        }
        let phase = ["get", "pvc", "data", "-o", "jsonpath={.status.phase}"];
        self.until("the claim is bound", &phase, |phase| phase == "Bound")
            .await
            .map(drop)
    }

    async fn pod_runs(&self) -> Result<()> {
        let ready = [
            "get",
            "pod",
            "app",
            "-o",
            "jsonpath={.status.phase} {.status.containerStatuses[0].ready}",
        ];
        self.until("the pod runs", &ready, |state| state == "Running true")
            .await
            .map(drop)
    }

    fn write(&self) -> Result<String> {
        self.kubectl(&[
            "exec",
            "app",
            "--",
            "dd",
            "if=/dev/urandom",
            "of=/data/blob",
            "bs=1M",
            "count=8",
        ])?;
        self.kubectl(&["exec", "app", "--", "sync"])?;
        self.checksum()
    }

    fn checksum(&self) -> Result<String> {
        self.kubectl(&["exec", "app", "--", "sha256sum", "/data/blob"])
    }

    async fn recreate(&self, sum: &str) -> Result<()> {
        self.kubectl(&["delete", "pod", "app", "--wait=true"])?;
        self.apply("config/samples/pod.yaml")?;
        self.pod_runs().await?;
        ensure!(
            self.checksum()? == sum,
            "the other pod reads different data"
        );
        Ok(())
    }

    async fn grow(&self) -> Result<()> {
        let patch = r#"{"spec": {"resources": {"requests": {"storage": "2Gi"}}}}"#;
        self.kubectl(&["patch", "pvc", "data", "-p", patch])?;
        let size = ["exec", "app", "--", "df", "-Pk", "/data"];
        self.until("df in the pod shows it", &size, |output: &str| {
            let kibibytes = output
                .lines()
                .last()
                .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            kibibytes.is_some_and(|kibibytes| kibibytes > 3 << 19)
        })
        .await
        .map(drop)
    }

    async fn delete(&self, node: &Guest, free: &[String]) -> Result<()> {
        self.kubectl(&["delete", "pod", "app"])?;
        self.kubectl(&["delete", "pvc", "data"])?;
        let left = ["get", "pv,logicalvolumes", "-o", "name"];
        self.until("its objects are gone", &left, |left| left.trim().is_empty())
            .await?;
        ensure!(
            node.shell("lvs --noheadings flexlvm")?.trim().is_empty(),
            "a logical volume is left"
        );
        ensure!(self.free_extents()? == free, "the space is not free");
        Ok(())
    }

    /// Prints what the analysis of a failure needs.
    fn print_diagnostics(&self) {
        let logs = [
            "logs",
            "-n",
            "flexlvm-system",
            "--tail=40",
            "--prefix",
            "-l",
            "app.kubernetes.io/name=flexlvm",
        ];
        for query in [
            &["get", "events", "-A", "--sort-by=.lastTimestamp"][..],
            &[
                "get",
                "pods,pvc,pv,logicalvolumes,nodestorages,storagebackends",
                "-A",
                "-o",
                "wide",
            ],
            &logs,
        ] {
            let answer = self
                .kubectl(query)
                .unwrap_or_else(|error| format!("{error:#}"));
            output::show(&format!("kubectl {}", query.join(" ")), &answer);
        }
    }

    /// Keeps the cluster up until Ctrl-C.
    async fn keep(&self) -> Result<()> {
        let pid = std::env::var(harness::isolation::OUTER_PID)
            .context("the process id of init is unknown")?;
        let enter = format!("nsenter --target {pid} --net --mount --pid");
        let kubectl = self.cluster.api().kubernetes().program("kubectl");
        let demo = std::env::current_exe()?;
        println!(
            "\nThe cluster stays up until you press Ctrl-C here. In another terminal, as root:"
        );
        println!(
            "  {enter} {} --kubeconfig {} get nodes",
            kubectl.display(),
            self.cluster.api().kubeconfig().display()
        );
        println!(
            "  {enter} {} shell 1      # a shell on node1",
            demo.display()
        );
        tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")
    }
}

fn free_extents_of(node: &Guest) -> Result<String> {
    Ok(node
        .shell(&format!("vgs --noheadings -o vg_free_count {VOLUME_GROUP}"))?
        .trim()
        .to_owned())
}
