//! `INTERSECT ALL` and `EXCEPT ALL` as nodes of their own.
//!
//! DataFusion plans them as semi and anti joins, which don't count how often a row stands on each side, and takes the left side's types. An
//! ad-hoc query numbers equal rows and joins on the number too ([`SetOperation::numbered`]); a view lowers the node to
//! [`crate::incremental::SetOperation`].

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, JoinConstraint, JoinType, NullEquality, Result, plan_err};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr_rewriter::coerce_plan_expr_for_schema;
use datafusion::logical_expr::{
    Distinct, Expr, ExprFunctionExt, Extension, Join, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore, col,
};
use datafusion::optimizer::analyzer::type_coercion::coerce_union_schema;

use super::typing::key;
use crate::functions::OwnFunctions;
use crate::incremental::SetKind;

/// See [the module](self). Output: the left side's columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetOperation {
    /// The left side.
    pub left: LogicalPlan,
    /// The right side: as many columns, of the same types.
    pub right: LogicalPlan,
    /// What is kept of the left side.
    pub kind: SetKind,
}

/// The set operation that a join of DataFusion's stands for, if it stands for one: with both sides of one type, and counting with `ALL`.
pub(crate) fn of_join(join: &Join, own: &OwnFunctions) -> Result<Option<LogicalPlan>> {
    let kind = match join.join_type {
        JoinType::LeftSemi => SetKind::Intersect,
        JoinType::LeftAnti => SetKind::Except,
        _ => return Ok(None),
    };
    // Nothing else in a bound plan takes NULLs as equal.
    if join.null_equality != NullEquality::NullEqualsNull || join.on.len() != join.left.schema().fields().len() {
        return Ok(None);
    }
    let (left, is_distinct) = match &*join.left {
        LogicalPlan::Distinct(Distinct::All(input)) => (input, true),
        _ => (&join.left, false),
    };
    let schema = coerce_union_schema(&[left.clone(), join.right.clone()])?;
    let left = coerce_plan_expr_for_schema(left.as_ref().clone(), &schema)?;
    let right = coerce_plan_expr_for_schema(join.right.as_ref().clone(), &schema)?;
    if !is_distinct {
        let node = Arc::new(SetOperation { left, right, kind });
        return Ok(Some(LogicalPlan::Extension(Extension { node })));
    }
    let on = keys(&left, own)?.into_iter().zip(keys(&right, own)?).collect();
    let (left, right) = (LogicalPlanBuilder::from(left).distinct()?.build()?, Arc::new(right));
    let nulls = NullEquality::NullEqualsNull;
    let by = JoinConstraint::On;
    let joined = Join::try_new(Arc::new(left), right, on, None, join.join_type, by, nulls, false)?;
    Ok(Some(LogicalPlan::Join(joined)))
}

/// What the columns of a plan are compared by.
fn keys(plan: &LogicalPlan, own: &OwnFunctions) -> Result<Vec<Expr>> {
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    columns.map(|column| Ok(key(&column, plan.schema(), own)?.unwrap_or(column))).collect()
}

impl SetOperation {
    /// The same with DataFusion's own nodes: equal rows of each side are numbered, and the number is one more column to join on.
    pub fn numbered(&self) -> Result<LogicalPlan> {
        let width = self.left.schema().fields().len();
        let names: Vec<String> = (0..width).map(|index| format!("c{index}")).collect();
        let side = |plan: &LogicalPlan, alias: &str| {
            let columns =
                plan.schema().columns().into_iter().zip(&names).map(|(column, name)| Expr::Column(column).alias(name));
            let number = row_number().partition_by(names.iter().map(col).collect()).build()?;
            let numbered = LogicalPlanBuilder::from(plan.clone()).project(columns)?.window([number.alias("copy")])?;
            numbered.alias(alias)?.build()
        };
        let keys = |alias: &str| {
            let key = |name: &String| Column::new(Some(alias.to_owned()), name);
            let copy = Column::new(Some(alias.to_owned()), "copy");
            names.iter().map(key).chain([copy]).collect::<Vec<_>>()
        };
        let join_type = match self.kind {
            SetKind::Intersect => JoinType::LeftSemi,
            SetKind::Except => JoinType::LeftAnti,
        };
        let (left, right) = (side(&self.left, "left_side")?, side(&self.right, "right_side")?);
        let on = (keys("left_side"), keys("right_side"));
        let named = self.left.schema().iter().zip(&names).map(|((qualifier, field), name)| {
            let column = Expr::Column(Column::new(Some("left_side"), name));
            column.alias_qualified(qualifier.cloned(), field.name())
        });
        LogicalPlanBuilder::from(left)
            .join_detailed(right, join_type, on, None, NullEquality::NullEqualsNull)?
            .project(named)?
            .build()
    }
}

impl PartialOrd for SetOperation {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.left.partial_cmp(&other.left) {
            Some(Ordering::Equal) => self.right.partial_cmp(&other.right),
            unequal => unequal,
        }
    }
}

impl UserDefinedLogicalNodeCore for SetOperation {
    fn name(&self) -> &str {
        match self.kind {
            SetKind::Intersect => "IntersectAll",
            SetKind::Except => "ExceptAll",
        }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.left.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return plan_err!("a set operation has two inputs");
        };
        Ok(Self { left, right, ..*self })
    }
}
