//! Clients with sessions: SQL text in, an answer out, as over the wire; what they say is known, so it is known what must come of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use catalog::Catalog;

use super::life::{VARIANT, fact};
use super::model::{BLOCK, BLOCK_ID, CHANGED, CHANGING, LedgerRow, VARIANTS};
use super::random::Random;
use super::topic::KEYS;
use crate::Result;
use crate::session::Session;

/// What a statement does to `ledger`, whatever is in it.
#[derive(Clone, Debug)]
pub(super) enum Sentence {
    /// The row of an id becomes this one.
    Put(i64, LedgerRow),
    /// Rows of a key get more.
    Add { k: i64, more: i64 },
    /// Rows of a key go whose value is even.
    Remove { k: i64 },
    /// The row of an id goes.
    Take(i64),
}

impl Sentence {
    fn draw(random: &mut Random) -> Self {
        let k = random.below(KEYS) as i64;
        match random.below(4) {
            0 | 1 => Self::Put(random.below(24) as i64, (k, random.below(50) as i64)),
            2 => Self::Add { k, more: 1 + random.below(5) as i64 },
            _ => Self::Remove { k },
        }
    }

    fn sql(&self) -> String {
        match self {
            Self::Put(id, (k, v)) => format!(
                "INSERT INTO ledger VALUES ({id}, {k}, {v}) ON CONFLICT (id) DO UPDATE SET k = EXCLUDED.k, v = EXCLUDED.v"
            ),
            Self::Add { k, more } => {
                format!("UPDATE ledger SET v = v + {more} WHERE k = {k} AND id < {BLOCK_ID}")
            }
            Self::Remove { k } => format!("DELETE FROM ledger WHERE k = {k} AND v % 2 = 0 AND id < {BLOCK_ID}"),
            Self::Take(id) => format!("DELETE FROM ledger WHERE id = {id}"),
        }
    }

    /// The rows afterwards.
    pub(super) fn apply(&self, rows: &mut BTreeMap<i64, LedgerRow>) {
        match self {
            Self::Put(id, row) => drop(rows.insert(*id, *row)),
            Self::Add { k, more } => {
                let of_key = rows.iter_mut().filter(|(id, row)| **id < BLOCK_ID && row.0 == *k);
                of_key.for_each(|(_, row)| row.1 += more);
            }
            Self::Remove { k } => rows.retain(|id, row| *id >= BLOCK_ID || row.0 != *k || row.1 % 2 != 0),
            Self::Take(id) => drop(rows.remove(id)),
        }
    }
}

