//! A fault of our own still ends in an answer, and never in a word on stderr.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

use crate::callouts::reply::Reply;

/// Where the last panic was.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

/// What `work` answers; if it panics, a failure that says where.
pub fn catch_panics(work: impl FnOnce() -> (Reply, Option<String>)) -> (Reply, Option<String>) {
    panic::set_hook(Box::new(|panic| {
        if let Ok(mut last) = PLACE.try_lock() {
            *last = panic
                .location()
                .map(|place| format!("{}:{}", place.file(), place.line()));
        }
    }));
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let place = PLACE.try_lock().ok().and_then(|mut last| last.take());
        let place = place.unwrap_or_else(|| "an unknown place".to_owned());
        let sentence = format!(
            "the driver broke down at {place}: this is a fault of its own, please report it"
        );
        (Reply::failure(&sentence), None)
    })
}

#[cfg(test)]
mod tests {
    use super::catch_panics;
    use crate::callouts::reply::Reply;

    #[test]
    fn a_panic_is_a_failure() {
        let hook = std::panic::take_hook();
        let (reply, _) = catch_panics(|| panic!("secret"));
        let (fine, _) = catch_panics(|| (Reply::Success, None));
        std::panic::set_hook(hook);
        let Reply::Failure(sentence) = reply else {
            panic!("{reply:?}")
        };
        assert!(
            sentence.contains("broke down at driver/src/callouts/panic.rs:")
                && !sentence.contains("secret"),
            "{sentence}"
        );
        assert_eq!(fine, Reply::Success);
    }
}
