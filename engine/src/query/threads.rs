//! The threads that queries run on: their own, so that one that computes without pause holds up neither other clients nor its own end.
//!
//! A query ends when nobody wants its rows any more: its task is aborted at its next pause, and [`super::interrupt`] sees to it that
//! there is one every few milliseconds.

use std::future::Future;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use super::interrupt::Unwanted;
use super::{Physical, query_error};
use crate::{Error, Result};

/// Batches of a query that wait for its client, at most: one being sent and one ready. A client that reads slowly slows its query down.
const WAITING_BATCHES: usize = 2;

/// Threads there are at least, so that a long query leaves one to the short ones.
const LEAST_THREADS: usize = 2;

/// Time that queries get to end when the engine stops: one that is in the middle of a batch ends behind it.
const GRACE: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct QueryThreads {
    handle: Handle,
    /// Taken when they end.
    runtime: Mutex<Option<Runtime>>,
    /// There are none: whoever asks does the work, at once.
    #[cfg(test)]
    at_once: bool,
}

impl QueryThreads {
    pub(super) fn new(threads: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(LEAST_THREADS))
            .thread_name("query")
            // A new query is looked for at each pause of the ones under way.
            .global_queue_interval(1)
            .enable_time()
            .build()
            .map_err(|e| Error::internal(format!("no threads for queries: {e}")))?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            #[cfg(test)]
            at_once: false,
        })
    }

    /// No threads: queries are done at once by whoever asks, always in the same way.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("it needs nothing");
        Self { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)), at_once: true }
    }

    /// Lets this thread poll what wants a runtime around it.
    #[cfg(test)]
    pub(crate) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.handle.enter()
    }

    #[cfg(test)]
    fn at_once<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.lock().as_ref().expect("it has not been ended").block_on(work)
    }

    /// Ends all queries and waits for them: they hold on to the store. For a thread that may wait.
    pub(crate) fn stop(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_timeout(GRACE);
        }
    }

    /// Does some work there. Dropping the future ends the work at its next pause.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        #[cfg(test)]
        if self.at_once {
            return self.at_once(work);
        }
        let mut task = Task(self.handle.spawn(work));
        match (&mut task.0).await {
            Ok(result) => result,
            Err(error) => Err(ended(error)),
        }
    }

    /// The rows of a plan, made as they are asked for. Dropping the stream ends the query.
    pub(super) fn rows(&self, physical: Physical) -> BoxStream<'static, Result<RecordBatch>> {
        let Physical { plan, context, unwanted } = physical;
        #[cfg(test)]
        if self.at_once {
            let _unwanted = unwanted;
            let rows = self.at_once(datafusion::physical_plan::collect(plan, context));
            let rows = rows.map_or_else(|e| vec![Err(query_error(e))], |rows| rows.into_iter().map(Ok).collect());
            return futures::stream::iter(rows).boxed();
        }
        let (sender, receiver) = mpsc::channel(WAITING_BATCHES);
        let task = Task(self.handle.spawn(async move {
            let mut batches = execute_stream(plan, context).map_err(query_error)?;
            while let Some(batch) = batches.next().await {
                let batch = batch.map_err(query_error)?;
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
            Ok(())
        }));
        let running = Some(Running { receiver, task, _unwanted: unwanted });
        futures::stream::unfold(running, |running| async { running?.next().await }).boxed()
    }
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.get_mut().take() {
            // Whoever holds the engine last may be an async task, which must not wait.
            runtime.shutdown_background();
        }
    }
}

/// A query under way.
struct Running {
    receiver: mpsc::Receiver<RecordBatch>,
    task: Task<Result<()>>,
    _unwanted: Unwanted,
}

impl Running {
    async fn next(mut self) -> Option<(Result<RecordBatch>, Option<Self>)> {
        if let Some(batch) = self.receiver.recv().await {
            return Some((Ok(batch), Some(self)));
        }
        match (&mut self.task.0).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some((Err(error), None)),
            Err(error) => Some((Err(ended(error)), None)),
        }
    }
}

/// A task that ends with its handle.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn ended(error: JoinError) -> Error {
    if error.is_cancelled() { crate::engine::stopped() } else { Error::internal(format!("a query panicked: {error}")) }
}
