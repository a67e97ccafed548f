//! A real API server with its etcd, as plain processes on free ports.
//!
//! It starts within seconds, without a node and without Docker. API tests use it directly,
//! `cluster` as a part of a cluster.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use tokio::sync::OnceCell;

use crate::access::Access;
use crate::audit::{self, Request};
use crate::kubernetes::Kubernetes;
use crate::network;
use crate::wait::until;
use crate::workplace::{Program, Workplace};

/// A running API server with RBAC and service accounts. Dropping it stops it and removes its files.
#[derive(Debug)]
pub struct ApiServer {
    kubernetes: Kubernetes,
    access: Access,
    // Dropped in this order.
    server: Program,
    etcd: Program,
    workplace: Workplace,
}

/// Address, ports and further flags of a server.
#[derive(Clone, Debug)]
struct ServerSettings {
    address: Ipv4Addr,
    port: u16,
    etcd_port: u16,
    flags: Vec<String>,
}

/// Folders of the controller manager's host: for FlexVolume drivers, and for FlexLVM's settings.
#[derive(Clone, Debug)]
pub struct DriverFolders {
    /// The value of `--flex-volume-plugin-dir`.
    pub plugins: PathBuf,
    /// Mounted as `/var/lib/flexlvm`.
    pub state: PathBuf,
}

impl DriverFolders {
    pub(crate) fn create(workplace: &Workplace) -> Result<Self> {
        let folders = Self {
            plugins: workplace.path("controllers-plugins"),
            state: workplace.path("controllers-state"),
        };
        std::fs::create_dir(&folders.plugins)?;
        std::fs::create_dir(&folders.state)?;
        Ok(folders)
    }
}

const SERVICE_ACCOUNT_KEY: &str = "service-account.key";
const TOKENS: &str = "tokens.csv";

/// Flags that Kubernetes 1.20 and 1.36, etcd 3.4 and 3.6 all support. File names are relative to
/// the workplace.
impl ServerSettings {
    fn etcd(&self, kubernetes: &Kubernetes) -> Command {
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

    fn server(&self, kubernetes: &Kubernetes) -> Command {
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

impl ApiServer {
    /// Starts a server in the host's network.
    pub async fn start() -> Result<Self> {
        let kubernetes = Kubernetes::find_api_server()?;
        let mut last = None;
        // Another process may take a free port before the server does.
        for _ in 0..3 {
            let [port, etcd_port] = free_ports()?;
            let flags = vec![
                "--bind-address=127.0.0.1".to_owned(),
                "--endpoint-reconciler-type=none".to_owned(),
            ];
            let settings = ServerSettings {
                address: Ipv4Addr::LOCALHOST,
                port,
                etcd_port,
                flags,
            };
            match Self::launch(kubernetes.clone(), Workplace::on_host()?, &settings).await {
                Ok(server) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("three attempts were made"))
    }

    /// Starts a server that guests reach, in the network of a cluster.
    ///
    /// Call it within [`crate::main`], once.
    pub async fn start_for_guests(kubernetes: Kubernetes, workplace: Workplace) -> Result<Self> {
        let flags = [
            "--bind-address=0.0.0.0",
            "--kubelet-preferred-address-types=InternalIP",
        ]
        .map(str::to_owned);
        let settings = ServerSettings {
            address: network::HOST,
            port: 443,
            etcd_port: 2379,
            flags: flags.into(),
        };
        Self::launch(kubernetes, workplace, &settings).await
    }

    /// Returns the server that all tests of one program share; the first call starts it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<ApiServer> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async { Self::start().await.expect("no API server") })
            .await
    }

    async fn launch(
        kubernetes: Kubernetes,
        workplace: Workplace,
        settings: &ServerSettings,
    ) -> Result<Self> {
        let key = workplace.path(SERVICE_ACCOUNT_KEY);
        let made = Command::new("openssl")
            .arg("genrsa")
            .arg("-out")
            .arg(&key)
            .arg("2048")
            .output();
        anyhow::ensure!(
            made.context("cannot run openssl")?.status.success(),
            "openssl created no key"
        );
        let tokens = format!("{},admin,admin,system:masters\n", Access::ADMIN_TOKEN);
        workplace.write(TOKENS, tokens)?;
        workplace.write(audit::POLICY, audit::POLICY_TEXT)?;
        let access = Access::new(
            &workplace,
            format!("https://{}:{}", settings.address, settings.port),
        )?;

        let mut etcd = workplace.start("etcd", &mut settings.etcd(&kubernetes))?;
        let mut server = workplace.start("kube-apiserver", &mut settings.server(&kubernetes))?;
        let client = access.admin()?;
        until(
            "the API server is ready",
            Duration::from_secs(60),
            async || {
                etcd.check()?;
                server.check()?;
                let request = http::Request::get("/readyz").body(Vec::new())?;
                Ok(client
                    .request_text(request)
                    .await
                    .is_ok_and(|answer| answer == "ok")
                    .then_some(()))
            },
        )
        .await?;
        Ok(Self {
            kubernetes,
            access,
            server,
            etcd,
            workplace,
        })
    }

    /// Creates an administrator's client, bound to the calling runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.access
            .admin()
            .expect("the settings of the client are valid")
    }

    /// Creates a client with the token, and so the rights, of a service account, which must exist.
    pub async fn client_of(&self, namespace: &str, service_account: &str) -> Result<Client> {
        self.access
            .service_account(namespace, service_account)
            .await
    }

    /// Returns the address of the server and the kubeconfig for it.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The path of the administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.access.kubeconfig().to_owned()
    }

    /// Runs `kubectl` as administrator and returns its stdout; an error contains its stderr.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.access.kubectl(&self.kubernetes, arguments)
    }

