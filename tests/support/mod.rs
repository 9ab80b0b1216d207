//! What several suites need: an engine in this process, a server in another, waiting, seeded randomness.

pub mod changes;
pub mod database;
pub mod machine;
pub mod proxy;
pub mod random;
pub mod server;
pub mod wait;

use libtest_mimic::{Failed, Trial};

/// A test from a function that panics when it fails.
pub fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok::<(), Failed>(())
    })
}
