//! Statements in an engine of this process.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use engine::{Engine, Response, Session, SessionParameters, Settings};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::{Error, Result};

/// A data directory that goes away with this value.
pub(crate) fn data_directory(parent: Option<&Path>) -> Result<tempfile::TempDir> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    let directory = tempfile::Builder::new().prefix("millrace-bench-").tempdir_in(parent);
    directory.map_err(Error::io("no data directory"))
}

/// An engine with a session.
pub(crate) fn open(settings: Settings) -> Result<(Engine, Session)> {
    let engine = Engine::open(settings).map_err(Error::engine("the engine can't be opened"))?;
    let session = session(&engine)?;
    Ok((engine, session))
}

/// One more session.
pub(crate) fn session(engine: &Engine) -> Result<Session> {
    let user = "bench".to_owned();
    let parameters = SessionParameters { user: user.clone(), database: user, settings: BTreeMap::new() };
    engine.session(parameters).map_err(Error::engine("no session"))
}

/// Runs statements to their ends.
pub(crate) async fn execute(session: &mut Session, sql: &str) -> Result<()> {
    for statement in session.parse(sql).map_err(Error::engine(sql))? {
        if let Response::Rows(rows) = session.run(&statement).await.map_err(Error::engine(sql))? {
            rows.batches.try_for_each(|_| async { Ok(()) }).await.map_err(Error::engine(sql))?;
        }
    }
    Ok(())
}

/// The rows of a query, as they come.
pub(crate) async fn rows(session: &mut Session, sql: &str) -> Result<BoxStream<'static, engine::Result<RecordBatch>>> {
    let statements = session.parse(sql).map_err(Error::engine(sql))?;
    let [statement] = statements.as_slice() else {
        return Err(Error::Usage(format!("one statement was expected: {sql}")));
    };
    match session.run(statement).await.map_err(Error::engine(sql))? {
        Response::Rows(rows) => Ok(rows.batches),
        Response::Done { .. } | Response::Empty => Ok(futures::stream::empty().boxed()),
    }
}

/// The bigint that a query yields; 0 where it yields none.
pub(crate) async fn one_number(session: &mut Session, sql: &str) -> Result<i64> {
    let batches: Vec<_> = rows(session, sql).await?.try_collect().await.map_err(Error::engine(sql))?;
    let first = batches.iter().find(|batch| batch.num_rows() > 0);
    Ok(first.map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0)))
}
