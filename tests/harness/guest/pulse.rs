//! The pulse of a guest: its server sends a frame four times a second, and a thread of the harness
//! measures the gaps.
//!
//! A guest whose clock stands still sends none.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::remote::{Pulses, Remote};

/// Silence after which a guest is reported as standing still. A loaded host delays a guest too.
const STALL: Duration = Duration::from_secs(10);

/// A running measurement. Dropping it ends the measurement.
#[derive(Debug)]
pub struct Pulse {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    has_ended: AtomicBool,
    longest_ms: AtomicU64,
    stall: Mutex<Option<String>>,
}

impl Pulse {
    /// Starts measuring the guest behind `remote`, whose kernel is the process `kernel`.
    pub(super) fn start(name: String, remote: Remote, kernel: u32) -> Self {
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        thread::spawn(move || measure(&name, remote, kernel, &seen));
        Self { shared }
    }

    /// Returns the longest silence so far.
    #[must_use]
    pub fn longest_silence(&self) -> Duration {
        Duration::from_millis(self.shared.longest_ms.load(Ordering::Relaxed))
    }

    /// Returns a report while the guest stands still.
    #[must_use]
    pub fn stall(&self) -> Option<String> {
        self.shared
            .stall
            .lock()
            .expect("no panic while the lock is held")
            .clone()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
    }
}

/// Reads pulses until the measurement ends.
fn measure(name: &str, remote: Remote, kernel: u32, shared: &Shared) {
    let mut last = Instant::now();
    let mut pulses = None;
    while !shared.has_ended.load(Ordering::Relaxed) {
        let has_arrived = receive(remote, &mut pulses);
        if shared.has_ended.load(Ordering::Relaxed) {
            break;
        }
        let silence = last.elapsed();
        let milliseconds = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        shared.longest_ms.fetch_max(milliseconds, Ordering::Relaxed);
        let mut stall = shared
            .stall
            .lock()
            .expect("no panic while the lock is held");
        if has_arrived {
            if stall.take().is_some() {
                print(&format!("{name} moves again after {} s", silence.as_secs()));
            }
            last = Instant::now();
        } else if silence > STALL && stall.is_none() {
            let report = format!(
                "{name} stands still: no sign of life for {} s; its kernel, process {kernel}, is \
                 {}; load of the host {}",
                silence.as_secs(),
                process_state(kernel),
                load()
            );
            print(&report);
            *stall = Some(report);
        }
    }
}

/// Waits about one second for the next pulse; connects first if there is no connection.
fn receive(remote: Remote, pulses: &mut Option<Pulses>) -> bool {
    let result = match pulses {
        Some(connected) => connected.next(),
        None => remote
            .pulses()
            .map(|connected| *pulses = Some(connected))
            .map(|()| true),
    };
    result.unwrap_or_else(|_| {
        *pulses = None;
        thread::sleep(Duration::from_millis(100));
        false
    })
}

/// Prints a line to stderr directly: the test runner captures `eprintln`.
fn print(line: &str) {
    // Nothing useful can be done if stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Returns the state of a process as proc(5) abbreviates it: R, S, D, T or Z; `gone` if it does not
/// exist.
fn process_state(id: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    state.unwrap_or("gone").to_owned()
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}
