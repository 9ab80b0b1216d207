//! Random queries that make rows of each row: elements of arrays, series, and the first rows of another table for each of them.

use super::expression::{Kind, expression, predicate};
use super::model::TABLES;
use super::query::{filter, source};
use super::sql::{Column, Query, Relation, Sql, column, outputs};
use crate::support::random::Random;

pub(super) fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "e");
    let key = from.columns.iter().find(|column| column.kind == Kind::Int).cloned();
    match (random.below(12), key) {
        (10, _) => rows_of_values(random, &from),
        (11, _) => side_by_side(random, &from),
        (7, _) => texts(random, &from),
        (8, _) => documents(random, &from),
        (9, _) => numbered(random, &from),
        (6, _) => in_list(random, &from),
        (4 | 5, Some(key)) => first_rows(random, &from, &key),
        (2 | 3, _) => lateral(random, relations, &from),
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
    columns.push(column(&v, Kind::Int));
    let sql = Sql::text(format!("SELECT {list}, {call} AS {v} FROM ")).with(&from.sql).and(&tail);
    // DataFusion itself takes a column and what the list calls so for one name.
    let rows = Sql::text(format!("SELECT {list}, {v} FROM (SELECT e.*, unnest({array}) AS {v} FROM "));
    let rows = rows.with(&from.sql).and(&format!("{tail}) AS e"));
    Query { sql: Sql { batch: rows.batch, ..sql }, columns }
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
    let batch = Sql::text(format!("(SELECT e.*, unnest({array}) AS {v} FROM ")).with(&from.sql).and(") AS e");
    let sql = Sql { batch: batch.batch, ..from.sql.clone().and(&join) };
    selected(random, from, &[(v, Kind::Int)], sql)
}

/// With their places, beside the row that they are made of.
fn numbered(random: &mut Random, from: &Relation) -> Query {
    let v = new_name(from);
    let (call, _) = elements(random, &from.columns);
    let join = random.pick(&[" CROSS JOIN LATERAL", " LEFT JOIN LATERAL"]);
    let on = if join.contains("LEFT") { " ON true" } else { "" };
    let sql = from.sql.clone().and(&format!("{join} {call} WITH ORDINALITY AS x({v}, spot){on}"));
    selected(random, from, &[("spot".to_owned(), Kind::Int), (v, Kind::Int)], sql)
}

/// Rows that stand in the query, with values of the row beside them.
fn rows_of_values(random: &mut Random, from: &Relation) -> Query {
    let v = new_name(from);
    let mut row = || {
        let int = expression(random, &from.columns, Kind::Int, 0);
        format!("(CAST({int} AS BIGINT), CAST({} AS TEXT))", expression(random, &from.columns, Kind::Text, 0))
    };
    let rows = [row(), row(), "(7, 'seven')".to_owned()].join(", ");
    let sql = from.sql.clone().and(&format!(" CROSS JOIN LATERAL (VALUES {rows}) AS x({v}, word)")).not_for_batch();
    selected(random, from, &[(v, Kind::Int), ("word".to_owned(), Kind::Text)], sql)
}

/// Two arrays side by side, or a series of times.
fn side_by_side(random: &mut Random, from: &Relation) -> Query {
    let v = new_name(from);
    let (list, int) =
        (expression(random, &from.columns, Kind::List, 1), expression(random, &from.columns, Kind::Int, 0));
    let (call, more) = match random.below(3) {
        0 => (
            format!("unnest({list}, ARRAY['p', 'q']) AS x({v}, word)"),
            vec![(v, Kind::Int), ("word".to_owned(), Kind::Text)],
        ),
        1 => (
            format!("unnest({list}, CAST(ARRAY[{int}] AS BIGINT[])) WITH ORDINALITY AS x({v}, other, spot)"),
            vec![(v, Kind::Int), ("other".to_owned(), Kind::Int), ("spot".to_owned(), Kind::Int)],
        ),
        _ => {
            let time = expression(random, &from.columns, Kind::Time, 0);
            let end = format!("{time} + INTERVAL '2 minutes'");
            (format!("generate_series({time}, {end}, INTERVAL '1 minute') AS x({v})"), vec![(v, Kind::Time)])
        }
    };
    let sql = from.sql.clone().and(&format!(" CROSS JOIN LATERAL {call}")).not_for_batch();
    selected(random, from, &more, sql)
}

/// The parts of a text.
fn texts(random: &mut Random, from: &Relation) -> Query {
    let v = new_name(from);
    let text = expression(random, &from.columns, Kind::Text, 1);
    let call = match random.below(2) {
        0 => format!("regexp_split_to_table({text}, '[ x]')"),
        _ => format!("string_to_table({text}, ' ')"),
    };
    let sql = from.sql.clone().and(&format!(" CROSS JOIN LATERAL {call} AS x({v})")).not_for_batch();
    selected(random, from, &[(v, Kind::Text)], sql)
}

