//! Random queries over partitions: window functions, first rows, aggregates with an order. Orders name all columns, so that only rows
//! that are alike tie, and it doesn't matter which of them comes first.

use super::expression::{Kind, expression, predicate};
use super::query::{filter, source};
use super::sql::{Column, Query, Relation, Sql, column, outputs, select};
use crate::support::random::Random;

pub(super) fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "w").in_order("w");
    match random.below(14) {
        0 | 1 | 9 | 10 => windows(random, &from),
        2 | 11 => ranges(random, &from),
        3 => first_rows(random, &from),
        4 => with_ties(random, &from),
        5 | 6 => first_of_each(random, &from),
        7 => distinct_on(random, &from),
        // 8, 12 and 13.
        _ => aggregates(random, &from),
    }
}

fn names(columns: &[Column]) -> Vec<(String, Kind)> {
    columns.iter().map(|column| (column.name.clone(), column.kind)).collect()
}

fn direction(random: &mut Random) -> &'static str {
    random.pick::<&'static str>(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"])
}

/// All columns, beginning anywhere, in either direction.
fn order(random: &mut Random, columns: &[Column]) -> String {
    let first = random.below(columns.len() as u64) as usize;
    let items = (0..columns.len()).map(|index| {
        let direction = direction(random);
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
        " ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING",
        " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
        " GROUPS BETWEEN CURRENT ROW AND 1 FOLLOWING",
        " GROUPS BETWEEN 2 PRECEDING AND 1 FOLLOWING",
    ];
    let bounds = *random.pick(&bounds);
    if bounds.is_empty() || !random.one_in(3) {
        return bounds.to_owned();
    }
    format!("{bounds} EXCLUDE {}", random.pick(&["CURRENT ROW", "GROUP", "TIES", "NO OTHERS"]))
}

fn call_filter(random: &mut Random, columns: &[Column]) -> String {
    if random.one_in(4) { format!(" FILTER (WHERE {})", predicate(random, columns, 0)) } else { String::new() }
}

fn windows(random: &mut Random, from: &Relation) -> Query {
    // Of rows that are alike, each may come first in one order and last in another.
    let are_distinct = random.one_in(2);
    let distinct = are_distinct.then(|| {
        let (list, columns) = outputs(&names(&from.columns));
        select(&format!("SELECT DISTINCT {list}"), from, "", columns).as_subquery().named("w")
    });
    let from = distinct.as_ref().unwrap_or(from);
    let one = format!("{}ORDER BY {}", partition_by(random, &from.columns), order(random, &from.columns));
    let mut expressions = names(&from.columns);
    for _ in 0..1 + random.below(3) {
        let over = match are_distinct {
            true => format!("{}ORDER BY {}", partition_by(random, &from.columns), order(random, &from.columns)),
            false => one.clone(),
        };
        let (frame, int) = (frame(random), expression(random, &from.columns, Kind::Int, 1));
        let filter = call_filter(random, &from.columns);
        let text = expression(random, &from.columns, Kind::Text, 0);
        expressions.push(match random.below(27) {
            19 => (format!("lag({int}, 1, 0) OVER ({over})"), Kind::Int),
            20 => (format!("lead(CAST({text} AS TEXT)) OVER ({over})"), Kind::Text),
            21 => (format!("min({text}){filter} OVER ({over}{frame})"), Kind::Text),
            22 => (format!("string_agg({text}, ','){filter} OVER ({over}{frame})"), Kind::Text),
            23 => (format!("array_agg(CAST({int} AS BIGINT)) OVER ({over}{frame})"), Kind::List),
            24 => (format!("first_value({int}) IGNORE NULLS OVER ({over}{frame})"), Kind::Int),
            25 => (format!("bool_or({}) OVER ({over}{frame})", predicate(random, &from.columns, 0)), Kind::Bool),
            26 => {
                let numeric = expression(random, &from.columns, Kind::Numeric, 0);
                (format!("sum({numeric}){filter} OVER ({over}{frame})"), Kind::Numeric)
            }
            // PostgreSQL doesn't have it.
            16 => (format!("lag({int}) IGNORE NULLS OVER ({over})"), Kind::Int),
            17 => (format!("last_value({int}) IGNORE NULLS OVER ({over}{frame})"), Kind::Int),
            0 => (format!("row_number() OVER ({over})"), Kind::Int),
            1 => (format!("rank() OVER ({over})"), Kind::Int),
            2 => (format!("dense_rank() OVER ({over})"), Kind::Int),
            3 => (format!("lag({int}) OVER ({over})"), Kind::Int),
            4 => (format!("lead({int}, 2) OVER ({over})"), Kind::Int),
            5 => (format!("first_value({int}) OVER ({over}{frame})"), Kind::Int),
            6 => (format!("last_value({int}) OVER ({over}{frame})"), Kind::Int),
            7 => (format!("sum({int}){filter} OVER ({over}{frame})"), Kind::Numeric),
            8 => (format!("count({int}){filter} OVER ({over}{frame})"), Kind::Int),
            9 => (format!("min({int}) OVER ({over}{frame})"), Kind::Int),
            10 => (format!("max({int}){filter} OVER ({over}{frame})"), Kind::Int),
            11 => (format!("ntile(3) OVER ({over})"), Kind::Int),
            12 => (format!("percent_rank() OVER ({over})"), Kind::Float),
            13 => (format!("cume_dist() OVER ({over})"), Kind::Float),
            14 => (format!("nth_value({int}, 2) OVER ({over}{frame})"), Kind::Int),
            15 => {
                let float = expression(random, &from.columns, Kind::Float, 0);
                (format!("avg({float}){filter} OVER ({over}{frame})"), Kind::Float)
            }
            _ => (format!("sum({int}) OVER ({})", partition_by(random, &from.columns)), Kind::Numeric),
        });
    }
    let (list, columns) = outputs(&expressions);
    let tail = filter(random, &from.columns);
    if random.one_in(6) {
        let list = list.replace(&format!("OVER ({one})"), "OVER w0");
        return select(&format!("SELECT {list}"), from, &format!("{tail} WINDOW w0 AS ({one})"), columns);
    }
    select(&format!("SELECT {list}"), from, &tail, columns)
}

/// Frames of all rows whose value is near: ties are in one frame, so that one column is order enough.
fn ranges(random: &mut Random, from: &Relation) -> Query {
    let mut expressions = names(&from.columns);
    let kind = *random.pick(&[Kind::Int, Kind::Numeric, Kind::Float, Kind::Time]);
    let columns = from.of_kind(kind);
    let by = match columns.is_empty() {
        true => expression(random, &from.columns, kind, 0),
        false => random.pick(&columns).name.clone(),
    };
    let (one, two) = match kind {
        Kind::Time => ("INTERVAL '1 minute'", "INTERVAL '2 minutes'"),
        _ => ("1", "2"),
    };
    let is_column = by.contains('.') && !by.contains('(') && !by.contains('\'');
    for _ in 0..1 + random.below(2) {
        let bounds = [
            String::new(),
            format!(" RANGE BETWEEN {one} PRECEDING AND CURRENT ROW"),
            format!(" RANGE BETWEEN {two} PRECEDING AND {one} PRECEDING"),
            format!(" RANGE BETWEEN {one} PRECEDING AND {two} FOLLOWING"),
            format!(" RANGE BETWEEN CURRENT ROW AND {one} FOLLOWING"),
            " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING".to_owned(),
            " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW".to_owned(),
            " GROUPS BETWEEN 1 FOLLOWING AND 2 FOLLOWING".to_owned(),
        ];
        let mut bound = if is_column { random.pick(&bounds).clone() } else { String::new() };
        if !bound.is_empty() && random.one_in(3) {
            bound.push_str(random.pick::<&'static str>(&[" EXCLUDE CURRENT ROW", " EXCLUDE GROUP", " EXCLUDE TIES"]));
        }
        let over = format!("{}ORDER BY {by}{}{bound}", partition_by(random, &from.columns), direction(random));
        let int = expression(random, &from.columns, Kind::Int, 0);
        let filter = call_filter(random, &from.columns);
        expressions.push(match random.below(5) {
            0 => (format!("count(*){filter} OVER ({over})"), Kind::Int),
            1 => (format!("sum({int}) OVER ({over})"), Kind::Numeric),
            2 => (format!("min({int}){filter} OVER ({over})"), Kind::Int),
            3 => (format!("max({int}) OVER ({over})"), Kind::Int),
            _ => (format!("count({int}) OVER ({over})"), Kind::Int),
        });
    }
    let (list, columns) = outputs(&expressions);
    let query = select(&format!("SELECT {list}"), from, &filter(random, &from.columns), columns);
    // DataFusion's frames by value are its own where there are NULLs, and unsigned below zero.
    Query { sql: query.sql.not_for_batch(), columns: query.columns }
}

/// ORDER BY with LIMIT and OFFSET.
fn first_rows(random: &mut Random, from: &Relation) -> Query {
    let (list, columns) = outputs(&names(&from.columns));
    let mut tail = format!("{} ORDER BY {}", filter(random, &from.columns), order(random, &from.columns));
    // DataFusion forgets the order of a subquery with OFFSET alone, and panics over a LIMIT of none.
    let limited = !random.one_in(4);
    let limit = random.below(5);
    if limited {
        tail.push_str(&format!(" LIMIT {limit}"));
    }
    if random.one_in(2) {
        tail.push_str(&format!(" OFFSET {}", random.below(3)));
    }
    let query = select(&format!("SELECT {list}"), from, &tail, columns);
    let sql = if limited && limit > 0 { query.sql } else { query.sql.not_for_batch() };
    Query { sql, columns: query.columns }
}

/// As many rows as there are in the first places of some order.
fn with_ties(random: &mut Random, from: &Relation) -> Query {
    let (list, columns) = outputs(&names(&from.columns));
    let by: Vec<_> =
        (0..1 + random.below(2)).map(|_| format!("{}{}", random.pick(&from.columns).name, direction(random))).collect();
    let (by, tail) = (by.join(", "), filter(random, &from.columns));
    let count = 1 + random.below(3);
    let sql = select(
        &format!("SELECT {list}"),
        from,
        &format!("{tail} ORDER BY {by} FETCH FIRST {count} ROWS WITH TIES"),
        vec![],
    )
    .sql;
    let places = select(&format!("SELECT {list}, rank() OVER (ORDER BY {by}) AS place"), from, &tail, vec![]).sql;
    let heads: Vec<_> = columns.iter().map(|column| column.name.clone()).collect();
    let batch = Sql::text(format!("SELECT {} FROM (", heads.join(", ")))
        .with(&places)
        .and(&format!(") AS ranked WHERE place <= {count}"));
    Query { sql: Sql { batch: batch.batch, ..sql }, columns }
}

/// The first row of each key.
fn distinct_on(random: &mut Random, from: &Relation) -> Query {
    let (list, columns) = outputs(&names(&from.columns));
    let keys: Vec<_> = (0..1 + random.below(2)).map(|_| random.pick(&from.columns).name.clone()).collect();
    let tail = filter(random, &from.columns);
    let by: String = keys.iter().map(|key| format!("{key}{}, ", direction(random))).collect();
    let limit = if random.one_in(4) { " LIMIT 2" } else { "" };
    let tail = format!("{tail} ORDER BY {by}{}{limit}", order(random, &from.columns));
    let query = select(&format!("SELECT DISTINCT ON ({}) {list}", keys.join(", ")), from, &tail, columns);
    Query { sql: query.sql.not_for_batch(), columns: query.columns }
}

/// The first rows of each partition, by the place that a window function gives them.
fn first_of_each(random: &mut Random, from: &Relation) -> Query {
    let (list, mut columns) = outputs(&names(&from.columns));
    let function = *random.pick(&["row_number()", "rank()", "dense_rank()"]);
    let over = format!("{}ORDER BY {}", partition_by(random, &from.columns), order(random, &from.columns));
    let tail = filter(random, &from.columns);
    let inner = select(&format!("SELECT {list}, {function} OVER ({over}) AS place"), from, &tail, columns.clone());
    let conditions = [
        "place <= 2",
        "place = 1",
        "place < 4",
        "3 >= place",
        "place = 2",
        "place > 1",
        "place BETWEEN 2 AND 3",
        "place <= 1 OR place = 3",
    ];
    let condition = random.pick(&conditions);
    let head: Vec<_> = columns.iter().map(|column| column.name.clone()).collect();
    let mut head = head.join(", ");
    let with_place = random.one_in(2);
    if with_place {
        head.push_str(", place");
        columns.push(column("place", Kind::Int));
    }
    let ranked =
        Sql::text(format!("SELECT {head} FROM (")).with(&inner.sql).and(&format!(") AS ranked WHERE {condition}"));
    if !random.one_in(3) {
        return Query { sql: ranked, columns };
    }
    // The same by QUALIFY, which PostgreSQL doesn't have.
    let place = if with_place { format!(", {function} OVER ({over}) AS place") } else { String::new() };
    let condition = condition.replace("place", &format!("{function} OVER ({over})"));
    let qualify = select(&format!("SELECT {list}{place}"), from, &format!("{tail} QUALIFY {condition}"), vec![]).sql;
    Query { sql: Sql { view: qualify.view, ..ranked }, columns }
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
    let mut for_batch = true;
    for _ in 0..1 + random.below(3) {
        let (int, text) =
            (expression(random, &from.columns, Kind::Int, 1), expression(random, &from.columns, Kind::Text, 1));
        let filter = call_filter(random, &from.columns);
        let (call, kind, known) = match random.below(28) {
            27 => {
                let list = format!("percentile_disc(ARRAY[0.25, 0.75]) WITHIN GROUP (ORDER BY {int})");
                (format!("array_to_string({list}, ',')"), Kind::Text, false)
            }
            20 => (format!("CAST(json_agg({int} ORDER BY {order}){filter} AS TEXT)"), Kind::Text, false),
            21 => {
                let value = format!("CAST({text} AS TEXT)");
                (format!("string_agg(DISTINCT {value}, ',' ORDER BY {value} DESC)"), Kind::Text, false)
            }
            22 => {
                let value = format!("CAST({int} AS BIGINT)");
                (format!("array_agg(DISTINCT {value} ORDER BY {value} DESC){filter}"), Kind::List, false)
            }
            23 => (
                format!("array_to_string(array_agg(CAST({text} AS TEXT) ORDER BY {order}), ',', '-')"),
                Kind::Text,
                false,
            ),
            24 => (format!("last_value({int} ORDER BY {order})"), Kind::Int, true),
            25 => {
                let numeric = expression(random, &from.columns, Kind::Numeric, 0);
                (format!("percentile_disc(0.75) WITHIN GROUP (ORDER BY {numeric} DESC)"), Kind::Numeric, false)
            }
            26 => {
                let float = expression(random, &from.columns, Kind::Float, 0);
                (format!("percentile_cont(0.5) WITHIN GROUP (ORDER BY {float} DESC){filter}"), Kind::Float, false)
            }
            13 => (format!("jsonb_agg({int} ORDER BY {order}){filter}"), Kind::Json, false),
            14 => {
                (format!("jsonb_object_agg(coalesce({text}, ''), {int} ORDER BY {order}){filter}"), Kind::Json, false)
            }
            15 => {
                let float = expression(random, &from.columns, Kind::Float, 0);
                (format!("regr_slope({float}, {int}){filter}"), Kind::Float, false)
            }
            16 => {
                let time = expression(random, &from.columns, Kind::Time, 0);
                (format!("percentile_disc(0.25) WITHIN GROUP (ORDER BY {time}){filter}"), Kind::Time, false)
            }
            // PostgreSQL has none of these.
            17 => (format!("first_value({int} ORDER BY {order})"), Kind::Int, true),
            18 => (format!("median(CAST({int} AS DOUBLE PRECISION))"), Kind::Float, true),
            0 => (format!("string_agg({text}, ',' ORDER BY {order})"), Kind::Text, true),
            1 => (format!("bit_or({int})"), Kind::Int, true),
            2 => (format!("bit_xor({int})"), Kind::Int, true),
            3 => (format!("count(DISTINCT {int})"), Kind::Int, true),
            4 => (format!("regr_count({int}, {int})"), Kind::Int, true),
            5 => (format!("sum({int})"), Kind::Numeric, true),
            6 => (format!("array_agg(CAST({int} AS BIGINT) ORDER BY {order}){filter}"), Kind::List, false),
            7 => (format!("array_agg(DISTINCT CAST({int} AS BIGINT)){filter}"), Kind::List, false),
            8 => {
                let by = random.pick(&["", " DESC"]);
                (format!("percentile_disc(0.5) WITHIN GROUP (ORDER BY {int}{by}){filter}"), Kind::Int, false)
            }
            9 => {
                let float = expression(random, &from.columns, Kind::Float, 0);
                (format!("percentile_cont(0.25) WITHIN GROUP (ORDER BY {float}){filter}"), Kind::Float, false)
            }
            10 => (format!("mode() WITHIN GROUP (ORDER BY {int}){filter}"), Kind::Int, false),
            11 => (format!("string_agg(DISTINCT {text}, ',')"), Kind::Text, false),
            _ => ("count(*)".to_owned(), Kind::Int, true),
        };
        for_batch &= known;
        expressions.push((call, kind));
    }
    let (list, columns) = outputs(&expressions);
    let mut tail = filter(random, &from.columns);
    if !keys.is_empty() {
        let positions: Vec<_> = (1..=keys.len()).map(|i| i.to_string()).collect();
        tail.push_str(&format!(" GROUP BY {}", positions.join(", ")));
    }
    let query = select(&format!("SELECT {list}"), from, &tail, columns);
    let sql = if for_batch { query.sql } else { query.sql.not_for_batch() };
    Query { sql, columns: query.columns }
}
