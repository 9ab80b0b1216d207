//! Point queries without waiting: the answer is a get on a snapshot, and the task of the connection does it.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use catalog::ObjectId;
use planner::statement::plan::Plan;

use super::{Parameter, Prepared, Session};
use crate::Result;
use crate::published::Published;
use crate::query::{conform_columns, look_up};

impl Prepared {
    /// Whether [`Session::execute_now`] may answer it.
    pub fn is_point_query(&self) -> bool {
        matches!(&self.plan, Plan::Query(query) if query.point_lookup.is_some())
    }
}

impl Session {
    /// Runs a prepared statement if it is a point query over what can be read now; gives all its rows. `None`: it isn't, and
    /// [`Session::execute`] runs it; nothing has happened yet.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub fn execute_now(&mut self, prepared: &Arc<Prepared>, parameters: &[Parameter]) -> Result<Option<RecordBatch>> {
        // What a block's own DDL lets its statements read is looked at there.
        if !prepared.is_point_query() || !self.transaction.ddl().is_empty() {
            return Ok(None);
        }
        self.transaction.check_usable(&prepared.statement)?;
        self.grant_wishes();
        let prepared = self.refreshed(prepared)?;
        let Plan::Query(query) = &prepared.plan else { return Ok(None) };
        let Some(lookup) = &query.point_lookup else { return Ok(None) };
        let published = self.published();
        if parameters.len() != prepared.parameter_types.len()
            || self.transaction.has_pending(lookup.relation)
            || !self.is_readable(&query.reads, &published)
        {
            return Ok(None);
        }
        self.cancel.reset();
        let published = self.pin(published);
        crate::row_errors::check(&query.reads, &published)?;
        match look_up(lookup, parameters, &published)? {
            Some(found) => conform_columns(found, &query.schema).map(Some),
            None => Ok(None),
        }
    }

    /// Whether a statement that reads these relations needs not wait for any of them.
    fn is_readable(&self, reads: &[ObjectId], published: &Published) -> bool {
        (published.hydrating.is_empty() && published.reading_first.is_empty())
            || !reads.iter().any(|id| published.hydrating.contains_key(id) || published.reading_first.contains(id))
    }
}
