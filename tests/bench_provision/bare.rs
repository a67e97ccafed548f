//! The lower bound for serving a claim: a client that makes the same three writes with the same
//! content, with all inputs prepared, without decisions, watches or Events.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crds::condition::{READY, reason};
use crds::{LogicalVolume, LogicalVolumeStatus};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use host::{Bytes, LvUuid, MasterKey};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use operator::agent::condition::ConditionUpdate;
use operator::agent::volumes::outcome::Outcome;
use operator::agent::volumes::status;
use operator::controller::volume;
use operator::kube::names;
use placement::allocation::Allocation;
use placement::claim;
use placement::class::{self, Class};
use placement::fit::Fit;
use placement::reservations::Location;
use serde_json::json;

use crate::environment::{AT_ONCE, Environment, NAMESPACE};

const SIZE: Bytes = Bytes(64 << 20);

/// Returns the time from the first write to the last.
pub(crate) async fn provision(environment: &Environment) -> Result<Duration> {
    let claims = environment.claim().await?;
    // With FlexLVM's accounts, so that the server makes the same checks.
    let controller = environment
        .server
        .client_of(NAMESPACE, "flexlvm-controller")
        .await?;
    let mut reports = HashMap::new();
    for node in &environment.nodes {
        let client = environment.server.access().agent(&node.name_any()).await?;
        reports.insert(node.name_any(), Api::all(client));
    }
    let writer = Writer {
        environment,
        class: class::read(&environment.class, None).map_err(anyhow::Error::msg)?,
        master_key: MasterKey::new(&MasterKey::generate()?).context("not a master key")?,
        orders: Api::all(controller.clone()),
        reports,
        volumes: Api::all(controller),
    };
    environment.server.settle().await?;
    let begun = Instant::now();
    let nodes = environment.nodes.iter().cycle();
    let all = claims
        .iter()
        .zip(nodes)
        .map(|(claim, node)| writer.serve(claim, node));
    stream::iter(all)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(begun.elapsed())
}

struct Writer<'a> {
    environment: &'a Environment,
    class: Class,
    master_key: MasterKey,
    orders: Api<LogicalVolume>,
    /// One for each node: an agent writes for its own alone.
    reports: HashMap<String, Api<LogicalVolume>>,
    volumes: Api<PersistentVolume>,
}

impl Writer<'_> {
    async fn serve(&self, claim: &PersistentVolumeClaim, node: &Node) -> Result<()> {
        let name = claim::volume_name(claim).context("the claim has no uid")?;
        let disk = harness::simulated::disk_of("vg0");
        let fit = Fit {
            location: Location {
                node: node.name_any(),
                volume_group: "vg0".to_owned(),
            },
            size: SIZE,
            reservation: Allocation::from_iter([(disk.clone(), SIZE)]).into(),
            free: Bytes(0),
        };
        let order = volume::build_logical_volume(
            &name,
            claim,
            &self.class,
            &self.environment.backend,
            &fit,
            &self.master_key,
        );
        let order = self.orders.create(&PostParams::default(), &order).await?;
        let verdict = created(LvUuid::new(disk)?);
        let now = Time(Timestamp::now());
        let status = status::build(
            &LogicalVolumeStatus::default(),
            &verdict,
            node.uid(),
            order.metadata.generation,
            &now,
        );
        let patch = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
            "metadata": {"name": name, "uid": order.uid()}, "status": status});
        let params = PatchParams::apply(names::AGENT).force();
        let reports = self
            .reports
            .get(&node.name_any())
            .context("a client for each node")?;
        let order = reports
            .patch_status(&name, &params, &Patch::Apply(&patch))
            .await?;
        debug_assert!(crds::condition::is_true(
            &order.status.clone().unwrap_or_default().conditions,
            READY
        ));
        let built =
            volume::build_persistent_volume(&order, Some(claim), Some(node), &self.master_key)?;
        self.volumes.create(&PostParams::default(), &built).await?;
        Ok(())
    }
}

/// Returns the outcome that an agent reports of a new volume.
fn created(uuid: LvUuid) -> Outcome {
    let ready = ConditionUpdate {
        status: true,
        reason: reason::READY,
        message: String::new(),
    };
    let healthy = ConditionUpdate {
        reason: reason::HEALTHY,
        ..ready.clone()
    };
    Outcome {
        ready: Some(ready),
        healthy: Some(healthy),
        removed: None,
        progressing: None,
        volume: Some((uuid, SIZE)),
    }
}
