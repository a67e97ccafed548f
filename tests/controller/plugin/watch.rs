//! `kubectl flexlvm … --watch`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::Plugin;
use crate::fixture::Fixture;

/// Below the time after which `--watch` reads again without a change.
const SOON: Duration = Duration::from_secs(30);

/// Ends the program also if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn plugin_reports_a_change_when_it_happens() {
    let fixture = Fixture::with_waiting_class(&[("n1", 1024)]).await;
    fixture.unprovisioned_claim("observed", "64Mi").await;
    let plugin = Plugin::new(&fixture, &fixture.server.kubeconfig());
    let arguments = ["explain", "pvc", "observed", "-n", &fixture.namespace, "-w"];
    let child = plugin
        .command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut running = Running(child.unwrap());
    let output = BufReader::new(running.0.stdout.take().unwrap());
    let mut lines = output.lines().map(Result::unwrap);
    let verdict = lines.find(|line| line.starts_with("waiting: the class waits"));
    assert!(verdict.is_some());

    fixture.delete_claim("observed").await;
    let start = Instant::now();
    assert_eq!(lines.next(), None);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let errors = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let errors: Vec<String> = errors.map(Result::unwrap).collect();
    let expected = "error: persistentvolumeclaims \"observed\" not found";
    assert!(errors.concat().starts_with(expected), "{errors:?}");
    assert_eq!(running.0.wait().unwrap().code(), Some(1));
}
