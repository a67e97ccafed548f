//! The decision whether LVM hangs, its message, and what follows from it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crds::condition::{self, READY, reason};
use crds::{LogicalVolume, NodeStorageStatus};
use host::{Cmd, Error, Exec, Output};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::json;
use tokio::sync::watch;

use super::{Activity, Decision, LIMIT, LvmHang, decide, run};
use crate::agent::inventory::build::{ReportInputs, build};
use crate::agent::lvm::activity::{LvmActivity, Moment};
use crate::agent::lvm::report::LvmReport;
use crate::agent::watches::logical_volumes::NodeVolumes;
use crate::kube::queue::{Requests, WorkQueue};

/// Maximum time until another thread or task has done its part.
const PATIENCE: Duration = Duration::from_mins(2);

fn clock() -> Timestamp {
    "2026-11-29T10:15:03.25Z".parse().unwrap()
}

/// Moments in seconds since the same start; the clock of the node stands still.
struct Moments(std::time::Instant);

impl Moments {
    fn at(&self, second: u64) -> Moment {
        Moment {
            monotonic: self.0 + Duration::from_secs(second),
            clock: clock(),
        }
    }

    fn decide(&self, activity: &Activity, second: u64) -> Decision {
        decide(activity, self.at(second).monotonic, LIMIT)
    }
}

fn moments() -> Moments {
    Moments(std::time::Instant::now())
}

fn deadline() -> Result<Output, Error> {
    Err(Error::Deadline {
        command: String::new(),
        limit: Duration::from_mins(2),
    })
}

#[test]
fn command_hangs_from_the_limit_on_and_the_message_stays() {
    let moments = moments();
    let mut activity = Activity::default();
    assert_eq!(
        moments.decide(&activity, 1000),
        Decision {
            hang: None,
            revisit: None
        }
    );
    let id = activity.begin("lvm lvremove … vg0/a".to_owned(), moments.at(10));
    activity.begin("lvm pvs …".to_owned(), moments.at(25));
    let due = moments.at(10 + LIMIT.as_secs()).monotonic;
    assert_eq!(
        moments.decide(&activity, 29),
        Decision {
            hang: None,
            revisit: Some(due)
        }
    );
    let message = "`lvm lvremove … vg0/a` has been running since 2026-11-29T10:15:03Z; nothing can be created, \
                   expanded or removed on this node until it ends; see docs/operations.md, LVM hangs";
    for second in [30, 31, 5000] {
        let hang = moments.decide(&activity, second).hang.unwrap();
        assert_eq!(hang.to_string(), message);
    }
    activity.end(id, &Ok(Output::default()), moments.at(40));
    assert_eq!(moments.decide(&activity, 41).hang, None);
}

#[test]
fn node_stays_hanging_between_commands_that_are_ended_at_their_limit() {
    let moments = moments();
    let mut activity = Activity::default();
    let id = activity.begin("lvm fullreport …".to_owned(), moments.at(0));
    activity.end(id, &deadline(), moments.at(121));
    let first = moments.decide(&activity, 121).hang;
    assert!(matches!(first, Some(LvmHang::EndedAtLimit { .. })));
    let again = activity.begin("lvm fullreport …".to_owned(), moments.at(122));
    for second in [122, 150, 240] {
        assert_eq!(moments.decide(&activity, second).hang, first);
    }
    assert_eq!(
        first.unwrap().to_string(),
        "`lvm fullreport …`, started at 2026-11-29T10:15:03Z, was ended at its time limit of 120 s, and LVM has \
         completed no command since; nothing can be created, expanded or removed on this node until LVM responds; \
         see docs/operations.md, LVM hangs"
    );
    activity.end(again, &Ok(Output::default()), moments.at(241));
    assert_eq!(moments.decide(&activity, 241).hang, None);
}

#[test]
fn lock_without_a_command_hangs_too() {
    let moments = moments();
    let mut activity = Activity::default();
    activity.lock_held = Some(moments.at(0));
    assert_eq!(moments.decide(&activity, 19).hang, None);
    let hang = moments.decide(&activity, 20).hang.unwrap().to_string();
    assert!(
        hang.starts_with("the agent's access to a disk or a logical volume has not returned since"),
        "{hang}"
    );
}

