//! Volumes that are made in a row: by LVM's own shell, as long as that goes well.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::wait::until_blocking;

use crate::stage::{GROUP, Stage};

/// Prints the process id of LVM's shell, which has no argument.
const SHELL: &str = "for at in $(grep -lx lvm /proc/[0-9]*/comm); do
    test $(wc -c <${at%comm}cmdline) != 14 || basename ${at%/comm}; done 2>/dev/null";

pub(crate) fn many_volumes_in_a_row_are_made_by_one_lvm(stage: &Stage) {
    let names = ordered(stage);
    let mut shells = BTreeSet::new();
    for name in &names {
        shells.extend(stage.shell(SHELL).lines().map(str::to_owned));
        stage.ready(name);
    }
    assert_eq!(shells.len(), 1, "{shells:?}");
    stage.comes_true(
        "nobody keeps LVM's shell for long",
        &format!("test -z \"$({SHELL})\""),
    );
    remove(stage, &names);
}

pub(crate) fn a_row_is_made_though_its_lvm_is_killed(stage: &Stage) {
    // What other tests have left would be given to nobody, if LVM does not come to wipe it.
    stage.zero("32M");
    let names = ordered(stage);
    let killed = until_blocking("LVM's shell is killed", Duration::from_secs(30), || {
        Ok((!stage
            .shell(&format!(
                "for shell in $({SHELL}); do if kill -9 $shell; then echo killed; fi; done"
            ))
            .is_empty())
        .then_some(()))
    });
    killed.unwrap();
    remove(stage, &names);
}

/// Enough for a row, one after the other.
fn ordered(stage: &Stage) -> Vec<String> {
    let names: Vec<_> = (0..8).map(|_| stage.name()).collect();
    for name in &names {
        stage.order(name, "4Mi");
    }
    names
}

/// Removes them, once each is as ordered.
fn remove(stage: &Stage, names: &[String]) {
    for name in names {
        let uuid = stage.ready(name);
        assert_eq!(
            (stage.lvs(name, "lv_uuid"), stage.mark(name).as_str()),
            (uuid, "fresh")
        );
    }
    assert_eq!(
        stage.shell(&format!("lvs --noheadings -o lv_name {GROUP} | wc -l")),
        names.len().to_string()
    );
    for name in names {
        stage.remove(name);
    }
}
