//! `(a, b) [NOT] IN (SELECT x, y …)`, which DataFusion doesn't know, by EXISTS; and `(a, b) = (SELECT x, y …)`, by a subquery of what the comparison says
//! for its row. `= ANY` is IN, `<> ALL` is NOT IN; the other operators with ANY and ALL ask for a row of which the comparison is true, or isn't.
//!
//! Where false and NULL are the same (a condition, and what AND and OR connect in it), IN is whether there is an equal row, and NOT IN whether there is none
//! that is, or by a NULL may be, equal. Elsewhere the two are told apart.

use std::ops::ControlFlow;

use sql::ast::{BinaryOperator, Expr, Query, Select, SelectItem, SetExpr, TableFactor, VisitorMut};
use sql::walk;

use super::rewrite::subquery_of;
use super::row_value::fields;
use crate::{Error, Result};

/// Rewrites those of a SELECT; its subqueries have their own turn.
pub(super) fn in_select(select: &mut Select) -> Result<()> {
    for condition in [&mut select.selection, &mut select.having, &mut select.qualify].into_iter().flatten() {
        in_condition(condition)?;
    }
    match walk::change(select, &mut Values { depth: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// Whether an expression is a row beside a subquery.
pub(super) fn compares(expr: &Expr) -> bool {
    let (row, subquery) = match expr {
        Expr::InSubquery { expr, .. } => return fields(expr).is_some(),
        Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } | Expr::BinaryOp { left, right, .. } => {
            (left, right)
        }
        _ => return false,
    };
    let is_subquery = |expr: &Expr| matches!(expr, Expr::Subquery(_));
    let is_one = match &**subquery {
        Expr::Nested(inner) => is_subquery(inner),
        other => is_subquery(other),
    };
    is_one && fields(row).is_some()
}

fn in_condition(condition: &mut Expr) -> Result<()> {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            in_condition(left)?;
            in_condition(right)
        }
        Expr::Nested(inner) => in_condition(inner),
        other => {
            if let Some((rows, negated)) = Rows::of_membership(other) {
                *other = match negated {
                    false => rows.exists("EXISTS", "")?,
                    true => rows.exists("NOT EXISTS", "IS NOT FALSE")?,
                };
            } else if let Some((rows, op, any)) = Rows::of_quantified(other) {
                *other = match any {
                    true => rows.compared_with_some("EXISTS", op, "")?,
                    false => rows.compared_with_some("NOT EXISTS", op, "IS NOT TRUE")?,
                };
            }
            Ok(())
        }
    }
}

/// Those that are values.
struct Values {
    /// Queries around.
    depth: usize,
}

impl VisitorMut for Values {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Box<Error>> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Box<Error>> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Box<Error>> {
        match value(expr, self.depth) {
            Ok(Some(value)) => *expr = value,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(Box::new(error)),
        }
        ControlFlow::Continue(())
    }
}

fn value(expr: &Expr, depth: usize) -> Result<Option<Expr>> {
    if depth > 0 {
        return Ok(None);
    }
    if let Some((rows, op)) = Rows::of_comparison(expr) {
        return rows.compared(op).map(Some);
    }
    if let Some((rows, negated)) = Rows::of_membership(expr) {
        return decided(rows.exists("EXISTS", "")?, rows.exists("EXISTS", "IS NULL")?, negated).map(Some);
    }
    let Some((rows, op, any)) = Rows::of_quantified(expr) else { return Ok(None) };
    let first = rows.compared_with_some("EXISTS", op, if any { "" } else { "IS FALSE" })?;
    decided(first, rows.compared_with_some("EXISTS", op, "IS NULL")?, !any).map(Some)
}

/// What the first one decides, else the second one leaves open.
fn decided(first: Expr, second: Expr, negated: bool) -> Result<Expr> {
    let Expr::Case { mut conditions, else_result, case_token, end_token, operand } =
        sql::parse_expression(&format!("CASE WHEN a THEN {} WHEN b THEN NULL ELSE {negated} END", !negated))?
    else {
        return Err(Error::internal("a CASE was parsed"));
    };
    conditions[0].condition = first;
    conditions[1].condition = second;
    Ok(Expr::Case { conditions, else_result, case_token, end_token, operand })
}

/// A row and what it is compared with.
struct Rows {
    row: Vec<Expr>,
    subquery: Box<Query>,
}

impl Rows {
    /// IN, or NOT IN.
    fn of_membership(expr: &Expr) -> Option<(Self, bool)> {
        let (row, subquery, negated) = match expr {
            Expr::InSubquery { expr, subquery, negated } => (expr, subquery.clone(), *negated),
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => (left, subquery_of(right)?, false),
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => (left, subquery_of(right)?, true),
            _ => return None,
        };
        Some((Self { row: fields(row)?, subquery }, negated))
    }

