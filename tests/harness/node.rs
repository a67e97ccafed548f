//! Makes a guest a Kubernetes node: runs containerd and the kubelet with the script
//! `cluster/kubernetes-node`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::pack_pod_image;
use crate::guest::Guest;
use crate::kubernetes::Kubernetes;
use crate::remote::Call;
use crate::wait::until_blocking;
use crate::workplace::Workplace;

/// The image that holds a pod's namespaces.
pub(crate) const PAUSE_IMAGE: &str = "flexlvm.test/pause:1";

/// Flags that newer kubelets don't have or need.
///
/// Without the second one, a pod's dead container delays the removal of the pod until the kubelet's
/// next garbage collection, up to a minute.
const OLD_KUBELET: &str = "--container-runtime=remote --maximum-dead-containers-per-container=0";

/// NodeSettings that all nodes of a cluster share.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    script: PathBuf,
    programs: PathBuf,
    kubelet_flags: &'static str,
    kubeconfig: PathBuf,
    images: String,
}

impl NodeSettings {
    pub(crate) fn new(
        workplace: &Workplace,
        kubernetes: &Kubernetes,
        images: &[PathBuf],
    ) -> Result<Self> {
        let pod_image = pack_pod_image(workplace)?;
        let images: Vec<String> = images
            .iter()
            .chain([&pod_image])
            .map(|path| path.display().to_string())
            .collect();
        Ok(Self {
            script: workplace.write(
                "kubernetes-node",
                include_str!("../cluster/kubernetes-node"),
            )?,
            programs: kubernetes.folder().to_owned(),
            kubelet_flags: if kubernetes.minor_version()? < 24 {
                OLD_KUBELET
            } else {
                ""
            },
            kubeconfig: workplace.path("kubeconfig"),
            images: images.join(" "),
        })
    }

    fn run(&self, guest: &Guest, step: &str) -> Result<()> {
        let mut call = Call::new([
            "sh".to_owned(),
            format!("/.host{}", self.script.display()),
            step.to_owned(),
        ]);
        call.environment = [
            ("node_name", guest.name()),
            ("node_address", guest.address().to_string()),
            ("programs", self.programs.display().to_string()),
            ("kubelet_flags", self.kubelet_flags.to_owned()),
            ("kubeconfig", self.kubeconfig.display().to_string()),
            ("images", self.images.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let output = guest.remote().output(&call)?;
        anyhow::ensure!(
            output.status == 0,
            "{step} on {}:\n{}{}",
            guest.name(),
            output.stdout,
            output.stderr
        );
        Ok(())
    }
}

/// Starts containerd and loads the images.
pub(crate) fn start_containerd(guest: &Guest, settings: &NodeSettings) -> Result<()> {
    settings.run(guest, "containerd")
}

/// Starts the kubelet, without waiting for it.
pub(crate) fn start_kubelet(guest: &Guest, settings: &NodeSettings) -> Result<()> {
    settings.run(guest, "kubelet")
}

/// Stops the kubelet and waits until its successor answers.
pub(crate) fn restart_kubelet(guest: &Guest) -> Result<()> {
    let before = guest.shell("pidof kubelet")?;
    guest.shell("kill $(pidof kubelet)")?;
    until_blocking("another kubelet answers", Duration::from_secs(60), || {
        let now = guest.run(&["pidof", "kubelet"])?.stdout;
        let healthy = guest
            .run(&["curl", "-sf", "http://127.0.0.1:10248/healthz"])?
            .status
            == 0;
        Ok((healthy && now.trim() != before).then_some(()))
    })
}
