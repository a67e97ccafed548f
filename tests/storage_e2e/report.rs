//! The suite's report, as ginkgo writes it. *Pure* but for reading the file.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The text with which the names of the suite's specs begin. Its program has others, too.
const SUITE: &str = "External Storage";

/// What became of the suite's specs.
#[derive(Debug)]
pub(crate) struct Report {
    passed: usize,
    skipped: usize,
    failures: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Vec<Spec>,
    #[serde(default)]
    special_suite_failure_reasons: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    /// The texts of the spec's containers; null for a suite's set-up and tear-down.
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    /// `It` for a spec; another one for a suite's set-up and tear-down.
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    #[serde(default)]
    failure: Option<Failure>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    #[serde(default)]
    message: String,
}

impl Spec {
    fn name(&self) -> String {
        let containers = self.container_hierarchy_texts.iter().flatten();
        let mut texts: Vec<&str> = containers.map(String::as_str).collect();
        texts.push(&self.leaf_node_text);
        texts.join(" ")
    }
}

impl Report {
    /// Reads ginkgo's JSON report.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the suite left no report in {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let suites: Vec<Suite> = serde_json::from_str(text)?;
        let mut report = Self {
            passed: 0,
            skipped: 0,
            failures: Vec::new(),
        };
        for suite in suites {
            for spec in suite.spec_reports {
                match (spec.leaf_node_type.as_str(), spec.state.as_str()) {
                    ("It", "passed") => report.passed += 1,
                    ("It", "skipped" | "pending") => {
                        report.skipped += usize::from(spec.name().contains(SUITE));
                    }
                    (_, "passed" | "skipped" | "") => {}
                    (kind, state) => {
                        let name = if kind == "It" {
                            spec.name()
                        } else {
                            kind.to_owned()
                        };
                        let message = spec.failure.unwrap_or_default().message;
                        let first = message.lines().next().unwrap_or_default();
                        report.failures.push(format!("{name}: {state}: {first}"));
                    }
                }
            }
            // For example a timeout or an interrupt. "Detected skipped" and the like are none.
            if report.failures.is_empty() {
                let reasons = suite.special_suite_failure_reasons.into_iter().flatten();
                report.failures.extend(reasons);
            }
        }
        if report.passed == 0 && report.failures.is_empty() {
            report.failures.push("the suite ran no spec".to_owned());
        }
        Ok(report)
    }

    /// Adds a failure that concerns no single spec.
    pub(crate) fn fail(&mut self, reason: String) {
        self.failures.push(reason);
    }

    /// How many specs failed.
    pub(crate) fn failed(&self) -> usize {
        self.failures.len()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(formatter, "FAILED {failure}")?;
        }
        writeln!(
            formatter,
            "{} specs are not applicable to FlexLVM or were skipped by name",
            self.skipped
        )?;
        writeln!(
            formatter,
            "{} passed, {} failed",
            self.passed,
            self.failed()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(specs: &str) -> String {
        format!(r#"[{{"SpecialSuiteFailureReasons": null, "SpecReports": [{specs}]}}]"#)
    }

    fn spec(kind: &str, state: &str) -> String {
        format!(
            r#"{{"ContainerHierarchyTexts": ["External Storage"], "LeafNodeType": "{kind}", "LeafNodeText": "store data",
            "State": "{state}", "Failure": {{"Message": "no node\nat line 1"}}}}"#
        )
    }

    #[test]
    fn report_counts_specs_and_names_failures() {
        let specs = ["passed", "passed", "skipped", "failed", "timedout"];
        let specs = specs.map(|state| spec("It", state)).join(",");
        let report = Report::parse(&suite(&specs)).unwrap();
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "FAILED External Storage store data: failed: no node"
        );
        assert_eq!(lines.last(), Some(&"2 passed, 2 failed"));
    }

    #[test]
    fn failed_setup_fails_the_suite() {
        let specs = [
            spec("It", "skipped"),
            spec("SynchronizedBeforeSuite", "failed"),
        ];
        let report = Report::parse(&suite(&specs.join(","))).unwrap();
        assert_eq!(report.failed(), 1);
    }

    #[test]
    fn suite_without_specs_has_failed() {
        let report = Report::parse(&suite(&spec("It", "skipped"))).unwrap();
        assert_eq!(report.failed(), 1);
    }
}