/// Something that is true of the catalog, or will be.
pub(super) type Fact = (&'static str, Option<i64>);

/// What a client wants done.
pub(super) struct Errand {
    pub(super) sql: String,
    /// What it does to `ledger`, in order.
    pub(super) says: Vec<Sentence>,
    /// What is true afterwards; none: it changes rows only.
    pub(super) facts: Vec<Fact>,
    /// It makes `block` and a row, or takes both away.
    pub(super) block: Option<bool>,
}

impl Errand {
    /// Changes rows: by one statement, or by some in a transaction.
    pub(super) fn rows(random: &mut Random) -> Self {
        let several = random.one_in(3);
        let says: Vec<Sentence> =
            (0..if several { 1 + random.below(3) } else { 1 }).map(|_| Sentence::draw(random)).collect();
        let sql = says.iter().map(Sentence::sql).collect::<Vec<_>>().join("; ");
        let sql = if several { format!("BEGIN; {sql}; COMMIT") } else { sql };
        Self { sql, says, facts: Vec::new(), block: None }
    }

    /// Changes what there is.
    pub(super) fn definitions(catalog: &Catalog, random: &mut Random) -> Self {
        let is_there = |name: &str| fact(catalog, name).is_some();
        let name = if is_there(CHANGED) { CHANGED } else { CHANGING };
        let variant = random.below(VARIANTS.len() as u64);
        let query = VARIANTS[variant as usize];
        let it = |sql: String, facts: &[Fact]| Self { sql, says: Vec::new(), facts: facts.to_vec(), block: None };
        if !is_there(name) {
            let facts = [(CHANGING, Some(1)), (CHANGED, None), (VARIANT, Some(variant as i64))];
            return it(format!("CREATE MATERIALIZED VIEW {name} AS {query}"), &facts);
        }
        if !is_there("of_changing") {
            let query = format!("SELECT variant, sum(n)::bigint AS total FROM {name} GROUP BY variant");
            return it(format!("CREATE MATERIALIZED VIEW of_changing AS {query}"), &[("of_changing", Some(1))]);
        }
        if !is_there("changing_out") {
            let sql = format!("CREATE SINK changing_out FROM {name} WITH (connector = 'simulated')");
            return it(sql, &[("changing_out", Some(1))]);
        }
        match random.below(8) {
            0 => {
                let all = [CHANGING, CHANGED, VARIANT, "of_changing", "changing_out"];
                it(format!("DROP MATERIALIZED VIEW {name} CASCADE"), &all.map(|what| (what, None)))
            }
            1 => {
                let other = if name == CHANGING { CHANGED } else { CHANGING };
                it(format!("ALTER MATERIALIZED VIEW {name} RENAME TO {other}"), &[(name, None), (other, Some(1))])
            }
            2 | 3 => it(format!("ALTER MATERIALIZED VIEW {name} AS {query}"), &[(VARIANT, Some(variant as i64))]),
            4 => {
                let sql = format!("CREATE OR REPLACE MATERIALIZED VIEW {name} AS {query}");
                it(sql, &[(VARIANT, Some(variant as i64))])
            }
            _ => Self::block(!is_there(BLOCK), random),
        }
    }

    /// A transaction that makes a view and a row, or takes both away.
    fn block(makes: bool, random: &mut Random) -> Self {
        let row = (random.below(KEYS) as i64, random.below(50) as i64);
        let says = if makes { Sentence::Put(BLOCK_ID, row) } else { Sentence::Take(BLOCK_ID) };
        let ddl = match makes {
            true => {
                format!("CREATE MATERIALIZED VIEW {BLOCK} AS SELECT count(*) AS n, sum(v)::bigint AS total FROM ledger")
            }
            false => format!("DROP MATERIALIZED VIEW {BLOCK}"),
        };
        let (first, second) = if random.one_in(2) { (ddl, says.sql()) } else { (says.sql(), ddl) };
        Self {
            sql: format!("BEGIN; {first}; {second}; COMMIT"),
            says: vec![says],
            facts: vec![(BLOCK, makes.then_some(1))],
            block: Some(makes),
        }
    }
}

/// A client that waits for the answer to what it wants done.
pub(super) struct Client {
    pub(super) errand: Errand,
    /// What of it was true before.
    pub(super) before: Vec<Fact>,
    /// Reads that had failed when it began.
    pub(super) failed_reads: u64,
    running: Pin<Box<dyn Future<Output = Result<()>>>>,
}

impl Client {
    pub(super) fn new(session: Session, errand: Errand, catalog: &Catalog, failed_reads: u64) -> Self {
        let before = errand.facts.iter().map(|(what, _)| (*what, fact(catalog, what))).collect();
        let running = Box::pin(run(session, errand.sql.clone()));
        Self { errand, before, failed_reads, running }
    }

    /// Goes on as far as it comes without an answer of somebody else.
    pub(super) fn poll(&mut self) -> Option<Result<()>> {
        match self.running.as_mut().poll(&mut Context::from_waker(futures::task::noop_waker_ref())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }
}

async fn run(mut session: Session, sql: String) -> Result<()> {
    for statement in session.parse(&sql)? {
        if let Err(error) = session.run(&statement).await {
            session.fail_transaction();
            return Err(error);
        }
    }
    Ok(())
}
