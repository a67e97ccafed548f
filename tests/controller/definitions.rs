//! The custom resource definitions through kubectl: no field is dropped, or missing from `kubectl
//! explain`.

use std::process::{Command, Output};

use crds::StorageBackend;
use harness::apiserver::ApiServer;
use harness::wait;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::fixture::{Fixture, from};

fn kubectl(server: &ApiServer, arguments: &[&str]) -> Output {
    let cache = server.workplace().path("kubectl-cache");
    Command::new(server.kubernetes().program("kubectl"))
        .arg(format!("--kubeconfig={}", server.kubeconfig().display()))
        .arg(format!("--cache-dir={}", cache.display()))
        .args(arguments)
        .output()
        .unwrap()
}

/// Waits until the server publishes the schemas of all definitions, which takes seconds.
async fn published(server: &ApiServer) {
    wait::until("schemas are published", wait::LIMIT, async || {
        let explained = crds::all().iter().all(|definition| {
            let name = format!("{}.spec", definition.spec.names.plural);
            kubectl(server, &["explain", &name]).status.success()
        });
        Ok(explained.then_some(()))
    })
    .await
    .unwrap();
}

/// Applies a StorageBackend with this spec as `kubectl apply -f` does; returns kubectl's stderr as
/// the error.
fn apply(fixture: &Fixture, name: &str, spec: Value) -> Result<(), String> {
    let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend",
        "metadata": {"name": name}, "spec": spec});
    let path = fixture
        .server
        .workplace()
        .write(&format!("{name}.json"), object.to_string())
        .unwrap();
    let output = kubectl(fixture.server, &["apply", "-f", path.to_str().unwrap()]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && complaint.is_empty() {
        Ok(())
    } else {
        Err(complaint)
    }
}

#[tokio::test]
async fn kubectl_apply_keeps_optional_fields_and_rejects_misspelt_ones() {
    let fixture = Fixture::new().await;
    published(fixture.server).await;
    let limits = json!({"minimum": "1Gi", "maximum": "2Gi"});
    let pool = json!({"size": "1Gi", "maximumSize": "50%", "extendAt": 60});
    let spec = json!({"volumeGroup": "vg0", "volumeSize": limits, "layout": {"type": "Thin"}, "thinPool": pool,
        "nodeSelector": {"matchLabels": {"fixture": fixture.namespace}}});
    let name = fixture.name("kept");
    apply(&fixture, &name, spec.clone()).unwrap();
    let backends: Api<StorageBackend> = Api::all(fixture.client.clone());
    let kept = serde_json::to_value(backends.get(&name).await.unwrap().spec).unwrap();
    assert_eq!((&kept["volumeSize"], &kept["thinPool"]), (&limits, &pool));
    for (field, wrong) in [("thinPool", "maxSize"), ("volumeSize", "max")] {
        let mut spec = spec.clone();
        spec[field][wrong] = json!("1Gi");
        let refused = apply(&fixture, &fixture.name("refused"), spec).unwrap_err();
        assert!(
            refused.contains("unknown field") && refused.contains(wrong),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn kubectl_explain_shows_every_field() {
    let fixture = Fixture::new().await;
    published(fixture.server).await;
    for definition in crds::all() {
        let name = definition.spec.names.plural.clone();
        let definition = serde_json::to_value(definition).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            let expected = fields(&schema["properties"][part]);
            let path = format!("{name}.{part}");
            let output = kubectl(fixture.server, &["explain", "--recursive", &path]);
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            // `   name	<type>`
            let shown = text
                .lines()
                .filter(|line| line.starts_with(' ') && line.contains("\t<"))
                .count();
            assert_eq!(shown, expected, "{path}: {text}");
        }
    }
}

/// Returns the number of fields of a schema, at any depth.
fn fields(schema: &Value) -> usize {
    let own = schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(|all| all.values())
        .map(|property| 1 + fields(property));
    own.sum::<usize>() + schema.get("items").map_or(0, fields)
}

#[tokio::test]
async fn explicit_null_equals_absent_field() {
    let fixture = Fixture::new().await;
    let kind = GroupVersionKind::gvk("flexlvm.dev", "v1alpha1", "StorageBackend");
    let backends: Api<DynamicObject> =
        Api::all_with(fixture.client.clone(), &ApiResource::from_gvk(&kind));
    let spec = json!({"volumeGroup": "vg0", "thinPool": null, "volumeSize": {"minimum": null, "maximum": "1Gi"},
        "reserve": null, "layout": {"type": "Linear", "stripes": null}, "filesystem": null});
    let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend",
        "metadata": {"name": fixture.name("nulls")}, "spec": spec});
    let created = backends
        .create(&PostParams::default(), &from(object))
        .await
        .unwrap();
    assert_eq!(
        created.data["spec"]["volumeSize"],
        json!({"maximum": "1Gi"})
    );
    let text = created.data["spec"].to_string();
    assert!(!text.contains("null"), "{text}");
}

