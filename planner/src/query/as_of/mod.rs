//! Joins with one row of the right side, as nodes of their own: `ASOF JOIN`, the row nearest in time; and `FOR SYSTEM_TIME AS OF PROCTIME()`, the
//! row as it is when the left row comes.
//!
//! [`written`] turns the syntax into joins with a marked condition, which DataFusion's planner binds like any other; [`placed`] then puts an
//! [`AsOfJoin`] in the place of each. A view lowers it to an operator; an ad-hoc query joins with the current row as ever ([`mod@expanded`]), and finds
//! the nearest with a node of the engine's own.

mod expanded;
pub(super) mod written;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, JoinType, Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Extension, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, UserDefinedLogicalNodeCore, Volatility, build_join_schema,
};

use crate::Error;
use crate::incremental::Nearest;

pub use expanded::expanded;

/// Which right row a left row meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Meeting {
    /// The one of its keys that is nearest in time.
    Nearest,
    /// The one that matches it at the time at which it comes.
    Now,
}

impl Meeting {
    /// What the function is called that marks the condition of such a join: a name that SQL can't write without quotes.
    fn mark(self) -> &'static str {
        match self {
            Self::Nearest => "asof join",
            Self::Now => "temporal join",
        }
    }
}

/// See [the module](self). Output: the left side's columns, then the right side's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AsOfJoin {
    /// The left side.
    pub left: LogicalPlan,
    /// The right side.
    pub right: LogicalPlan,
    /// Which right row is met.
    pub meeting: Meeting,
    /// Left rows that meet nothing come, with NULL for the right side.
    pub outer: bool,
    /// All of these must hold.
    pub conditions: Vec<Expr>,
    schema: DFSchemaRef,
}

/// What the conditions say of a join by the nearest time.
pub struct ByTime {
    /// Equalities, of an expression of the left side and one of the right side.
    pub on: Vec<(Expr, Expr)>,
    /// What is compared: of the left side, of the right side.
    pub times: (Expr, Expr),
    /// How.
    pub nearest: Nearest,
}

impl AsOfJoin {
    fn try_new(
        left: LogicalPlan,
        right: LogicalPlan,
        meeting: Meeting,
        outer: bool,
        conditions: Vec<Expr>,
    ) -> Result<Self> {
        let schema = build_join_schema(left.schema(), right.schema(), &join_type(outer))?;
        // The optimizer gives a condition that it turns round the name that it had.
        let conditions = conditions.into_iter().map(Expr::unalias).collect();
        Ok(Self { left, right, meeting, outer, conditions, schema: schema.into() })
    }

    /// The conditions as pairs of what each side has, and those that are no equality of both sides.
    pub fn equalities(&self) -> (Vec<(Expr, Expr)>, Vec<Expr>) {
        let (mut pairs, mut others) = (Vec::new(), Vec::new());
        for condition in &self.conditions {
            match self.comparison(condition) {
                Some((left, Operator::Eq, right)) => pairs.push((left, right)),
                _ => others.push(condition.clone()),
            }
        }
        (pairs, others)
    }

    /// A comparison of the left with the right side, turned round if need be.
    fn comparison(&self, condition: &Expr) -> Option<(Expr, Operator, Expr)> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
        if is_of(left, self.left.schema()) && is_of(right, self.right.schema()) {
            return Some(((**left).clone(), *op, (**right).clone()));
        }
        let turned = is_of(left, self.right.schema()) && is_of(right, self.left.schema());
        turned.then(|| op.swap()).flatten().map(|op| ((**right).clone(), op, (**left).clone()))
    }

    /// What the conditions of a join by the nearest time say.
    ///
    /// # Errors
    /// If they are anything but equalities and one order, or what is compared has no order that can be searched.
    pub fn by_time(&self) -> crate::Result<ByTime> {
        let (on, others) = self.equalities();
        let spans = self.conditions.iter().filter_map(crate::lower::span_of).next();
        let hint = "Write ON a.k = b.k AND a.ts >= b.ts, with >=, >, <= or < between a time of each side.";
        let refused = |what: &str| Error::unsupported(what).with_hint(hint).at(spans);
        let [order] = others.as_slice() else {
            return Err(refused(match others.len() {
                0 => "an ASOF join without an order of both sides",
                _ => "an ASOF join with another condition than equalities and one order of both sides",
            }));
        };
        let (left, op, right) = self.comparison(order).ok_or_else(|| {
            refused("an ASOF join with another condition than equalities and one order of both sides")
        })?;
        let nearest = match op {
            Operator::GtEq => Nearest::AtOrBefore,
            Operator::Gt => Nearest::Before,
            Operator::LtEq => Nearest::AtOrAfter,
            Operator::Lt => Nearest::After,
            _ => return Err(refused("an ASOF join without an order of both sides")),
        };
        for (side, plan) in [(&left, &self.left), (&right, &self.right)] {
            if !is_time(&side.get_type(plan.schema())?) {
                let error = Error::unsupported("an ASOF join by what is no time or number");
                return Err(error.with_hint("Compare timestamps, dates, times or numbers.").at(spans));
            }
        }
        Ok(ByTime { on, times: (left, right), nearest })
    }
}