    /// Applies FlexLVM's definitions and its configuration for this version. Fails if kubectl
    /// prints a warning.
    pub fn install(&self) -> Result<()> {
        for folder in [self.definitions()?, self.configuration()?] {
            let warnings = self.access.apply(&self.kubernetes, &folder)?;
            anyhow::ensure!(
                warnings.is_empty(),
                "kubectl apply -k {folder} prints:\n{warnings}"
            );
        }
        Ok(())
    }

    /// The folder of FlexLVM's definitions for this version.
    pub fn definitions(&self) -> Result<String> {
        self.variant(["crds", "crds/cel", "crds/cel"])
    }

    /// The folder of FlexLVM's configuration for this version.
    pub fn configuration(&self) -> Result<String> {
        self.variant(["config/default", "config/v1.25", "config/v1.30"])
    }

    /// The same, with volumes that Kubernetes attaches before it mounts them.
    pub fn attach_configuration(&self) -> Result<String> {
        self.variant([
            "config/attach",
            "config/v1.25-attach",
            "config/v1.30-attach",
        ])
    }

    /// Selects the folder before Kubernetes 1.25, before 1.30, and from 1.30 on.
    fn variant(&self, [old, since_25, since_30]: [&str; 3]) -> Result<String> {
        let folder = match self.kubernetes.minor_version()? {
            ..25 => old,
            25..30 => since_25,
            30.. => since_30,
        };
        Ok(format!("{}/../{folder}", env!("CARGO_MANIFEST_DIR")))
    }

    /// Returns true if the server is Kubernetes 1.`minor` or later.
    ///
    /// If not, prints a line that `tests/run` counts: a test that then returns has not shown
    /// anything. Call it once per test, at its beginning.
    #[must_use]
    pub fn is_since(&self, minor: u32) -> bool {
        self.minor() >= minor || self.not_applicable(&format!("needs 1.{minor}"))
    }

    /// Like [`Self::is_since`], for a test of what later servers no longer have: true before
    /// 1.`minor`.
    #[must_use]
    pub fn is_before(&self, minor: u32) -> bool {
        self.minor() < minor || self.not_applicable(&format!("is about servers before 1.{minor}"))
    }

    fn minor(&self) -> u32 {
        self.kubernetes
            .minor_version()
            .expect("the server reports its version")
    }

