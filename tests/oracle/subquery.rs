//! Random queries with subqueries in expressions: EXISTS, IN, ANY and ALL, values, arrays; as conditions of their own, under OR and NOT, in the
//! SELECT list; with and without a reference to the outer row, by an equality or by anything.

use super::expression::{Kind, expression, predicate};
use super::query::{equality, source};
use super::sql::{Column, Query, Relation, Sql, column};
use crate::support::random::Random;

pub(super) fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let outer = source(random, relations, depth, "o");
    let mut list = Sql::text("");
    let mut columns = Vec::new();
    for number in 0..1 + random.below(3) {
        let (item, kind) = match random.below(4) {
            3 => {
                let kind = *random.pick(&[Kind::Int, Kind::Text, Kind::Numeric]);
                (value(random, relations, &outer, kind), kind)
            }
            2 if depth > 0 && random.one_in(3) => (array(random, relations, &outer), Kind::List),
            2 if depth > 0 => (condition(random, relations, &outer), Kind::Bool),
            _ => {
                let kind = Kind::any(random);
                (Sql::text(expression(random, &outer.columns, kind, 1)), kind)
            }
        };
        let comma = if number == 0 { "" } else { ", " };
        list = list.and(comma).with(&item).and(&format!(" AS c{number}"));
        columns.push(column(&format!("c{number}"), kind));
    }
    let mut sql = Sql::text("SELECT ").with(&list).and(" FROM ").with(&outer.sql);
    if !random.one_in(5) {
        sql = sql.and(" WHERE ").with(&conditions(random, relations, &outer));
    }
    Query { sql, columns }
}

/// Rows by subqueries that stand in subqueries, of which the innermost refers two levels out.
pub(super) fn deep(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let outer = source(random, relations, depth.saturating_sub(1), "o");
    let (inner, most) = (source(random, relations, 0, "i"), source(random, relations, 0, "n"));
    let both: Vec<Column> = outer.columns.iter().chain(&inner.columns).cloned().collect();
    let both = Relation::new(Sql::text(""), both);
    let mut int = |relation: &Relation| expression(random, &relation.columns, Kind::Int, 0);
    let (mine, theirs, deepest) = (int(&outer), int(&inner), int(&most));
    let (near, far) = (correlation(random, &outer, &inner), correlation(random, &outer, &most));
    let beside = if random.one_in(2) { format!(" AND {}", correlation(random, &inner, &most)) } else { String::new() };
    let not = if random.one_in(3) { "NOT " } else { "" };
    let innermost = |head: String| Sql::text(head).with(&most.sql).and(&format!(" WHERE {far}{beside})"));
    let condition = match random.below(4) {
        1 => innermost(format!("{theirs} {not}IN (SELECT {deepest} FROM ")),
        2 => innermost(format!("{theirs} >= (SELECT {}({deepest}) FROM ", random.pick(&["min", "max", "count"]))),
        3 => {
            let either = predicate(random, &both.columns, 1);
            Sql::text(format!("({either} OR ")).with(&innermost(format!("{not}EXISTS (SELECT 1 FROM "))).and(")")
        }
        _ => innermost(format!("{not}EXISTS (SELECT 1 FROM ")),
    };
    let near = if random.one_in(2) { format!("{near} AND ") } else { String::new() };
    let middle =
        |head: String| Sql::text(head).with(&inner.sql).and(&format!(" WHERE {near}")).with(&condition).and(")");
    let not = if random.one_in(3) { "NOT " } else { "" };
    let kind = Kind::any(random);
    let item = expression(random, &outer.columns, kind, 1);
    let head = Sql::text(format!("SELECT {item} AS c0"));
    let (sql, columns) = match random.below(5) {
        // In the list.
        3 => (
            head.and(", ").with(&middle(format!("(SELECT count({theirs}) FROM "))).and(" AS c1 FROM ").with(&outer.sql),
            vec![column("c0", kind), column("c1", Kind::Int)],
        ),
        form => {
            let condition = match form {
                1 => middle(format!("{mine} {not}IN (SELECT {theirs} FROM ")),
                4 => {
                    let quantifier = random.pick(&["<> ALL", "< ALL", "= ANY", ">= ANY"]);
                    middle(format!("{mine} {quantifier} (SELECT {theirs} FROM "))
                }
                2 => middle(format!("{mine} <= (SELECT {}({theirs}) FROM ", random.pick(&["max", "count"]))),
                _ => middle(format!("{not}EXISTS (SELECT 1 FROM ")),
            };
            (head.and(" FROM ").with(&outer.sql).and(" WHERE ").with(&condition), vec![column("c0", kind)])
        }
    };
    Query { sql: sql.not_for_batch(), columns }
}

