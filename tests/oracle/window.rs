//! Random queries over windows of time: over tables and views, whose rows come, go and move. Elsewhere the windows are found by expressions.

use super::expression::{Kind, call};
use super::query::{aggregate, filter, grouped};
use super::sql::{Query, Relation, Sql, column, outputs, select};
use crate::support::random::Random;

/// What the relation with the times is called until it is known.
const TABLE: &str = "{table}";

/// TUMBLE, HOP, CUMULATE or SESSION over a table or a view.
pub fn generate(random: &mut Random, relations: &[Relation]) -> Query {
    let tables: Vec<_> = relations.iter().filter(|relation| can_be_windowed(relation)).collect();
    if tables.is_empty() {
        return aggregate(random, relations, 1);
    }
    let table = (*random.pick(&tables)).clone();
    let from = windows_of(random, table);
    let tail = filter(random, &from.columns);
    if random.one_in(3) {
        return grouped(random, from, tail);
    }
    let mut expressions = vec![("w.window_start".to_owned(), Kind::Time), ("w.window_end".to_owned(), Kind::Time)];
    for _ in 0..1 + random.below(3) {
        expressions.push(call(random, &from.columns));
    }
    let (list, columns) = outputs(&expressions);
    select(&format!("SELECT {list}"), &from, &format!("{tail} GROUP BY w.window_start, w.window_end"), columns)
}

/// It has a name and a time, and no windows.
fn can_be_windowed(relation: &Relation) -> bool {
    let has_windows = relation.columns.iter().any(|column| column.name.starts_with("window_"));
    !relation.of_kind(Kind::Time).is_empty() && !has_windows && !relation.sql.view.contains('(')
}

/// The rows of a table or view with their windows.
pub fn windows_of(random: &mut Random, table: Relation) -> Relation {
    let name = table.sql.view.clone();
    let at = match table.columns.iter().any(|column| column.name == "at") {
        true => "at".to_owned(),
        false => random.pick(&table.of_kind(Kind::Time)).name.clone(),
    };
    let (view, elsewhere) = match random.below(5) {
        0 => {
            let start = format!("date_bin(INTERVAL '2 minutes', t.{at}, TIMESTAMP '1970-01-01')");
            (format!("TUMBLE({name}, {at}, INTERVAL '2 minutes')"), fixed(&at, &start, "INTERVAL '2 minutes'", &[]))
        }
        1 => {
            let start = format!("date_bin(INTERVAL '1 minute', t.{at}, TIMESTAMP '1970-01-01') - k.k");
            (
                format!("HOP({name}, {at}, INTERVAL '1 minute', INTERVAL '2 minutes')"),
                fixed(&at, &start, "INTERVAL '2 minutes'", &["0 minutes", "1 minute"]),
            )
        }
        2 => {
            let start = format!("date_bin(INTERVAL '3 minutes', t.{at}, TIMESTAMP '1970-01-01')");
            (
                format!("CUMULATE({name}, {at}, INTERVAL '1 minute', INTERVAL '3 minutes')"),
                fixed(&at, &start, "k.k", &["1 minute", "2 minutes", "3 minutes"]),
            )
        }
        _ => session(random, &table, &at),
    };
    let mut columns = table.columns;
    columns.extend([column("window_start", Kind::Time), column("window_end", Kind::Time)]);
    let of = |relation: &str| elsewhere.replace(TABLE, relation);
    let sql = Sql { view, batch: table.sql.batch.as_deref().map(of), postgres: of(&table.sql.postgres) };
    Relation::new(sql, columns).named("w")
}

/// Rows with a window from `start` on, `length` long, once for each value of `k`; only those that end behind the row.
fn fixed(at: &str, start: &str, length: &str, offsets: &[&str]) -> String {
    let each = match offsets {
        [] => String::new(),
        offsets => {
            let rows: Vec<String> = offsets.iter().map(|offset| format!("(INTERVAL '{offset}')")).collect();
            format!(" CROSS JOIN (VALUES {}) AS k (k)", rows.join(", "))
        }
    };
    format!(
        "(SELECT t.*, {start} AS window_start, {start} + {length} AS window_end FROM {TABLE} AS t{each}
          WHERE t.{at} IS NOT NULL AND t.{at} < {start} + {length})"
    )
}

/// A session begins with a row whose predecessor is a gap before it, or that has none.
fn session(random: &mut Random, table: &Relation, at: &str) -> (String, String) {
    let gap = *random.pick(&["30 seconds", "1 minute", "70 seconds"]);
    let name = &table.sql.view;
    let known: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let keys: Vec<&str> = ["a", "s", "c0", "c1"]
        .into_iter()
        .filter(|key| known.contains(key) && *key != at && random.one_in(3))
        .collect();
    let view: String = keys.iter().map(|key| format!(", {key}")).collect();
    let by = |qualifier: &str, more: &[&str]| {
        let keys: Vec<String> = keys.iter().chain(more).map(|key| format!("{qualifier}.{key}")).collect();
        if keys.is_empty() { String::new() } else { format!("PARTITION BY {}", keys.join(", ")) }
    };
    let columns: Vec<String> = known.iter().map(|column| format!("r.{column}")).collect();
    let elsewhere = format!(
        "(SELECT {}, min(r.{at}) OVER ({of_session}) AS window_start, max(r.{at}) OVER ({of_session}) + INTERVAL '{gap}' AS window_end
          FROM (SELECT q.*, sum(q.begins) OVER ({} ORDER BY q.{at}) AS session
                FROM (SELECT t.*, CASE WHEN t.{at} < lag(t.{at}) OVER ({by_keys} ORDER BY t.{at}) + INTERVAL '{gap}' THEN 0 ELSE 1 END AS begins
                      FROM {TABLE} AS t WHERE t.{at} IS NOT NULL) AS q) AS r)",
        columns.join(", "),
        by("q", &[]),
        of_session = by("r", &["session"]),
        by_keys = by("t", &[]),
    );
    (format!("SESSION({name}, {at}, INTERVAL '{gap}'{view})"), elsewhere)
}
