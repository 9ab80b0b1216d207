//! Arithmetic on integers that says so when its result has no room: DataFusion's operators wrap around.
//!
//! [`checked`] comes after types are settled and before anything is folded or optimized. The functions are called in a plan what the operators
//! were, so that names of columns stay.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::numeric;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use catalog::SqlType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::Error;
use crate::error::ErrorKind;

/// Puts functions that check in the place of `+`, `-` and `*` between integers, in subqueries too.
pub(super) fn checked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        let schema = super::typing::input_schema(&node)?;
        node.map_expressions(|expr| expr.transform_up(|expr| checked_operator(expr, &schema)))
    })?;
    Ok(replaced.data)
}

/// The operator that a call of one of these functions stands for.
pub(crate) fn as_operator(call: &ScalarFunction) -> Option<Expr> {
    let function: &Checked = call.func.inner().downcast_ref()?;
    let [left, right] = call.args.as_slice() else { return None };
    Some(Expr::BinaryExpr(BinaryExpr::new(Box::new(left.clone()), function.op, Box::new(right.clone()))))
}

fn checked_operator(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return Ok(Transformed::no(expr)) };
    let checks = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply) && {
        let integer = |expr: &Expr| expr.get_type(schema).ok().filter(|data_type| data_type.is_signed_integer());
        let left_type = integer(&left);
        left_type.is_some() && left_type == integer(&right)
    };
    if !checks {
        return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
    }
    let function = Checked { op, signature: Signature::any(2, Volatility::Immutable) };
    Ok(Transformed::yes(Arc::new(ScalarUDF::from(function)).call(vec![*left, *right])))
}

/// One operator on two integers of one type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.op {
            Operator::Plus => "integer_add",
            Operator::Minus => "integer_subtract",
            _ => "integer_multiply",
        }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let [left, right] = args else { return internal_err!("{} takes two numbers", self.name()) };
        Ok(format!("{} {} {}", left.schema_name(), self.op, right.schema_name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else { return internal_err!("{} takes two numbers", self.name()) };
        let operator = match self.op {
            Operator::Plus => numeric::add,
            Operator::Minus => numeric::sub,
            _ => numeric::mul,
        };
        let apply = |left: &dyn Datum, right: &dyn Datum| operator(left, right).map_err(|error| named(error, &args));
        Ok(match (left, right) {
            (ColumnarValue::Array(left), ColumnarValue::Array(right)) => ColumnarValue::Array(apply(left, right)?),
            (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => {
                ColumnarValue::Array(apply(left, &right.to_scalar()?)?)
            }
            (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => {
                ColumnarValue::Array(apply(&left.to_scalar()?, right)?)
            }
            (ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)) => {
                let result: ArrayRef = apply(&left.to_scalar()?, &right.to_scalar()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
            }
        })
    }
}

/// PostgreSQL's words for what Arrow calls an overflow.
fn named(error: ArrowError, args: &ScalarFunctionArgs) -> datafusion::common::DataFusionError {
    match error {
        ArrowError::ArithmeticOverflow(_) => {
            let sql_type = SqlType::of_data_type(args.return_field.data_type());
            let name = sql_type.map_or_else(|| "integer".to_owned(), |sql_type| sql_type.to_string());
            Error::new(ErrorKind::OutOfRange, format!("{name} out of range")).into()
        }
        other => other.into(),
    }
}
