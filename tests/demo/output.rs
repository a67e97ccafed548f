//! Prints the demo's progress: each step with its duration, and intermediate lines for long steps.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Prints a line for a step that takes longer than a second.
struct Progress(Arc<AtomicBool>);

impl Progress {
    fn new(what: &str) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let watched = ended.clone();
        let what = what.to_owned();
        let start = Instant::now();
        thread::spawn(move || {
            let mut next = Duration::from_secs(1);
            while !watched.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
                if start.elapsed() >= next && !watched.load(Ordering::Relaxed) {
                    println!("         … {what}: {} s", start.elapsed().as_secs());
                    next = start.elapsed()
                        + Duration::from_secs(if next.as_secs() < 5 { 4 } else { 10 });
                }
            }
        });
        Self(ended)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a step, prints its result and duration, and returns its value.
pub(crate) async fn step<T>(what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
    let start = Instant::now();
    let progress = Progress::new(what);
    let result = step.await;
    drop(progress);
    finish(what, start, result)
}

/// Like [`step`], for a blocking step.
pub(crate) fn step_blocking<T>(what: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let progress = Progress::new(what);
    let result = step();
    drop(progress);
    finish(what, start, result)
}

/// Prints a command and its output.
pub(crate) fn show(command: &str, output: &str) {
    println!("         $ {command}");
    for line in output.trim_end().lines() {
        println!("           {line}");
    }
}

fn finish<T>(what: &str, start: Instant, result: Result<T>) -> Result<T> {
    let outcome = if result.is_ok() { "" } else { " FAILED" };
    println!("[{:5.1} s] {what}{outcome}", start.elapsed().as_secs_f64());
    let _ = std::io::stdout().flush();
    result.with_context(|| format!("step failed: {what}"))
}
