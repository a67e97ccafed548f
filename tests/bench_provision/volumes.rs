//! Real logical volumes in a guest: created by the real agent for LogicalVolumes that exist at
//! once, and by a bare loop of `lvcreate`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crds::condition::{READY, is_true};
use crds::{LogicalVolume, NodeStorage};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use harness::apiserver::ApiServer;
use harness::guest::{Guest, Hardware};
use harness::kubernetes::Kubernetes;
use harness::wait::until;
use harness::workplace::Workplace;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::environment::AT_ONCE;
use crate::tally::{Figure, median};

const COUNT: usize = 50;

const NODE: &str = "node1";

const GROUP: &str = "bench";

/// Mount point of the host's files in a guest.
const HOSTS_FILES: &str = "/.host";

/// Runs the rounds, after a small uncounted one that fills the caches.
pub(crate) fn measure(runtime: &Runtime, program: &str, rounds: usize) -> Result<Vec<Figure>> {
    let guest = runtime.block_on(AgentGuest::set(program))?;
    guest.bare(3)?;
    runtime.block_on(guest.ours(3))?;
    let mut bare = Vec::new();
    let mut ours = Vec::new();
    for round in 0..rounds {
        for turn in 0..2 {
            if (round + turn).is_multiple_of(2) {
                bare.push(guest.bare(COUNT)?);
            } else {
                ours.push(runtime.block_on(guest.ours(COUNT))?.as_secs_f64());
            }
        }
    }
    let ratio = median(
        ours.iter()
            .zip(&bare)
            .map(|(ours, bare)| ours / bare)
            .collect(),
    );
    println!(
        "{COUNT} real volumes: {:.2} s by lvcreate in a loop, {:.2} s by the agent",
        median(bare),
        median(ours)
    );
    Ok(vec![("lvm_vs_bare_loop", ratio)])
}

struct AgentGuest {
    // Dropped together with this struct.
    _server: ApiServer,
    guest: Guest,
    client: Client,
    /// Starts the agent in the guest.
    agent: String,
}

impl AgentGuest {
    async fn set(program: &str) -> Result<Self> {
        let server =
            ApiServer::start_for_guests(Kubernetes::find()?, Workplace::isolated()?).await?;
        let mut guest = Guest::create(
            server.workplace(),
            1,
            &Hardware {
                disks_mib: vec![8192],
                ..Hardware::default()
            },
        )?;
        server.install()?;
        let client = server.client();
        let node: Node = serde_json::from_value(json!({"metadata": {"name": NODE}}))?;
        Api::all(client.clone())
            .create(&PostParams::default(), &node)
            .await?;
        guest.wait_until_up()?;
        guest.make_volume_group(GROUP)?;
        let kubeconfig = server.access().kubeconfig_of_agent(NODE).await?;
        let agent = format!(
            "KUBECONFIG={HOSTS_FILES}{} setsid {HOSTS_FILES}{program} agent --node {NODE} --driver /bin/true \
             --plugin-dir /run/plugins --state-dir /run/state >>/run/agent.log 2>&1 </dev/null & echo $! >/run/agent.pid",
            kubeconfig.display()
        );
        Ok(Self {
            _server: server,
            guest,
            client,
            agent,
        })
    }

    /// Runs the loop, timed by the guest's clock; it creates the same volumes as the agent.
    fn bare(&self, count: usize) -> Result<f64> {
        let tags = "--addtag flexlvm.dev/claim-uid=$i --addtag flexlvm.dev/claim=default/data-$i";
        let time = self.guest.shell(&format!(
            "begin=$(date +%s%N)
             for i in $(seq {count}); do lvcreate -qq -y -Wy -Zy {tags} -n bare-$i -L 64m {GROUP}; done
             echo $(($(date +%s%N) - begin)); lvremove -qq -y {GROUP}"
        ))?;
        let time = Duration::from_nanos(time.lines().next().context("no time")?.parse()?);
        Ok(time.as_secs_f64())
    }

    /// Measures from the creation of the first LogicalVolume until the last one is reported as
    /// ready.
    async fn ours(&self, count: usize) -> Result<Duration> {
        self.guest.shell(&self.agent)?;
        let storages: Api<NodeStorage> = Api::all(self.client.clone());
        let reported = async || {
            let status = storages
                .get_opt(NODE)
                .await?
                .and_then(|storage| storage.status);
            Ok(status.and_then(|status| {
                status
                    .volume_groups
                    .first()?
                    .physical_volumes
                    .first()
                    .cloned()
            }))
        };
        let disk = until("the agent has reported", Duration::from_secs(60), reported).await?;
        let orders: Api<LogicalVolume> = Api::all(self.client.clone());
        let begun = Instant::now();
        let order = async |number| {
            let order = serde_json::from_value(order(number, &disk.uuid))?;
            anyhow::Ok(orders.create(&PostParams::default(), &order).await?)
        };
        stream::iter((0..count).map(order))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        let made = until(
            "all volumes are created",
            Duration::from_secs(600),
            async || {
                let list = orders.list(&ListParams::default()).await?;
                Ok((list
                    .iter()
                    .filter(|order: &&LogicalVolume| {
                        order
                            .status
                            .as_ref()
                            .is_some_and(|status| is_true(&status.conditions, READY))
                    })
                    .count()
                    == count)
                    .then_some(()))
            },
        )
        .await;
        let time = begun.elapsed();
        made.with_context(|| {
            self.guest
                .shell("tail -20 /run/agent.log")
                .unwrap_or_default()
        })?;
        self.clear(&orders).await?;
        Ok(time)
    }

    async fn clear(&self, orders: &Api<LogicalVolume>) -> Result<()> {
        self.guest.shell(&format!(
            "kill -9 $(cat /run/agent.pid); lvremove -qq -y {GROUP}"
        ))?;
        for order in orders.list(&ListParams::default()).await? {
            let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            orders
                .patch(&order.name_any(), &PatchParams::default(), &bare)
                .await?;
            orders
                .delete(&order.name_any(), &DeleteParams::default())
                .await?;
        }
        Ok(())
    }
}

/// Returns a LogicalVolume as the controller writes it.
fn order(number: usize, disk: &str) -> Value {
    let name = format!("pvc-{number}");
    json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
        "metadata": {"name": name, "labels": {crds::NODE_LABEL: NODE}, "finalizers": [crds::FINALIZER]},
        "spec": {
            "node": NODE, "backend": "bench", "volumeGroup": GROUP, "size": "64Mi", "storageClass": "bench",
            "physicalVolumes": [{"uuid": disk, "size": "64Mi"}],
            "claim": {"namespace": "default", "name": format!("data-{number}"), "uid": number.to_string()},
            "reclaimPolicy": "Delete", "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a", "filesystem": {"type": "ext4"},
        },
    })
}
