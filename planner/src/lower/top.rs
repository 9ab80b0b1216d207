//! Some of the rows by their place in an order: `LIMIT`, `OFFSET`, `DISTINCT ON`, and `row_number()`, `rank()` or `dense_rank()` with a bound.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Distinct, DistinctOn, Expr, FetchType, Filter, Limit, LogicalPlan, Operator, Projection,
    SkipType, TryCast, Window, WindowFunctionDefinition,
};
use datafusion::scalar::ScalarValue;

use super::aggregate::group_window;
use super::expression::{column, numbered_schema};
use super::lowered::{ColumnInfo, Lowered};
use super::map::{positional_all, project, properties};
use super::partition::{Prepared, of_partitions, order_keys, partition_class};
use super::{Lowering, shared};
use crate::incremental::{Node, OnError, Partition, PartitionRule, Place, Top};
use crate::{Error, Result};

impl Lowering<'_> {
    pub(super) fn limit(&mut self, limit: &Limit) -> Result<Lowered> {
        let not_constant = |what| {
            let error = Error::unsupported(format!("{what} that is no constant in a materialized view"));
            error.at(super::check::span_in(&limit.input))
        };
        let SkipType::Literal(offset) = limit.get_skip_type()? else { return Err(not_constant("an OFFSET")) };
        let FetchType::Literal(fetch) = limit.get_fetch_type()? else { return Err(not_constant("a LIMIT")) };
        if offset == 0 && fetch.is_none() {
            return self.node(&limit.input);
        }
        self.limited(&limit.input, offset, fetch)
    }

    /// Rows of a plan by their place in its order, which may stand below projections.
    pub(super) fn limited(&mut self, plan: &LogicalPlan, offset: usize, fetch: Option<usize>) -> Result<Lowered> {
        match plan {
            LogicalPlan::Sort(sort) => {
                let within = |bound: usize| bound.saturating_sub(offset);
                let fetch = match (fetch, sort.fetch.map(within)) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                let input = self.node(&sort.input)?;
                let order = order_keys(&sort.expr, sort.input.schema())?;
                self.top(input, vec![], Top { order, offset, fetch, ties: false, place: None })
            }
            LogicalPlan::Projection(projection) => {
                let input = self.limited(&projection.input, offset, fetch)?;
                project(input, positional_all(&projection.expr, projection.input.schema())?)
            }
            LogicalPlan::SubqueryAlias(alias) => self.limited(&alias.input, offset, fetch),
            LogicalPlan::Distinct(Distinct::On(on)) => self.distinct_on(on, Some((offset, fetch))),
            other => {
                let input = self.node(other)?;
                self.top(input, vec![], Top { order: vec![], offset, fetch, ties: false, place: None })
            }
        }
    }

    /// The first row of each key; of these, where there are bounds (how many to skip, how many to take), those in the first places of the same order.
    pub(super) fn distinct_on(
        &mut self,
        distinct: &DistinctOn,
        bounds: Option<(usize, Option<usize>)>,
    ) -> Result<Lowered> {
        let names = distinct.input.schema();
        let input = self.node(&distinct.input)?;
        let keys = positional_all(&distinct.on_expr, names)?;
        let order: &[Sort] = distinct.sort_expr.as_deref().unwrap_or_default();
        // The first ones are the keys, which are equal within a partition.
        let whole = order_keys(order, names)?;
        let mut order = whole.clone();
        order.retain(|key| !keys.contains(&key.expression));
        let mut top = self.top(input, keys, Top { order, offset: 0, fetch: Some(1), ties: false, place: None })?;
        if let Some((offset, fetch)) = bounds {
            top = self.top(top, vec![], Top { order: whole, offset, fetch, ties: false, place: None })?;
        }
        project(top, positional_all(&distinct.select_expr, names)?)
    }

    /// A condition that says that a row's place is at most so much: only the first rows of each partition need be kept. Between it and the window
    /// function columns may be left out, renamed or computed.
    pub(super) fn first_places(&mut self, filter: &Filter) -> Result<Option<Lowered>> {
        let Some((window, columns)) = places(&filter.input) else { return Ok(None) };
        let [call] = window.window_expr.as_slice() else { return Ok(None) };
        let Expr::WindowFunction(call) = call.clone().unalias() else { return Ok(None) };
        let WindowFunctionDefinition::WindowUDF(function) = &call.fun else { return Ok(None) };
        let place = match function.name() {
            "row_number" => Place::Row,
            "rank" => Place::Rank,
            "dense_rank" => Place::DenseRank,
            _ => return Ok(None),
        };
        let seen = filter.input.schema();
        let bounds = split_conjunction(&filter.predicate)
            .into_iter()
            .filter_map(|condition| columns.iter().find_map(|column| last_place(condition, seen, *column)));
        let Some(last) = bounds.min() else { return Ok(None) };

        let names = window.input.schema();
        let input = self.node(&window.input)?;
        let keys = positional_all(&call.params.partition_by, names)?;
        let order = order_keys(&call.params.order_by, names)?;
        let ties = place != Place::Row;
        let top = Top { order, offset: 0, fetch: Some(last), ties, place: Some(place) };
        Ok(Some(above(&filter.input, self.top(input, keys, top)?)?))
    }

    fn top(&mut self, input: Lowered, mut keys: Vec<Expr>, mut top: Top) -> Result<Lowered> {
        let width = input.columns.len();
        keys.retain(|key| !matches!(key, Expr::Literal(..)));
        let mut prepared = Prepared::new(input);
        prepared.keys(&mut keys);
        prepared.order(&mut top.order);
        let input = prepared.finish()?;
        let place = top.place.map(|_| input.columns.len());
        let mut output = of_partitions(&input, &keys);
        let partition = partition_class(&input, &keys);
        let places = output.free_class();
        if let Some(partition) = &partition {
            if top.fetch == Some(1) && !top.ties {
                output.add_key(partition.clone());
            }
            if top.place == Some(Place::Row) {
                output.add_key(partition.iter().copied().chain([places]).collect());
            }
        }
        let mut types: Vec<_> = input.node.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        if top.place.is_some() {
            output.columns.push(ColumnInfo { not_null: true, ..ColumnInfo::unknown(places) });
            types.push(DataType::UInt64);
        }
        let partition = Partition {
            schema: numbered_schema(&types),
            window: group_window(&properties(&input, None, &keys).columns),
            keys,
            rule: PartitionRule::Top(top),
            on_error: OnError::default(),
            input: input.node,
        };
        output.node = shared(Node::Partition(partition));
        project(output, (0..width).chain(place).map(column).collect())
    }
}

