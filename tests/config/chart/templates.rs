//! The chart's generated templates: the manifests of `config` and `crds`, with a condition and the
//! chart's values in place of constants. `make generate` writes them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::{ROOT, read};

/// A template that is made from a manifest.
struct Template {
    /// Path below the chart's templates.
    path: String,
    /// Path of the manifest.
    source: String,
    /// The condition under which the chart renders it; empty for always.
    condition: &'static str,
    /// Replacements beyond the namespace, each of which must apply.
    replacements: Vec<(&'static str, &'static str)>,
}

impl Template {
    fn new(path: &str, source: &str, condition: &'static str) -> Self {
        Self {
            path: path.to_owned(),
            source: source.to_owned(),
            condition,
            replacements: Vec::new(),
        }
    }

    fn replace(mut self, constant: &'static str, with: &'static str) -> Self {
        self.replacements.push((constant, with));
        self
    }

    fn text(&self) -> String {
        // A manifest's own braces, as in alerts, are not Helm's.
        let mut body = String::new();
        for part in split_braces(&read(&self.source)) {
            match part {
                "{{" | "}}" => write!(body, "{{{{ \"{part}\" }}}}").unwrap(),
                text => body.push_str(text),
            }
        }
        for (constant, with) in &self.replacements {
            assert!(
                body.contains(constant),
                "{} lacks {constant:?}",
                self.source
            );
            body = body.replacen(constant, with, 1);
        }
        let body = body.replace("flexlvm-system", "{{ .Values.namespace.name }}");
        let header = format!(
            "{{{{/* Made by `make generate` from {}. Do not edit. */}}}}\n",
            self.source
        );
        match self.condition {
            "" => header + &body,
            condition => format!("{header}{{{{- if {condition} }}}}\n{body}{{{{- end }}}}\n"),
        }
    }
}

/// Splits a text before and after each pair of braces.
fn split_braces(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("}}")).min() {
        let (before, braces) = rest.split_at(at);
        parts.push(before);
        let (pair, after) = braces.split_at(2);
        parts.push(pair);
        rest = after;
    }
    parts.push(rest);
    parts
}

const LABELS: &str = "  labels:\n    app.kubernetes.io/name: flexlvm\n";

fn definitions() -> Vec<Template> {
    let keep = "metadata:\n  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n";
    let mut templates = Vec::new();
    for (folder, condition) in [
        (
            "crds",
            r#"and .Values.crds.install (not (include "flexlvm.since25" .))"#,
        ),
        (
            "crds/cel",
            r#"and .Values.crds.install (include "flexlvm.since25" .)"#,
        ),
    ] {
        for definition in crds::all() {
            let name = definition.spec.names.plural;
            let path = format!("{folder}/{name}.yaml");
            templates.push(Template::new(&path, &path, condition).replace("metadata:\n", keep));
        }
    }
    templates
}

fn templates() -> Vec<Template> {
    let mut templates = definitions();
    templates.extend([
        Template::new(
            "namespace.yaml",
            "config/namespace/namespace.yaml",
            ".Values.namespace.create",
        )
        // The namespace holds the Secret of the volume keys.
        .replace(
            "metadata:\n",
            "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n",
        ),
        Template::new(
            "networkpolicy.yaml",
            "config/namespace/networkpolicy.yaml",
            ".Values.networkPolicy",
        ),
        Template::new("controller-rbac.yaml", "config/rbac/controller.yaml", ""),
        Template::new("agent-rbac.yaml", "config/rbac/agent.yaml", ""),
        Template::new("viewer-rbac.yaml", "config/rbac/viewer.yaml", ""),
        Template::new(
            "openshift-rbac.yaml",
            "config/openshift/component/rbac.yaml",
            r#"eq .Values.distribution "openshift""#,
        ),
        Template::new(
            "disruption-budget.yaml",
            "config/v1.25/disruption-budget.yaml",
            r#"and .Values.controller.podDisruptionBudget (include "flexlvm.since25" .)"#,
        ),
        Template::new(
            "agent-policy.yaml",
            "config/v1.30/agent-policy.yaml",
            r#"and .Values.admissionPolicies (include "flexlvm.since30" .)"#,
        ),
        Template::new(
            "inline-volumes-policy.yaml",
            "config/v1.30-attach/inline-volumes-policy.yaml",
            r#"and .Values.attach .Values.admissionPolicies (include "flexlvm.since30" .)"#,
        ),
    ]);
    templates.extend(monitoring());
    templates
}

fn monitoring() -> [Template; 3] {
    [
        Template::new(
            "monitoring-networkpolicy.yaml",
            "config/monitoring/network/networkpolicy.yaml",
            r#"and .Values.networkPolicy (include "flexlvm.scraped" .)"#,
        )
        .replace(
            "metadata.name: monitoring\n",
            "metadata.name: {{ .Values.monitoring.namespace }}\n",
        ),
        Template::new(
            "podmonitor.yaml",
            "config/monitoring/operator/podmonitor.yaml",
            ".Values.monitoring.podMonitor.enabled",
        )
        .replace(
            LABELS,
            "  labels:\n    app.kubernetes.io/name: flexlvm\n    {{- with .Values.monitoring.podMonitor.labels }}\n    {{- toYaml . | nindent 4 }}\n    {{- end }}\n",
        ),
        Template::new(
            "prometheusrule.yaml",
            "config/monitoring/operator/prometheusrule.yaml",
            ".Values.monitoring.prometheusRule.enabled",
        )
        .replace(
            LABELS,
            "  labels:\n    app.kubernetes.io/name: flexlvm\n    {{- with .Values.monitoring.prometheusRule.labels }}\n    {{- toYaml . | nindent 4 }}\n    {{- end }}\n",
        ),
    ]
}

/// Compares a file of the chart, or writes it when UPDATE is set.
fn check(path: &str, expected: &str) {
    let path = Path::new(ROOT).join("charts/flexlvm").join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
    } else {
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == expected,
            "{} is out of date: run `make generate`",
            path.display()
        );
    }
}

#[test]
fn chart_templates_are_current() {
    for template in templates() {
        check(&format!("templates/{}", template.path), &template.text());
    }
    let dashboard = read("config/monitoring/dashboard/dashboard.json");
    check("files/dashboard.json", &dashboard);
}

/// The templates that are written by hand.
const BY_HAND: [&str; 5] = [
    "NOTES.txt",
    "_helpers.tpl",
    "agent.yaml",
    "controller.yaml",
    "dashboard.yaml",
];

#[test]
fn chart_has_no_template_without_a_source() {
    let folder = format!("{ROOT}/charts/flexlvm/templates");
    let mut found = BTreeSet::new();
    for below in ["", "crds/", "crds/cel/"] {
        for entry in std::fs::read_dir(format!("{folder}/{below}")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                found.insert(format!("{below}{}", entry.file_name().display()));
            }
        }
    }
    let generated = templates().into_iter().map(|template| template.path);
    let expected: BTreeSet<String> = generated.chain(BY_HAND.map(str::to_owned)).collect();
    assert_eq!(found, expected);
}
