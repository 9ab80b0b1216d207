//! `x op ANY (array)` and `x op ALL (array)`, LIKE among the operators.

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{Expr as PlanExpr, ExprSchemable};
use sql::ast::{BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value};

use super::operator::{Class, class_of, comparable, is_unknown, missing_operator, resolve, sql_type_of};
use crate::functions::{OwnFunctions, quantified};
use crate::{Error, Result};

/// Elements of a constant array that are compared one by one, as IN does.
const MAX_LISTED: usize = 1000;

/// The call that stands for a comparison with the elements of an array.
pub(super) fn call(function: &str, op: &BinaryOperator, left: &Expr, right: &Expr) -> Result<Expr> {
    let name = match op {
        BinaryOperator::PGRegexMatch => "~".to_owned(),
        BinaryOperator::NotEq => "<>".to_owned(),
        op => op.to_string(),
    };
    if !quantified::is_known(&name) {
        let word = if function == "any_of" { "ANY" } else { "ALL" };
        return Err(Error::unsupported(format!("the operator {name} before {word}")));
    }
    let right = match right {
        Expr::Nested(inner) => &**inner,
        other => other,
    };
    Ok(called(function, &name, left, right))
}

fn called(function: &str, op: &str, left: &Expr, right: &Expr) -> Expr {
    let op = Expr::value(Value::SingleQuotedString(op.to_owned()));
    super::rewrite::call(function, vec![op, left.clone(), right.clone()])
}

/// `x LIKE ANY (array)`, which sqlparser takes for a kind of LIKE, and `x LIKE ALL (array)`, which it takes for a function.
pub(super) fn like(expr: &Expr) -> Option<Expr> {
    let (op, negated, any, left, pattern) = match expr {
        Expr::Like { negated, any, expr, pattern, escape_char: None } => ("~~", *negated, *any, expr, pattern),
        Expr::ILike { negated, any, expr, pattern, escape_char: None } => ("~~*", *negated, *any, expr, pattern),
        _ => return None,
    };
    let op = if negated { format!("!{op}") } else { op.to_owned() };
    if any {
        let array = match &**pattern {
            Expr::Nested(inner) => inner,
            _ => pattern,
        };
        return Some(called("any_of", &op, left, array));
    }
    let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = &**pattern else { return None };
    let function = match name.to_string().to_lowercase().as_str() {
        "any" | "some" => "any_of",
        "all" => "all_of",
        _ => return None,
    };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(array))] => Some(called(function, &op, left, array)),
        _ => None,
    }
}

/// The call with its operands' types settled; a comparison with a list of values where it is one.
pub(super) fn typed(mut function: ScalarFunction, schema: &DFSchema, own: &OwnFunctions) -> DataFusionResult<PlanExpr> {
    let any = function.name() == "any_of";
    let [op, value, array] = function.args.as_mut_slice() else { return Ok(PlanExpr::ScalarFunction(function)) };
    let PlanExpr::Literal(op_value, _) = &*op else { return Ok(PlanExpr::ScalarFunction(function)) };
    let op = op_value.to_string();
    let text_pattern = op.contains('~');
    if text_pattern {
        *value = resolve(std::mem::take(value), &catalog::SqlType::Text)?;
    }
    if is_unknown(array) {
        let element = if is_unknown(value) { catalog::SqlType::Text } else { sql_type_of(value, schema)? };
        *array = resolve(std::mem::take(array), &catalog::SqlType::Array(Box::new(element)))?;
    }
    let array_type = sql_type_of(array, schema)?;
    let catalog::SqlType::Array(element) = &array_type else {
        let word = if any { "ANY" } else { "ALL" };
        let message = format!("op {word} (array) requires array on right side");
        return Err(Error::new(crate::error::ErrorKind::WrongObjectType, message).into());
    };
    *value = resolve(std::mem::take(value), element)?;
    let value_type = sql_type_of(value, schema)?;
    let (left, right) = (class_of(&value.get_type(schema)?), class_of(&element.data_type()));
    let fits = comparable(left, right) && !(text_pattern && left != Class::Text && left != Class::Unknown);
    if !fits && (left != Class::Other || right != Class::Other) {
        return Err(missing_operator(&op, &value_type, element).into());
    }
    if let (true, Some(listed)) = (matches!((op.as_str(), any), ("=", true) | ("<>", false)), listed(array)) {
        let list = InList { expr: Box::new(std::mem::take(value)), list: listed, negated: !any };
        return Ok(PlanExpr::InList(list));
    }
    // An array that comes when the statement is run: DataFusion makes a list of values of it then.
    let is_parameter = array.exists(|expr| Ok(matches!(expr, PlanExpr::Placeholder(_))))?;
    if is_parameter && op == "=" && any {
        let args = vec![std::mem::take(array), std::mem::take(value)];
        return Ok(datafusion::functions_nested::array_has::array_has_udf().call(args));
    }
    // A number beside numbers of another type: both become the wider one.
    let (value_arrow, element_arrow) = (value.get_type(schema)?, element.data_type());
    if !text_pattern && value_arrow != element_arrow && left != Class::Unknown {
        let wider = datafusion::logical_expr::type_coercion::binary::comparison_coercion(&value_arrow, &element_arrow);
        if let Some(wider) = wider {
            let list = arrow::datatypes::DataType::List(std::sync::Arc::new(arrow::datatypes::Field::new(
                "item",
                wider.clone(),
                true,
            )));
            *value = super::operator::cast(std::mem::take(value), wider);
            *array = super::operator::cast(std::mem::take(array), list);
        }
    }
    let args = std::mem::take(&mut function.args);
    own.call(if any { "any_of" } else { "all_of" }, args)
}

/// The elements of an array that is written out.
fn listed(array: &PlanExpr) -> Option<Vec<PlanExpr>> {
    match array {
        PlanExpr::ScalarFunction(function) if function.name() == "make_array" && !function.args.is_empty() => {
            Some(function.args.clone())
        }
        PlanExpr::Literal(ScalarValue::List(list), _) => {
            let items = list.values();
            if items.is_empty()
                || items.len() > MAX_LISTED
                || matches!(items.data_type(), arrow::datatypes::DataType::List(_))
            {
                return None;
            }
            let value = |at| ScalarValue::try_from_array(items, at).ok().map(|value| PlanExpr::Literal(value, None));
            (0..items.len()).map(value).collect()
        }
        _ => None,
    }
}
