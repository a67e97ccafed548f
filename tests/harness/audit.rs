//! What the API server wrote down about the writes of FlexLVM's own accounts: how the tests count them.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workplace::Workplace;

/// The policy's file, within the workplace.
pub(crate) const POLICY: &str = "audit-policy.yaml";

/// The log's file, within the workplace.
pub(crate) const LOG: &str = "audit.log";

/// Only the writes of FlexLVM's accounts, once answered, and without their bodies.
pub(crate) const POLICY_TEXT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted, Panic]
rules:
- level: Metadata
  userGroups: ['system:serviceaccounts:flexlvm-system']
  verbs: [create, update, patch, delete, deletecollection]
- level: None
";

/// One write that the server accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The account, without its namespace.
    pub account: String,
    /// `create`, `patch`, …
    pub verb: String,
    /// `logicalvolumes`, `logicalvolumes/status`, …
    pub resource: String,
    /// The object's name.
    pub name: String,
}

/// The accepted writes so far to objects whose name contains `part`, in order.
pub(crate) fn writes(workplace: &Workplace, part: &str) -> Result<Vec<Write>> {
    let log = std::fs::read_to_string(workplace.path(LOG)).context("cannot read the audit log")?;
    // The last line may be half written.
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let write = |entry: Value| {
        let object = &entry["objectRef"];
        let subresource = object["subresource"].as_str().map(|sub| format!("/{sub}")).unwrap_or_default();
        Write {
            account: text(&entry["user"]["username"]).rsplit(':').next().unwrap_or_default().to_owned(),
            verb: text(&entry["verb"]),
            resource: text(&object["resource"]) + &subresource,
            name: text(&object["name"]),
        }
    };
    let accepted = entries.filter(|entry| entry["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300));
    Ok(accepted.map(write).filter(|write| write.name.contains(part)).collect())
}
