//! Correlated scalar subqueries in the one form from which DataFusion makes a join: an aggregate.
//!
//! - `(SELECT x … LIMIT 1)` becomes the first `x` in the order given.
//! - Any other that may have several rows becomes `only_value` of two of its values: it fails where there are two, as PostgreSQL does, and only
//!   for outer rows that are asked for.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Builder};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use datafusion::functions_aggregate::expr_fn::first_value;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Expr, FetchType, LogicalPlan, LogicalPlanBuilder,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, SkipType, Subquery, Volatility,
};

use super::lateral::takes_some;
use crate::Error;
use crate::error::ErrorKind;

/// Rewrites those of a plan, the innermost first. One without an outer row is left to DataFusion, unless its column is never NULL: the value is, where there
/// is no row, which DataFusion overlooks.
pub(super) fn aggregated(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewritten(plan, |subquery| {
        !subquery.outer_ref_columns.is_empty() || !subquery.subquery.schema().field(0).is_nullable()
    })
}

/// As [`aggregated`], for subqueries without an outer row, which become joins in a view too: one that may have several rows fails where it does.
pub(crate) fn single(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewritten(plan, |subquery| {
        subquery.outer_ref_columns.is_empty() && subquery.subquery.max_rows().is_none_or(|rows| rows > 1)
    })
}

fn rewritten(plan: LogicalPlan, is_wanted: fn(&Subquery) -> bool) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let one = expr.transform_up(|expr| match expr {
                Expr::ScalarSubquery(subquery) if is_wanted(&subquery) => one_row(subquery),
                other => Ok(Transformed::no(other)),
            })?;
            Ok(one.update_data(|expr| name.restore(expr)))
        })
    })?;
    if !rewritten.transformed {
        return Ok(rewritten.data);
    }
    let typed = rewritten.data.transform_up_with_subqueries(|node| Ok(Transformed::yes(node.recompute_schema()?)))?;
    Ok(typed.data)
}

/// The subquery as one that gives a row at most, or fails.
pub(super) fn one_row(subquery: Subquery) -> Result<Transformed<Expr>> {
    let plan = &subquery.subquery;
    let one_at_most = plan.max_rows().is_some_and(|rows| rows <= 1);
    // HAVING for each outer row would be a condition on the outer rows.
    let is_plain = subquery.outer_ref_columns.is_empty() || !is_restricted(plan) && !takes_some(plan, false);
    let may_be_left = plan.schema().field(0).is_nullable() && is_plain;
    let (input, value, is_list) = match first_row(plan) {
        _ if is_one_constant(plan) => return Ok(Transformed::no(Expr::ScalarSubquery(subquery))),
        Some(Ordered { input, value, order }) => (input, first_value(value, order), false),
        None if is_aggregate(plan) && !is_restricted(plan) || one_at_most && may_be_left => {
            return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
        }
        None => {
            let [column] = plan
                .schema()
                .columns()
                .try_into()
                .map_err(|_| Error::new(ErrorKind::Syntax, "subquery must return only one column"))?;
            (plan.as_ref().clone(), few_values().call(vec![Expr::Column(column)]), true)
        }
    };
    let (qualifier, field) = plan.schema().qualified_field(0);
    let result = value.schema_name().to_string();
    let plan = LogicalPlanBuilder::from(input)
        .aggregate(Vec::<Expr>::new(), vec![value])?
        .project(vec![Expr::Column(result.into()).alias_qualified(qualifier.cloned(), field.name())])?
        .build()?;
    let value = Expr::ScalarSubquery(subquery.with_plan(plan.into()));
    Ok(Transformed::yes(if is_list { only_value(value) } else { value }))
}

/// What comes first, of what, by which order.
struct Ordered {
    input: LogicalPlan,
    value: Expr,
    order: Vec<SortExpr>,
}

/// `… ORDER BY order LIMIT 1` over one column: a sort may see columns that a projection above it leaves out.
fn first_row(plan: &LogicalPlan) -> Option<Ordered> {
    let LogicalPlan::Limit(limit) = plan else { return None };
    let one = matches!(limit.get_fetch_type().ok()?, FetchType::Literal(Some(1)));
    let from_the_first = matches!(limit.get_skip_type().ok()?, SkipType::Literal(0));
    if !one || !from_the_first || limit.input.schema().fields().len() != 1 {
        return None;
    }
    let (below, picked) = match limit.input.as_ref() {
        LogicalPlan::Projection(projection) if matches!(projection.input.as_ref(), LogicalPlan::Sort(_)) => {
            (projection.input.as_ref(), projection.expr.first()?.clone().unalias())
        }
        below => (below, Expr::Column(below.schema().columns().first()?.clone())),
    };
    let (input, order) = match below {
        LogicalPlan::Sort(sort) => (sort.input.as_ref(), sort.expr.clone()),
        unordered => (unordered, Vec::new()),
    };
    if is_aggregate(input) {
        return None;
    }
    Some(Ordered { input: input.clone(), value: picked, order })
}

