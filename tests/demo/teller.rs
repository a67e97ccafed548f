//! Prints what happens: each step with how long it took, and a sign of life while one takes long.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Says that a step still takes, from the second second on.
struct Progress(Arc<AtomicBool>);

impl Progress {
    fn of(what: &str) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (watched, what, start) = (ended.clone(), what.to_owned(), Instant::now());
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

/// Tells one step; returns what it gave.
pub(crate) async fn step<T>(what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
    let (start, progress) = (Instant::now(), Progress::of(what));
    let result = step.await;
    drop(progress);
    told(what, start, result)
}

/// The same for a step that blocks.
pub(crate) fn step_blocking<T>(what: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
    let (start, progress) = (Instant::now(), Progress::of(what));
    let result = step();
    drop(progress);
    told(what, start, result)
}

/// Shows what a program printed.
pub(crate) fn show(command: &str, output: &str) {
    println!("         $ {command}");
    for line in output.trim_end().lines() {
        println!("           {line}");
    }
}

fn told<T>(what: &str, start: Instant, result: Result<T>) -> Result<T> {
    let verdict = if result.is_ok() { "" } else { " FAILED" };
    println!("[{:5.1} s] {what}{verdict}", start.elapsed().as_secs_f64());
    let _ = std::io::stdout().flush();
    result.with_context(|| format!("this failed: {what}"))
}
