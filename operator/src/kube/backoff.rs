//! Exponential backoff with jitter, per object.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Maximum wait, without jitter.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// Counts each object's consecutive failures.
#[derive(Debug)]
pub struct Backoff<K> {
    failures: Mutex<HashMap<K, u32>>,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self {
            failures: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash + Clone> Backoff<K> {
    /// Records one more failure of `key`. Returns the number of consecutive failures, and the wait.
    pub fn failed(&self, key: &K) -> (u32, Duration) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.clone()).or_insert(0);
        *count = count.saturating_add(1);
        // RandomState has a new seed for each value, which is random enough for jitter.
        let random = RandomState::new().hash_one(*count);
        (*count, delay(*count, random))
    }

    /// Resets the failures of `key`.
    pub fn succeeded(&self, key: &K) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

/// Returns the wait after this many consecutive failures: doubled each time, with 20 % jitter.
fn delay(failures: u32, random: u64) -> Duration {
    let doubled = FIRST_WAIT
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(MAX_WAIT);
    let permille = u32::try_from(random % 401).unwrap_or(200) + 800;
    doubled * permille / 1000
}

#[cfg(test)]
mod tests {
    use super::{Backoff, delay};
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn success_resets_the_count() {
        let backoff = Backoff::default();
        assert_eq!(backoff.failed(&"a").0, 1);
        assert_eq!(backoff.failed(&"a").0, 2);
        assert_eq!(backoff.failed(&"b").0, 1);
        backoff.succeeded(&"a");
        assert_eq!(backoff.failed(&"a").0, 1);
    }

    proptest! {
        #[test]
        fn waits_double_and_stay_within_bounds(failures in 1..u32::MAX, random: u64) {
            let wait = delay(failures, random);
            prop_assert!(wait >= Duration::from_millis(800));
            prop_assert!(wait <= Duration::from_mins(6));
            if failures <= 8 {
                let exact = Duration::from_secs(1 << (failures - 1));
                prop_assert!(wait >= exact * 4 / 5 && wait <= exact * 6 / 5);
            }
        }
    }
}