fn join_type(outer: bool) -> JoinType {
    if outer { JoinType::Left } else { JoinType::Inner }
}

/// Whether an expression has columns, all of one schema.
fn is_of(expr: &Expr, schema: &DFSchema) -> bool {
    let columns = expr.column_refs();
    !columns.is_empty() && columns.iter().all(|column| schema.has_column(column))
}

/// Types whose values are found by their order: as many bytes for each.
fn is_time(data_type: &DataType) -> bool {
    data_type.is_numeric() || matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Time64(_))
}

/// Puts a node in the place of each marked join of a bound plan.
pub(super) fn placed(plan: LogicalPlan) -> Result<LogicalPlan> {
    let placed = plan.transform_up_with_subqueries(|node| {
        let marked = match &node {
            LogicalPlan::Join(join) => join.filter.as_ref().and_then(mark_of),
            _ => None,
        };
        let (LogicalPlan::Join(join), Some((meeting, condition))) = (&node, marked) else {
            return Ok(Transformed::no(node));
        };
        let is_true = |expr: &&Expr| matches!(expr, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
        let conditions = split_conjunction(condition).into_iter().filter(|expr| !is_true(expr)).cloned().collect();
        let (left, right) = (join.left.as_ref().clone(), join.right.as_ref().clone());
        let node = AsOfJoin::try_new(left, right, meeting, join.join_type == JoinType::Left, conditions)?;
        if meeting == Meeting::Nearest {
            node.by_time()?;
        }
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(node) })))
    })?;
    // A mark elsewhere was in a join that has become something else.
    let plan = placed.data;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            if expr.exists(|expr| Ok(mark_of(expr).is_some()))? {
                return Err(Error::unsupported("an ASOF or temporal join with LATERAL").into());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(plan)
}

fn mark_of(expr: &Expr) -> Option<(Meeting, &Expr)> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    let mark = func.inner().downcast_ref::<Mark>()?;
    Some((mark.meeting, args.first()?))
}

/// The function that marks a condition, to be found by its name.
pub(super) fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    let meeting = [Meeting::Nearest, Meeting::Now].into_iter().find(|meeting| meeting.mark() == name)?;
    Some(Arc::new(ScalarUDF::from(Mark { meeting, signature: Signature::any(1, Volatility::Immutable) })))
}

/// Its argument, until the join that it marks is found.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mark {
    meeting: Meeting,
    signature: Signature,
}

impl ScalarUDFImpl for Mark {
    fn name(&self) -> &str {
        self.meeting.mark()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("a marked join was not planned")
    }
}

impl PartialOrd for AsOfJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.left.partial_cmp(&other.left) {
            Some(Ordering::Equal) => self.right.partial_cmp(&other.right),
            unequal => unequal,
        }
    }
}

impl UserDefinedLogicalNodeCore for AsOfJoin {
    fn name(&self) -> &str {
        match self.meeting {
            Meeting::Nearest => "AsOfJoin",
            Meeting::Now => "TemporalJoin",
        }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.conditions.clone()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.outer { "left" } else { "inner" };
        let conditions: Vec<_> = self.conditions.iter().map(ToString::to_string).collect();
        write!(f, "{}: {kind}, {}", self.name(), conditions.join(" AND "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return plan_err!("a join has two inputs");
        };
        Self::try_new(left, right, self.meeting, self.outer, exprs)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // Of several right rows of one time the least is met, by all its columns.
        let left_width = self.left.schema().fields().len();
        let all_right = (0..self.right.schema().fields().len()).collect();
        let mut of_left: Vec<usize> = output_columns.iter().copied().filter(|column| *column < left_width).collect();
        for column in self.conditions.iter().flat_map(Expr::column_refs) {
            of_left.extend(self.left.schema().maybe_index_of_column(column));
        }
        of_left.sort_unstable();
        of_left.dedup();
        Some(vec![of_left, all_right])
    }
}
