//! What Prometheus has after its scrapes, compared with docs/metrics.md and with the endpoints.

use std::collections::{BTreeMap, BTreeSet};

use harness::scrape::scrape;
use harness::wait::{self, LIMIT};

use crate::installation::{Installation, Role};

/// Waits until each target is up and Prometheus has each series of docs/metrics.md; fails if a
/// scrape was not accepted as it is.
pub(crate) async fn check_scrapes(installation: &Installation) {
    let prometheus = &installation.prometheus;
    wait::until("all targets are up", LIMIT, async || {
        let targets = prometheus.targets()?;
        let are_up = targets
            .iter()
            .all(|target| target["health"] == "up" && target["lastError"] == "");
        Ok((targets.len() == 4 && are_up).then_some(()))
    })
    .await
    .unwrap();
    for job in ["controller", "agent"] {
        let documented = documented_series(job);
        let mut exposed = BTreeMap::new();
        let is_complete = wait::until("all series are exposed", LIMIT, async || {
            exposed = exposed_series(installation, job)?;
            Ok((exposed == documented).then_some(()))
        });
        if let Err(error) = is_complete.await {
            panic!("{error}: {job} exposes {exposed:#?}, docs/metrics.md has {documented:#?}");
        }
    }
    let agent = installation.nodes["n1"].agent.as_ref().unwrap();
    wait_for_samples(installation, "agent", agent).await;
    let controller = installation.controller.as_ref().unwrap();
    wait_for_samples(installation, "controller", controller).await;
    let complaints = prometheus.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Returns the types of the series that a role has according to docs/metrics.md, by name.
fn documented_series(role: &str) -> BTreeMap<String, String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    let head = format!("## Series of the {role}\n");
    let (_, section) = page.split_once(&head).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let series = rows.map(|row| {
        let mut cells = row.split(" | ");
        let name = cells.next().unwrap().trim_matches(['|', ' ', '`']);
        (name.to_owned(), cells.next().unwrap().to_owned())
    });
    series.collect()
}

/// Returns the types of the series that Prometheus has received from a role, by name.
fn exposed_series(
    installation: &Installation,
    job: &str,
) -> anyhow::Result<BTreeMap<String, String>> {
    let families = installation.prometheus.families(job)?;
    let series = families.iter().map(|family| {
        let type_ = family["type"].as_str().unwrap().to_owned();
        let name = family["metric"].as_str().unwrap();
        // OpenMetrics names a counter without the suffix of its samples.
        let suffix = if type_ == "counter" && !name.ends_with("_total") {
            "_total"
        } else {
            ""
        };
        (format!("{name}{suffix}"), type_)
    });
    Ok(series.collect())
}

/// Waits until Prometheus has a sample of each series of which the endpoint has one.
async fn wait_for_samples(installation: &Installation, job: &str, role: &Role) {
    let text = scrape(role.address).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let served: BTreeSet<&str> = samples
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    assert!(served.len() > 20, "{job}: {served:?}");
    let stored = format!("count by (__name__) ({{__name__=~\"flexlvm_.+\", job=\"{job}\"}})");
    wait::until("Prometheus has all samples", LIMIT, async || {
        let stored = installation.prometheus.query(&stored)?;
        let names: BTreeSet<&str> = stored
            .iter()
            .filter_map(|sample| sample["metric"]["__name__"].as_str())
            .collect();
        Ok(served.is_subset(&names).then_some(()))
    })
    .await
    .unwrap();
}
