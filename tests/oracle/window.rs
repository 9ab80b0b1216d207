//! Random queries over windows of time: over tables, whose rows come, go and move. DataFusion finds the windows by expressions.

use super::expression::{Kind, call};
use super::model::TABLES;
use super::query::{Query, Relation, column, filter, grouped, outputs};
use crate::support::random::Random;

/// TUMBLE, HOP, CUMULATE or SESSION over a table.
pub(super) fn generate(random: &mut Random, relations: &[Relation]) -> Query {
    let table = relations[random.below(TABLES.len() as u64) as usize].clone();
    let (sql, oracle) = match random.below(5) {
        0 => (
            format!("TUMBLE({}, at, INTERVAL '2 minutes')", table.sql),
            fixed(&table, "date_bin(INTERVAL '2 minutes', t.at, TIMESTAMP '1970-01-01')", "INTERVAL '2 minutes'", &[]),
        ),
        1 => {
            let start = "date_bin(INTERVAL '1 minute', t.at, TIMESTAMP '1970-01-01') - k.k";
            (
                format!("HOP({}, at, INTERVAL '1 minute', INTERVAL '2 minutes')", table.sql),
                fixed(&table, start, "INTERVAL '2 minutes'", &["0 minutes", "1 minute"]),
            )
        }
        2 => {
            let start = "date_bin(INTERVAL '3 minutes', t.at, TIMESTAMP '1970-01-01')";
            (
                format!("CUMULATE({}, at, INTERVAL '1 minute', INTERVAL '3 minutes')", table.sql),
                fixed(&table, start, "k.k", &["1 minute", "2 minutes", "3 minutes"]),
            )
        }
        _ => session(random, &table),
    };
    let mut columns = table.columns;
    columns.extend([column("window_start", Kind::Time), column("window_end", Kind::Time)]);
    let from = Relation { sql, oracle, columns }.named("w");
    let tail = filter(random, &from.columns);
    if random.one_in(3) {
        return grouped(random, from, tail);
    }
    let mut expressions = vec![("w.window_start".to_owned(), Kind::Time), ("w.window_end".to_owned(), Kind::Time)];
    for _ in 0..1 + random.below(3) {
        expressions.push(call(random, &from.columns));
    }
    let (list, columns) = outputs(&expressions);
    let tail = format!("{tail} GROUP BY w.window_start, w.window_end");
    let head = format!("SELECT {list}");
    super::query::query(&head, &from, &tail, columns)
}

/// Rows with a window from `start` on, `length` long, once for each value of `k`; only those that end behind the row.
fn fixed(table: &Relation, start: &str, length: &str, offsets: &[&str]) -> String {
    let each = match offsets {
        [] => String::new(),
        offsets => {
            let rows: Vec<String> = offsets.iter().map(|offset| format!("(INTERVAL '{offset}')")).collect();
            format!(" CROSS JOIN (VALUES {}) AS k (k)", rows.join(", "))
        }
    };
    format!(
        "(SELECT t.*, {start} AS window_start, {start} + {length} AS window_end FROM {} AS t{each}
          WHERE t.at IS NOT NULL AND t.at < {start} + {length})",
        table.oracle
    )
}

/// A session begins with a row whose predecessor is a gap before it, or that has none.
fn session(random: &mut Random, table: &Relation) -> (String, String) {
    let gap = *random.pick(&["30 seconds", "1 minute", "70 seconds"]);
    let keys: Vec<&str> = ["a", "s"].into_iter().filter(|_| random.one_in(3)).collect();
    let sql: String = keys.iter().map(|key| format!(", {key}")).collect();
    let by = |qualifier: &str, more: &[&str]| {
        let keys: Vec<String> = keys.iter().chain(more).map(|key| format!("{qualifier}.{key}")).collect();
        if keys.is_empty() { String::new() } else { format!("PARTITION BY {}", keys.join(", ")) }
    };
    let columns: Vec<String> = table.columns.iter().map(|column| format!("r.{}", column.name)).collect();
    let oracle = format!(
        "(SELECT {}, min(r.at) OVER ({of_session}) AS window_start, max(r.at) OVER ({of_session}) + INTERVAL '{gap}' AS window_end
          FROM (SELECT q.*, sum(q.begins) OVER ({} ORDER BY q.at) AS session
                FROM (SELECT t.*, CASE WHEN t.at < lag(t.at) OVER ({by_keys} ORDER BY t.at) + INTERVAL '{gap}' THEN 0 ELSE 1 END AS begins
                      FROM {} AS t WHERE t.at IS NOT NULL) AS q) AS r)",
        columns.join(", "),
        by("q", &[]),
        table.oracle,
        of_session = by("r", &["session"]),
        by_keys = by("t", &[]),
    );
    (format!("SESSION({}, at, INTERVAL '{gap}'{sql})", table.sql), oracle)
}
