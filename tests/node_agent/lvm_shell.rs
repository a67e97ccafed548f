//! Consecutive volumes: created with LVM's own shell, as long as it works.

use std::collections::BTreeSet;

use harness::wait::{LIMIT, until_blocking};

use crate::fixture::{Fixture, GROUP};

/// Prints the process ids of LVM's shell, recognized by its lack of arguments.
const SHELL: &str = "for at in $(grep -lx lvm /proc/[0-9]*/comm); do
    test $(wc -c <${at%comm}cmdline) != 14 || basename ${at%/comm}; done 2>/dev/null";

pub(crate) fn consecutive_volumes_are_created_by_one_lvm_shell(fixture: &Fixture) {
    let names = create_volumes(fixture);
    let mut shells = BTreeSet::new();
    for name in &names {
        shells.extend(fixture.shell(SHELL).lines().map(str::to_owned));
        fixture.ready(name);
    }
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
    let names = create_volumes(fixture);
    let killed = until_blocking("LVM's shell is killed", LIMIT, || {
        Ok((!fixture
            .shell(&format!(
                "for shell in $({SHELL}); do if kill -9 $shell; then echo killed; fi; done"
            ))
            .is_empty())
        .then_some(()))
    });
    killed.unwrap();
    remove(fixture, &names);
}

/// Creates enough LogicalVolumes for the agent to use LVM's shell.
fn create_volumes(fixture: &Fixture) -> Vec<String> {
    let names: Vec<_> = (0..8).map(|_| fixture.name()).collect();
    for name in &names {
        fixture.create_volume(name, "4Mi");
    }
    names
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
