//! ASOF joins. DataFusion has none: the oracle numbers the matches of each left row, in the order of time, and takes the first.

use super::expression::{Kind, predicate};
use super::query::{Query, Relation, equality, outputs, source};
use crate::support::random::Random;

/// An ASOF join of two relations, perhaps with a condition above it.
pub(super) fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let (left, right) = (source(random, relations, depth, "l"), source(random, relations, depth, "r"));
    let kind = *random.pick(&[Kind::Int, Kind::Time, Kind::Numeric]);
    let (times, others) = (left.of_kind(kind), right.of_kind(kind));
    if times.is_empty() || others.is_empty() {
        return Query::generate(random, relations, depth);
    }
    let (time, other) = (random.pick(&times).name.clone(), random.pick(&others).name.clone());
    let (operator, order) = *random.pick(&[(">=", "DESC"), (">", "DESC"), ("<=", "ASC"), ("<", "ASC")]);
    let mut on = format!("{time} {operator} {other}");
    if !random.one_in(6) {
        on = format!("{} AND {on}", equality(random, &left, &right));
    }
    let join = if random.one_in(2) { "LEFT JOIN" } else { "JOIN" };
    let both: Vec<_> = left.columns.iter().chain(&right.columns).cloned().collect();
    let mut expressions = Vec::new();
    for _ in 0..1 + random.below(4) {
        let column = random.pick(&both).clone();
        expressions.push((column.name, column.kind));
    }
    let (list, columns) = outputs(&expressions);
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let names = names.join(", ");
    let tail = if random.one_in(3) { format!(" WHERE {}", predicate(random, &columns, 1)) } else { String::new() };

    let sql = format!("SELECT {list} FROM {} ASOF {join} {} ON {on}", left.sql, right.sql);
    let ties = right.columns.iter().map(|column| format!(", {} ASC NULLS FIRST", column.name)).collect::<String>();
    let numbered = format!("(SELECT l.*, row_number() OVER () AS copy FROM {}) AS l", left.oracle);
    let first = format!("row_number() OVER (PARTITION BY l.copy ORDER BY {other} {order}{ties}) AS place");
    let oracle = format!("SELECT {list}, {first} FROM {numbered} {join} {} ON {on}", right.oracle);
    Query::new(
        format!("SELECT {names} FROM ({sql}) AS met{tail}"),
        format!("SELECT {names} FROM (SELECT {names} FROM ({oracle}) AS numbered WHERE place = 1) AS met{tail}"),
        columns,
    )
}
