//! The YAML of the custom resource definitions matches the types. `make generate` runs this with
//! UPDATE=1, which writes the files instead of comparing them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code outside test functions"
)]

use std::path::Path;

use kube::CustomResourceExt as _;
use serde_json::Value;

/// Compares one file below `crds/`, or writes it when UPDATE is set.
fn current(file: &str, definition: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let options = serde_saphyr::ser_options! { quote_all: false };
    let body = serde_saphyr::to_string_with_options(definition, options).unwrap();
    let text = format!("# Made by `make generate` from crds/src. Do not edit.\n{body}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    } else {
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "{} is out of date: run `make generate`",
            path.display()
        );
    }
}

/// Removes every CEL rule: kubectl before 1.25 rejects a file with unknown fields.
fn without_cel(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("x-kubernetes-validations");
            map.values_mut().for_each(without_cel);
        }
        Value::Array(items) => items.iter_mut().for_each(without_cel),
        _ => {}
    }
}

fn names() -> Vec<String> {
    crds::all()
        .into_iter()
        .map(|definition| definition.spec.names.plural)
        .collect()
}

#[test]
fn yaml_is_current() {
    assert_eq!(
        names(),
        [
            "storagebackends",
            "logicalvolumes",
            "nodestorages",
            "adoptions"
        ]
    );
    for definition in crds::all() {
        let plural = definition.spec.names.plural.clone();
        let mut definition = serde_json::to_value(definition).unwrap();
        current(&format!("cel/{plural}.yaml"), &definition);
        without_cel(&mut definition);
        current(&format!("{plural}.yaml"), &definition);
    }
}

/// Calls `check` for each schema of the definitions, with its path.
fn every_schema(check: &mut impl FnMut(&str, &Value)) {
    fn walk(path: &str, value: &Value, check: &mut impl FnMut(&str, &Value)) {
        check(path, value);
        for (name, property) in value["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), property, check);
        }
        for part in ["items", "additionalProperties"] {
            if value[part].is_object() {
                walk(&format!("{path}[]"), &value[part], check);
            }
        }
    }
    for definition in crds::all() {
        let path = definition.spec.names.kind.clone();
        let definition = serde_json::to_value(definition).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        walk(&path, schema, check);
    }
}

#[test]
fn integer_formats_are_those_of_openapi() {
    every_schema(&mut |path, schema| {
        let format = schema["format"].as_str();
        assert!(
            matches!(format, None | Some("int32" | "int64" | "date-time")),
            "{path} has format {format:?}, about which API servers warn"
        );
        if format == Some("int32") {
            let minimum = schema["minimum"].as_f64();
            assert!(minimum >= Some(0.0), "{path} is unsigned in Rust");
        }
    });
}

#[test]
fn no_field_is_nullable() {
    every_schema(&mut |path, schema| {
        assert!(
            schema["nullable"].is_null(),
            "{path} is nullable, which hides it from OpenAPI v2"
        );
        for keyword in ["enum", "type"] {
            let mut values = schema[keyword].as_array().into_iter().flatten();
            assert!(!values.any(Value::is_null), "{path} takes null");
        }
    });
}

#[test]
fn every_field_has_a_description() {
    fn check(path: &str, schema: &Value) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(
                property["description"].is_string(),
                "{path} has no description for kubectl explain"
            );
            check(&path, property);
        }
        if schema["items"].is_object() {
            check(&format!("{path}[]"), &schema["items"]);
        }
    }
    for definition in [
        crds::StorageBackend::crd(),
        crds::LogicalVolume::crd(),
        crds::NodeStorage::crd(),
        crds::Adoption::crd(),
    ] {
        let definition = serde_json::to_value(definition).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            check(part, &schema["properties"][part]);
        }
    }
}
