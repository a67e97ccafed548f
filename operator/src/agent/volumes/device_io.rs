//! Limits how long the agent waits for a device.
//!
//! I/O on a device that does not respond can't be ended. It runs on a thread of its own, so that
//! LVM's lock is free again after a minute, and the volume's status reports what it waits for.

use std::collections::{BTreeMap, btree_map};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use host::Error;

/// Maximum duration of reading and zeroing the ends of a volume, 6 MiB.
const LIMIT: Duration = Duration::from_mins(1);

/// The I/O that the agent waits for, or waited for.
pub struct DeviceIo {
    limit: Duration,
    /// Beginning of each running work, by the volume's name with its group.
    running: Arc<Mutex<BTreeMap<String, Instant>>>,
}

/// An entry of a running work: it is removed with the value, even after a panic.
struct RunningWork {
    running: Arc<Mutex<BTreeMap<String, Instant>>>,
    volume: String,
}

impl Default for DeviceIo {
    fn default() -> Self {
        Self {
            limit: LIMIT,
            running: Arc::default(),
        }
    }
}

impl DeviceIo {
    /// Runs `work` on a volume, and returns its result.
    ///
    /// # Errors
    /// If it fails, or takes longer than the limit: it then continues, and no other work on this
    /// volume begins before its end.
    pub fn run<T: Send + 'static>(
        &self,
        volume: &str,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let running = RunningWork::begin(&self.running, volume)?;
        let (send, result) = mpsc::channel();
        thread::Builder::new()
            .name("device".to_owned())
            .spawn(move || {
                let done = work();
                drop(running);
                // Nothing waits for the result any more after the limit.
                let _ = send.send(done);
            })
            .map_err(Error::io("start a thread for", volume))?;
        match result.recv_timeout(self.limit) {
            Ok(done) => done,
            Err(RecvTimeoutError::Timeout) => Err(no_response(volume, self.limit)),
            Err(RecvTimeoutError::Disconnected) => Err(Error::failed(format!(
                "the agent panicked at work on logical volume {volume} (this is a bug, please report it)"
            ))),
        }
    }
}

impl RunningWork {
    /// Inserts the entry; fails if earlier work on the volume has not ended.
    fn begin(running: &Arc<Mutex<BTreeMap<String, Instant>>>, volume: &str) -> Result<Self, Error> {
        match lock(running).entry(volume.to_owned()) {
            btree_map::Entry::Occupied(began) => {
                return Err(no_response(volume, began.get().elapsed()));
            }
            btree_map::Entry::Vacant(free) => free.insert(Instant::now()),
        };
        Ok(Self {
            running: running.clone(),
            volume: volume.to_owned(),
        })
    }
}

impl Drop for RunningWork {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.volume);
    }
}

fn no_response(volume: &str, waited: Duration) -> Error {
    Error::failed(format!(
        "logical volume {volume} has not responded to reads and writes for {} s; the agent goes on \
         once it responds: look for a failed disk with `dmesg`, and for a suspended device with \
         `dmsetup info`",
        waited.as_secs()
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Arc, DeviceIo, Duration, mpsc};
    use host::Error;

    #[test]
    fn work_that_hangs_is_reported_and_blocks_only_its_volume() {
        let io = DeviceIo {
            limit: Duration::from_millis(50),
            running: Arc::default(),
        };
        let (release, wait) = mpsc::channel::<()>();
        let hang = move || wait.recv().map_err(|_| Error::failed("released"));
        let error = io.run("vg0/a", hang).unwrap_err().to_string();
        assert!(error.contains("vg0/a has not responded"), "{error}");
        let again = io.run("vg0/a", || panic!("a second work begins"));
        let error = again.map(|(): ()| ()).unwrap_err().to_string();
        assert!(error.contains("has not responded"), "{error}");
        assert_eq!(io.run("vg0/b", || Ok(1)).unwrap(), 1);

        drop(release);
        let begin = std::time::Instant::now();
        while io.run("vg0/a", || Ok(())).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn result_and_panic_of_the_work_are_returned() {
        let io = DeviceIo::default();
        let error = io.run("vg0/a", || Err::<(), _>(Error::busy("claimed")));
        assert_eq!(error.unwrap_err().kind(), host::Kind::Busy);
        let error = io.run("vg0/a", || -> Result<(), Error> { panic!("oops") });
        assert!(error.unwrap_err().to_string().contains("panicked"));
        assert!(io.run("vg0/a", || Ok(())).is_ok());
    }
}
