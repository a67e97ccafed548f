//! Many claims at once, with the agents' real code on simulated nodes: the number of API requests
//! per claim. `make bench-provision` measures the speed.

use std::collections::BTreeMap;

use harness::agents::Agents;
use harness::audit::Request;
use harness::site::Site;
use operator::controller::master_key::SECRET;
use serde_json::json;

use crate::fixture::{Fixture, volume_of};

const CLAIMS: usize = 40;

#[tokio::test]
async fn each_of_many_claims_costs_three_writes_and_one_event() {
    let fixture = Fixture::new().await;
    let mut sites = Vec::new();
    for node in ["n1", "n2", "n3"] {
        sites.push(Site::new(&fixture.unreported_node(node).await, 1000).unwrap());
    }
    let _agents = Agents::start(fixture.server.access(), sites).await.unwrap();
    fixture.class(json!({})).await;
    let mut names = Vec::new();
    for number in 0..CLAIMS {
        names.push(volume_of(
            &fixture
                .claim(&format!("crowd-{number}"), "64Mi", None)
                .await,
        ));
    }
    for name in &names {
        fixture
            .wait(
                &fixture.volumes(),
                name,
                "the PersistentVolume is created",
                |_| true,
            )
            .await;
        fixture
            .wait_for_event(&["ProvisioningSucceeded", name])
            .await;
    }
    fixture.quiet().await;
    let requests = fixture.server.requests().unwrap();
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for request in &requests {
        if names.contains(&request.name) || request.name.starts_with("crowd-") {
            let key = format!("{} {} {}", request.account, request.verb, request.resource);
            *made
                .entry(if request.accepted {
                    key
                } else {
                    format!("refused: {key}")
                })
                .or_default() += 1;
        }
    }
    let expected = [
        "flexlvm-agent patch logicalvolumes/status",
        "flexlvm-controller create logicalvolumes",
        "flexlvm-controller create persistentvolumes",
        "flexlvm-controller patch events",
    ];
    assert_eq!(
        made,
        expected.map(|request| (request.to_owned(), CLAIMS)).into()
    );
    let of_secret = requests_of_secret(&requests);
    assert_eq!(of_secret, ["get", "create"], "once, at the start");
}

/// Returns the verbs of the requests that read or create the Secret of the volume keys.
fn requests_of_secret(requests: &[Request]) -> Vec<&str> {
    requests
        .iter()
        .filter(|request| request.resource == "secrets" && request.name == SECRET)
        .map(|request| request.verb.as_str())
        .filter(|verb| ["get", "create"].contains(verb))
        .collect()
}