    /// A comparison with the one row of a subquery.
    fn of_comparison(expr: &Expr) -> Option<(Self, &BinaryOperator)> {
        let Expr::BinaryOp { left, op, right } = expr else { return None };
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        if !matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
            return None;
        }
        Some((Self { row: fields(left)?, subquery: subquery_of(right)? }, op))
    }

    /// A comparison with any or all rows of a subquery; whether it is with any.
    fn of_quantified(expr: &Expr) -> Option<(Self, &BinaryOperator, bool)> {
        let (row, op, subquery, any) = match expr {
            Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, true),
            Expr::AllOp { left, compare_op, right } => (left, compare_op, right, false),
            _ => return None,
        };
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        if !matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
            return None;
        }
        Some((Self { row: fields(row)?, subquery: subquery_of(subquery)? }, op, any))
    }

    /// Whether there are rows of which the comparison, and what stands behind it, is true.
    fn compared_with_some(&self, exists: &str, op: &BinaryOperator, test: &str) -> Result<Expr> {
        let names: Vec<_> = (1..=self.row.len()).map(|number| format!("\"in:{number}\"")).collect();
        let row = names.join(", ");
        let text =
            format!("{exists} (SELECT 1 FROM (SELECT 1) AS \"in\" ({row}) WHERE (row({row}) {op} row({row})) {test})");
        let malformed = || Error::internal("an EXISTS was parsed");
        let mut expr = sql::parse_expression(&text)?;
        let Expr::Exists { subquery, .. } = &mut expr else { return Err(malformed()) };
        let SetExpr::Select(select) = &mut *subquery.body else { return Err(malformed()) };
        self.set_rows(select)?;
        let left = select.selection.as_mut().and_then(left_side).ok_or_else(malformed)?;
        *left = Expr::Tuple(self.row.clone());
        Ok(expr)
    }

    /// `(SELECT (a, b) op (x, y) FROM (SELECT …) AS "in" (x, y))`: NULL if there is no row, an error if there are several.
    fn compared(&self, op: &BinaryOperator) -> Result<Expr> {
        let names: Vec<_> = (1..=self.row.len()).map(|number| format!("\"in:{number}\"")).collect();
        let row = names.join(", ");
        let text = format!("(SELECT row({row}) {op} row({row}) FROM (SELECT 1) AS \"in\" ({row}))");
        let malformed = || Error::internal("a scalar subquery was parsed");
        let mut expr = sql::parse_expression(&text)?;
        let Expr::Subquery(query) = &mut expr else { return Err(malformed()) };
        let SetExpr::Select(select) = &mut *query.body else { return Err(malformed()) };
        let [SelectItem::UnnamedExpr(Expr::BinaryOp { left, .. })] = select.projection.as_mut_slice() else {
            return Err(malformed());
        };
        **left = Expr::Tuple(self.row.clone());
        self.set_rows(select)?;
        Ok(expr)
    }

    /// The subquery in the place that a template has for it.
    fn set_rows(&self, select: &mut Select) -> Result<()> {
        match select.from.first_mut().map(|from| &mut from.relation) {
            Some(TableFactor::Derived { subquery, .. }) => {
                **subquery = (*self.subquery).clone();
                Ok(())
            }
            _ => Err(Error::internal("a subquery in FROM was parsed")),
        }
    }

    /// Whether there are rows of which the equality, and what stands behind it, is true.
    fn exists(&self, exists: &str, test: &str) -> Result<Expr> {
        let names: Vec<_> = (1..=self.row.len()).map(|number| format!("\"in:{number}\"")).collect();
        let equal: Vec<_> = names.iter().map(|name| format!("a = \"in\".{name}")).collect();
        let condition = equal.join(" AND ");
        let condition = if test.is_empty() { condition } else { format!("({condition}) {test}") };
        let text = format!("{exists} (SELECT 1 FROM (SELECT 1) AS \"in\" ({}) WHERE {condition})", names.join(", "));
        let mut expr = sql::parse_expression(&text)?;
        let malformed = || Error::internal("an EXISTS was parsed");
        let Expr::Exists { subquery, .. } = &mut expr else { return Err(malformed()) };
        let SetExpr::Select(select) = &mut *subquery.body else { return Err(malformed()) };
        self.set_rows(select)?;
        let mut values = self.row.iter();
        if let Some(condition) = &mut select.selection {
            place_values(condition, &mut values);
        }
        Ok(expr)
    }
}

/// What stands on the left of the comparison in a template.
fn left_side(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::BinaryOp { left, .. } => Some(left),
        Expr::Nested(inner) | Expr::IsNull(inner) | Expr::IsFalse(inner) | Expr::IsNotTrue(inner) => left_side(inner),
        _ => None,
    }
}

/// The row's values in the places that the template has for them.
fn place_values<'a>(expr: &mut Expr, values: &mut impl Iterator<Item = &'a Expr>) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            place_values(left, values);
            place_values(right, values);
        }
        Expr::BinaryOp { left, .. } => {
            if let Some(value) = values.next() {
                **left = Expr::Nested(Box::new(value.clone()));
            }
        }
        Expr::Nested(inner) | Expr::IsNull(inner) | Expr::IsNotFalse(inner) => place_values(inner, values),
        _ => {}
    }
}
