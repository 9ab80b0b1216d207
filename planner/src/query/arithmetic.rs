//! Arithmetic that says so when its result has no room: DataFusion's operators on integers wrap around, those on floating point give infinity.
//!
//! [`checked`] comes after types are settled and before anything is folded or optimized. The functions are called in a plan what the operators
//! were, so that names of columns stay.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum, Float64Array};
use arrow::compute::cast;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use catalog::SqlType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::Error;
use crate::error::ErrorKind;

/// Puts functions that check in the place of `+`, `-` and `*` between integers, and of these and `/` between floats, in subqueries too.
pub(super) fn checked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        let schema = super::typing::input_schema(&node)?;
        // A key of ORDER BY within a call is shown in the name of the call's column as it is, and not by its name.
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let is_set = matches!(expr, Expr::GroupingSet(_));
            let checked = expr.transform_up(|expr| checked_operator(expr, &schema))?;
            Ok(if is_set { checked } else { checked.update_data(|expr| name.restore(expr)) })
        })
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
    let sums = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply);
    let checked = (sums || op == Operator::Divide)
        .then(|| {
            let numbers = |expr: &Expr| {
                let data_type = expr.get_type(schema).ok()?;
                (sums && data_type.is_signed_integer() || data_type.is_floating()).then_some(data_type)
            };
            numbers(&left).filter(|left| Some(left) == numbers(&right).as_ref())
        })
        .flatten();
    let Some(data_type) = checked else {
        return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
    };
    let signature = Signature::any(2, Volatility::Immutable);
    let function = Checked { op, floats: data_type.is_floating(), signature };
    Ok(Transformed::yes(Arc::new(ScalarUDF::from(function)).call(vec![*left, *right])))
}

/// One operator on two integers, or two floats, of one type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    floats: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match (self.op, self.floats) {
            (Operator::Plus, false) => "integer_add",
            (Operator::Minus, false) => "integer_subtract",
            (_, false) => "integer_multiply",
            (Operator::Plus, true) => "float_add",
            (Operator::Minus, true) => "float_subtract",
            (Operator::Multiply, true) => "float_multiply",
            (_, true) => "float_divide",
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
            Operator::Divide => numeric::div,
            _ => numeric::mul,
        };
        let apply = |left: &dyn Datum, right: &dyn Datum| -> Result<ArrayRef> {
            let result = operator(left, right).map_err(|error| named(error, &args))?;
            if self.floats {
                in_range(self.op, left, right, &result)?;
            }
            Ok(result)
        };
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

/// `Err` for a division by zero, and for a result that is infinite, or zero, where PostgreSQL's is neither.
fn in_range(op: Operator, left: &dyn Datum, right: &dyn Datum, result: &ArrayRef) -> Result<()> {
    let suspicious = |result: f64| !result.is_finite() || result == 0.0;
    let results = floats(result)?;
    if results.iter().flatten().all(|result| !suspicious(result)) && op != Operator::Divide {
        return Ok(());
    }
    let ((left, one_left), (right, one_right)) = (left.get(), right.get());
    let (left, right) = (floats(left)?, floats(right)?);
    for row in (0..results.len()).filter(|row| results.is_valid(*row)) {
        let (left, right) = (left.value(if one_left { 0 } else { row }), right.value(if one_right { 0 } else { row }));
        let result = results.value(row);
        if op == Operator::Divide && right == 0.0 && !left.is_nan() {
            return Err(Error::new(ErrorKind::DivisionByZero, "division by zero").into());
        }
        let beyond = if result.is_infinite() && left.is_finite() && right.is_finite() {
            "overflow"
        } else if result == 0.0
            && left != 0.0
            && (op == Operator::Multiply && right != 0.0 || op == Operator::Divide && right.is_finite())
        {
            "underflow"
        } else {
            continue;
        };
        return Err(Error::new(ErrorKind::OutOfRange, format!("value out of range: {beyond}")).into());
    }
    Ok(())
}

fn floats(array: &dyn Array) -> Result<Float64Array> {
    Ok(cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
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
