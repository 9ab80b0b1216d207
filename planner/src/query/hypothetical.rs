//! Hypothetical-set aggregates: the place that a row would have in its group, as counts of the rows that stand before it.

use std::ops::ControlFlow;

use sql::ast::helpers::attached_token::AttachedToken;
use sql::ast::{
    BinaryOperator, CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, OrderByExpr, Visitor,
};
use sql::walk;

use super::own_aggregate::{arguments_of, binary, number};
use super::rewrite::{call, cast};
use crate::error::ErrorKind;
use crate::{Error, Result};

/// What to compute instead of `name(value, …) WITHIN GROUP (ORDER BY key, …)`; `None`: it is another function, or a window function.
pub(super) fn expanded(name: &str, function: &Function) -> Option<Result<Expr>> {
    if function.within_group.is_empty() || !matches!(name, "rank" | "dense_rank" | "percent_rank" | "cume_dist") {
        return None;
    }
    Some(place(name, function))
}

fn place(name: &str, function: &Function) -> Result<Expr> {
    let values = arguments_of(function).unwrap_or_default();
    let keys = &function.within_group;
    if values.len() != keys.len() {
        let message = format!("function {name} is called with the wrong arguments");
        let hint = format!(
            "It takes as many values as there are keys in its order: {name}(value) WITHIN GROUP (ORDER BY key). Here are {} and {}.",
            values.len(),
            keys.len()
        );
        return Err(Error::new(ErrorKind::UndefinedFunction, message).with_hint(hint));
    }
    if function.over.is_some() {
        return Err(Error::unsupported(format!("OVER with the ordered-set aggregate {name}")));
    }
    let before = before(keys, &values);
    let rows = |condition: Option<Expr>| count(function, vec![number(1)], false, condition);
    let next = |count: Expr| binary(count, BinaryOperator::Plus, number(1));
    let share = |count: Expr, of: Expr| binary(cast(count, "float8"), BinaryOperator::Divide, of);
    let place = match name {
        "rank" => next(rows(Some(before))),
        "dense_rank" => {
            let keys = match keys.as_slice() {
                [key] => key.expr.clone(),
                keys => cast(call("json_build_array", keys.iter().map(|key| key.expr.clone()).collect()), "text"),
            };
            // A distinct NULL counts too: not as a value, but as one that is there.
            let of_null = |condition: &Expr| {
                let null = Expr::IsNull(Box::new(keys.clone()));
                let some = rows(Some(and(condition.clone(), null)));
                call("least", vec![some, number(1)])
            };
            let distinct = count(function, vec![keys.clone()], true, Some(before.clone()));
            next(binary(distinct, BinaryOperator::Plus, of_null(&before)))
        }
        "percent_rank" => {
            let share = share(rows(Some(before)), call("nullif", vec![rows(None), number(0)]));
            call("coalesce", vec![share, cast(number(0), "float8")])
        }
        _ => {
            let peers = keys.iter().zip(&values).map(|(key, value)| is_equal(&key.expr, value)).reduce(and);
            let condition = peers.map_or(before.clone(), |peers| or(before, peers));
            share(Expr::Nested(Box::new(next(rows(Some(condition))))), Expr::Nested(Box::new(next(rows(None)))))
        }
    };
    // What a value is made of must be the same for all rows of a group: it stands outside of an aggregate too, where that is checked.
    let of_columns = values.into_iter().filter(has_columns).map(|value| Expr::IsNull(Box::new(value))).reduce(or);
    Ok(match of_columns {
        None => Expr::Nested(Box::new(place)),
        Some(condition) => Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition, result: place.clone() }],
            else_result: Some(Box::new(place)),
        },
    })
}

fn has_columns(value: &Expr) -> bool {
    struct Columns;
    impl Visitor for Columns {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    walk::read(value, &mut Columns).is_break()
}

/// Whether the keys of a row stand before values.
fn before(keys: &[OrderByExpr], values: &[Expr]) -> Expr {
    let mut keys = keys.iter().zip(values).rev();
    let one = |(key, value): (&OrderByExpr, &Expr)| {
        let descends = key.options.asc == Some(false);
        let nulls_first = key.options.nulls_first.unwrap_or(descends);
        let op = if descends { BinaryOperator::Gt } else { BinaryOperator::Lt };
        let key = &key.expr;
        let (null, known) = if nulls_first { (key, value) } else { (value, key) };
        let by_null = and(Expr::IsNull(Box::new(null.clone())), Expr::IsNotNull(Box::new(known.clone())));
        or(compared(key, op, value), by_null)
    };
    let Some(last) = keys.next() else { return Expr::value(sql::ast::Value::Boolean(false)) };
    keys.fold(one(last), |rest, (key, value)| or(one((key, value)), and(is_equal(&key.expr, value), rest)))
}

fn is_equal(key: &Expr, value: &Expr) -> Expr {
    let null = |expr: &Expr| Expr::IsNull(Box::new(expr.clone()));
    or(compared(key, BinaryOperator::Eq, value), and(null(key), null(value)))
}

fn compared(key: &Expr, op: BinaryOperator, value: &Expr) -> Expr {
    let operand = |expr: &Expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::Function(_) => expr.clone(),
        other => Expr::Nested(Box::new(other.clone())),
    };
    binary(operand(key), op, operand(value))
}

fn and(a: Expr, b: Expr) -> Expr {
    Expr::Nested(Box::new(binary(a, BinaryOperator::And, b)))
}

fn or(a: Expr, b: Expr) -> Expr {
    Expr::Nested(Box::new(binary(a, BinaryOperator::Or, b)))
}

/// `count` over the rows of the call's group that its filter and a condition take.
fn count(function: &Function, args: Vec<Expr>, distinct: bool, condition: Option<Expr>) -> Expr {
    let filter = match (function.filter.clone(), condition) {
        (Some(filter), Some(condition)) => Some(Box::new(and(Expr::Nested(filter), condition))),
        (filter, condition) => filter.or(condition.map(Box::new)),
    };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("count")]),
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: distinct.then_some(DuplicateTreatment::Distinct),
            args: args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect(),
            clauses: vec![],
        }),
        filter,
        within_group: vec![],
        ..function.clone()
    })
}