    fn not_applicable(&self, why: &str) -> bool {
        let version = self
            .kubernetes
            .version()
            .expect("the server reports its version");
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        // `eprintln` would be captured by the test runner as long as the test succeeds.
        let line = format!("not applicable on {version}: {test} {why}\n");
        std::io::stderr()
            .write_all(line.as_bytes())
            .expect("stderr can be written");
        false
    }

    /// The Kubernetes programs of this server's version.
    #[must_use]
    pub fn kubernetes(&self) -> &Kubernetes {
        &self.kubernetes
    }

    /// The folder of the server's files and logs.
    #[must_use]
    pub fn workplace(&self) -> &Workplace {
        &self.workplace
    }

    /// Returns the accepted writes of FlexLVM's accounts so far, to objects whose name contains
    /// `part`.
    pub fn writes(&self, part: &str) -> Result<Vec<Request>> {
        let mut requests = self.requests()?;
        requests.retain(|request| request.is_write() && request.name.contains(part));
        Ok(requests)
    }

    /// Returns the answered requests of FlexLVM's accounts so far.
    pub fn requests(&self) -> Result<Vec<Request>> {
        audit::requests(&self.workplace)
    }

    /// Starts the controller manager.
    ///
    /// It binds claims to volumes, raises the capacity of expanded ones, attaches volumes, removes
    /// finalizers, namespaces and objects without an owner. Its host has an empty folder for
    /// FlexVolume drivers and an empty `/var/lib/flexlvm`.
    pub(crate) fn start_controllers(&self, drivers: &DriverFolders) -> Result<Program> {
        // The controller manager needs nothing else in /var/lib, and other processes must not use
        // these settings.
        let mut within = Command::new("unshare");
        within.args(["--mount", "sh", "-ec"]).arg(
            "mount -t tmpfs tmpfs /var/lib; mkdir /var/lib/flexlvm; mount --bind \"$0\" /var/lib/flexlvm; exec \"$@\"",
        );
        within.arg(&drivers.state);
        let flags = [
            format!("--service-account-private-key-file={SERVICE_ACCOUNT_KEY}"),
            "--root-ca-file=certificates/apiserver.crt".to_owned(),
            format!("--flex-volume-plugin-dir={}", drivers.plugins.display()),
        ];
        self.start_beside("kube-controller-manager", Some(within), &flags)
    }

    /// Starts the scheduler.
    pub fn start_scheduler(&self) -> Result<Program> {
        self.start_beside("kube-scheduler", None, &[])
    }

    fn start_beside(
        &self,
        name: &str,
        within: Option<Command>,
        flags: &[String],
    ) -> Result<Program> {
        let program = self.kubernetes.program(name);
        anyhow::ensure!(program.is_file(), "{} is missing", program.display());
        let mut command = match within {
            None => Command::new(program),
            Some(mut within) => {
                within.arg(program);
                within
            }
        };
        command
            .arg(format!(
                "--kubeconfig={}",
                self.access.kubeconfig().display()
            ))
            .args(["--leader-elect=false", "--secure-port=0"])
            // Up to 1.23 they also listen on a fixed port without TLS, which another process may
            // hold.
            .args((self.kubernetes.minor_version()? < 24).then_some("--port=0"))
            .args(flags);
        self.workplace.start(name, &mut command)
    }

    /// Waits until the server is idle.
    ///
    /// After its start, and after new CRDs, it is busy for seconds.
    pub async fn settle(&self) -> Result<()> {
        let mut before = self.server.cpu()?;
        until(
            "the API server is idle",
            Duration::from_secs(120),
            async || {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let now = self.server.cpu()?;
                let used = now.saturating_sub(std::mem::replace(&mut before, now));
                Ok((used < Duration::from_millis(200)).then_some(()))
            },
        )
        .await
    }

    /// Kills server and etcd with SIGKILL.
    pub fn kill(&mut self) {
        self.server.kill();
        self.etcd.kill();
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
