//! Tests of the volume's key: in the PersistentVolume alone, and never another one than that of the
//! logical volume's tag.

use std::sync::Arc;

use host::MasterKey;
use serde_json::json;

use super::fixture::{Fixture, KEY};
use crate::controller::master_key::MasterKeyError;
use crate::controller::plan::{Plan, Step};

fn malformed() -> MasterKeyError {
    MasterKeyError::Malformed {
        namespace: "flexlvm-system".to_owned(),
        length: 5,
    }
}

#[test]
fn key_is_in_the_persistent_volume_and_not_in_the_logged_step() {
    let mut fixture = Fixture::created();
    let step = fixture.step();
    let Step::Publish(volume) = &step else {
        panic!("not published")
    };
    let source = volume.0.spec.clone().unwrap().flex_volume.unwrap();
    assert_eq!(source.options.unwrap()["key"], KEY);
    let logged = format!("{step:?}");
    assert!(
        logged.contains("pvc-1") && !logged.contains(KEY),
        "{logged}"
    );
    assert!(!fixture.lv().to_string().contains(KEY));
}

#[test]
fn volume_of_another_master_key_is_not_published() {
    let mut fixture = Fixture::created();
    fixture.master_key = Some(Ok(Arc::new(MasterKey::new(&[1; 32]).unwrap())));
    assert!(matches!(fixture.step(), Step::Wait(_)));
    let event = fixture.event();
    for phrase in [
        "ProvisioningFailed: the key of LogicalVolume pvc-1",
        "another Secret flexlvm-volume-keys",
        "restore that Secret from the backup and restart the controller",
        "delete it and create it again",
    ] {
        assert!(event.contains(phrase), "{phrase} is missing in {event}");
    }
}

#[test]
fn volume_with_a_changed_digest_is_not_published() {
    for digest in ["0".repeat(64), KEY.to_owned(), String::new()] {
        let mut fixture = Fixture::created();
        fixture.lv()["spec"]["keyDigest"] = json!(digest);
        assert!(matches!(fixture.step(), Step::Wait(_)), "{digest}");
        assert!(fixture.event().contains("another Secret"), "{digest}");
    }
}

#[test]
fn key_is_of_the_claim_that_the_volume_was_created_for() {
    let mut fixture = Fixture::created();
    fixture.lv()["spec"]["currentClaim"]["uid"] = json!("2");
    assert!(matches!(fixture.step(), Step::Publish(_)));
}

#[test]
fn without_master_key_nothing_is_placed_or_published() {
    for mut fixture in [Fixture::new(), Fixture::created()] {
        fixture.master_key = None;
        assert!(matches!(fixture.step(), Step::Wait(_)));
        assert_eq!(fixture.event(), "", "the Secret was not read yet");
        fixture.master_key = Some(Err(malformed()));
        assert!(matches!(fixture.step(), Step::Wait(_)));
        let event = fixture.event();
        assert!(event.contains("has 5 bytes in entry hmac"), "{event}");
    }
}

#[test]
fn published_volumes_need_no_master_key() {
    let mut bound = Fixture::bound();
    let mut grown = Fixture::bound();
    grown.request("2Gi");
    let mut released = Fixture::released();
    for fixture in [&mut bound, &mut grown, &mut released] {
        let expected = fixture.plan();
        fixture.master_key = Some(Err(malformed()));
        assert_eq!(fixture.plan(), expected);
    }
    assert_eq!(bound.plan(), Plan::from(Step::Done));
    assert!(matches!(grown.step(), Step::Grow(_)));
    assert_eq!(released.step(), Step::RequestDeletion);
}
