//! Consecutive volumes: created with LVM's own shell, as long as it works.

use std::collections::BTreeSet;

use crate::fixture::{Fixture, GROUP};

/// Prints the process ids of LVM's shell, recognized by its lack of arguments.
const SHELL: &str = "for at in $(grep -lx lvm /proc/[0-9]*/comm); do
    test $(wc -c <${at%comm}cmdline) != 14 || basename ${at%/comm}; done 2>/dev/null";

/// Ends the watch of LVM's shells, and prints its output.
const STOP_WATCH: &str = "kill $(cat /run/shells.pid); cat /run/shells";

pub(crate) fn consecutive_volumes_are_created_by_one_lvm_shell(fixture: &Fixture) {
    let names = create_volumes(fixture, "for shell in $shells; do echo $shell; done");
    wait_until_ready(fixture, &names);
    let output = fixture.shell(STOP_WATCH);
    let shells: BTreeSet<&str> = output.lines().collect();
    assert_eq!(shells.len(), 1, "{shells:?}");
    fixture.wait_for_script(
        "the idle LVM shell has ended",
        &format!("test -z \"$({SHELL})\""),
    );
    remove(fixture, &names);
}

pub(crate) fn volumes_are_created_although_lvm_shell_is_killed(fixture: &Fixture) {
    // If LVM is interrupted before it wipes, the agent would reject volumes with leftovers of other
    // tests.
    fixture.zero("32M");
    let names = create_volumes(
        fixture,
        "for shell in $shells; do if kill -9 $shell; then echo killed; fi; done",
    );
    wait_until_ready(fixture, &names);
    let output = fixture.shell(STOP_WATCH);
    assert!(output.starts_with("killed"), "{output}");
    remove(fixture, &names);
}

/// Creates enough LogicalVolumes for the agent to use LVM's shell, and lets the agent see all of
/// them at once.
///
/// In the guest, `script` runs again and again with the process ids of LVM's shells in `$shells`;
/// [`STOP_WATCH`] ends that, and prints the output. The shell may be gone before a script that is
/// started afterwards could see it.
fn create_volumes(fixture: &Fixture, script: &str) -> Vec<String> {
    let watch = format!("while :; do shells=$({SHELL}); {script}; sleep 0.2; done");
    fixture.shell(&format!(
        "setsid sh -c '{watch}' >/run/shells 2>/dev/null </dev/null & echo $! >/run/shells.pid"
    ));
    fixture.shell("kill -STOP $(cat /run/agent.pid)");
    let names: Vec<_> = (0..8).map(|_| fixture.name()).collect();
    for name in &names {
        fixture.create_volume(name, "4Mi");
    }
    fixture.shell("kill -CONT $(cat /run/agent.pid)");
    names
}

fn wait_until_ready(fixture: &Fixture, names: &[String]) {
    for name in names {
        fixture.ready(name);
    }
}

/// Removes the volumes, once each is as specified.
fn remove(fixture: &Fixture, names: &[String]) {
    for name in names {
        let uuid = fixture.ready(name);
        assert_eq!(
            (fixture.lvs(name, "lv_uuid"), fixture.mark(name).as_str()),
            (uuid, "unformatted")
        );
    }
    assert_eq!(
        fixture.shell(&format!("lvs --noheadings -o lv_name {GROUP} | wc -l")),
        names.len().to_string()
    );
    for name in names {
        fixture.remove(name);
    }
}