/// One condition with a subquery, or two of any kind.
fn conditions(random: &mut Random, relations: &[Relation], outer: &Relation) -> Sql {
    let first = condition(random, relations, outer);
    match random.below(6) {
        3 => first.and(&format!(" AND {}", predicate(random, &outer.columns, 1))),
        4 => {
            let plain = predicate(random, &outer.columns, 1);
            Sql::text("(").with(&first).and(&format!(" OR {plain})"))
        }
        5 => {
            let second = condition(random, relations, outer);
            let operator = random.pick(&[" AND ", " OR "]);
            Sql::text("(").with(&first).and(operator).with(&second).and(")")
        }
        _ => first,
    }
}

/// What picks the inner rows for an outer one.
fn correlation(random: &mut Random, outer: &Relation, inner: &Relation) -> String {
    let both: Vec<Column> = outer.columns.iter().chain(&inner.columns).cloned().collect();
    match random.below(5) {
        4 => {
            let (left, right) =
                (expression(random, &outer.columns, Kind::Int, 0), expression(random, &inner.columns, Kind::Int, 0));
            format!("{left} {} {right}", random.pick(&["<", ">=", "<>"]))
        }
        3 => format!("{} AND {}", equality(random, outer, inner), predicate(random, &both, 1)),
        _ => equality(random, outer, inner),
    }
}

/// ` WHERE …` of a subquery: with the outer row, alone, or nothing.
fn inner_filter(random: &mut Random, outer: &Relation, inner: &Relation) -> String {
    match random.below(4) {
        0 | 1 => format!(" WHERE {}", correlation(random, outer, inner)),
        2 => format!(" WHERE {}", predicate(random, &inner.columns, 1)),
        _ => String::new(),
    }
}

/// A condition with a subquery.
pub fn condition(random: &mut Random, relations: &[Relation], outer: &Relation) -> Sql {
    let depth = usize::from(random.one_in(4));
    let inner = source(random, relations, depth, "i");
    let not = if random.one_in(3) { "NOT " } else { "" };
    let tail = inner_filter(random, outer, &inner);
    let kind = *random.pick(&[Kind::Int, Kind::Int, Kind::Text]);
    let (left, right) = (expression(random, &outer.columns, kind, 0), expression(random, &inner.columns, kind, 0));
    match random.below(10) {
        8 => row_comparison(random, outer, &inner, &tail),
        9 => Sql::text(format!("{not}CASE WHEN EXISTS (SELECT 1 FROM "))
            .with(&inner.sql)
            .and(&format!("{tail}) THEN {} ELSE {left} IS NULL END", predicate(random, &outer.columns, 0)))
            .not_for_batch(),
        0..=2 => Sql::text(format!("{not}EXISTS (SELECT 1 FROM ")).with(&inner.sql).and(&tail).and(")"),
        3 | 4 => {
            // DataFusion's NOT IN with a correlation and NULLs is not SQL's.
            let sql = Sql::text(format!("{left} {not}IN (SELECT {right} FROM ")).with(&inner.sql).and(&tail).and(")");
            if not.is_empty() { sql } else { sql.not_for_batch() }
        }
        5 => {
            let (operator, quantifier) = (random.pick(&["<", ">=", "=", "<>"]), random.pick(&["ANY", "ALL"]));
            Sql::text(format!("{left} {operator} {quantifier} (SELECT {right} FROM "))
                .with(&inner.sql)
                .and(&tail)
                .and(")")
                .not_for_batch()
        }
        6 => {
            let (second, other) =
                (expression(random, &outer.columns, Kind::Int, 0), expression(random, &inner.columns, Kind::Int, 0));
            let head = format!("({left}, {second}) {not}IN (SELECT {right}, {other} FROM ");
            Sql::text(head).with(&inner.sql).and(&tail).and(")").not_for_batch()
        }
        _ => {
            let left = expression(random, &outer.columns, Kind::Int, 0);
            Sql::text(format!("{left} {} ", random.pick(&[">=", "<", "="]))).with(&value(
                random,
                relations,
                outer,
                Kind::Int,
            ))
        }
    }
}

