//! Random queries that make rows of each row: elements of arrays, series, and the first rows of another table for each of them.

use super::expression::{Kind, expression, predicate};
use super::model::TABLES;
use super::query::{Column, Query, Relation, filter, outputs, source};
use crate::support::random::Random;

pub(super) fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "e");
    let key = from.columns.iter().find(|column| column.kind == Kind::Int).cloned();
    match (random.below(4), key) {
        (0, _) => in_list(random, &from),
        (1, Some(key)) => first_rows(random, &from, &key),
        _ => beside(random, &from),
    }
}

/// A call that gives rows, and the array that it stands for to DataFusion.
fn elements(random: &mut Random, columns: &[Column]) -> (String, String) {
    let (a, b) = (expression(random, columns, Kind::Int, 1), expression(random, columns, Kind::Int, 1));
    if random.one_in(3) {
        return (format!("generate_series(1, {a} % 4)"), format!("generate_series(1, CAST({a} % 4 AS BIGINT))"));
    }
    let array = format!("make_array(CAST({a} AS BIGINT), CAST({b} AS BIGINT))");
    (format!("unnest(ARRAY[{a}, {b}])"), array)
}

/// A name that no column of the relation has.
fn new_name(from: &Relation) -> String {
    let is_taken = |name: &String| from.columns.iter().any(|column| column.name == format!("e.{name}"));
    (0..).map(|number| format!("v{number}")).find(|name| !is_taken(name)).unwrap()
}

/// In the SELECT list.
fn in_list(random: &mut Random, from: &Relation) -> Query {
    let (call, array) = elements(random, &from.columns);
    let v = new_name(from);
    let mut expressions = Vec::new();
    for _ in 0..1 + random.below(2) {
        let kind = Kind::any(random);
        expressions.push((expression(random, &from.columns, kind, 1), kind));
    }
    let (list, mut columns) = outputs(&expressions);
    let tail = filter(random, &from.columns);
    columns.push(Column { name: v.clone(), kind: Kind::Int });
    let sql = format!("SELECT {list}, {call} AS {v} FROM {}{tail}", from.sql);
    // DataFusion itself takes a column and what the list calls so for one name.
    let rows = format!("SELECT e.*, unnest({array}) AS {v} FROM {}{tail}", from.oracle);
    Query::new(sql, format!("SELECT {list}, {v} FROM ({rows}) AS e"), columns)
}

/// In FROM, beside the row that they are made of.
fn beside(random: &mut Random, from: &Relation) -> Query {
    let v = new_name(from);
    let (call, array) = elements(random, &from.columns);
    let kept = random.one_in(2);
    let present = predicate(random, &from.columns, 0);
    let (join, array) = match (kept, call.strip_prefix("unnest(")) {
        // An array that may be NULL, of which an outer join makes a NULL.
        (true, Some(elements)) => (
            format!(
                " LEFT JOIN LATERAL unnest(CASE WHEN {present} THEN {} END) AS x({v}) ON true",
                elements.trim_end_matches(')')
            ),
            format!("CASE WHEN {present} THEN {array} ELSE make_array(CAST(NULL AS BIGINT)) END"),
        ),
        (true, None) | (false, _) => (format!(" CROSS JOIN LATERAL {call} AS x({v})"), array),
    };
    let oracle = format!("(SELECT e.*, unnest({array}) AS {v} FROM {}) AS e", from.oracle);
    selected(random, from, &v, &format!("{}{join}", from.sql), &oracle)
}

/// The first rows of a table for each row, by an equality.
fn first_rows(random: &mut Random, from: &Relation, key: &Column) -> Query {
    let v = new_name(from);
    let table = random.pick(&TABLES);
    let (direction, limit) = (random.pick(&["", " DESC"]), 1 + random.below(2));
    let join = if random.one_in(2) { "LEFT JOIN" } else { "JOIN" };
    let key = &key.name;
    let sql = format!(
        "{} {join} LATERAL (SELECT o.b AS {v} FROM {table} AS o WHERE o.a = {key} ORDER BY o.b{direction} LIMIT {limit}) AS x ON true",
        from.sql
    );
    let placed = format!(
        "SELECT o.a AS k, o.b AS {v}, row_number() OVER (PARTITION BY o.a ORDER BY o.b{direction}) AS place FROM {table} AS o"
    );
    let oracle = format!(
        "{} {join} (SELECT k, {v} FROM ({placed}) AS placed WHERE place <= {limit}) AS x ON x.k = {key}",
        from.oracle
    );
    selected(random, from, &v, &sql, &oracle)
}

/// Some columns of a relation that has the column `v` too.
fn selected(random: &mut Random, from: &Relation, v: &str, sql: &str, oracle: &str) -> Query {
    let mut all = from.columns.clone();
    all.push(Column { name: v.to_owned(), kind: Kind::Int });
    let mut expressions = vec![(v.to_owned(), Kind::Int)];
    for _ in 0..1 + random.below(2) {
        let kind = Kind::any(random);
        expressions.push((expression(random, &all, kind, 1), kind));
    }
    let (list, columns) = outputs(&expressions);
    let tail = filter(random, &all);
    let text = |from: &str| format!("SELECT {list} FROM {from}{tail}");
    Query::new(text(sql), text(oracle), columns)
}
