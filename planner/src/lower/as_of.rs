//! Joins with one row of the right side.

use std::collections::BTreeSet;

use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;

use super::expression::{column_index, numbered_schema, positional};
use super::lowered::{ColumnInfo, Lowered};
use super::{Lowering, shared, span_of};
use crate::incremental::{AsOf, Node, OnError, TemporalJoin};
use crate::query::as_of::{AsOfJoin, ByTime, Meeting};
use crate::{Error, Result};

impl Lowering<'_> {
    pub(super) fn as_of(&mut self, join: &AsOfJoin) -> Result<Lowered> {
        let (left, right) = (self.node(&join.left)?, self.node(&join.right)?);
        match join.meeting {
            Meeting::Nearest => self.nearest(join, &left, &right),
            Meeting::Now => temporal(join, &left, &right),
        }
    }

    fn nearest(&mut self, join: &AsOfJoin, left: &Lowered, right: &Lowered) -> Result<Lowered> {
        let ByTime { on, times, nearest } = join.by_time()?;
        let (left_names, right_names) = (join.left.schema(), join.right.schema());
        let mut output = beside(left, right, join.outer);
        // A nearer row may come late.
        output.columns.iter_mut().for_each(|column| column.time = None);
        output.node = shared(Node::AsOf(AsOf {
            on: pairs(&on, left_names, right_names)?,
            times: (positional(&times.0, left_names)?, positional(&times.1, right_names)?),
            nearest,
            outer: join.outer,
            on_error: OnError::default(),
            schema: types_of_both(left, right),
            left: left.node.clone(),
            right: right.node.clone(),
        }));
        Ok(output)
    }
}

fn temporal(join: &AsOfJoin, left: &Lowered, right: &Lowered) -> Result<Lowered> {
    let span = join.conditions.iter().find_map(span_of);
    if !left.node.append_only() {
        return Err(Error::unsupported("FOR SYSTEM_TIME AS OF PROCTIME() behind rows that may change or go, in a materialized view")
            .with_detail("What a row has met is not kept, so it could not be taken back with the row.")
            .with_hint("Let the left side be a source, a stream, or a view that only grows; or join without FOR SYSTEM_TIME, which follows changes of both sides.")
            .at(span));
    }
    let (left_names, right_names) = (join.left.schema(), join.right.schema());
    let (equalities, others) = join.equalities();
    let on = pairs(&equalities, left_names, right_names)?;
    let compared: BTreeSet<_> =
        on.iter().filter_map(|(_, key)| Some(right.columns[column_index(key)?].class)).collect();
    if !right.keys.iter().any(|key| key.is_subset(&compared)) {
        return Err(Error::unsupported("FOR SYSTEM_TIME AS OF PROCTIME() of a relation by what is not its key, in a materialized view")
            .with_detail("There must be one version of each key at a time.")
            .with_hint("Compare all columns of its PRIMARY KEY (of a view: of its key, which EXPLAIN shows) with the left side's, by =.")
            .at(span));
    }
    let residual = conjunction(others).map(|other| positional(&other, &left_names.join(right_names)?)).transpose()?;
    let mut output = beside(left, right, join.outer);
    output.columns[left.columns.len()..].iter_mut().for_each(|column| column.time = None);
    output.node = shared(Node::TemporalJoin(TemporalJoin {
        on,
        residual,
        outer: join.outer,
        on_error: OnError::default(),
        schema: types_of_both(left, right),
        left: left.node.clone(),
        right: right.node.clone(),
    }));
    Ok(output)
}

fn pairs(on: &[(Expr, Expr)], left: &DFSchema, right: &DFSchema) -> Result<Vec<(Expr, Expr)>> {
    on.iter().map(|(l, r)| Ok((positional(l, left)?, positional(r, right)?))).collect()
}

fn types_of_both(left: &Lowered, right: &Lowered) -> arrow::datatypes::SchemaRef {
    let fields = left.node.schema().fields().iter().chain(right.node.schema().fields());
    numbered_schema(fields.map(|field| field.data_type()))
}

/// What is known of left rows, each beside one right row at most; the node is set by the caller.
fn beside(left: &Lowered, right: &Lowered, outer: bool) -> Lowered {
    let shift = left.free_class();
    let of_right = right.columns.iter().map(|column| ColumnInfo {
        class: column.class + shift,
        not_null: column.not_null && !outer,
        time: None,
    });
    Lowered { columns: left.columns.iter().cloned().chain(of_right).collect(), ..left.clone() }
}
