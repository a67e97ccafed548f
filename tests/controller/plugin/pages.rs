//! Lists of the plugin that are longer than a page.

use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{ListParams, PostParams};
use kubectl_flexlvm::snapshot::pages::{self, PAGE};
use serde_json::json;

use crate::fixture::{Fixture, from};

#[tokio::test]
async fn plugin_lists_all_pages() {
    let fixture = Fixture::new().await;
    let leases: Api<Lease> = Api::namespaced(fixture.client.clone(), &fixture.namespace);
    let creations = stream::iter(0..=PAGE).map(|number| {
        let lease = from(json!({"metadata": {"name": format!("page-{number}")}}));
        let leases = leases.clone();
        async move { leases.create(&PostParams::default(), &lease).await }
    });
    let created: Vec<_> = creations.buffer_unordered(20).collect().await;
    assert!(created.iter().all(Result::is_ok));

    let all = ListParams::default();
    let first = leases.list(&all.clone().limit(PAGE)).await.unwrap();
    assert!(first.metadata.continue_.is_some(), "one page has all");
    let listed = pages::list(&leases, &all).await.unwrap();
    assert_eq!(listed.objects.len(), PAGE as usize + 1);
    assert!(!listed.version.is_empty());
}
