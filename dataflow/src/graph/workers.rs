//! The threads that work on epochs.

use std::sync::Arc;

use crate::{Error, Result};

/// A pool of threads. A clone is the same pool: graphs that share one work one after the other when it is busy.
#[derive(Clone, Debug)]
pub struct Workers(Arc<rayon::ThreadPool>);

impl Workers {
    /// Starts so many threads, at least one.
    ///
    /// # Errors
    /// If threads can't be started.
    pub fn start(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|worker| format!("worker {worker}"))
            .build()
            .map_err(|error| Error::Broken(format!("no worker threads: {error}")))?;
        Ok(Self(Arc::new(pool)))
    }

    pub(super) fn pool(&self) -> &rayon::ThreadPool {
        &self.0
    }
}
