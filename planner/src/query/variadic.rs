//! `f(a, VARIADIC array)`: an array in the place of all the arguments of which a function takes any number. What is parsed of it is an argument of the
//! name [`sql::VARIADIC`].

use sql::Span;
use sql::ast::{BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value};

use super::rewrite::call;
use crate::{Error, Result};

/// A call that does the same with the array as it is; `None`: the function has no such argument.
///
/// # Errors
/// Of functions for which there is no such call.
pub(super) fn spread(name: &str, function: &Function, span: Option<Span>) -> Result<Option<Expr>> {
    let Some((others, array)) = marked(function) else { return Ok(None) };
    let joined = |separator: Expr| call("array_to_string", vec![array.clone(), separator]);
    let get = |document: &Expr, op: BinaryOperator| {
        let (left, right) = (Box::new(document.clone()), Box::new(Expr::Nested(Box::new(array.clone()))));
        Expr::Nested(Box::new(Expr::BinaryOp { left, op, right }))
    };
    let replacement = match (name, others.as_slice()) {
        ("concat", []) => joined(Expr::value(Value::SingleQuotedString(String::new()))),
        ("concat_ws", [separator]) => joined((*separator).clone()),
        ("format", [pattern]) => call("format_array", vec![(*pattern).clone(), array.clone()]),
        ("json_extract_path" | "jsonb_extract_path", [document]) => get(document, BinaryOperator::HashArrow),
        ("json_extract_path_text" | "jsonb_extract_path_text", [document]) => {
            get(document, BinaryOperator::HashLongArrow)
        }
        ("jsonb_build_array", []) => call("to_jsonb", vec![array.clone()]),
        _ => return Err(Error::unsupported(format!("VARIADIC in a call of {name}")).at(span)),
    };
    Ok(Some(replacement))
}

/// The arguments before the one that is marked, and that one.
fn marked(function: &Function) -> Option<(Vec<&Expr>, &Expr)> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let (last, others) = list.args.split_last()?;
    let array = match last {
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(array), .. }
        | FunctionArg::ExprNamed { name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(array), .. }
            if name.quote_style.is_some() && name.value == sql::VARIADIC =>
        {
            array
        }
        _ => return None,
    };
    let others = others.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    });
    Some((others.collect::<Option<Vec<_>>>()?, array))
}
