//! Volumes that the driver's `detach` has deactivated.

use crds::condition::READY;
use serde_json::json;

use crate::fixture::{Fixture, GROUP};

fn is_active(fixture: &Fixture, volume: &str) -> bool {
    fixture.lvs(volume, "lv_active") == "active"
}

pub(crate) fn detached_volume_stays_inactive_and_can_be_extended_and_removed(fixture: &Fixture) {
    let names = [(); 2].map(|()| fixture.volume("64Mi"));
    for name in &names {
        fixture.shell(&format!("lvchange -qq -an {GROUP}/{name}"));
    }
    let [name, other] = &names;
    fixture.change(name, json!({"size": "100Mi"}));
    fixture.wait_for_script(
        "the volume is extended",
        &format!("lvs --noheadings --units m -o lv_size {GROUP}/{name} | grep -q 100.00m"),
    );
    fixture.wait_for_condition(name, READY, "Ready", "");
    // A new agent inspects everything.
    fixture.kill_agent();
    fixture.start_agent();
    let third = fixture.volume("16Mi");
    for name in [name, other] {
        assert!(!is_active(fixture, name), "{name} was activated");
        fixture.ready(name);
    }
    for name in [name, other, &third] {
        fixture.remove(name);
    }
}

/// LVM reports success when it skips an activation.
pub(crate) fn volume_that_lvm_does_not_activate_is_reported(fixture: &Fixture) {
    let name = fixture.volume("64Mi");
    fixture.kill_agent();
    fixture.delete_object(&name);
    fixture.shell(&format!(
        "lvchange -qq --activate n {GROUP}/{name}; lvchange -qq --setactivationskip y {GROUP}/{name}"
    ));
    fixture.create_volume(&name, "64Mi");
    fixture.start_agent();
    let remedy = format!("`lvchange --setactivationskip n {GROUP}/{name}` removes");
    fixture.wait_for_condition(&name, READY, "LvmFailed", &remedy);
    fixture.shell(&format!(
        "lvchange -qq --setactivationskip n {GROUP}/{name}"
    ));
    fixture.ready(&name);
    fixture.remove(&name);
}
