//! Turns a panic into a reply, without output on stderr.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

use crate::callouts::Outcome;
use crate::callouts::reply::Reply;

/// Source location of the last panic.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

/// Returns the result of `work`; if it panics, a failure that names the source location.
pub fn catch_panics(work: impl FnOnce() -> Outcome) -> Outcome {
    panic::set_hook(Box::new(|panic| {
        if let Ok(mut last) = PLACE.try_lock() {
            *last = panic
                .location()
                .map(|place| format!("{}:{}", place.file(), place.line()));
        }
    }));
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let place = PLACE.try_lock().ok().and_then(|mut last| last.take());
        let place = place.unwrap_or_else(|| "an unknown location".to_owned());
        let sentence = format!("internal error at {place} (this is a bug, please report it)");
        Reply::failure(&sentence).into()
    })
}

#[cfg(test)]
mod tests {
    use super::catch_panics;
    use crate::callouts::reply::Reply;

    #[test]
    fn panic_becomes_a_failure_without_its_message() {
        let hook = std::panic::take_hook();
        let reply = catch_panics(|| panic!("secret")).reply;
        let fine = catch_panics(|| Reply::Success.into()).reply;
        std::panic::set_hook(hook);
        let Reply::Failure(sentence) = reply else {
            panic!("{reply:?}")
        };
        assert!(
            sentence.contains("internal error at driver/src/callouts/panic.rs:")
                && !sentence.contains("secret"),
            "{sentence}"
        );
        assert_eq!(fine, Reply::Success);
    }
}
