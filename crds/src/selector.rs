//! Selection of a StorageBackend's nodes. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::validation::ValidationError;

/// Selects nodes by their labels. All given requirements must hold; without any, every node is
/// selected.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    /// Labels that a node must have, each with this value. Example:
    /// `{"node-role.kubernetes.io/storage": ""}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements on a node's labels; all of them must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<Requirement>,
}

/// One requirement on one label of a node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// Key of the label. Example: `kubernetes.io/hostname`.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// Relation of the label's value to `values`: `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: Operator,
    /// Values of the label: at least one for `In` and `NotIn`, none for `Exists` and
    /// `DoesNotExist`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// Relation of a label to a list of values.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label exists and has one of the values.
    In,
    /// The label does not exist, or has none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label does not exist.
    DoesNotExist,
}

impl NodeSelector {
    /// Returns true when a node with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| {
                let value = labels.get(&requirement.key);
                match requirement.operator {
                    Operator::In => value.is_some_and(|value| requirement.values.contains(value)),
                    Operator::NotIn => {
                        value.is_none_or(|value| !requirement.values.contains(value))
                    }
                    Operator::Exists => value.is_some(),
                    Operator::DoesNotExist => value.is_none(),
                }
            })
    }

    /// Checks what the schema can't express on API servers without CEL rules.
    ///
    /// # Errors
    /// The first contradiction in the selector.
    pub fn validate(&self) -> Result<(), ValidationError> {
        for requirement in &self.match_expressions {
            let is_contradiction = match requirement.operator {
                Operator::In | Operator::NotIn => requirement.values.is_empty(),
                Operator::Exists | Operator::DoesNotExist => !requirement.values.is_empty(),
            };
            if is_contradiction {
                return Err(requirement.contradiction());
            }
        }
        Ok(())
    }
}

impl Requirement {
    /// Returns the error about a number of values that the operator doesn't take.
    fn contradiction(&self) -> ValidationError {
        let problem = match self.operator {
            Operator::In | Operator::NotIn => "needs at least one value",
            Operator::Exists | Operator::DoesNotExist => "takes no values",
        };
        ValidationError::new(
            "nodeSelector.matchExpressions",
            format!("{} {:?} {problem}", self.key, self.operator),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::NodeSelector;
    use std::collections::BTreeMap;

    fn selects(selector: serde_json::Value, labels: &[(&str, &str)]) -> bool {
        let selector: NodeSelector = serde_json::from_value(selector).unwrap();
        let labels: BTreeMap<_, _> = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        selector.matches(&labels)
    }

    fn expression(operator: &str, values: &[&str]) -> serde_json::Value {
        serde_json::json!({"matchExpressions": [{"key": "disk", "operator": operator, "values": values}]})
    }

    #[test]
    fn selects_like_kubernetes() {
        assert!(selects(serde_json::json!({}), &[]));
        assert!(selects(
            serde_json::json!({"matchLabels": {"disk": "ssd"}}),
            &[("disk", "ssd"), ("zone", "a")]
        ));
        assert!(!selects(
            serde_json::json!({"matchLabels": {"disk": "ssd"}}),
            &[("disk", "hdd")]
        ));
        assert!(selects(
            expression("In", &["ssd", "nvme"]),
            &[("disk", "nvme")]
        ));
        assert!(!selects(expression("In", &["ssd"]), &[]));
        assert!(selects(expression("NotIn", &["ssd"]), &[]));
        assert!(!selects(expression("Exists", &[]), &[]));
        assert!(selects(expression("DoesNotExist", &[]), &[]));
    }

    #[test]
    fn error_names_the_contradiction() {
        let selector: NodeSelector = serde_json::from_value(
            serde_json::json!({"matchExpressions": [{"key": "disk", "operator": "In"}]}),
        )
        .unwrap();
        assert_eq!(
            selector.validate().unwrap_err().to_string(),
            "nodeSelector.matchExpressions: disk In needs at least one value"
        );
        assert_eq!(NodeSelector::default().validate(), Ok(()));
    }
}
