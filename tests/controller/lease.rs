//! The Lease that lets one controller at a time work.

use std::time::Duration;

use harness::wait;
use operator::kube::lease::Election;

use crate::fixture::Fixture;

fn election(fixture: &Fixture, candidate: &str) -> Election {
    Election::new(
        fixture.client.clone(),
        &fixture.namespace,
        "leader",
        candidate,
    )
}

#[tokio::test]
async fn lease_has_one_holder_until_released() {
    let fixture = Fixture::new().await;
    let first = election(&fixture, "first");
    let second = election(&fixture, "second");
    first.acquire().await;
    let waiting = tokio::time::timeout(Duration::from_secs(4), second.acquire()).await;
    assert!(waiting.is_err(), "both hold the lease");
    first.release().await;
    tokio::time::timeout(wait::LIMIT, second.acquire())
        .await
        .expect("the lease is free");
}
