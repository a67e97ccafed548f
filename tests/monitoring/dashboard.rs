//! The queries of the Grafana dashboard.

use harness::wait::{self, LIMIT};
use serde_json::Value;

use crate::installation::Installation;

/// What Grafana inserts for variables, with all nodes and backends selected.
const VARIABLES: [(&str, &str); 3] = [
    ("$node", ".*"),
    ("$backend", ".*"),
    ("$__rate_interval", "1m"),
];

/// Waits until each query of each panel and of each variable returns data.
pub(crate) async fn check_queries(installation: &Installation) {
    let queries = queries(&read());
    assert!(queries.len() > 40, "{queries:#?}");
    let mut missing = Vec::new();
    let answered = wait::until("each query returns data", LIMIT, async || {
        missing.clear();
        for (name, query) in &queries {
            if installation.prometheus.query(query)?.is_empty() {
                missing.push(format!("{name}: {query}"));
            }
        }
        Ok(missing.is_empty().then_some(()))
    });
    if let Err(error) = answered.await {
        panic!("{error}: {missing:#?}");
    }
}

/// Returns the dashboard.
pub(crate) fn read() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../config/monitoring/dashboard/dashboard.json"
    );
    let dashboard = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&dashboard).unwrap()
}

/// Returns the expression of a panel's target, as Grafana sends it.
pub(crate) fn expression(target: &Value) -> String {
    let mut expression = target["expr"].as_str().unwrap().to_owned();
    for (variable, value) in VARIABLES {
        expression = expression.replace(variable, value);
    }
    assert!(!expression.contains('$'), "{expression}");
    expression
}

/// Returns all queries, each with the name of its panel or variable.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().unwrap().to_owned();
            queries.push((title, expression(target)));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        // The variable of the data source has a text.
        if let Some(query) = variable["query"]["query"].as_str() {
            let values = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')')?.split_once(", "));
            let (series, label) = values.expect("label_values(SERIES, LABEL)");
            let query = format!("count by ({label}) ({series}{{{label}!=\"\"}})");
            queries.push((variable["name"].as_str().unwrap().to_owned(), query));
        }
    }
    queries
}
