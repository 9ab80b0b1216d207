//! Waiting for a condition instead of for a time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long a condition may take on a loaded machine with two cores before a test calls it lost.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until `probe` gives something; panics with `what` when patience ends.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks until the answer is `expected`; panics with the last answer when patience ends.
pub fn until_equal<T: PartialEq + Debug>(what: &str, expected: &T, mut ask: impl FnMut() -> T) {
    let start = Instant::now();
    loop {
        let answer = ask();
        if answer == *expected {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "waited {PATIENCE:?} for {what}\nexpected {expected:?}\n   found {answer:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
