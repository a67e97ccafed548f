//! Checks of the permissions of controller and agents: each rule of `config/rbac` must be granted.
//! Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role, RoleRef, Subject};
use kube::ResourceExt as _;
use serde_json::Value;

use super::check::{Check, Fault, Probe};
use super::facts::Facts;
use crate::snapshot::kind::Kind;
use crate::snapshot::{AGENT, CONTROLLER, NAMESPACE, Snapshot};

/// The manifests of this version.
const MANIFESTS: [(&str, &str); 2] = [
    (
        CONTROLLER,
        include_str!("../../../config/rbac/controller.yaml"),
    ),
    (AGENT, include_str!("../../../config/rbac/agent.yaml")),
];

/// Groups that the service accounts are members of.
const GROUPS: [&str; 3] = [
    "system:serviceaccounts:flexlvm-system",
    "system:serviceaccounts",
    "system:authenticated",
];

const KINDS: [Kind; 4] = [
    Kind::ClusterRoles,
    Kind::ClusterRoleBindings,
    Kind::Roles,
    Kind::RoleBindings,
];

pub(super) const CHECKS: &[Check] = &[Check::fault(
    "permission-missing",
    "a service account of FlexLVM lacks a permission",
    "kubectl apply -k config/rbac of the installed version",
    Probe::Rule(missing_permissions),
)];

/// One verb on one resource, as a rule grants it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    verb: String,
    group: String,
    resource: String,
    /// `None` for all objects.
    name: Option<String>,
    /// True for the objects of FlexLVM's namespace only.
    is_namespaced: bool,
}

impl Permission {
    /// Returns true if a rule grants this permission.
    fn is_granted_by(&self, rule: &PolicyRule) -> bool {
        let has = |list: Option<&Vec<String>>, wanted: &str| {
            let mut entries = list.into_iter().flatten();
            entries.any(|entry| entry == "*" || entry == wanted)
        };
        let names = rule
            .resource_names
            .as_ref()
            .filter(|names| !names.is_empty());
        let has_name = match (names, &self.name) {
            (None, _) => true,
            (Some(names), Some(name)) => names.contains(name),
            (Some(_), None) => false,
        };
        has_name
            && has(Some(&rule.verbs), &self.verb)
            && has(rule.api_groups.as_ref(), &self.group)
            && has(rule.resources.as_ref(), &self.resource)
    }

    fn describe(&self) -> String {
        let group = if self.group.is_empty() {
            String::new()
        } else {
            format!(".{}", self.group)
        };
        let name = self.name.as_ref().map(|name| format!(" {name}"));
        format!(
            "{} {}{group}{}",
            self.verb,
            self.resource,
            name.unwrap_or_default()
        )
    }
}

/// Returns each permission that some rules grant.
fn permissions(rules: &[PolicyRule], is_namespaced: bool) -> BTreeSet<Permission> {
    let mut all = BTreeSet::new();
    for rule in rules {
        let names = match rule.resource_names.as_deref() {
            None | Some([]) => vec![None],
            Some(names) => names.iter().cloned().map(Some).collect(),
        };
        for verb in &rule.verbs {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    for name in &names {
                        all.insert(Permission {
                            verb: verb.clone(),
                            group: group.clone(),
                            resource: resource.clone(),
                            name: name.clone(),
                            is_namespaced,
                        });
                    }
                }
            }
        }
    }
    all
}

/// Returns what a manifest grants; empty if it can't be parsed, which a test excludes.
fn wanted(manifest: &str) -> BTreeSet<Permission> {
    let mut wanted = BTreeSet::new();
    for document in manifest.split("\n---\n") {
        let Ok(object) = serde_saphyr::from_str::<Value>(document) else {
            continue;
        };
        let is_namespaced = match object.get("kind").and_then(Value::as_str) {
            Some("ClusterRole") => false,
            Some("Role") => true,
            _ => continue,
        };
        let rules = object.get("rules").cloned().unwrap_or_default();
        let rules: Vec<PolicyRule> = serde_json::from_value(rules).unwrap_or_default();
        wanted.extend(permissions(&rules, is_namespaced));
    }
    wanted
}

