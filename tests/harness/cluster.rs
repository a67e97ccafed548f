//! A Kubernetes cluster on one machine: the control plane as plain programs, each node a guest with
//! real LVM.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;

use crate::apiserver::{ApiServer, DriverFolders};
use crate::guest::{Guest, Hardware};
use crate::kubernetes::Kubernetes;
use crate::network;
use crate::node;
use crate::wait::until;
use crate::workplace::{Program, Workplace};

/// The image of pods in tests and samples: Debian's busybox under its name on Docker Hub.
pub const POD_IMAGE: &str = "docker.io/library/busybox:1.36";

/// Size and contents of a cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of nodes, named `node1`, `node2` and so on.
    pub nodes: u8,
    /// Memory and disks of each node.
    pub hardware: Hardware,
    /// Name of the volume group that each node creates of its data disks; none if absent.
    pub volume_group: Option<String>,
    /// Image archives to load into each node, in addition to [`POD_IMAGE`].
    pub images: Vec<PathBuf>,
}

/// A running cluster. It ends with the program, in whose namespaces it runs.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Guest>,
    node_settings: node::NodeSettings,
    controllers: Program,
    scheduler: Program,
    drivers: DriverFolders,
    api: ApiServer,
}

impl Cluster {
    /// Starts a cluster and waits until each node is Ready. Call it within [`crate::main`], once.
    pub async fn start(plan: &Plan) -> Result<Self> {
        let kubernetes = Kubernetes::find()?;
        let workplace = Workplace::isolated()?;
        network::create()?;
        let mut guests = (1..=plan.nodes)
            .map(|number| Guest::create(&workplace, number, &plan.hardware))
            .collect::<Result<Vec<_>>>()?;
        let settings = node::NodeSettings::new(&workplace, &kubernetes, &plan.images)?;

        // The nodes boot while the control plane starts.
        let node_settings = settings.clone();
        let volume_group = plan.volume_group.clone();
        let booting = thread::spawn(move || {
            prepare(&mut guests, &node_settings, volume_group.as_deref())?;
            anyhow::Ok(guests)
        });
        let api = ApiServer::start_for_guests(kubernetes, workplace).await?;
        let drivers = DriverFolders::create(api.workplace())?;
        let controllers = api.start_controllers(&drivers)?;
        let scheduler = api.start_scheduler()?;
        let nodes = tokio::task::spawn_blocking(|| booting.join())
            .await?
            .expect("no panic while the nodes boot")?;
        for guest in &nodes {
            node::start_kubelet(guest, &settings)?;
        }
        let mut cluster = Self {
            nodes,
            node_settings: settings,
            controllers,
            scheduler,
            drivers,
            api,
        };
        for number in 1..=plan.nodes {
            cluster.wait_until_ready(number).await?;
        }
        Ok(cluster)
    }

    /// The cluster's API server.
    #[must_use]
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// Node `number`, counted from 1.
    #[must_use]
    pub fn node(&self, number: u8) -> &Guest {
        &self.nodes[usize::from(number) - 1]
    }

    /// All nodes, in the order of their numbers.
    #[must_use]
    pub fn nodes(&self) -> &[Guest] {
        &self.nodes
    }

    /// Returns the node with this name.
    pub fn node_named(&self, name: &str) -> Result<&Guest> {
        self.nodes
            .iter()
            .find(|guest| guest.name() == name)
            .with_context(|| format!("there is no node {name}"))
    }

    /// Cuts the power of a node.
    pub fn cut_power(&mut self, number: u8) -> Result<()> {
        self.nodes[usize::from(number) - 1].cut_power()
    }

    /// Boots a node without power and starts its kubelet, without waiting until it is Ready.
    pub fn power_on(&mut self, number: u8) -> Result<()> {
        self.boot(number)?;
        self.wait_until_up(number)?;
        self.start_kubelet(number)
    }

    /// Boots a node without power, without waiting for it.
    pub fn boot(&mut self, number: u8) -> Result<()> {
        self.nodes[usize::from(number) - 1].power_on(self.api.workplace())
    }

    /// Waits until a node that boots can run programs. It has no kubelet yet.
    pub fn wait_until_up(&mut self, number: u8) -> Result<()> {
        self.nodes[usize::from(number) - 1].wait_until_up()
    }

    /// Starts the container runtime and the kubelet of a node that has booted.
    pub fn start_kubelet(&self, number: u8) -> Result<()> {
        let guest = self.node(number);
        node::start_containerd(guest, &self.node_settings)?;
        node::start_kubelet(guest, &self.node_settings)
    }

    /// Stops a node's kubelet and returns when its automatically started successor answers.
    pub fn restart_kubelet(&self, number: u8) -> Result<()> {
        node::restart_kubelet(self.node(number))
    }

    /// The folders of the controller manager's host that FlexVolume drivers use.
    #[must_use]
    pub fn driver_folders(&self) -> &DriverFolders {
        &self.drivers
    }

    /// Configures a node's kubelet to attach volumes itself, in place of the controller manager.
    ///
    /// Lasts until the node boots again.
    pub fn attach_by_kubelet(&self, number: u8) -> Result<()> {
        let set = "echo 'enableControllerAttachDetach: false' >>/etc/kubelet.yaml";
        if self
            .node(number)
            .run(&[
                "grep",
                "-q",
                "^enableControllerAttachDetach",
                "/etc/kubelet.yaml",
            ])?
            .status
            != 0
        {
            self.node(number).shell(set)?;
            self.restart_kubelet(number)?;
        }
        Ok(())
    }

    /// Waits until the API reports the node Ready, with the boot id that the node has now.
    pub async fn wait_until_ready(&mut self, number: u8) -> Result<()> {
        let name = self.node(number).name();
        let boot = self
            .node(number)
            .shell("cat /proc/sys/kernel/random/boot_id")?;
        let nodes: Api<Node> = Api::all(self.api.client());
        until(
            &format!("{name} is Ready"),
            Duration::from_secs(120),
            async || {
                self.controllers.check()?;
                self.scheduler.check()?;
                let node = nodes.get_opt(&name).await?;
                Ok(node
                    .filter(|node| is_ready(node) && boot_id(node) == Some(&boot))
                    .map(drop))
            },
        )
        .await
        .with_context(|| format!("the end of its console:\n{}", self.node(number).console(30)))
    }
}

/// Boots the guests in parallel, as far as possible without an API server.
fn prepare(
    guests: &mut [Guest],
    settings: &node::NodeSettings,
    volume_group: Option<&str>,
) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = guests
            .iter_mut()
            .map(|guest| {
                scope.spawn(move || {
                    guest.wait_until_up()?;
                    if let Some(name) = volume_group {
                        guest.make_volume_group(name)?;
                    }
                    node::start_containerd(guest, settings)
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic while a node boots"))
    })
}

/// Returns true if the node's condition Ready is True.
#[must_use]
pub fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn boot_id(node: &Node) -> Option<&String> {
    node.status
        .as_ref()?
        .node_info
        .as_ref()
        .map(|info| &info.boot_id)
}

/// Packs the image of pods in tests and samples.
pub(crate) fn pack_pod_image(workplace: &Workplace) -> Result<PathBuf> {
    let script = workplace.write("pod-image.sh", include_str!("../cluster/pod-image"))?;
    let out = workplace.path("pod-image.tar");
    let status = Command::new("bash")
        .arg(script)
        .arg(&out)
        .args([POD_IMAGE, node::PAUSE_IMAGE])
        .status()?;
    anyhow::ensure!(status.success(), "cannot pack the image for pods");
    Ok(out)
}
