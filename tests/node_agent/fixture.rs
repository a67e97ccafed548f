//! The fixture: a guest with real LVM and this program's agent in it, and an API server that the
//! agent reports to. The test plays the controller.

mod in_guest;
mod node;
mod volumes;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use harness::cluster::{Cluster, Plan};
use harness::guest::{Guest, Hardware};
use harness::installation;
use harness::remote::Call;
use harness::wait::until_blocking;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::runtime::Runtime;

pub(crate) use in_guest::{run_agent, serve};

/// The first argument that makes this program the agent in the guest.
pub(crate) const AGENT: &str = "--agent";

/// Path of this program in a guest.
pub(crate) const PROGRAM: &str = "/.host/run/flexlvm/program";

/// The volume group, with a hyphen, which device-mapper doubles.
pub(crate) const GROUP: &str = "vg-0";

/// Interval of the search for orphaned mounts: short enough to wait for, and long enough for a test
/// to act in between.
pub(crate) const SCAN_INTERVAL: Duration = Duration::from_secs(2);

/// Another group, of several disks, for volumes of each layout.
pub(crate) const KINDS: &str = "kinds";

/// The disks of that group.
pub(crate) const DISKS: [&str; 5] = [
    "/dev/ubdd",
    "/dev/ubde",
    "/dev/ubdf",
    "/dev/ubdg",
    "/dev/ubdh",
];

/// Sizes in MiB of initially blank disks, `/dev/ubdi` and so on, for volume groups that the agent
/// creates.
const SPARE_MIB: [u64; 8] = [256, 256, 96, 96, 96, 96, 96, 32];

/// Time limit for a wait: starting a program takes a guest half a second.
const LIMIT: Duration = harness::wait::LIMIT;

/// The guest and the API server.
pub(crate) struct Fixture {
    runtime: Runtime,
    cluster: Cluster,
    client: Client,
    guest: Mutex<Guest>,
    next: AtomicU32,
}

impl Fixture {
    /// Returns the guest that all tests share; the first call starts it.
    pub(crate) fn get() -> &'static Self {
        static FIXTURE: OnceLock<Fixture> = OnceLock::new();
        FIXTURE.get_or_init(|| Self::start().expect("a guest and an API server can be started"))
    }

    fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let disks_mib = [&[4096, 1024, 2048, 2048, 2048, 2048, 2048][..], &SPARE_MIB].concat();
        let hardware = Hardware {
            disks_mib,
            ..Hardware::default()
        };
        let plan = Plan {
            nodes: 0,
            hardware: hardware.clone(),
            volume_group: None,
            images: Vec::new(),
        };
        let cluster = runtime.block_on(Cluster::start(&plan))?;
        let mut guest = Guest::create(cluster.api().workplace(), 1, &hardware)?;
        // Not the configuration of newer servers, which limits agents by the node of their pod: the
        // agents of these tests run in none.
        for folder in ["crds", "config/default"] {
            let folder = installation::file(folder).display().to_string();
            cluster.api().kubectl(&["apply", "-k", &folder])?;
        }
        let client = runtime.block_on(async { cluster.api().client() });
        runtime.block_on(async {
            let node: Node = serde_json::from_value(json!({"metadata": {"name": "node1"}}))?;
            Api::all(client.clone())
                .create(&PostParams::default(), &node)
                .await?;
            anyhow::Ok(())
        })?;
        guest.wait_until_up()?;
        guest.shell(&format!(
            "vgcreate -qq {GROUP} /dev/ubdb; vgcreate -qq {KINDS} {}",
            DISKS.join(" ")
        ))?;
        let fixture = Self {
            runtime,
            cluster,
            client,
            guest: Mutex::new(guest),
            next: AtomicU32::new(1),
        };
        fixture
            .cluster
            .api()
            .workplace()
            .write("agent.json", fixture.access()?)?;
        fixture.start_agent();
        Ok(fixture)
    }

    /// Returns the agent's access to the API server, with the rights of its own account, as JSON.
    fn access(&self) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), "flexlvm-system");
        let request = TokenRequest::default();
        let how = PostParams::default();
        let answer = accounts.create_subresource("token", "flexlvm-agent", &how, &request);
        let answer: TokenRequest = self.runtime.block_on(answer)?;
        let token = answer.status.context("the server returned no token")?.token;
        Ok(json!({"url": self.cluster.api().access().url(), "token": token}).to_string())
    }

    /// Returns the runtime of the client.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Returns an admin's client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    fn guest(&self) -> MutexGuard<'_, Guest> {
        self.guest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a shell script in the guest, which must succeed.
    pub(crate) fn shell(&self, script: &str) -> String {
        let remote = self.guest().remote();
        let output = remote
            .output(&Call::new(["sh", "-ec", script]))
            .expect("the guest answers");
        assert_eq!(
            output.status, 0,
            "`{script}`:\n{}{}",
            output.stdout, output.stderr
        );
        output.stdout.trim().to_owned()
    }

    /// Starts the agent in the guest.
    pub(crate) fn start_agent(&self) {
        self.shell(&format!(
            "setsid {PROGRAM} {AGENT} >>/run/agent.log 2>&1 </dev/null & echo $! >/run/agent.pid"
        ));
    }

    /// Kills the agent with SIGKILL. A running LVM command continues.
    pub(crate) fn kill_agent(&self) {
        self.shell("kill -9 $(cat /run/agent.pid)");
    }

    /// Cuts the power and boots again, without an agent.
    pub(crate) fn power_cut(&self) {
        let mut guest = self.guest();
        guest.cut_power().expect("the power can be cut");
        guest
            .power_on(self.cluster.api().workplace())
            .expect("the guest starts again");
        guest.wait_until_up().expect("the guest is up again");
    }

    /// Returns a unique name for a LogicalVolume, whose suffix is its claim's uid.
    pub(crate) fn name(&self) -> String {
        format!("pvc-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits until a shell script succeeds in the guest.
    pub(crate) fn wait_for_script(&self, what: &str, script: &str) {
        let remote = self.guest().remote();
        let found = until_blocking(what, LIMIT, || {
            let output = remote.output(&Call::new(["sh", "-ec", script]))?;
            Ok((output.status == 0).then_some(()))
        });
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", self.agent_log()));
    }

    /// Returns the end of the agent's log, for the message of a failed wait.
    fn agent_log(&self) -> String {
        self.shell("tail -20 /run/agent.log")
    }
}
