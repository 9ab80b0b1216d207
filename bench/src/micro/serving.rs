//! Queries: parsed and planned, and the short path of a point query.

use std::sync::Arc;

use engine::{Engine, Parameter, Prepared, Session, Settings};

use super::{Piece, Work};
use crate::sql::execute;
use crate::{Error, Result, sql};

/// How often a point query is run.
const LOOKUPS: i64 = 1_000;
/// How often a statement is planned.
const PLANS: usize = 20;

const ROWS: &str = "
CREATE TABLE account (id BIGINT PRIMARY KEY, branch BIGINT, balance BIGINT, filler TEXT);
CREATE INDEX ON account (branch);
INSERT INTO account SELECT i, i / 10, i % 1000, 'filler' FROM generate_series(1, 10000) AS g(i);
";

const BY_KEY: &str = "SELECT balance FROM account WHERE id = $1";
const BY_INDEX: &str = "SELECT id, balance FROM account WHERE branch = $1";
const AGGREGATE: &str =
    "SELECT branch, count(*), sum(balance) FROM account WHERE balance > 10 GROUP BY branch ORDER BY 2 DESC LIMIT 10";

/// A piece for each.
pub(super) fn pieces() -> Vec<Piece> {
    let piece = |name: &str, make: fn() -> Result<Work>| Piece { name: format!("query.{name}"), make: Box::new(make) };
    vec![
        piece("point_by_key", || lookups(BY_KEY)),
        piece("point_by_index", || lookups(BY_INDEX)),
        piece("parse", parse),
        piece("plan_point", || plans(BY_KEY)),
        piece("plan_aggregate", || plans(AGGREGATE)),
    ]
}

/// An engine in memory that goes on as long as its parts are used.
struct Served {
    runtime: tokio::runtime::Runtime,
    _engine: Engine,
    session: Session,
}

fn serve() -> Result<Served> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io("no async runtime"))?;
    let (engine, mut session) = sql::open(Settings { workers: 1, ..Settings::default() })?;
    runtime.block_on(execute(&mut session, ROWS))?;
    Ok(Served { runtime, _engine: engine, session })
}

fn prepare(served: &mut Served, text: &str) -> Result<Arc<Prepared>> {
    let Served { runtime, session, .. } = served;
    let statements = session.parse(text).map_err(Error::engine(text))?;
    let statement = statements.first().ok_or_else(|| Error::Usage("an empty statement".to_owned()))?;
    runtime.block_on(session.prepare(statement, &[])).map_err(Error::engine(text))
}

fn lookups(text: &'static str) -> Result<Work> {
    let mut served = serve()?;
    let prepared = prepare(&mut served, text)?;
    let mut look_up = move |id: i64| {
        let found = served.session.execute_now(&prepared, &[Parameter::Int64(Some(id))]);
        let found = found.map_err(Error::engine(text))?;
        let rows = found.ok_or_else(|| Error::Usage(format!("not a point query: {text}")))?;
        std::hint::black_box(&rows);
        Ok(())
    };
    // What is made once per session isn't counted.
    look_up(1)?;
    Ok(Box::new(move |_| {
        (0..LOOKUPS).try_for_each(|i| look_up(i * 7919 % 1_000 + 1))?;
        Ok(LOOKUPS as u64)
    }))
}

fn parse() -> Result<Work> {
    Ok(Box::new(|_| {
        for _ in 0..PLANS {
            let parsed = engine_parse(AGGREGATE)?;
            std::hint::black_box(&parsed);
        }
        Ok(PLANS as u64)
    }))
}

fn engine_parse(text: &str) -> Result<Vec<engine::Statement>> {
    ::sql::parse(text).map_err(|e| Error::Usage(e.to_string()))
}

fn plans(text: &'static str) -> Result<Work> {
    let mut served = serve()?;
    prepare(&mut served, text)?;
    Ok(Box::new(move |_| {
        for _ in 0..PLANS {
            let prepared = prepare(&mut served, text)?;
            std::hint::black_box(&prepared);
        }
        Ok(PLANS as u64)
    }))
}