/// The parts of a JSON document, or the elements of an array column.
fn documents(random: &mut Random, from: &Relation) -> Query {
    let v = new_name(from);
    let json = expression(random, &from.columns, Kind::Json, 0);
    let array = format!("CASE WHEN jsonb_typeof({json}) = 'array' THEN {json} END");
    let object = format!("CASE WHEN jsonb_typeof({json}) = 'object' THEN {json} END");
    let (call, more) = match random.below(5) {
        0 => (format!("jsonb_array_elements({array}) AS x({v})"), vec![(v, Kind::Json)]),
        1 => (format!("jsonb_object_keys({object}) AS x({v})"), vec![(v, Kind::Text)]),
        2 => {
            (format!("jsonb_each({object}) AS x({v}, value)"), vec![(v, Kind::Text), ("value".to_owned(), Kind::Json)])
        }
        3 => (
            format!("jsonb_array_elements_text({array}) WITH ORDINALITY AS x({v}, spot)"),
            vec![(v, Kind::Text), ("spot".to_owned(), Kind::Int)],
        ),
        _ => {
            let list = expression(random, &from.columns, Kind::List, 1);
            (format!("unnest({list}) AS x({v})"), vec![(v, Kind::Int)])
        }
    };
    let sql = from.sql.clone().and(&format!(" CROSS JOIN LATERAL {call}")).not_for_batch();
    selected(random, from, &more, sql)
}

/// The first rows of a table for each row, by an equality.
fn first_rows(random: &mut Random, from: &Relation, key: &Column) -> Query {
    let v = new_name(from);
    let table = random.pick(&TABLES);
    let (direction, limit) = (random.pick(&["", " DESC"]), 1 + random.below(2));
    let join = if random.one_in(2) { "LEFT JOIN" } else { "JOIN" };
    let key = &key.name;
    let lateral = format!(
        " {join} LATERAL (SELECT o.b AS {v} FROM {table} AS o WHERE o.a = {key} ORDER BY o.b{direction} LIMIT {limit}) AS x ON true"
    );
    let placed = format!(
        "SELECT o.a AS k, o.b AS {v}, row_number() OVER (PARTITION BY o.a ORDER BY o.b{direction}) AS place FROM {table} AS o"
    );
    let batch = from
        .sql
        .clone()
        .and(&format!(" {join} (SELECT k, {v} FROM ({placed}) AS placed WHERE place <= {limit}) AS x ON x.k = {key}"));
    let sql = Sql { batch: batch.batch, ..from.sql.clone().and(&lateral) };
    selected(random, from, &[(v, Kind::Int)], sql)
}

/// A subquery for each row: first rows by any condition, aggregates, distinct values, window functions, unions.
fn lateral(random: &mut Random, relations: &[Relation], from: &Relation) -> Query {
    let v = new_name(from);
    let depth = usize::from(random.one_in(4));
    let inner = source(random, relations, depth, "i");
    let (mine, theirs) =
        (expression(random, &from.columns, Kind::Int, 0), expression(random, &inner.columns, Kind::Int, 0));
    let comparison = random.pick(&["=", "=", "<=", "<>", "IS NOT DISTINCT FROM"]);
    let mut tail = format!(" WHERE {theirs} {comparison} {mine}");
    if random.one_in(3) {
        let both: Vec<Column> = from.columns.iter().chain(&inner.columns).cloned().collect();
        tail.push_str(&format!(" AND {}", predicate(random, &both, 0)));
    }
    let value = expression(random, &inner.columns, Kind::Int, 0);
    let ordered = inner.columns.iter().filter(|column| column.kind.has_order());
    let order: Vec<_> = ordered.map(|column| column.name.clone()).chain(["1 + 1".to_owned()]).collect();
    let order = order.join(", ");
    let rows = |head: String, tail: String| Sql::text(head).with(&inner.sql).and(&tail);
    let subquery = match random.below(8) {
        6 => rows(
            format!("SELECT {value} AS {v} FROM "),
            format!("{tail} ORDER BY {value} + 0 FETCH FIRST {} ROWS WITH TIES", 1 + random.below(2)),
        ),
        0 => rows(format!("SELECT {value} AS {v} FROM "), tail),
        1 => rows(format!("SELECT count(*) + {mine} AS {v} FROM "), tail),
        2 => rows(format!("SELECT max({value}) AS {v} FROM "), tail),
        3 => rows(format!("SELECT DISTINCT {value} AS {v} FROM "), tail),
        4 => rows(
            format!("SELECT {value} AS {v} FROM "),
            format!("{tail} ORDER BY {value} + 0 DESC, {order} LIMIT {}", random.below(3)),
        ),
        5 => rows(format!("SELECT rank() OVER (ORDER BY {order}) AS {v} FROM "), tail),
        _ => rows(format!("SELECT count(*) AS {v} FROM "), format!("{tail} GROUP BY {value} + 0")),
    };
    let join = match random.below(4) {
        3 => {
            let on = predicate(random, &from.columns, 0);
            (" LEFT JOIN LATERAL (".to_owned(), format!(") AS x ON {on}"))
        }
        2 => (" LEFT JOIN LATERAL (".to_owned(), ") AS x ON true".to_owned()),
        _ => (" CROSS JOIN LATERAL (".to_owned(), ") AS x".to_owned()),
    };
    let sql = from.sql.clone().and(&join.0).with(&subquery).and(&join.1).not_for_batch();
    selected(random, from, &[(v, Kind::Int)], sql)
}

/// Some columns of a relation that has more columns too, the first of which is among them.
fn selected(random: &mut Random, from: &Relation, more: &[(String, Kind)], sql: Sql) -> Query {
    let mut all = from.columns.clone();
    all.extend(more.iter().map(|(name, kind)| column(name, *kind)));
    let mut expressions = vec![more[0].clone()];
    for _ in 0..1 + random.below(2) {
        let kind = Kind::any(random);
        expressions.push((expression(random, &all, kind, 1), kind));
    }
    let (list, columns) = outputs(&expressions);
    let tail = filter(random, &all);
    Query { sql: Sql::text(format!("SELECT {list} FROM ")).with(&sql).and(&tail), columns }
}
