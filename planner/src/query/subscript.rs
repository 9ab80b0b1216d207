//! `array[i]`, `array[i:j]`, and of several dimensions `array[i][j]`, `array[i:j][k:l]`; `jsonb['a'][1]`.

use sql::ast::{AccessExpr, Expr, Subscript, Value};

use super::rewrite::call;

/// What takes the place of subscripts; `None` for other ways into a value, such as names of fields.
pub(super) fn of(root: &Expr, chain: &[AccessExpr]) -> Option<Expr> {
    let subscripts = chain.iter().map(|access| match access {
        AccessExpr::Subscript(subscript) => Some(subscript),
        AccessExpr::Dot(_) => None,
    });
    let subscripts = subscripts.collect::<Option<Vec<_>>>()?;
    let mut arguments = vec![root.clone()];
    if subscripts.iter().all(|subscript| matches!(subscript, Subscript::Index { .. })) {
        for subscript in subscripts {
            if let Subscript::Index { index } = subscript {
                arguments.push(index.clone());
            }
        }
        return Some(call("array_subscript", arguments));
    }
    let null = || Expr::value(Value::Null);
    for subscript in subscripts {
        match subscript {
            // Beside slices a number is the upper bound.
            Subscript::Index { index } => {
                arguments.push(Expr::value(Value::Number("1".to_owned(), false)));
                arguments.push(index.clone());
            }
            Subscript::Slice { lower_bound, upper_bound, stride: None } => {
                arguments.push(lower_bound.clone().unwrap_or_else(null));
                arguments.push(upper_bound.clone().unwrap_or_else(null));
            }
            Subscript::Slice { .. } => return None,
        }
    }
    Some(call("array_part", arguments))
}
