//! A real API server with its etcd, as plain processes on free ports.
//!
//! It starts within seconds, without a node and without Docker. API tests use it directly,
//! `cluster` as a part of a cluster.

mod control_plane;
mod settings;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use tokio::sync::OnceCell;

use crate::access::Access;
use crate::audit::{self, Request};
use crate::kubernetes::Kubernetes;
use crate::wait::until;
use crate::workplace::{Program, Workplace};

pub use control_plane::DriverFolders;
use settings::{SERVICE_ACCOUNT_KEY, ServerSettings, TOKENS};

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

impl ApiServer {
    /// Starts a server in the host's network.
    pub async fn start() -> Result<Self> {
        let kubernetes = Kubernetes::find_api_server()?;
        let mut last = None;
        // Another process may take a free port before the server does.
        for _ in 0..3 {
            let settings = ServerSettings::on_host()?;
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
        Self::launch(kubernetes, workplace, &ServerSettings::for_guests()).await
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
        let access = Access::new(&workplace, settings.url())?;

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

    /// The minor version, 20 of `v1.20.2`.
    #[must_use]
    pub fn minor(&self) -> u32 {
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
