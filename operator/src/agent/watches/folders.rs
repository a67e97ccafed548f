//! Reports changes in folders, by inotify.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Folders with an inotify watch.
pub struct Folders {
    /// `None` if the node has no inotify instance left: then callers fall back to polling.
    events: Option<AsyncFd<OwnedFd>>,
    paths: Vec<PathBuf>,
}

impl Folders {
    /// Watches these folders, as far as they exist.
    #[must_use]
    pub fn watch(paths: Vec<PathBuf>) -> Self {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(std::io::Error::from)
            .and_then(|events| poll(events, Interest::READABLE));
        if let Err(error) = &events {
            tracing::warn!(%error, "can't use inotify (see fs.inotify.max_user_instances): changes of files are noticed with a delay");
        }
        let folders = Self {
            events: events.ok(),
            paths,
        };
        folders.renew();
        folders
    }

    /// Adds watches for folders that were created or replaced since.
    pub fn renew(&self) {
        let events_of_interest = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let Some(events) = &self.events else { return };
        for path in &self.paths {
            // A missing folder is tried again at the next call.
            if let Err(errno) = inotify::add_watch(events, path, events_of_interest)
                && errno != Errno::NOENT
            {
                tracing::warn!(path = %path.display(), error = %errno, "can't watch the folder; its changes are noticed with a delay");
            }
        }
    }

    /// Returns when the folders have changed since the last call.
    pub async fn changed(&self) {
        let Some(events) = &self.events else {
            return std::future::pending().await;
        };
        loop {
            let Ok(mut ready) = events.readable().await else {
                return std::future::pending().await;
            };
            // Reads until the queue is empty, which returns an error (EAGAIN); before it there were
            // events.
            if ready.try_io(|events| drain(events.get_ref())).is_err() {
                return;
            }
        }
    }
}

fn drain(events: &OwnedFd) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    while rustix::io::read(events, &mut buffer)? > 0 {}
    Ok(())
}

/// Registers a file with the runtime's poller.
#[expect(
    deprecated,
    reason = "its successor is unsafe: it requires a guarantee that an OwnedFd provides by itself"
)]
pub(super) fn poll(file: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(file, interest)
}

#[cfg(test)]
mod tests {
    use super::Folders;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn happened(folders: &Folders) -> bool {
        timeout(Duration::from_millis(100), folders.changed())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn each_change_is_reported_once() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("backup");
        let folders = Folders::watch(vec![folder.clone()]);
        assert!(!happened(&folders).await);
        std::fs::create_dir(&folder).unwrap();
        folders.renew();
        assert!(!happened(&folders).await);
        std::fs::write(folder.join("vg0"), "a").unwrap();
        assert!(happened(&folders).await);
        assert!(!happened(&folders).await);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(happened(&folders).await);
    }
}