/// Whether an aggregate without groups makes the row.
pub(super) fn is_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_aggregate(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_aggregate(&alias.input),
        LogicalPlan::Filter(filter) => is_aggregate(&filter.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

/// Whether HAVING may take that row away.
fn is_restricted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_restricted(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_restricted(&alias.input),
        plan => matches!(plan, LogicalPlan::Filter(_)),
    }
}

/// Whether it is `(SELECT …)` without FROM.
fn is_one_constant(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_one_constant(&projection.input),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}

fn few_values() -> AggregateUDF {
    AggregateUDF::from(FewValues { signature: Signature::any(1, Volatility::Immutable) })
}

/// The values of the first two rows: enough to tell whether there is more than one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FewValues {
    signature: Signature,
}

impl AggregateUDFImpl for FewValues {
    fn name(&self) -> &str {
        "few_values"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(arg_types[0].clone(), true))
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        // The element says which SQL type it has.
        let item = arg_fields[0].as_ref().clone().with_name("item").with_nullable(true);
        Ok(Arc::new(Field::new(self.name(), DataType::List(item.into()), true)))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match args.return_field.data_type() {
            DataType::List(item) => Ok(Box::new(Few { item: item.clone(), values: Vec::new() })),
            other => internal_err!("few_values gives a list, not {other}"),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![args.return_field.as_ref().clone().with_name(format!("{}[values]", args.name)).into()])
    }
}

#[derive(Debug)]
struct Few {
    item: FieldRef,
    /// At most two.
    values: Vec<ScalarValue>,
}

impl Accumulator for Few {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in 0..values[0].len().min(2 - self.values.len()) {
            self.values.push(ScalarValue::try_from_array(&values[0], row)?);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list::<i32>();
        lists.iter().flatten().try_for_each(|values| self.update_batch(&[values]))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values = match self.values.as_slice() {
            [] => arrow::array::new_empty_array(self.item.data_type()),
            values => ScalarValue::iter_to_array(values.iter().cloned())?,
        };
        let offsets = OffsetBuffer::from_lengths([values.len()]);
        Ok(ScalarValue::List(Arc::new(ListArray::try_new(self.item.clone(), offsets, values, None)?)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.iter().map(ScalarValue::size).sum::<usize>()
    }
}

fn only_value(values: Expr) -> Expr {
    let function = OnlyValue { signature: Signature::any(1, Volatility::Immutable) };
    Arc::new(ScalarUDF::from(function)).call(vec![values])
}

/// The value of a list of one; NULL of an empty one; an error of a longer one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyValue {
    signature: Signature,
}

impl ScalarUDFImpl for OnlyValue {
    fn name(&self) -> &str {
        "only_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match &arg_types[0] {
            DataType::List(item) => Ok(item.data_type().clone()),
            other => internal_err!("only_value takes a list, not {other}"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match args.arg_fields[0].data_type() {
            DataType::List(item) => Ok(Arc::new(item.as_ref().clone().with_name(self.name()).with_nullable(true))),
            other => internal_err!("only_value takes a list, not {other}"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [list] = ColumnarValue::values_to_arrays(&args.args)?
            .try_into()
            .map_err(|_| DataFusionError::Internal("only_value takes one list".to_owned()))?;
        let lists = list.as_list::<i32>();
        let mut picked = UInt32Builder::with_capacity(lists.len());
        for row in 0..lists.len() {
            match lists.is_valid(row).then(|| lists.value_length(row)) {
                None | Some(0) => picked.append_null(),
                Some(1) => picked.append_value(lists.value_offsets()[row] as u32),
                Some(_) => {
                    let message = "more than one row returned by a subquery used as an expression";
                    return Err(Error::new(ErrorKind::CardinalityViolation, message).into());
                }
            }
        }
        Ok(ColumnarValue::Array(take(lists.values(), &picked.finish(), None)?))
    }
}
