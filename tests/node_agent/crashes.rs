//! A killed agent and a power cut: nothing is created twice, and nothing is lost.

use std::time::Duration;

use crds::condition::REMOVED;
use serde_json::json;

use crate::fixture::{Fixture, GROUP};

pub(crate) fn volume_is_completed_after_its_agent_was_killed(fixture: &Fixture) {
    // A new agent runs its first lvcreate in a process of its own, not in LVM's shell.
    fixture.kill_agent();
    fixture.start_agent();
    // LVM's wrapper kills the agent once the volume exists.
    fixture.shell(
        "lvm=$(realpath /usr/sbin/lvm); mkdir -p /run/kept; cp -a $lvm /run/kept/lvm
         printf '#!/bin/sh\\n/run/kept/lvm \"$@\" || exit\\ntest $1 != lvcreate || kill -9 $(cat /run/agent.pid)\\n' >/run/lvm.sh
         chmod +x /run/lvm.sh; mount --bind /run/lvm.sh $lvm",
    );
    let name = fixture.name();
    fixture.create_volume(&name, "16Mi");
    let made = harness::wait::until_blocking("the agent is gone", harness::wait::LIMIT, || {
        Ok((fixture
            .shell("kill -0 $(cat /run/agent.pid) 2>/dev/null && echo lives || true")
            .is_empty())
        .then_some(()))
    });
    made.unwrap();
    fixture.shell("umount $(realpath /usr/sbin/lvm)");
    let uuid = fixture.lvs(&name, "lv_uuid");
    assert_eq!(fixture.mark(&name), "none");
    fixture.start_agent();
    assert_eq!(fixture.ready(&name), uuid);
    assert_eq!(fixture.mark(&name), "unformatted");
    fixture.remove(&name);
}

pub(crate) fn agent_killed_at_any_time_creates_nothing_twice(fixture: &Fixture) {
    let names: Vec<_> = (0..6).map(|_| fixture.name()).collect();
    for (at, name) in names.iter().enumerate() {
        fixture.create_volume(name, "16Mi");
        std::thread::sleep(Duration::from_millis(350 + 170 * at as u64));
        fixture.kill_agent();
        fixture.start_agent();
    }
    for name in &names {
        let uuid = fixture.ready(name);
        assert_eq!(fixture.lvs(name, "lv_uuid"), uuid);
        assert_eq!(fixture.mark(name), "unformatted");
    }
    for (at, name) in names.iter().enumerate() {
        fixture.change(name, json!({"state": "Absent"}));
        std::thread::sleep(Duration::from_millis(350 + 170 * at as u64));
        fixture.kill_agent();
        fixture.start_agent();
    }
    for name in &names {
        fixture.wait_for_condition(name, REMOVED, "Removed", "");
    }
    assert_eq!(
        fixture.shell(&format!("lvs --noheadings -o lv_name {GROUP}")),
        ""
    );
}

pub(crate) fn power_cut_loses_nothing(fixture: &Fixture) {
    // If LVM is interrupted before it wipes, the agent would reject volumes with leftovers of other
    // tests.
    fixture.zero("64M");
    let before = fixture.volume("16Mi");
    let names: Vec<_> = (0..3).map(|_| fixture.name()).collect();
    for name in &names {
        fixture.create_volume(name, "16Mi");
    }
    std::thread::sleep(Duration::from_millis(1500));
    fixture.power_cut();
    fixture.start_agent();
    for name in names.iter().chain([&before]) {
        let uuid = fixture.ready(name);
        assert_eq!(fixture.lvs(name, "lv_uuid"), uuid);
        fixture.shell(&format!("lvchange -qq -ay {GROUP}/{name}"));
        assert_eq!(fixture.mark(name), "unformatted");
    }
    for name in names.iter().chain([&before]) {
        fixture.remove(name);
    }
}
