//! Somebody who follows a view: what they were told adds up to what the view holds, after every change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use engine::{Response, ResultColumn, Session};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use super::case::{Rows, sorted};
use crate::support::database::Database;

/// A change is told by then.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Follower {
    /// What the subscription belongs to.
    session: Session,
    columns: Arc<[ResultColumn]>,
    batches: BoxStream<'static, engine::Result<RecordBatch>>,
    contents: BTreeMap<Vec<String>, i64>,
    /// A view has got another query since it was last looked at: a subscription may end by that.
    pub may_end: bool,
}

/// How it stands with a subscription.
pub enum Told {
    /// All of it.
    Everything,
    /// It has ended, as it may.
    Ended,
}

impl Follower {
    pub fn begin(db: &Database, name: &str) -> Result<Self, String> {
        let mut session = db.session();
        let sql = format!("SUBSCRIBE TO {name}");
        let statement = session.parse(&sql).map_err(|error| format!("{error}\n{sql}"))?.remove(0);
        match db.runtime.block_on(session.run(&statement)) {
            Ok(Response::Rows(rows)) => Ok(Self {
                session,
                columns: rows.columns,
                batches: rows.batches,
                contents: BTreeMap::new(),
                may_end: false,
            }),
            Ok(_) => Err(format!("{sql} returns no rows")),
            Err(error) => Err(format!("{error}\n{sql}")),
        }
    }

    /// Hears what is told, until it adds up to these rows.
    pub fn hear(&mut self, db: &Database, rows: &Rows) -> Result<Told, String> {
        let expected = sorted(rows.clone());
        while let Some(next) = self.batches.next().now_or_never() {
            if self.take(next)? {
                return Ok(Told::Ended);
            }
        }
        while self.held() != expected {
            let next = db.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.batches.next()).await });
            let Ok(next) = next else {
                return Err(format!("a subscriber was told of {:?}\nexpected {expected:?}", self.held()));
            };
            if self.take(next)? {
                return Ok(Told::Ended);
            }
        }
        self.may_end = false;
        Ok(Told::Everything)
    }

    /// Whether it has ended.
    fn take(&mut self, next: Option<engine::Result<RecordBatch>>) -> Result<bool, String> {
        let batch = match next {
            Some(Ok(batch)) => batch,
            _ if self.may_end => return Ok(true),
            Some(Err(error)) => return Err(format!("a subscription ends: {error}")),
            None => return Err("a subscription ends".to_owned()),
        };
        let text = server::text::Text::of(|name| self.session.setting(name));
        let rows = text.rows(&self.columns, &batch).map_err(|error| error.to_string())?;
        for row in rows {
            let row: Vec<String> = row.into_iter().map(|value| value.unwrap_or("NULL".to_owned())).collect();
            let weight: i64 = row[1].parse().map_err(|_| format!("{row:?} has no weight"))?;
            *self.contents.entry(row[2..].to_vec()).or_default() += weight;
        }
        self.contents.retain(|_, weight| *weight != 0);
        Ok(false)
    }

    /// What it knows of; a row that is there less than once is shown as such.
    fn held(&self) -> Rows {
        let copies = self.contents.iter().flat_map(|(row, weight)| match usize::try_from(*weight) {
            Ok(weight) => vec![row.clone(); weight],
            Err(_) => vec![vec![format!("{weight} times {row:?}")]],
        });
        sorted(copies.collect())
    }
}
