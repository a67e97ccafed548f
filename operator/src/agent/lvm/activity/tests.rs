//! What is recorded of commands and their results.

use std::time::Duration;

use host::{Cmd, Error, Output};

use super::{Activity, LvmActivity, Moment, short_line};

fn moment(second: u64) -> Moment {
    static START: std::sync::OnceLock<Moment> = std::sync::OnceLock::new();
    let start = START.get_or_init(Moment::now);
    Moment {
        monotonic: start.monotonic + Duration::from_secs(second),
        clock: start.clock,
    }
}

fn deadline() -> Result<Output, Error> {
    Err(Error::Deadline {
        command: "lvm lvcreate a".to_owned(),
        limit: Duration::from_mins(2),
    })
}

fn still_running() -> Result<Output, Error> {
    Err(Error::StillRunning {
        command: "lvm lvcreate a".to_owned(),
        time: Duration::from_mins(2),
    })
}

fn lines(activity: &Activity) -> Vec<&str> {
    activity
        .running
        .iter()
        .map(|command| command.line.as_str())
        .collect()
}

#[test]
fn first_command_ended_at_its_limit_is_kept_until_another_completes() {
    let mut activity = Activity::default();
    for (line, began) in [("a", 1), ("b", 200)] {
        let id = activity.begin(line.to_owned(), moment(began));
        activity.end(id, &deadline(), moment(began + 120));
        assert!(activity.running.is_empty());
        let ended = activity.ended_at_limit.clone().unwrap();
        assert_eq!((ended.line.as_str(), ended.began), ("a", moment(1)));
    }
    let id = activity.begin("c".to_owned(), moment(400));
    let age = activity.longest(moment(400).monotonic);
    assert_eq!(age, Duration::from_secs(399), "since the first");
    // A failure shows, too, that LVM responds.
    activity.end(id, &Err(Error::failed("refused")), moment(401));
    assert_eq!(activity.ended_at_limit, None);
    assert_eq!(activity.longest(moment(401).monotonic), Duration::ZERO);
}

#[test]
fn overdue_command_stays_while_others_are_refused() {
    let mut activity = Activity::default();
    let overdue = activity.begin("a".to_owned(), moment(1));
    activity.end(overdue, &still_running(), moment(126));
    let refused = activity.begin("b".to_owned(), moment(130));
    activity.end(refused, &still_running(), moment(130));
    assert_eq!(lines(&activity), ["a"]);
    assert!(activity.running[0].is_overdue);
    assert_eq!(activity.running[0].began, moment(1));
}

#[test]
fn end_of_a_command_renews_the_time_of_the_lock() {
    let mut activity = Activity {
        lock_held: Some(moment(1)),
        ..Activity::default()
    };
    let id = activity.begin("a".to_owned(), moment(2));
    assert_eq!(activity.lock_held, Some(moment(1)));
    activity.end(id, &Ok(Output::default()), moment(9));
    assert_eq!(activity.lock_held, Some(moment(9)));
}

#[test]
fn entries_are_removed_with_the_command_and_the_lock_even_after_a_panic() {
    let activity = LvmActivity::default();
    let current = activity.current();
    let shared = activity.clone();
    let cmd = Cmd::new("lvm").arg("version");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = shared.hold_lock();
        let _ = shared.track(&cmd, || {
            assert_eq!(lines(&current.borrow()), ["lvm version"]);
            assert!(current.borrow().lock_held.is_some());
            panic!("a bug")
        });
    }));
    assert!(panicked.is_err());
    assert!(current.borrow().running.is_empty());
    assert_eq!(current.borrow().lock_held, None);
}

#[test]
fn overdue_command_is_removed_at_its_end() {
    let activity = LvmActivity::default();
    let cmd = Cmd::new("lvm").arg("lvcreate").changing_devices();
    let _ = activity.track(&cmd, still_running);
    assert_eq!(activity.current().borrow().running.len(), 1);
    activity.end_overdue();
    assert!(activity.current().borrow().running.is_empty());
}

#[test]
fn short_line_names_the_verb_and_the_changed_volume() {
    let lvm = |arguments: &[&str]| Cmd::new("lvm").args(arguments.iter().copied());
    for (cmd, expected) in [
        (lvm(&["version"]), "lvm version"),
        (
            lvm(&["fullreport", "--all", "--options", "a/b"]),
            "lvm fullreport …",
        ),
        (
            lvm(&[
                "lvcreate",
                "--yes",
                "--addtag",
                "flexlvm.dev/static",
                "--name",
                "pvc-1",
                "vg0",
                "/dev/sda",
            ])
            .changing_devices(),
            "lvm lvcreate … pvc-1",
        ),
        (
            lvm(&[
                "lvremove",
                "--yes",
                "--config",
                "log/report_command_log=0",
                "--select",
                "lv_uuid=\"a\" && lv_tags=\"flexlvm.dev/claim-uid=1\"",
                "vg0/pvc-1",
            ])
            .changing_devices(),
            "lvm lvremove … vg0/pvc-1",
        ),
        (
            lvm(&["pvcreate", "--norestorefile", "--", "/dev/sda"]).changing_devices(),
            "lvm pvcreate …",
        ),
    ] {
        assert_eq!(short_line(&cmd), expected);
    }
}
