//! docs/reference/api.md matches the types. `make generate` runs this with UPDATE=1, which writes
//! the page instead of comparing it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code outside test functions"
)]

use std::fmt::Write as _;

use serde_json::Value;

const INTRODUCTION: &str = "\
<!-- Made by `make generate` from crds/src. Do not edit. -->
# API

The resources of the group `flexlvm.dev`, version `v1alpha1`. All are cluster-scoped. `kubectl explain` has the same content, field by
field: `kubectl explain storagebackend.spec.layout`. Fields that are marked *required* have no default.
";

/// Returns a text as the content of a table's cell.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

/// Returns the type of a field as a reader needs it, such as `string, at most 63`.
fn type_of(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .map(|value| format!("`{}`", value.as_str().unwrap_or_default()))
            .collect();
        return values.join(", ");
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "quantity".to_owned();
    }
    let name = match schema["type"].as_str().unwrap_or("any") {
        "array" => return format!("list of {}", type_of(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => "map",
        "string" if schema["format"] == "date-time" => "time",
        name => name,
    };
    match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        (Some(least), Some(most)) => format!("{name}, {least} to {most}"),
        (Some(least), None) if least > 0 => format!("{name}, {least} or more"),
        _ => name.to_owned(),
    }
}

/// Returns the default of a field, or that it is required.
fn default_of(schema: &Value, is_required: bool) -> String {
    match &schema["default"] {
        Value::Null if is_required => "*required*".to_owned(),
        Value::Null => String::new(),
        Value::Object(_) => "see its fields".to_owned(),
        Value::String(text) => format!("`{text}`"),
        value => format!("`{value}`"),
    }
}

/// Appends a row for each field of a schema, and for the fields in it, with their paths.
fn write_fields(text: &mut String, prefix: &str, schema: &Value) {
    let required = schema["required"].as_array();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let is_required = required.is_some_and(|all| all.iter().any(|one| one == name));
        writeln!(
            text,
            "| `{path}` | {} | {} | {} |",
            type_of(field),
            default_of(field, is_required),
            cell(field["description"].as_str().unwrap_or_default())
        )
        .unwrap();
        // Kubernetes' own documentation describes the fields of a condition.
        if name != "conditions" {
            write_fields(text, &format!("{path}."), field);
            write_fields(text, &format!("{path}[]."), &field["items"]);
        }
    }
}

/// Collects the messages of the rules of a schema and of all schemas in it.
fn collect_rules(rules: &mut Vec<String>, schema: &Value) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if let Some(message) = rule["message"].as_str() {
            rules.push(cell(message));
        }
    }
    let fields = schema["properties"].as_object().into_iter().flatten();
    for field in fields.map(|(_, field)| field).chain([&schema["items"]]) {
        if field.is_object() {
            collect_rules(rules, field);
        }
    }
}

/// Appends the section of a kind.
fn write_kind(text: &mut String, definition: &Value) {
    let names = &definition["spec"]["names"];
    let version = &definition["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let short: Vec<&str> = names["shortNames"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let short = match short.as_slice() {
        [] => String::new(),
        names => format!(", or `{}`", names.join("`, `")),
    };
    let kind = names["kind"].as_str().unwrap();
    let plural = names["plural"].as_str().unwrap();
    let description = cell(schema["description"].as_str().unwrap());
    write!(
        text,
        "\n## {kind}\n\n{description} In kubectl: `{plural}.flexlvm.dev`{short}.\n"
    )
    .unwrap();
    for part in ["spec", "status"] {
        let schema = &schema["properties"][part];
        if schema["properties"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
        {
            continue;
        }
        write!(
            text,
            "\n### {part} of {kind}\n\n| field | type | default | description |\n|---|---|---|---|\n"
        )
        .unwrap();
        write_fields(text, "", schema);
    }
    let mut rules = Vec::new();
    collect_rules(&mut rules, schema);
    if !rules.is_empty() {
        write!(
            text,
            "\nFrom Kubernetes 1.25 on, the API server enforces these rules; before, the condition `Ready` reports them:\n\n"
        )
        .unwrap();
        for rule in rules {
            writeln!(text, "- {rule}").unwrap();
        }
    }
}

#[test]
fn api_reference_is_current() {
    let mut text = INTRODUCTION.to_owned();
    for definition in crds::all() {
        write_kind(&mut text, &serde_json::to_value(definition).unwrap());
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/api.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, text).unwrap();
    } else {
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == text, "{path} is out of date: run `make generate`");
    }
}
