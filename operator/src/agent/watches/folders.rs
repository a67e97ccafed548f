//! Says when something changes in some folders, by inotify.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Some folders, and what happens in them.
pub struct Folders {
    /// `None` when the node has no inotify instance left for us: then whoever asks looks less
    /// often, but looks.
    events: Option<AsyncFd<OwnedFd>>,
    paths: Vec<PathBuf>,
}

impl Folders {
    /// Watches these folders, as far as they are there.
    #[must_use]
    pub fn watch(paths: Vec<PathBuf>) -> Self {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(std::io::Error::from)
            .and_then(|events| poll(events, Interest::READABLE));
        if let Err(error) = &events {
            tracing::warn!(%error, "changes of files are noticed late: no inotify (see fs.inotify.max_user_instances)");
        }
        let folders = Self {
            events: events.ok(),
            paths,
        };
        folders.renew();
        folders
    }

    /// Watches those too that were made since, or replaced by others.
    pub fn renew(&self) {
        let happenings = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let Some(events) = &self.events else { return };
        for path in &self.paths {
            // One that is not there is tried again next time.
            if let Err(errno) = inotify::add_watch(events, path, happenings)
                && errno != Errno::NOENT
            {
                tracing::warn!(path = %path.display(), error = %errno, "this folder can't be watched");
            }
        }
    }

    /// Returns when something has happened since the last call.
    pub async fn changed(&self) {
        let Some(events) = &self.events else {
            return std::future::pending().await;
        };
        let drain = |events: &OwnedFd| {
            let mut buffer = [0; 4096];
            while rustix::io::read(events, &mut buffer)? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        loop {
            let Ok(mut ready) = events.readable().await else {
                return std::future::pending().await;
            };
            // Reads until nothing is left, which is an error of its own kind; before it there was
            // something.
            if ready.try_io(|events| drain(events.get_ref())).is_err() {
                return;
            }
        }
    }
}

/// Lets the runtime wait for a file.
#[expect(
    deprecated,
    reason = "its successor is unsafe: it asks for a promise that an OwnedFd keeps by itself"
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
    async fn what_happens_is_heard_once() {
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
