//! The Grafana dashboard. `tests/monitoring` runs its queries.

use std::collections::BTreeSet;

use harness::apiserver::ApiServer;
use serde_json::Value;

use crate::monitoring::{render_with, series_of};
use crate::{find, read};

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

fn dashboard() -> Value {
    serde_json::from_str(&read("config/monitoring/dashboard/dashboard.json")).unwrap()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

#[tokio::test]
async fn config_map_has_the_dashboard_and_the_label_of_the_sidecar() {
    let server = ApiServer::shared().await;
    if !server.is_since(25) {
        return;
    }
    let objects = render_with(server, &["monitoring", "monitoring/dashboard"]);
    let map = find(&objects, "ConfigMap");
    assert_eq!(map["metadata"]["namespace"], "flexlvm-system");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = map["data"]["flexlvm.json"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), dashboard());
    // `kubectl apply` copies each object into an annotation of at most this size.
    assert!(text.len() < 200 << 10, "{} bytes", text.len());
}

#[test]
fn queries_use_documented_series() {
    let metrics = read("docs/metrics.md");
    let dashboard = dashboard();
    let mut count = 0;
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            for name in series_of(target["expr"].as_str().unwrap()) {
                let series = name.strip_suffix("_bucket").unwrap_or(name);
                assert!(metrics.contains(&format!("| `{series}` |")), "{name}");
                count += 1;
            }
        }
    }
    assert!(count > 40, "only {count}");
}

#[test]
fn panels_are_described_and_use_the_chosen_data_source() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let description = panel["description"].as_str().unwrap();
        assert!(description.ends_with('.'), "{title}: {description}");
        let mut targets = BTreeSet::new();
        for target in panel["targets"].as_array().unwrap() {
            assert!(targets.insert(target["refId"].as_str().unwrap()), "{title}");
        }
    }
}

#[test]
fn panels_do_not_overlap() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= COLUMNS, "{}", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{}", panel["title"]);
            }
        }
    }
}
