//! What a client can do: prepare and run statements, one after the other, with settings and a transaction of its own.
//!
//! A session is used by one task at a time. The server keeps names of prepared statements and portals; the session keeps what a
//! statement can see: settings, the transaction, the current schema.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use futures::stream::BoxStream;
use tokio::sync::Notify;

use crate::{Result, SqlType};

/// Who connects, and with what settings.
#[derive(Clone, Debug)]
pub struct SessionParameters {
    /// The user's name.
    pub user: String,
    /// The database's name; there is one, whatever it is called.
    pub database: String,
    /// Settings from the startup packet (`application_name`, `options=-c k=v` taken apart, …), as SET would take them.
    pub settings: BTreeMap<String, String>,
}

/// Whether a transaction is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// None is.
    Idle,
    /// One is.
    Open,
    /// One is, and has failed: only ROLLBACK and COMMIT are taken.
    Failed,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultColumn {
    /// The name that a client sees; names may repeat.
    pub name: String,
    /// Its type, PostgreSQL's.
    pub sql_type: SqlType,
    /// Where it comes from, when it is a plain column: the relation's catalog id and the column's position from 1.
    pub origin: Option<(u32, i16)>,
}

/// The value of a parameter, of the type that [`Prepared::parameter_types`] gives (as [`SqlType::data_type`] carries it).
pub type Parameter = ScalarValue;

/// A statement that has been planned: its shape is known, and it can be run many times.
pub struct Prepared {
    /// The types of `$1`, `$2`, ….
    pub parameter_types: Vec<SqlType>,
    /// The columns of its result; `None` if it returns no rows.
    pub columns: Option<Arc<[ResultColumn]>>,
    pub(crate) plan: prepared::PreparedPlan,
}

/// Something that a client should see beside the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `NOTICE`, `WARNING` or `INFO`.
    pub severity: &'static str,
    /// The SQLSTATE.
    pub code: &'static str,
    /// The text.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// What a statement answers.
pub enum Response {
    /// Rows, as they come.
    Rows(Rows),
    /// The command tag alone: `CREATE TABLE`, `INSERT 0 3`, `BEGIN`.
    Done {
        /// The tag.
        tag: String,
    },
    /// An empty statement.
    Empty,
}

/// Rows of an answer.
pub struct Rows {
    /// Their columns.
    pub columns: Arc<[ResultColumn]>,
    /// The rows: each batch has these columns in order, as [`SqlType::data_type`] carries them. Endless for SUBSCRIBE and EMIT CHANGES;
    /// dropping it ends the query.
    pub batches: BoxStream<'static, Result<RecordBatch>>,
    /// The command tag's first word(s): `SELECT`, `INSERT 0`, `SHOW`, `EXPLAIN`; the server adds the number of rows where
    /// PostgreSQL does (not after SHOW and EXPLAIN).
    pub tag: String,
    /// Rows should be sent as they come, without waiting for a buffer to fill: SUBSCRIBE, EMIT CHANGES.
    pub live: bool,
}

/// Stops what a session is running, from another task (a cancel request, a statement timeout, a lost connection).
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<CancelState>);

#[derive(Debug, Default)]
struct CancelState {
    cancelled: AtomicBool,
    notify: Notify,
}

impl Cancel {
    /// The running statement fails with `QueryCancelled`; nothing happens if none runs.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    /// Whether it was asked for since the last [`Cancel::reset`].
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// A new statement begins.
    pub fn reset(&self) {
        self.0.cancelled.store(false, Ordering::SeqCst);
    }

    /// Completes when it is asked for.
    pub async fn cancelled(&self) {
        loop {
            let notified = self.0.notify.notified();
            if self.is_cancelled() {
                return;
            }
            notified.await;
        }
    }
}
