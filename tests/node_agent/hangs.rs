//! A command of LVM that hangs.

use crds::condition::{self, READY};

use crate::fixture::{Fixture, GROUP};

/// Waits until the condition `Ready` of the node's report has this reason and this phrase in its
/// message.
fn wait_for_ready(fixture: &Fixture, reason: &str, phrase: &str) {
    fixture.wait_for_report(reason, |storage| {
        let status = storage.status.clone().unwrap_or_default();
        condition::get(&status.conditions, READY)
            .is_some_and(|ready| ready.reason == reason && ready.message.contains(phrase))
    });
}

/// Another process holds LVM's lock of the volume group, as an `lvs` that hangs on a disk does.
pub(crate) fn node_is_not_ready_while_another_process_holds_the_lock_of_lvm(fixture: &Fixture) {
    let name = fixture.name();
    wait_for_ready(fixture, "Ready", "");
    fixture.shell(&format!(
        "setsid flock --no-fork /run/lock/lvm/V_{GROUP} sleep infinity >/dev/null 2>&1 </dev/null & echo $! >/run/holder.pid"
    ));
    fixture.wait_for_script(
        "the lock is held",
        &format!("! flock --nonblock /run/lock/lvm/V_{GROUP} true"),
    );
    fixture.create_volume(&name, "16Mi");
    wait_for_ready(fixture, "LvmHangs", "has been running since");
    // The message is true: the command waits.
    fixture.shell("pgrep -x lvm");
    assert_eq!(
        fixture.shell(&format!(
            "test -e /dev/{GROUP}/{name} && echo exists || true"
        )),
        ""
    );
    fixture.shell("kill $(cat /run/holder.pid)");
    wait_for_ready(fixture, "Ready", "");
    fixture.ready(&name);
    fixture.remove(&name);
}

/// Replaces the node's LVM by one whose report reads a suspended device: it can't be killed.
const UNKILLABLE_REPORT: &str = r#"dmsetup create stuck --table "0 8 linear /dev/ubdc 0"; dmsetup suspend stuck
    lvm=$(realpath /usr/sbin/lvm); mkdir -p /run/kept; cp -a $lvm /run/kept/lvm
    cat >/run/lvm.sh <<'S'
#!/bin/sh
case "$1" in fullreport) exec dd if=/dev/mapper/stuck of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null ;; esac
exec /run/kept/lvm "$@"
S
    chmod +x /run/lvm.sh; mount --bind /run/lvm.sh $lvm"#;

pub(crate) fn no_lvm_command_starts_while_a_report_survives_sigkill(fixture: &Fixture) {
    let name = fixture.name();
    wait_for_ready(fixture, "Ready", "");
    fixture.kill_agent();
    fixture.shell(UNKILLABLE_REPORT);
    fixture.start_agent();
    let running = "`lvm fullreport …` has been running since";
    wait_for_ready(fixture, "LvmHangs", running);
    fixture.create_volume(&name, "16Mi");
    // The report has exceeded its time limit, and other commands are refused.
    fixture.wait_for_condition(
        &name,
        READY,
        "LvmFailed",
        "an LVM command has not ended after",
    );
    wait_for_ready(fixture, "LvmHangs", running);
    assert_eq!(fixture.shell("pgrep -c -x dd"), "1");
    fixture.shell("umount $(realpath /usr/sbin/lvm); dmsetup resume stuck");
    wait_for_ready(fixture, "Ready", "");
    fixture.ready(&name);
    fixture.shell("dmsetup remove stuck");
    fixture.remove(&name);
}