/// The window functions below projections, and which columns of the plan are the last of them.
fn places(plan: &LogicalPlan) -> Option<(&Window, Vec<usize>)> {
    match plan {
        LogicalPlan::Window(window) => Some((window, vec![window.schema.fields().len() - 1])),
        LogicalPlan::SubqueryAlias(alias) => places(&alias.input),
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let (window, below) = places(input)?;
            let is_place = |at: &usize| {
                let expr = expr[*at].clone().unalias();
                below.iter().any(|column| is_column(&expr, input.schema(), *column))
            };
            Some((window, (0..expr.len()).filter(is_place).collect()))
        }
        _ => None,
    }
}

/// What stands in the place of those window functions, with the projections above it.
fn above(plan: &LogicalPlan, below: Lowered) -> Result<Lowered> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => above(&alias.input, below),
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            project(above(input, below)?, positional_all(expr, input.schema())?)
        }
        _ => Ok(below),
    }
}

/// The greatest value of an integer column, at least 1, for which a condition may be true; `None` if it isn't of such a form.
fn last_place(condition: &Expr, schema: &DFSchema, column: usize) -> Option<usize> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let (op, bound) = if is_column(left, schema, column) {
        (*op, right)
    } else if is_column(right, schema, column) {
        (op.swap()?, left)
    } else {
        return None;
    };
    let Expr::Literal(bound, _) = &**bound else { return None };
    if !bound.data_type().is_integer() {
        return None;
    }
    let ScalarValue::Int64(Some(bound)) = bound.cast_to(&DataType::Int64).ok()? else { return None };
    let last = match op {
        Operator::Eq | Operator::LtEq => bound,
        Operator::Lt => bound - 1,
        _ => return None,
    };
    usize::try_from(last).ok().filter(|last| *last > 0)
}

/// Whether it is the column, under casts to integers that any place fits into.
fn is_column(expression: &Expr, schema: &DFSchema, column: usize) -> bool {
    match expression {
        Expr::Cast(Cast { expr, field, .. }) | Expr::TryCast(TryCast { expr, field, .. }) => {
            let wide = matches!(field.data_type(), DataType::Int32 | DataType::Int64 | DataType::UInt64);
            wide && is_column(expr, schema, column)
        }
        Expr::Column(name) => schema.maybe_index_of_column(name) == Some(column),
        _ => false,
    }
}