/// Requires that the API server rejects an object with this spec as invalid.
async fn rejects(fixture: &Fixture, kind: &str, plural: &str, spec: Value) {
    let metadata = json!({"name": fixture.name("bad")});
    let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    let path = format!("/apis/flexlvm.dev/v1alpha1/{plural}");
    let request = http::Request::post(path).header("content-type", "application/json");
    let answer = fixture
        .client
        .request_text(request.body(object.to_string().into_bytes()).unwrap())
        .await;
    match answer {
        Err(kube::Error::Api(status)) if [400, 422].contains(&status.code) => {}
        answer => panic!("{object} is not rejected as invalid: {answer:?}"),
    }
}

#[tokio::test]
async fn api_server_accepts_a_digest_and_rejects_a_key_in_a_logical_volume() {
    let fixture = Fixture::new().await;
    let with = |digest: Value| {
        json!({"node": "n1", "backend": "fast", "volumeGroup": "vg0", "size": "1Gi", "keyDigest": digest,
            "claim": {"namespace": "d", "name": "c", "uid": "u"}, "storageClass": "s", "reclaimPolicy": "Delete",
            "filesystem": {"type": "ext4"}})
    };
    for digest in [
        json!(null),
        json!(""),
        json!("0".repeat(32)),
        json!("0".repeat(63)),
        json!("0".repeat(65)),
        json!("A".repeat(64)),
        json!(format!("{}\n", "0".repeat(64))),
    ] {
        rejects(&fixture, "LogicalVolume", "logicalvolumes", with(digest)).await;
    }
    let object = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume",
        "metadata": {"name": fixture.name("good")}, "spec": with(json!("0".repeat(64)))});
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    fixture
        .logical_volumes()
        .create(&dry_run, &from(object))
        .await
        .unwrap();
}

#[tokio::test]
async fn api_server_rejects_invalid_backends() {
    let fixture = Fixture::new().await;
    for spec in [
        json!({"volumeGroup": "../x"}),
        json!({"volumeGroup": "-rf"}),
        json!({"volumeGroup": ""}),
        json!({"volumeGroup": ".."}),
        json!({"volumeGroup": "x".repeat(128)}),
        json!({"volumeGroup": "a\nb"}),
        json!({}),
        json!({"volumeGroup": "vg0", "layout": {"type": "Imaginary"}}),
        json!({"volumeGroup": "vg0", "layout": {"type": "Striped", "stripes": 1}}),
        json!({"volumeGroup": "vg0", "layout": {"type": "RAID1", "copies": 11}}),
        json!({"volumeGroup": "vg0", "nodeSelector": {"matchExpressions": [{"key": "a", "operator": "Almost"}]}}),
    ] {
        rejects(&fixture, "StorageBackend", "storagebackends", spec).await;
    }
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    for name in [".a", "...", "vg.0", "a-b", "_x"] {
        let good = json!({"apiVersion": "flexlvm.dev/v1alpha1", "kind": "StorageBackend", "metadata": {"name": fixture.name("good")}, "spec": {"volumeGroup": name}});
        fixture
            .backends()
            .create(&dry_run, &from(good))
            .await
            .unwrap();
    }
}
