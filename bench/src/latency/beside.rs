//! What else the engine does while latency is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use engine::{Engine, Session};
use tokio::task::JoinHandle;

use crate::sql::{self, execute, one_number};
use crate::{Error, Result};

/// Events that a view has to read before it is hydrated.
const PAST: u64 = 4_000_000;
/// Rows that ad-hoc queries read.
const ROWS: u64 = 1_000_000;
/// Sessions that do so at the same time.
const READERS: usize = 2;
/// Changes a second that are to be compacted, and over how many keys they are spread.
const CHANGES: u64 = 50_000;
const CHANGED_KEYS: u64 = 10_000_000;
/// Between two views that are hydrated.
const PAUSE: Duration = Duration::from_millis(200);

/// One kind of other work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Beside {
    /// None.
    Nothing,
    /// Views over a long past are created and dropped, one after the other.
    Hydration,
    /// Another view changes at random places, so that RocksDB has always something to compact.
    Compaction,
    /// Aggregations and joins over a million rows, one after the other in each of two sessions.
    Queries,
}

/// Other work that goes on until it is told to stop.
pub(super) struct Running {
    stop: Arc<AtomicBool>,
    /// Views hydrated, or queries answered.
    done: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Beside {
    /// As it is printed.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Makes what the work needs.
    pub(super) async fn prepare(self, session: &mut Session) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Hydration => {
                let source = format!(
                    "CREATE SOURCE past (n BIGINT, id BIGINT) WITH (connector = 'generator', kind = 'sequence', keys = 100000, events = {PAST});
                     CREATE MATERIALIZED VIEW past_read AS SELECT count(*) AS events FROM past"
                );
                execute(session, &source).await?;
                // A topic never ends, but nothing has been produced yet.
                while one_number(session, "SELECT events FROM past_read").await? < PAST as i64 {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(())
            }
            Self::Compaction => {
                let source = format!(
                    "CREATE SOURCE churn (n BIGINT, id BIGINT)
                     WITH (connector = 'generator', kind = 'sequence', keys = {CHANGED_KEYS}, rate = {CHANGES});
                     CREATE MATERIALIZED VIEW churned AS SELECT id, count(*) AS many, max(n) AS last FROM churn GROUP BY id"
                );
                execute(session, &source).await
            }
            Self::Queries => {
                let table = format!(
                    "CREATE TABLE facts (id BIGINT PRIMARY KEY, k BIGINT, v BIGINT);
                     INSERT INTO facts SELECT n, n * 7919 % 10007, n * 104729 % 1000003 FROM (SELECT CAST(i AS bigint) AS n FROM generate_series(0, {}) AS g(i)) AS numbers",
                    ROWS - 1
                );
                execute(session, &table).await?;
                Ok(())
            }
        }
    }

    /// Begins it.
    pub(super) fn start(self, engine: &Engine) -> Result<Running> {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        let sessions = match self {
            Self::Nothing | Self::Compaction => 0,
            Self::Hydration => 1,
            Self::Queries => READERS,
        };
        for _ in 0..sessions {
            let (mut session, stop, done) = (sql::session(engine)?, stop.clone(), done.clone());
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    self.once(&mut session).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        Ok(Running { stop, done, tasks })
    }

    async fn once(self, session: &mut Session) -> Result<()> {
        match self {
            Self::Nothing | Self::Compaction => Ok(()),
            Self::Hydration => {
                let create = "CREATE MATERIALIZED VIEW hydrated AS SELECT id, count(*) AS many, max(n) AS last FROM past GROUP BY id";
                execute(session, create).await?;
                // A query waits until it is hydrated.
                one_number(session, "SELECT many FROM hydrated WHERE id = 1").await?;
                execute(session, "DROP MATERIALIZED VIEW hydrated").await?;
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
            Self::Queries => {
                let group = "SELECT k, count(*), sum(v), avg(v) FROM facts GROUP BY k ORDER BY 2 DESC, 1 LIMIT 10";
                execute(session, group).await?;
                execute(session, "SELECT count(*) FROM facts a JOIN facts b ON a.id = b.v WHERE b.k < 5000").await
            }
        }
    }
}

impl Running {
    /// Ends it; how often it was done.
    pub(super) async fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.map_err(|error| Error::Usage(format!("the other work broke down: {error}")))??;
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}