/// The rules that an account has in all namespaces, and in FlexLVM's.
#[derive(Default)]
struct Granted {
    everywhere: Vec<PolicyRule>,
    in_namespace: Vec<PolicyRule>,
}

fn is_account(subjects: Option<&Vec<Subject>>, account: &str) -> bool {
    let mut subjects = subjects.into_iter().flatten();
    subjects.any(|subject| {
        let is_it = subject.kind == "ServiceAccount"
            && subject.name == account
            && subject.namespace.as_deref() == Some(NAMESPACE);
        is_it || (subject.kind == "Group" && GROUPS.contains(&subject.name.as_str()))
    })
}

/// Returns the rules of the role that a binding names.
fn rules(snapshot: &Snapshot, role: &RoleRef) -> Vec<PolicyRule> {
    let of_cluster = |it: &&ClusterRole| it.name_any() == role.name;
    let of_namespace = |it: &&Role| it.name_any() == role.name;
    let rules = if role.kind == "ClusterRole" {
        let found = snapshot.cluster_roles.iter().find(of_cluster);
        found.and_then(|found| found.rules.clone())
    } else {
        let found = snapshot.roles.iter().find(of_namespace);
        found.and_then(|found| found.rules.clone())
    };
    rules.unwrap_or_default()
}

fn granted(snapshot: &Snapshot, account: &str) -> Granted {
    let mut granted = Granted::default();
    for binding in &snapshot.cluster_role_bindings {
        if is_account(binding.subjects.as_ref(), account) {
            let rules = rules(snapshot, &binding.role_ref);
            granted.everywhere.extend(rules);
        }
    }
    for binding in &snapshot.role_bindings {
        if is_account(binding.subjects.as_ref(), account) {
            let rules = rules(snapshot, &binding.role_ref);
            granted.in_namespace.extend(rules);
        }
    }
    granted
}

fn missing_permissions(facts: &Facts<'_>) -> Vec<Fault> {
    const SHOWN: usize = 3;
    let snapshot = facts.snapshot;
    if KINDS.into_iter().any(|kind| !snapshot.is_readable(kind)) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (account, manifest) in MANIFESTS {
        let key = format!("{NAMESPACE}/{account}");
        let is_installed =
            snapshot.deployments.contains_key(&key) || snapshot.daemon_sets.contains_key(&key);
        if !is_installed {
            continue;
        }
        let granted = granted(snapshot, account);
        let missing: Vec<String> = wanted(manifest)
            .iter()
            .filter(|wanted| {
                let mut rules = granted.everywhere.iter();
                let mut own = granted.in_namespace.iter().filter(|_| wanted.is_namespaced);
                !rules.any(|rule| wanted.is_granted_by(rule))
                    && !own.any(|rule| wanted.is_granted_by(rule))
            })
            .map(Permission::describe)
            .collect();
        if let Some((first, _)) = missing.split_at_checked(SHOWN.min(missing.len()))
            && !first.is_empty()
        {
            let more = missing.len().saturating_sub(SHOWN);
            let more = if more > 0 {
                format!(", and {more} more")
            } else {
                String::new()
            };
            faults.push(Fault::new(
                format!("serviceaccount/{account}"),
                format!("it may not {}{more}", first.join(", ")),
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::{MANIFESTS, wanted};

    #[test]
    fn manifests_are_parsed_completely() {
        for (account, manifest) in MANIFESTS {
            let rules = manifest.matches("\n  verbs: [").count();
            let wanted = wanted(manifest);
            assert!(rules > 4 && wanted.len() > rules, "{account}: {rules}");
        }
        let controller = wanted(MANIFESTS[0].1);
        let texts: Vec<String> = controller.iter().map(super::Permission::describe).collect();
        assert!(
            texts.contains(&"get secrets flexlvm-volume-keys".to_owned()),
            "{texts:?}"
        );
    }
}