#[test]
fn hang_takes_precedence_over_the_failure_of_a_report_and_keeps_the_groups() {
    let hang = LvmHang::Command {
        line: "lvm lvcreate … a".to_owned(),
        since: clock(),
    };
    let report = LvmReport::default();
    let inputs = ReportInputs {
        report: &report,
        missing: &BTreeMap::new(),
        specs: &[],
        driver: None,
        kubelet: None,
        hang: Some(&hang),
        cache_paths: &BTreeMap::new(),
        stable_paths: &BTreeMap::new(),
    };
    let at = Time(Timestamp::UNIX_EPOCH);
    let mut old = NodeStorageStatus::default();
    old.missing_volume_groups.push("vg9".to_owned());
    let status = build(&old, inputs, &at);
    assert_eq!(status.missing_volume_groups, old.missing_volume_groups);
    let ready = condition::get(&status.conditions, READY).unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", reason::LVM_HANGS)
    );
    assert!(ready.message.contains("`lvm lvcreate … a`"));
    let again = build(&status, inputs, &at);
    assert_eq!(again, status, "nothing to write while it hangs");
    let responds = build(
        &status,
        ReportInputs {
            hang: None,
            ..inputs
        },
        &at,
    );
    assert!(condition::is_true(&responds.conditions, READY));
}

/// LVM whose overdue command a test ends.
#[derive(Default)]
struct Programs {
    is_blocked: AtomicBool,
}

impl Exec for Programs {
    fn exec(&self, _: &Cmd) -> Result<Output, Error> {
        Ok(Output::default())
    }

    fn is_lvm_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }
}

/// The task that publishes what hangs, with one volume.
struct Node {
    activity: LvmActivity,
    programs: Arc<Programs>,
    hang: watch::Receiver<Option<LvmHang>>,
    requests: Requests,
    _task: tokio::task::JoinHandle<()>,
}

fn start(limit: Duration) -> Node {
    let object: LogicalVolume = serde_json::from_value(json!({
        "apiVersion": "flexlvm.dev/v1alpha1", "kind": "LogicalVolume", "metadata": {"name": "pvc-a", "uid": "1"},
        "spec": {"node": "n", "backend": "fast", "volumeGroup": "vg0", "size": "32Mi", "storageClass": "s",
            "claim": {"namespace": "shop", "name": "orders", "uid": "a"}, "reclaimPolicy": "Delete",
            "keyDigest": "84e0c0eafaa95a34c293f278ac52e45ce537bab5e752a00e6959a13ae103b65a", "filesystem": {"type": "ext4"}},
    }))
    .unwrap();
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Apply(object));
    let (queue, requests) = WorkQueue::channel();
    let volumes = Arc::new(NodeVolumes::new("n", store, queue));
    let activity = LvmActivity::default();
    let programs = Arc::new(Programs::default());
    let task = tokio::spawn(run(activity.clone(), programs.clone(), volumes, limit));
    Node {
        hang: activity.hang(),
        activity,
        programs,
        requests,
        _task: task,
    }
}

impl Node {
    async fn wait_for(&mut self, is: impl Fn(Option<&LvmHang>) -> bool) {
        let found = self.hang.wait_for(|hang| is(hang.as_ref()));
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.expect("the decision is published").unwrap();
    }
}

#[tokio::test]
async fn end_of_a_hang_queues_volumes_and_requests_a_report() {
    let mut node = start(Duration::from_millis(20));
    let (open, gate) = mpsc::channel::<()>();
    let activity = node.activity.clone();
    let command = std::thread::spawn(move || {
        let cmd = Cmd::new("lvm").arg("lvcreate").changing_devices();
        activity.track(&cmd, || {
            let _ = gate.recv();
            Ok(Output::default())
        })
    });
    node.wait_for(|hang| matches!(hang, Some(LvmHang::Command { .. })))
        .await;
    assert!(node.requests.try_next().is_none(), "nothing is queued yet");
    drop(open);
    node.wait_for(|hang| hang.is_none()).await;
    command.join().unwrap().unwrap();
    let wanted = node.activity.report_wanted();
    tokio::time::timeout(PATIENCE, wanted).await.unwrap();
    assert_eq!(node.requests.try_next().unwrap().message, "pvc-a");
}

#[tokio::test]
async fn end_of_an_overdue_command_is_noticed() {
    let mut node = start(Duration::ZERO);
    node.programs.is_blocked.store(true, Ordering::Relaxed);
    let cmd = Cmd::new("lvm").arg("lvextend").changing_devices();
    let _ = node.activity.track(&cmd, || {
        Err(Error::StillRunning {
            command: cmd.line(),
            time: Duration::ZERO,
        })
    });
    node.wait_for(|hang| matches!(hang, Some(LvmHang::Command { .. })))
        .await;
    node.programs.is_blocked.store(false, Ordering::Relaxed);
    node.wait_for(|hang| hang.is_none()).await;
}
