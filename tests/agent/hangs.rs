//! A command of LVM that hangs: the node's report names it, and everything continues at its end.

use std::sync::mpsc;
use std::time::Duration;

use crds::NodeStorage;
use crds::condition::{self, READY};
use harness::scrape::{is_ready, wait_for_sample};
use harness::wait;
use host::Error;

use crate::fixture::{Fixture, groups, is_condition_true};

/// The limit after which a command hangs: longer than any simulated command takes, and short enough
/// to wait for.
const LIMIT: Duration = Duration::from_secs(1);

/// Creates a node on which commands hang after [`LIMIT`].
async fn impatient_node() -> Fixture {
    let mut fixture = Fixture::new(100).await;
    fixture.site.hang_limit = LIMIT;
    fixture
}

/// Blocks each command with this verb until the returned gate is dropped.
fn block(fixture: &Fixture, verb: &'static str) -> mpsc::Sender<()> {
    let (gate, opened) = mpsc::channel();
    fixture.node.hook(move |run, after| {
        if run == verb && !after {
            let _ = opened.recv();
        }
        Ok(())
    });
    gate
}

/// Returns the message of the condition `Ready` if it is False since LVM hangs.
fn hang(storage: &NodeStorage) -> Option<String> {
    let conditions = storage.status.clone()?.conditions;
    let ready = condition::get(&conditions, READY)?;
    (ready.status == "False" && ready.reason == "LvmHangs").then(|| ready.message.clone())
}

async fn wait_for_hang(fixture: &Fixture, phrase: &str) -> NodeStorage {
    fixture
        .wait_for_report("LVM hangs", |storage| {
            hang(storage).is_some_and(|message| message.contains(phrase))
        })
        .await
}

async fn wait_until_ready(fixture: &Fixture) -> NodeStorage {
    fixture
        .wait_for_report("LVM responds", |storage| is_condition_true(storage, READY))
        .await
}

#[tokio::test]
async fn node_is_not_ready_while_lvcreate_hangs_and_volumes_follow_at_its_end() {
    let fixture = impatient_node().await;
    let agent = fixture.agent();
    fixture.wait_for_driver().await;
    wait_until_ready(&fixture).await;
    let gate = block(&fixture, "lvcreate");
    let hanging = fixture.create_volume("hanging", 8).await;
    let running = format!("`lvm lvcreate … {hanging}` has been running since ");
    let storage = wait_for_hang(&fixture, &running).await;
    let message = hang(&storage).unwrap();
    assert!(
        message.contains(
            "nothing can be created, expanded or removed on this node until it ends; see docs/operations.md"
        ),
        "{message}"
    );
    let sample = format!(
        "flexlvm_lvm_command_running_seconds{{node=\"{}\"}}",
        fixture.name
    );
    wait_for_sample(agent.address, &sample, |age| age > 0.0)
        .await
        .unwrap();

    let waiting = fixture.create_volume("waiting", 8).await;
    let before = fixture.report_writes();
    fixture.quiet().await;
    assert_eq!(fixture.report_writes(), before, "the message is stable");
    assert_eq!(fixture.node.count("lvcreate"), 0);
    for name in [&hanging, &waiting] {
        assert!(fixture.status(name).await.conditions.is_empty());
    }

    drop(gate);
    fixture.ready(&hanging).await;
    fixture.ready(&waiting).await;
    wait_until_ready(&fixture).await;
    assert_eq!(fixture.node.count("lvcreate"), 2);
    wait_for_sample(agent.address, &sample, |age| age == 0.0)
        .await
        .unwrap();
}

#[tokio::test]
async fn agent_that_starts_while_lvm_hangs_reports_the_node() {
    let fixture = impatient_node().await;
    let gate = block(&fixture, "fullreport");
    let agent = fixture.agent();
    let storage = wait_for_hang(&fixture, "`lvm fullreport …` has been running since").await;
    assert!(groups(&storage).is_empty());
    assert!(storage.metadata.owner_references.is_some());
    wait::until("the agent is ready", wait::LIMIT, async || {
        Ok(is_ready(agent.address)?.then_some(()))
    })
    .await
    .unwrap();
    // What does not depend on LVM is reported meanwhile.
    fixture.wait_for_driver().await;
    drop(gate);
    let storage = wait_until_ready(&fixture).await;
    assert_eq!(groups(&storage)[0].size.0, "400Mi");
    assert!(storage.status.unwrap().lvm_version.is_some());
}

#[tokio::test]
async fn node_stays_not_ready_while_reports_are_ended_at_their_limit() {
    let fixture = impatient_node().await;
    let _agent = fixture.agent();
    wait_until_ready(&fixture).await;
    fixture.node.hook(|verb, after| {
        if after {
            return Ok(());
        }
        Err(Error::Deadline {
            command: format!("lvm {verb}"),
            limit: Duration::from_mins(2),
        })
    });
    let name = fixture.create_volume("data", 8).await;
    // The agent takes a report, since LVM wrote its backup.
    fixture.node.change(|_| ());
    let storage = wait_for_hang(&fixture, "LVM has completed no command since").await;
    let message = hang(&storage).unwrap();
    // It has tried again meanwhile.
    fixture.quiet().await;
    let storage = fixture.storages().get(&fixture.name).await.unwrap();
    assert_eq!(hang(&storage), Some(message));
    fixture.node.unhook();
    wait_until_ready(&fixture).await;
    fixture.ready(&name).await;
}
