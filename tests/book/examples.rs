//! Examples in YAML: each field exists, each value has its type, and FlexLVM accepts its own
//! objects.

use crds::{Adoption, StorageBackend};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::storage::v1::StorageClass;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::pages::{all, assert_none};

/// Groups of other projects, whose types are not known here.
const FOREIGN: [&str; 2] = ["kustomize.config.k8s.io/", "kubeadm.k8s.io/"];

/// Returns the path of a field that is lost when an object is read and written again: its type has
/// no such field.
fn lost(before: &Value, after: &Value, path: &str) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match after.get(key) {
                Some(kept) => lost(value, kept, &path),
                None => Some(path),
            }
        }),
        (Value::Array(before), Value::Array(after)) => before
            .iter()
            .zip(after)
            .find_map(|(value, kept)| lost(value, kept, &format!("{path}[]"))),
        _ => None,
    }
}

/// Reads an object as a type, without unknown fields.
fn read<T: DeserializeOwned + Serialize>(object: &Value) -> Result<T, String> {
    let read: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let written = serde_json::to_value(&read).map_err(|error| error.to_string())?;
    match lost(object, &written, "") {
        Some(path) => Err(format!("there is no field {path}")),
        None => Ok(read),
    }
}

/// Reads an object of FlexLVM, whose fields are compared with the schema: a default value is not
/// written again.
fn read_own<T: DeserializeOwned>(object: &Value) -> Result<T, String> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let definition = crds::all()
        .into_iter()
        .find(|definition| definition.spec.names.kind == kind)
        .ok_or(format!("there is no kind {kind}"))?;
    let definition = serde_json::to_value(definition).map_err(|error| error.to_string())?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    unknown(&object["spec"], &schema["properties"]["spec"], "spec")?;
    serde_json::from_value(object.clone()).map_err(|error| error.to_string())
}

/// Fails if a value has a field that its schema lacks.
fn unknown(value: &Value, schema: &Value, path: &str) -> Result<(), String> {
    if let Some(items) = value.as_array() {
        return items
            .iter()
            .try_for_each(|item| unknown(item, &schema["items"], path));
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        let field = &schema["properties"][key];
        if field.is_object() {
            unknown(value, field, &path)?;
        } else if schema["additionalProperties"].is_null() {
            return Err(format!("there is no field {path}"));
        }
    }
    Ok(())
}

fn check_backend(object: &Value) -> Result<(), String> {
    let backend: StorageBackend = read_own(object)?;
    backend.spec.validate().map_err(|error| error.to_string())
}

fn check_class(object: &Value) -> Result<(), String> {
    let class: StorageClass = read(object)?;
    if class.provisioner != crds::GROUP {
        return Ok(());
    }
    let result = placement::class::read(&class, None);
    result.map(drop).map_err(|error| error.to_string())
}

/// Checks an object of an example.
fn check(object: &Value) -> Result<(), String> {
    match object["kind"].as_str().unwrap_or_default() {
        "StorageBackend" => check_backend(object),
        "Adoption" => read_own::<Adoption>(object).map(drop),
        "StorageClass" => check_class(object),
        "Pod" => read::<Pod>(object).map(drop),
        "PersistentVolume" => read::<PersistentVolume>(object).map(drop),
        "PersistentVolumeClaim" => read::<PersistentVolumeClaim>(object).map(drop),
        "StatefulSet" => read::<StatefulSet>(object).map(drop),
        "Job" => read::<Job>(object).map(drop),
        "CronJob" => read::<CronJob>(object).map(drop),
        "Secret" => read::<Secret>(object).map(drop),
        kind => Err(format!("this test has no type for {kind}")),
    }
}

/// Returns the object of which an example shows a part, if it is a part of a StorageBackend.
fn complete(example: Value) -> Value {
    if example["spec"]["volumeGroup"].is_string() && example["kind"].is_null() {
        return json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend",
            "metadata": {"name": "example"}, "spec": example["spec"]});
    }
    example
}

#[test]
fn every_example_is_valid() {
    let mut faults = Vec::new();
    let mut checked = 0;
    for (path, page) in all() {
        for code in page.code.iter().filter(|code| code.language == "yaml") {
            let documents = code
                .text
                .split("---\n")
                .filter(|text| !text.trim().is_empty());
            for document in documents {
                let fault = match serde_saphyr::from_str::<Value>(document).map(complete) {
                    Err(error) => Some(error.to_string()),
                    Ok(object) => {
                        let group = object["apiVersion"].as_str().unwrap_or("");
                        let is_foreign = FOREIGN.iter().any(|foreign| group.starts_with(foreign));
                        // A part of an object has no kind.
                        if is_foreign || object["kind"].is_null() {
                            continue;
                        }
                        checked += 1;
                        check(&object).err()
                    }
                };
                faults.extend(fault.map(|fault| format!("{path}:{}: {fault}", code.line)));
            }
        }
    }
    assert!(checked > 15, "only {checked} objects");
    assert_none(&faults);
}

#[test]
fn field_that_does_not_exist_is_found() {
    let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "a", "imgae": "b"}]}});
    assert_eq!(
        check(&object),
        Err("there is no field .spec.containers[].imgae".to_owned())
    );
    let object = json!({"kind": "StorageBackend", "apiVersion": "flexlvm.dev/v1alpha1",
        "metadata": {"name": "a"}, "spec": {"volumeGroup": "a", "layout": {"typ": "Linear"}}});
    assert_eq!(
        check(&object),
        Err("there is no field spec.layout.typ".to_owned())
    );
}
