//! Volumes that the driver's `detach` has deactivated.

use crds::condition::READY;
use serde_json::json;

use crate::stage::{GROUP, Stage};

fn is_active(stage: &Stage, volume: &str) -> bool {
    stage.lvs(volume, "lv_active") == "active"
}

pub(crate) fn a_detached_volume_stays_inactive_and_can_grow_and_go(stage: &Stage) {
    let names = [(); 2].map(|()| stage.volume("64Mi"));
    for name in &names {
        stage.shell(&format!("lvchange -qq -an {GROUP}/{name}"));
    }
    let [name, other] = &names;
    stage.change(name, json!({"size": "100Mi"}));
    stage.comes_true(
        "it is larger",
        &format!("lvs --noheadings --units m -o lv_size {GROUP}/{name} | grep -q 100.00m"),
    );
    stage.says(name, READY, "Ready", "");
    // Another agent looks at everything anew.
    stage.kill_agent();
    stage.start_agent();
    let third = stage.volume("16Mi");
    for name in [name, other] {
        assert!(!is_active(stage, name), "{name} was activated");
        stage.ready(name);
    }
    for name in [name, other, &third] {
        stage.remove(name);
    }
}
