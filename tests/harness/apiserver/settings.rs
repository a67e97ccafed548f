//! The command lines of API server and etcd.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use anyhow::Result;

use crate::audit;
use crate::kubernetes::Kubernetes;
use crate::network;

/// The key that signs the tokens of service accounts, in the workplace.
pub(super) const SERVICE_ACCOUNT_KEY: &str = "service-account.key";

/// The file of the administrator's token, in the workplace.
pub(super) const TOKENS: &str = "tokens.csv";

/// Address, ports and further flags of a server.
#[derive(Clone, Debug)]
pub(super) struct ServerSettings {
    address: Ipv4Addr,
    port: u16,
    etcd_port: u16,
    flags: Vec<String>,
}

/// Flags that Kubernetes 1.20 and 1.36, etcd 3.4 and 3.6 all support. File names are relative to
/// the workplace.
impl ServerSettings {
    /// Returns the settings of a server on free ports of the host.
    pub(super) fn on_host() -> Result<Self> {
        let [port, etcd_port] = free_ports()?;
        let flags = [
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
        ];
        Ok(Self {
            address: Ipv4Addr::LOCALHOST,
            port,
            etcd_port,
            flags: flags.map(str::to_owned).into(),
        })
    }

    /// Returns the settings of a server that guests reach.
    pub(super) fn for_guests() -> Self {
        let flags = [
            "--bind-address=0.0.0.0",
            "--kubelet-preferred-address-types=InternalIP",
        ];
        Self {
            address: network::HOST,
            port: 443,
            etcd_port: 2379,
            flags: flags.map(str::to_owned).into(),
        }
    }

    /// Returns the server's URL.
    pub(super) fn url(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }

    pub(super) fn etcd(&self, kubernetes: &Kubernetes) -> Command {
        let url = format!("http://127.0.0.1:{}", self.etcd_port);
        let mut command = Command::new(kubernetes.etcd());
        command
            // In tests a power cut of the host may lose everything: nothing waits for the disk.
            .args([
                "--data-dir=etcd",
                "--unsafe-no-fsync",
                "--listen-peer-urls=http://127.0.0.1:0",
            ])
            .args([
                format!("--listen-client-urls={url}"),
                format!("--advertise-client-urls={url}"),
            ]);
        command
    }

    pub(super) fn server(&self, kubernetes: &Kubernetes) -> Command {
        let mut command = Command::new(kubernetes.program("kube-apiserver"));
        command
            .arg(format!(
                "--etcd-servers=http://127.0.0.1:{}",
                self.etcd_port
            ))
            .arg(format!("--secure-port={}", self.port))
            // The machine may lack a network from which the server could derive it.
            .arg(format!("--advertise-address={}", self.address))
            .arg(format!("--token-auth-file={TOKENS}"))
            .arg(format!("--audit-policy-file={}", audit::POLICY))
            .arg(format!("--audit-log-path={}", audit::LOG))
            .arg(format!("--service-account-key-file={SERVICE_ACCOUNT_KEY}"))
            .arg(format!(
                "--service-account-signing-key-file={SERVICE_ACCOUNT_KEY}"
            ))
            .args([
                "--service-account-issuer=https://kubernetes.default.svc",
                "--cert-dir=certificates",
            ])
            .args([
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=RBAC",
                "--allow-privileged",
            ])
            .args(&self.flags);
        command
    }
}

fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All are held until all are chosen, so that they differ.
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
