//! ASOF joins. DataFusion has none: it numbers the matches of each left row, in the order of time, and takes the first; PostgreSQL takes it by
//! LATERAL with LIMIT 1.

use super::expression::{Kind, predicate};
use super::model::{LOG, TABLES};
use super::query::{self, equality, source};
use super::sql::{Query, Relation, Sql, outputs};
use crate::support::random::Random;

/// An ASOF join of two relations, perhaps with a condition above it.
pub fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let left = source(random, relations, depth, "l");
    let log_has_order = relations[LOG].columns.iter().all(|column| column.kind.has_order());
    let right = match log_has_order && random.one_in(3) {
        true => relations[LOG].clone().named("r"),
        false => source(random, relations, depth, "r").in_order("r"),
    };
    let kind = *random.pick(&[Kind::Int, Kind::Time, Kind::Numeric]);
    let (times, others) = (left.of_kind(kind), right.of_kind(kind));
    if times.is_empty() || others.is_empty() {
        return query::generate(random, relations, depth);
    }
    let (time, mut other) = (random.pick(&times).name.clone(), random.pick(&others).name.clone());
    let (mut operator, mut order) = *random.pick(&[(">=", "DESC"), (">", "DESC"), ("<=", "ASC"), ("<", "ASC")]);
    // The version of a source's row at the time of the left one: `log` has its time in `at`.
    let by_version = right.grows && kind == Kind::Time && !random.one_in(3);
    if by_version {
        (other, operator, order) = ("r.at".to_owned(), ">=", "DESC");
    }
    let mut on = format!("{time} {operator} {other}");
    let keys = if by_version || !random.one_in(6) { Some(equality(random, &left, &right)) } else { None };
    // Equalities that NULL doesn't meet are all that such a join takes.
    let keys = keys.map(|keys| keys.replace("IS NOT DISTINCT FROM", "="));
    if let Some(keys) = &keys {
        on = format!("{keys} AND {on}");
    }
    let join = if random.one_in(2) { "LEFT JOIN" } else { "JOIN" };
    let both: Vec<_> = left.columns.iter().chain(&right.columns).cloned().collect();
    let mut expressions = Vec::new();
    for _ in 0..1 + random.below(4) {
        let column = random.pick(&both).clone();
        expressions.push((column.name, column.kind));
    }
    let (list, columns) = outputs(&expressions);
    let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let tail = if random.one_in(3) { format!(" WHERE {}", predicate(random, &columns, 1)) } else { String::new() };

    // Of several right rows of one time the least is met, column by column.
    let ties = right.columns.iter().map(|column| format!(", {} ASC NULLS FIRST", column.name)).collect::<String>();
    let order = format!("{other} {order}{ties}");
    let batch = left.sql.batch.as_ref().zip(right.sql.batch.as_ref()).map(|(left, right)| {
        let numbered = format!("(SELECT l.*, row_number() OVER () AS copy FROM {left}) AS l");
        let place = format!("row_number() OVER (PARTITION BY l.copy ORDER BY {order}) AS place");
        let all = format!("SELECT {list}, {place} FROM {numbered} {join} {right} ON {on}");
        format!("SELECT {names} FROM (SELECT {names} FROM ({all}) AS numbered WHERE place = 1) AS met{tail}")
    });
    let nearest = format!("(SELECT * FROM {} WHERE {on} ORDER BY {order} LIMIT 1) AS r", right.sql.postgres);
    let view = match (by_version, keys) {
        (true, Some(keys)) => format!(
            "SELECT {list} FROM {} {join} {} FOR SYSTEM_TIME AS OF {time} AS r ON {keys}",
            left.sql.view, TABLES[LOG]
        ),
        _ => format!("SELECT {list} FROM {} ASOF {join} {} ON {on}", left.sql.view, right.sql.view),
    };
    let sql = Sql {
        view: format!("SELECT {names} FROM ({view}) AS met{tail}"),
        batch,
        postgres: format!(
            "SELECT {names} FROM (SELECT {list} FROM {} {join} LATERAL {nearest} ON true) AS met{tail}",
            left.sql.postgres
        ),
    };
    Query { sql, columns }
}
