//! From a query's logical plan to the operators that keep its result up to date.
//!
//! [`lower`] refuses what can't be kept up to date ([`check`]), lets DataFusion's optimizer remove subqueries, find join keys, push
//! conditions down and drop unused columns ([`optimize`]), and then turns each node into an operator, one file per node. On the way
//! up, [`Lowered`] keeps what is known about each operator's output: which columns identify a row, which can't be NULL, which say how far time
//! has come.

mod aggregate;
mod as_of;
mod check;
mod distinct;
mod expiry;
mod expression;
mod grouping_sets;
mod join;
mod lowered;
mod map;
mod optimize;
mod partition;
mod recursive;
pub mod relations;
mod retention;
mod scan;
mod set_operation;
mod state_ttl;
mod temporal;
mod top;
mod union;
mod unnest;
mod values;
mod window;
mod window_close;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use catalog::Retention;
use datafusion::logical_expr::{Distinct, Extension, LogicalPlan};

use crate::incremental::{Node, OnError, ViewPlan};
use crate::query::WindowTvf;
use crate::query::as_of::AsOfJoin;
use crate::query::scalar_subquery;
use crate::query::set_operation::SetOperation;
use crate::{Error, Result};

pub(crate) use check::span_of;
pub(crate) use expression::{column, column_index, count_columns, substitute, types_over};
use lowered::Lowered;
pub use relations::{RelationInfo, Relations};

/// What the statement says besides its query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LowerOptions {
    /// `EMIT ON WINDOW CLOSE`: rows come out once, when the watermark has passed their window.
    pub emit_on_window_close: bool,
    /// `WITH (on_error = …)`: what becomes of a row on which an expression fails.
    pub on_error: OnError,
    /// `WITH (retention = …)`: how long rows stay.
    pub retention: Option<Retention>,
    /// `WITH (state_ttl = …)`: for how long operators know keys that nothing comes for, in microseconds.
    pub state_ttl_us: Option<i64>,
}

/// Plans how the result of a query is kept up to date. `logical` is analyzed, `schema` are the visible names and types of its columns.
///
/// # Errors
/// [`crate::error::ErrorKind::Unsupported`], naming the construct, for what the operators can't do yet.
pub fn lower(
    logical: &LogicalPlan,
    schema: &SchemaRef,
    options: LowerOptions,
    relations: &dyn Relations,
) -> Result<ViewPlan> {
    let logical = scalar_subquery::single(logical.clone())?;
    check::supported(&logical)?;
    let optimized = optimize::optimize(window::with_whole_late_rows(logical, relations)?)?;
    let mut lowering = Lowering { relations, notices: Vec::new(), recursions: Vec::new() };
    let mut root =
        if options.emit_on_window_close { lowering.closed(&optimized)? } else { lowering.node(&optimized)? };
    if let Some(ttl_us) = options.state_ttl_us {
        root.node = state_ttl::forgetful(&root.node, ttl_us)?;
    }
    let root = match options.retention {
        Some(retention) => retention::retained(root, retention, schema)?,
        None => root,
    };
    check_types(&root, schema)?;
    let mut inputs = Vec::new();
    collect_inputs(&root.node, &mut inputs);
    inputs.sort_unstable();
    inputs.dedup();
    Ok(ViewPlan {
        key: root.smallest_key(),
        append_only: root.node.append_only(),
        times: root.times(),
        growth: crate::explain::growth_of_view(&root.node, &|id| relations.relation(id).ok()?.growth),
        schema: schema.clone(),
        inputs,
        notices: lowering.notices,
        root: root.node.with_on_error(options.on_error),
    })
}

/// The walk over one plan.
struct Lowering<'a> {
    relations: &'a dyn Relations,
    notices: Vec<String>,
    /// The recursions in whose recursive terms the walk is, the outermost first.
    recursions: Vec<recursive::Open>,
}

impl Lowering<'_> {
    fn node(&mut self, plan: &LogicalPlan) -> Result<Lowered> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Distinct(Distinct::All(input)) => self.distinct(input),
            LogicalPlan::RecursiveQuery(query) => self.recursive(query),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::EmptyRelation(empty) => self.empty_relation(empty),
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input),
            LogicalPlan::Distinct(Distinct::On(distinct)) => self.distinct_on(distinct, None),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Window(window) => self.window_functions(window),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.sort(&sort.input),
            LogicalPlan::Sort(_) => self.limited(plan, 0, None),
            LogicalPlan::Extension(extension) => self.extension(extension),
            other => Err(Error::unsupported(format!("{} in a materialized view", check::describe(other)))),
        }
    }

    fn extension(&mut self, extension: &Extension) -> Result<Lowered> {
        if let Some(operation) = extension.node.as_any().downcast_ref::<SetOperation>() {
            return self.set_operation(operation);
        }
        if let Some(join) = extension.node.as_any().downcast_ref::<AsOfJoin>() {
            return self.as_of(join);
        }
        match extension.node.as_any().downcast_ref::<WindowTvf>() {
            Some(window) => self.window(window),
            None => Err(Error::internal(format!("no operator for the plan node {}", extension.node.name()))),
        }
    }

    /// A view's rows have no order; PostgreSQL takes the clause too.
    fn sort(&mut self, input: &LogicalPlan) -> Result<Lowered> {
        self.notice("a materialized view keeps no order: its ORDER BY is left out");
        self.node(input)
    }

    /// Tells the user something, once.
    fn notice(&mut self, notice: &str) {
        if !self.notices.iter().any(|n| n == notice) {
            self.notices.push(notice.to_owned());
        }
    }
}

fn collect_inputs(node: &Node, out: &mut Vec<catalog::ObjectId>) {
    if let Node::Input(input) = node {
        out.push(input.relation);
    }
    for input in node.inputs() {
        collect_inputs(input, out);
    }
}

/// The optimizer and the operators must leave the types of the result as the query said.
fn check_types(root: &Lowered, schema: &SchemaRef) -> Result<()> {
    let types = |schema: &SchemaRef| schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
    let (planned, wanted) = (types(root.node.schema()), types(schema));
    if planned == wanted {
        return Ok(());
    }
    Err(Error::internal(format!("the operators yield {planned:?} where the query says {wanted:?}")))
}

/// A node without names of its own.
fn shared(node: Node) -> Arc<Node> {
    Arc::new(node)
}

#[cfg(test)]
mod tests;
