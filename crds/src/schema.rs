//! Rewrites the schemas of kube's derive into a form that every supported API server and kubectl
//! interprets alike. Pure.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// Rewrites the schemas of all versions of a definition.
pub(crate) fn normalize(definition: &mut CustomResourceDefinition) {
    for version in &mut definition.spec.versions {
        let schema = version.schema.as_mut();
        if let Some(schema) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            normalize_schema(schema);
        }
    }
}

fn normalize_schema(schema: &mut JSONSchemaProps) {
    // OpenAPI v2 has no `nullable`: an API server omits such a field from the v2 document, so
    // `kubectl explain` lacks it, and kubectl before 1.24 drops it. Without `nullable` the server
    // prunes an explicit null, which then means the same as no value.
    schema.nullable = None;
    normalize_integer(schema);
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|all| all.values_mut())
    {
        normalize_schema(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => normalize_schema(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(normalize_schema),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        normalize_schema(values);
    }
}

/// Replaces the formats of unsigned integers: API servers warn about these formats of Rust.
fn normalize_integer(schema: &mut JSONSchemaProps) {
    let signed = match schema.format.as_deref() {
        Some("uint8" | "uint16" | "uint32") => "int32",
        Some("uint64" | "uint") => "int64",
        _ => return,
    };
    schema.format = Some(signed.to_owned());
    schema.minimum = Some(schema.minimum.unwrap_or(0.0));
}
