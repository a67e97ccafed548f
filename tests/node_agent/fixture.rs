//! The fixture: a guest with real LVM and this program's agent in it, and an API server that the
//! agent reports to. The test plays the controller.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use crds::{LogicalVolume, LogicalVolumeStatus, NodeStorage, StorageBackend, condition};
use harness::cluster::{Cluster, Plan};
use harness::guest::{Guest, Hardware};
use harness::remote::Call;
use harness::wait::{until, until_blocking};
use host::{Bytes, Device, FormatMarker, FormatMarkerBlock, LvName, LvUuid, Roots, VgName};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Config};
use operator::agent::{self, AgentSettings, NodeAccess};
use operator::http::Ready;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

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
        cluster.api().install()?;
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

    /// Creates a LogicalVolume, as the controller does.
    pub(crate) fn create_volume(&self, name: &str, size: &str) {
        self.create_volume_with(name, size, json!({}));
    }

    /// Creates a LogicalVolume with further fields in its spec.
    pub(crate) fn create_volume_with(&self, name: &str, size: &str, extra: Value) {
        let mut object = json!({
            "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
            "metadata": {"name": name, "labels": {"flexlvm.dev/node": "node1"}, "finalizers": ["flexlvm.dev/logical-volume"]},
            "spec": {
                "node": "node1", "backend": "b", "volumeGroup": GROUP, "size": size, "storageClass": "s",
                "claim": {"namespace": "default", "name": name, "uid": name.trim_start_matches("pvc-")},
                "reclaimPolicy": "Delete", "key": "00000000000000000000000000000000", "filesystem": {"type": "ext4"},
            },
        });
        for (key, value) in extra.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        let object: LogicalVolume = serde_json::from_value(object).unwrap();
        self.runtime
            .block_on(
                self.logical_volumes()
                    .create(&PostParams::default(), &object),
            )
            .unwrap();
    }

    /// Patches the spec of a LogicalVolume, as the controller does.
    pub(crate) fn change(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.runtime
            .block_on(
                self.logical_volumes()
                    .patch(name, &PatchParams::default(), &patch),
            )
            .unwrap();
    }

    /// Waits until a condition of a LogicalVolume is as expected and its message contains `words`.
    pub(crate) fn wait_for_condition(
        &self,
        name: &str,
        type_: &str,
        reason: &str,
        words: &str,
    ) -> LogicalVolumeStatus {
        let mut last = None;
        let what = format!("{name} has {type_} {reason} {words:?}");
        let found = self.runtime.block_on(until(&what, LIMIT, async || {
            let status = self
                .logical_volumes()
                .get(name)
                .await?
                .status
                .unwrap_or_default();
            last = Some(status.clone());
            let is = condition::get(&status.conditions, type_);
            let is = is.is_some_and(|is| is.reason == reason && is.message.contains(words));
            Ok(is.then_some(status))
        }));
        found.unwrap_or_else(|error| {
            panic!(
                "{error:#}; its conditions are {last:#?}\n{}",
                self.shell("tail -20 /run/agent.log")
            )
        })
    }

    /// Waits until the volume is ready and returns its uuid.
    pub(crate) fn ready(&self, name: &str) -> String {
        self.wait_for_condition(name, condition::READY, "Ready", "")
            .uuid
            .unwrap()
    }

    /// Waits until the volume is reported with this size.
    pub(crate) fn reaches(&self, name: &str, bytes: u64) {
        let found = self.runtime.block_on(until(
            &format!("{name} has {bytes} bytes"),
            LIMIT,
            async || {
                let size = self
                    .logical_volumes()
                    .get(name)
                    .await?
                    .status
                    .and_then(|status| status.size);
                Ok(size
                    .filter(|size| crds::quantity::parse(size) == Ok(bytes))
                    .map(drop))
            },
        ));
        found
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.shell("tail -20 /run/agent.log")));
    }

    /// Creates a volume, waits until it is ready, and returns its name.
    pub(crate) fn volume(&self, size: &str) -> String {
        let name = self.name();
        self.create_volume(&name, size);
        self.ready(&name);
        name
    }

    /// Creates a StorageBackend.
    pub(crate) fn apply(&self, backend: &StorageBackend) {
        self.runtime
            .block_on(self.backends().create(&PostParams::default(), backend))
            .unwrap();
    }

    /// Deletes a StorageBackend.
    pub(crate) fn delete_backend(&self, name: &str) {
        self.runtime
            .block_on(self.backends().delete(name, &DeleteParams::default()))
            .unwrap();
    }

    fn backends(&self) -> Api<StorageBackend> {
        Api::all(self.client.clone())
    }

    /// Requests the removal of a volume and waits for it.
    pub(crate) fn remove(&self, name: &str) {
        self.change(name, json!({"state": "Absent"}));
        self.wait_for_condition(name, condition::REMOVED, "Removed", "");
        assert_eq!(self.lvs(name, "lv_name"), "");
    }

    /// Zeroes the first free space of the group, so that it contains no signature.
    pub(crate) fn zero(&self, size: &str) {
        self.shell(&format!(
            "lvcreate -qq -y -n zero -L {size} {GROUP}; dd if=/dev/zero of=/dev/{GROUP}/zero bs=1M conv=fsync 2>/dev/null || true
             lvremove -qq -y {GROUP}/zero"
        ));
    }

    /// Returns one column of `lvs` for a volume; empty if the volume does not exist.
    pub(crate) fn lvs(&self, name: &str, column: &str) -> String {
        self.shell(&format!(
            "lvs --noheadings --units m -o {column} -S lv_name={name}"
        ))
    }

    /// Waits until the node's report satisfies `is`, and returns the elapsed time.
    pub(crate) fn wait_for_report(
        &self,
        what: &str,
        is: impl Fn(&NodeStorage) -> bool,
    ) -> Duration {
        let begin = std::time::Instant::now();
        let storages: Api<NodeStorage> = Api::all(self.client.clone());
        let mut last = None;
        let found = self.runtime.block_on(until(what, LIMIT, async || {
            let object = storages.get_opt("node1").await?;
            last.clone_from(&object);
            Ok(object.filter(|object| is(object)).map(drop))
        }));
        found.unwrap_or_else(|error| {
            panic!(
                "{error:#}; the report is {last:#?}\n{}",
                self.shell("tail -20 /run/agent.log")
            )
        });
        begin.elapsed()
    }

    /// Waits until a shell script succeeds in the guest.
    pub(crate) fn wait_for_script(&self, what: &str, script: &str) {
        let remote = self.guest().remote();
        let found = until_blocking(what, LIMIT, || {
            let output = remote.output(&Call::new(["sh", "-ec", script]))?;
            Ok((output.status == 0).then_some(()))
        });
        found
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.shell("tail -20 /run/agent.log")));
    }

    /// Applies a StorageBackend, which may exist.
    pub(crate) fn backend(&self, name: &str, spec: Value) {
        let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": name}, "spec": spec});
        let backends: Api<StorageBackend> = Api::all(self.client.clone());
        let how = PatchParams::apply("test").force();
        self.runtime
            .block_on(backends.patch(name, &how, &Patch::Apply(object)))
            .unwrap();
    }

    /// Returns the node's present report.
    pub(crate) fn storage(&self) -> NodeStorage {
        let storages: Api<NodeStorage> = Api::all(self.client.clone());
        self.runtime.block_on(storages.get("node1")).unwrap()
    }

    /// Deletes the node's report; the agent writes another.
    pub(crate) fn delete_storage(&self) {
        let storages: Api<NodeStorage> = Api::all(self.client.clone());
        self.runtime
            .block_on(storages.delete("node1", &DeleteParams::default()))
            .unwrap();
    }

    /// Creates a pod on this node, with its folder but without containers, and returns its uid.
    pub(crate) fn pod(&self, name: &str) -> String {
        let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": "node1", "automountServiceAccountToken": false,
            "containers": [{"name": "app", "image": "none"}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.client.clone());
        let uid = self.runtime.block_on(async {
            until("pods can be created", LIMIT, async || {
                Ok(accounts.get_opt("default").await?.map(drop))
            })
            .await?;
            let made = self.pods().create(&PostParams::default(), &pod).await?;
            made.metadata.uid.context("the pod has no uid")
        });
        let uid = uid.unwrap();
        self.shell(&format!("mkdir -p /var/lib/kubelet/pods/{uid}"));
        uid
    }

    /// Force-deletes a pod: only its folder is left.
    pub(crate) fn delete_pod(&self, name: &str) {
        let by_force = DeleteParams::default().grace_period(0);
        self.runtime
            .block_on(self.pods().delete(name, &by_force))
            .unwrap();
    }

    /// Sets `volumesInUse` of the node, as the kubelet does.
    pub(crate) fn volumes_in_use(&self, names: &[&str]) {
        let patch = Patch::Merge(json!({"status": {"volumesInUse": names}}));
        let nodes: Api<Node> = Api::all(self.client.clone());
        self.runtime
            .block_on(nodes.patch_status("node1", &PatchParams::default(), &patch))
            .unwrap();
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    /// Returns the format marker of a volume.
    pub(crate) fn mark(&self, name: &str) -> String {
        self.mark_in(GROUP, name)
    }

    /// Returns the format marker of a volume in another group.
    pub(crate) fn mark_in(&self, group: &str, name: &str) -> String {
        let output = self
            .guest()
            .remote()
            .output(&Call::service([group, name]))
            .expect("the guest answers");
        assert_eq!(
            output.status, 0,
            "the mark of {group}/{name}: {}",
            output.stderr
        );
        output.stdout
    }

    fn logical_volumes(&self) -> Api<LogicalVolume> {
        Api::all(self.client.clone())
    }
}

