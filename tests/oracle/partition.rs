//! Random queries over partitions: window functions, first rows, aggregates with an order. Orders name all columns, so that only rows
//! that are alike tie, and it doesn't matter which of them comes first.

use super::expression::{Kind, expression, predicate};
use super::query::{Column, Query, Relation, filter, outputs, query, source};
use crate::support::random::Random;

pub(super) fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "w");
    match random.below(4) {
        0 => windows(random, &from),
        1 => first_rows(random, &from),
        2 => first_of_each(random, &from),
        _ => aggregates(random, &from),
    }
}

fn names(columns: &[Column]) -> Vec<(String, Kind)> {
    columns.iter().map(|column| (column.name.clone(), column.kind)).collect()
}

/// All columns, beginning anywhere, in either direction.
fn order(random: &mut Random, columns: &[Column]) -> String {
    let first = random.below(columns.len() as u64) as usize;
    let items = (0..columns.len()).map(|index| {
        let direction = random.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
        format!("{}{direction}", columns[(first + index) % columns.len()].name)
    });
    items.collect::<Vec<_>>().join(", ")
}

/// `PARTITION BY …` of no, one or two columns.
fn partition_by(random: &mut Random, columns: &[Column]) -> String {
    let keys: Vec<_> = (0..random.below(3)).map(|_| random.pick(columns).name.clone()).collect();
    if keys.is_empty() { String::new() } else { format!("PARTITION BY {} ", keys.join(", ")) }
}

fn frame(random: &mut Random) -> String {
    let bounds = [
        "",
        " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
        " ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING",
        " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
    ];
    (*random.pick(&bounds)).to_owned()
}

fn windows(random: &mut Random, from: &Relation) -> Query {
    let mut expressions = names(&from.columns);
    for _ in 0..1 + random.below(3) {
        let over = format!("{}ORDER BY {}", partition_by(random, &from.columns), order(random, &from.columns));
        let (frame, int) = (frame(random), expression(random, &from.columns, Kind::Int, 1));
        let filter = match random.one_in(4) {
            true => format!(" FILTER (WHERE {})", predicate(random, &from.columns, 0)),
            false => String::new(),
        };
        let call = match random.below(12) {
            0 => format!("row_number() OVER ({over})"),
            1 => format!("rank() OVER ({over})"),
            2 => format!("dense_rank() OVER ({over})"),
            3 => format!("lag({int}) OVER ({over})"),
            4 => format!("lead({int}, 2) OVER ({over})"),
            5 => format!("first_value({int}) OVER ({over}{frame})"),
            6 => format!("last_value({int}) OVER ({over}{frame})"),
            7 => format!("sum({int}){filter} OVER ({over}{frame})"),
            8 => format!("count({int}){filter} OVER ({over}{frame})"),
            9 => format!("min({int}) OVER ({over}{frame})"),
            10 => format!("max({int}){filter} OVER ({over}{frame})"),
            _ => format!("sum({int}) OVER ({})", partition_by(random, &from.columns)),
        };
        expressions.push((call, Kind::Int));
    }
    let (list, columns) = outputs(&expressions);
    let tail = filter(random, &from.columns);
    query(&format!("SELECT {list}"), from, &tail, columns)
}

/// ORDER BY with LIMIT and OFFSET.
fn first_rows(random: &mut Random, from: &Relation) -> Query {
    let (list, columns) = outputs(&names(&from.columns));
    let mut tail = format!("{} ORDER BY {}", filter(random, &from.columns), order(random, &from.columns));
    if !random.one_in(4) {
        tail.push_str(&format!(" LIMIT {}", random.below(5)));
    }
    tail.push_str(&format!(" OFFSET {}", random.below(3)));
    query(&format!("SELECT {list}"), from, &tail, columns)
}

/// The first rows of each partition, by the place that a window function gives them.
fn first_of_each(random: &mut Random, from: &Relation) -> Query {
    let (list, mut columns) = outputs(&names(&from.columns));
    let function = random.pick(&["row_number()", "rank()"]);
    let over = format!("{}ORDER BY {}", partition_by(random, &from.columns), order(random, &from.columns));
    let tail = filter(random, &from.columns);
    let inner = query(&format!("SELECT {list}, {function} OVER ({over}) AS place"), from, &tail, columns.clone());
    let condition = random.pick(&["place <= 2", "place = 1", "place < 4", "3 >= place", "place = 2", "place > 1"]);
    let head: Vec<_> = columns.iter().map(|column| column.name.clone()).collect();
    let mut head = head.join(", ");
    if random.one_in(2) {
        head.push_str(", place");
        columns.push(Column { name: "place".to_owned(), kind: Kind::Int });
    }
    let text = |inner: &str| format!("SELECT {head} FROM ({inner}) AS ranked WHERE {condition}");
    Query::new(text(&inner.sql), text(&inner.oracle), columns)
}

/// Aggregates that need all rows of their group.
fn aggregates(random: &mut Random, from: &Relation) -> Query {
    let keys: Vec<_> = (0..random.below(3))
        .map(|_| {
            let kind = *random.pick(&[Kind::Int, Kind::Text]);
            (expression(random, &from.columns, kind, 1), kind)
        })
        .collect();
    let mut expressions = keys.clone();
    // DataFusion, which is asked the same, sorts a group in one way only.
    let order = order(random, &from.columns);
    for _ in 0..1 + random.below(3) {
        let (int, text) =
            (expression(random, &from.columns, Kind::Int, 1), expression(random, &from.columns, Kind::Text, 1));
        expressions.push(match random.below(7) {
            0 => (format!("string_agg({text}, ',' ORDER BY {order})"), Kind::Text),
            1 => (format!("bit_or({int})"), Kind::Int),
            2 => (format!("bit_xor({int})"), Kind::Int),
            3 => (format!("count(DISTINCT {int})"), Kind::Int),
            4 => (format!("regr_count({int}, {int})"), Kind::Int),
            5 => (format!("sum({int})"), Kind::Int),
            _ => ("count(*)".to_owned(), Kind::Int),
        });
    }
    let (list, columns) = outputs(&expressions);
    let mut tail = filter(random, &from.columns);
    if !keys.is_empty() {
        let positions: Vec<_> = (1..=keys.len()).map(|i| i.to_string()).collect();
        tail.push_str(&format!(" GROUP BY {}", positions.join(", ")));
    }
    query(&format!("SELECT {list}"), from, &tail, columns)
}
