//! Waits for a state of the system, and reports the last observed state on a timeout.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Time after which a wait has failed. A machine with a load of 10 takes minutes for what takes
/// seconds otherwise.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Polls `probe` until it returns a value. An error of `probe` ends the wait.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        if let Some(answer) = probe().await? {
            return Ok(answer);
        }
        anyhow::ensure!(
            start.elapsed() < limit,
            "waited {} s in vain until {what}",
            limit.as_secs()
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(250));
    }
}

/// Like [`until`], for a blocking probe.
pub fn until_blocking<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        anyhow::ensure!(
            start.elapsed() < limit,
            "waited {} s in vain until {what}",
            limit.as_secs()
        );
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(250));
    }
}