/// Two values compared with those of a row, or of any or all rows.
fn row_comparison(random: &mut Random, outer: &Relation, inner: &Relation, tail: &str) -> Sql {
    let mut pair = |relation: &Relation| {
        let (int, text) =
            (expression(random, &relation.columns, Kind::Int, 0), expression(random, &relation.columns, Kind::Text, 0));
        (int, text)
    };
    let ((a, s), (b, t)) = (pair(outer), pair(inner));
    let sql = match random.below(3) {
        0 => Sql::text(format!("({a}, {s}) {} (SELECT max({b}), min({t}) FROM ", random.pick(&["=", "<", ">="])))
            .with(&inner.sql)
            .and(&format!("{tail})")),
        1 => Sql::text(format!("({a}, {s}) {} ANY (SELECT {b}, {t} FROM ", random.pick(&["=", "<", ">="])))
            .with(&inner.sql)
            .and(&format!("{tail})")),
        _ => Sql::text(format!("({a}, {s}) {} ALL (SELECT {b}, {t} FROM ", random.pick(&["<>", "<", ">="])))
            .with(&inner.sql)
            .and(&format!("{tail})")),
    };
    sql.not_for_batch()
}

/// A subquery that is an array.
fn array(random: &mut Random, relations: &[Relation], outer: &Relation) -> Sql {
    let inner = source(random, relations, 0, "j");
    let tail = inner_filter(random, outer, &inner);
    let int = expression(random, &inner.columns, Kind::Int, 0);
    let direction = random.pick(&["", " DESC"]);
    Sql::text(format!("ARRAY(SELECT CAST({int} AS BIGINT) FROM "))
        .with(&inner.sql)
        .and(&format!("{tail} ORDER BY 1{direction})"))
        .not_for_batch()
}

/// A subquery that is one value.
pub fn value(random: &mut Random, relations: &[Relation], outer: &Relation, kind: Kind) -> Sql {
    let depth = usize::from(random.one_in(4));
    let inner = source(random, relations, depth, "j");
    let tail = inner_filter(random, outer, &inner);
    let value = expression(random, &inner.columns, kind, 0);
    match random.below(5) {
        // The first row, by all columns.
        3 => {
            let ordered = inner.columns.iter().filter(|column| column.kind.has_order());
            let order: Vec<_> = ordered.map(|column| column.name.clone()).chain(["1 + 1".to_owned()]).collect();
            let direction = random.pick(&["", " DESC"]);
            // A number alone would be a position.
            let first = if value.contains('.') && !value.contains('(') {
                format!("{value}{direction}, ")
            } else {
                String::new()
            };
            let tail = format!("{tail} ORDER BY {first}{} LIMIT 1)", order.join(", "));
            Sql::text(format!("(SELECT {value} FROM ")).with(&inner.sql).and(&tail).not_for_batch()
        }
        // Two aggregates in one expression, of which one is no NULL over no rows.
        4 if kind == Kind::Int => {
            Sql::text(format!("(SELECT count(*) + max({value}) FROM ")).with(&inner.sql).and(&format!("{tail})"))
        }
        2 if kind == Kind::Int => Sql::text("(SELECT count(*) FROM ").with(&inner.sql).and(&format!("{tail})")),
        _ => {
            let function = random.pick(&["max", "min"]);
            Sql::text(format!("(SELECT {function}({value}) FROM ")).with(&inner.sql).and(&format!("{tail})"))
        }
    }
}
