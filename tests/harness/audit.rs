//! The API server's audit log of requests by FlexLVM's accounts, which tests and benchmarks count.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workplace::Workplace;

/// File name of the policy within the workplace.
pub(crate) const POLICY: &str = "audit-policy.yaml";

/// File name of the log within the workplace.
pub(crate) const LOG: &str = "audit.log";

/// Logs only the requests of FlexLVM's accounts, without bodies, once answered (a watch: once
/// ended).
pub(crate) const POLICY_TEXT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted, Panic]
rules:
- level: Metadata
  userGroups: ['system:serviceaccounts:flexlvm-system']
- level: None
";

/// An answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The service account, without its namespace.
    pub account: String,
    /// `create`, `patch`, `list`, …
    pub verb: String,
    /// `logicalvolumes`, `logicalvolumes/status`, …
    pub resource: String,
    /// The object's name; empty if the request names none.
    pub name: String,
    /// Whether the server accepted it.
    pub accepted: bool,
}

impl Request {
    /// Returns true if the request changed something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.accepted && !["get", "list", "watch"].contains(&self.verb.as_str())
    }
}

/// Returns the requests so far, in order.
pub(crate) fn requests(workplace: &Workplace) -> Result<Vec<Request>> {
    let log = std::fs::read_to_string(workplace.path(LOG)).context("cannot read the audit log")?;
    // The server may be writing the last line.
    let entries = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(entries
        .map(|entry: Value| {
            let object = &entry["objectRef"];
            let subresource = object["subresource"]
                .as_str()
                .map(|sub| format!("/{sub}"))
                .unwrap_or_default();
            Request {
                account: text(&entry["user"]["username"])
                    .rsplit(':')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                verb: text(&entry["verb"]),
                resource: text(&object["resource"]) + &subresource,
                name: text(&object["name"]),
                accepted: entry["responseStatus"]["code"]
                    .as_u64()
                    .is_some_and(|code| code < 300),
            }
        })
        .collect())
}