/// Runs in the guest: `--agent`.
pub(crate) fn run_agent() -> Result<ExitCode> {
    let access: Value = serde_json::from_slice(&std::fs::read("/.host/run/flexlvm/agent.json")?)?;
    let text = |key: &str| access[key].as_str().unwrap_or_default().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut config = Config::new(text("url").parse()?);
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(text("token").into());
        let settings = AgentSettings {
            node: "node1".to_owned(),
            driver: "/bin/true".into(),
            plugins: "/run/plugins".into(),
            state: "/run/state".into(),
            attach: false,
            aliases: Vec::new(),
            lvm: "/etc/lvm".into(),
            scan_interval: SCAN_INTERVAL,
        };
        agent::run(
            Client::try_from(config)?,
            settings,
            NodeAccess::from_container(),
            Ready::default(),
        )
        .await;
        Ok(ExitCode::FAILURE)
    })
}

/// Runs in the guest's server: returns the format marker of a volume, by its group and name.
pub(crate) fn serve(names: &[String]) -> Result<String> {
    let [group, name] = names else {
        anyhow::bail!("usage: GROUP NAME")
    };
    let (device, uuid): (Device, LvUuid) =
        Device::find(&Roots::current(), &VgName::new(group)?, &LvName::new(name)?)?;
    let size: Bytes = device.size()?;
    Ok(
        match FormatMarkerBlock::new(&uuid, size)?.read(device.file())? {
            FormatMarker::None => "none",
            FormatMarker::Unformatted => "fresh",
            FormatMarker::Formatting => "formatting",
        }
        .to_owned(),
    )
}
