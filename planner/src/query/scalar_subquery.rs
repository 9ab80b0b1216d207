//! Correlated scalar subqueries in the one form from which DataFusion makes a join: an aggregate.
//!
//! - `(SELECT x … LIMIT 1)` becomes the first `x` in the order given.
//! - Any other that may have several rows becomes `single_value(x)`, which fails where there are two, as PostgreSQL does.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::functions_aggregate::expr_fn::first_value;
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, FetchType, LogicalPlan, LogicalPlanBuilder, Signature, SkipType,
    Subquery, Volatility,
};

use crate::Error;
use crate::error::ErrorKind;

/// Rewrites those of a plan, the innermost first.
pub(super) fn aggregated(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::ScalarSubquery(subquery) if !subquery.outer_ref_columns.is_empty() => one_row(subquery),
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(rewritten.data)
}

fn one_row(subquery: Subquery) -> Result<Transformed<Expr>> {
    let plan = &subquery.subquery;
    let (input, value) = match first_row(plan) {
        Some(Ordered { input, value, order }) => (input, first_value(value, order)),
        None if is_aggregate(plan) || plan.max_rows().is_some_and(|rows| rows <= 1) => {
            return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
        }
        None => {
            let [column] = plan
                .schema()
                .columns()
                .try_into()
                .map_err(|_| Error::new(ErrorKind::Syntax, "subquery must return only one column"))?;
            (plan.as_ref().clone(), single_value().call(vec![Expr::Column(column)]))
        }
    };
    let (qualifier, field) = plan.schema().qualified_field(0);
    let result = value.schema_name().to_string();
    let plan = LogicalPlanBuilder::from(input)
        .aggregate(Vec::<Expr>::new(), vec![value])?
        .project(vec![Expr::Column(result.into()).alias_qualified(qualifier.cloned(), field.name())])?
        .build()?;
    Ok(Transformed::yes(Expr::ScalarSubquery(subquery.with_plan(plan.into()))))
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
fn is_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_aggregate(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_aggregate(&alias.input),
        LogicalPlan::Filter(filter) => is_aggregate(&filter.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

fn single_value() -> AggregateUDF {
    AggregateUDF::from(SingleValue { signature: Signature::any(1, Volatility::Immutable) })
}

/// The value of the only row; NULL if there is none.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleValue {
    signature: Signature,
}

impl AggregateUDFImpl for SingleValue {
    fn name(&self) -> &str {
        "single_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::new(arg_fields[0].as_ref().clone().with_name(self.name()).with_nullable(true)))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single { value: ScalarValue::try_from(args.return_field.data_type())?, rows: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let value = args.return_field.as_ref().clone().with_name(format!("{}[value]", args.name));
        let rows = Field::new(format!("{}[rows]", args.name), DataType::Int64, false);
        Ok(vec![value.into(), rows.into()])
    }
}

#[derive(Debug)]
struct Single {
    value: ScalarValue,
    rows: i64,
}

impl Single {
    fn add(&mut self, values: &ArrayRef, row: usize, rows: i64) -> Result<()> {
        self.rows += rows;
        if self.rows > 1 {
            let message = "more than one row returned by a subquery used as an expression";
            return Err(Error::new(ErrorKind::CardinalityViolation, message).into());
        }
        self.value = ScalarValue::try_from_array(values, row)?;
        Ok(())
    }
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values[0].len() {
            0 => Ok(()),
            rows => self.add(&values[0], 0, rows as i64),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, rows] = states else { return internal_err!("single_value has two states") };
        let rows = datafusion::common::cast::as_int64_array(rows)?;
        for row in 0..rows.len() {
            if rows.value(row) > 0 {
                self.add(values, row, rows.value(row))?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(Some(self.rows))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size() - size_of_val(&self.value)
    }
}
