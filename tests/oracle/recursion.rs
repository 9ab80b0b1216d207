//! Random recursions over the tables as graphs, from `a` to `b`, which have circles.

use super::expression::{Kind, predicate};
use super::model::TABLES;
use super::query::{Column, Query, Relation};
use crate::support::random::Random;

pub(super) fn generate(random: &mut Random, relations: &[Relation]) -> Query {
    let mut table = || random.pick(&relations[..TABLES.len()]).sql.clone();
    let (start, edges, others) = (table(), table(), table());
    let columns = |alias: &str| -> Vec<Column> {
        let named = |column: &Column| Column { name: format!("{alias}.{}", column.name), kind: column.kind };
        relations[0].columns.iter().map(named).collect()
    };
    let begin = predicate(random, &columns("p"), 1);
    let mut on = "e.a = r.y".to_owned();
    if random.one_in(2) {
        on.push_str(&format!(" AND {}", predicate(random, &columns("e"), 1)));
    }
    let mut filter = String::new();
    match random.below(4) {
        0 => filter = format!(" AND NOT EXISTS (SELECT 1 FROM {others} AS n WHERE n.id = r.y)"),
        1 => filter = format!(" AND EXISTS (SELECT 1 FROM {others} AS n WHERE n.a = e.b)"),
        2 => filter = " AND e.b <> r.x".to_owned(),
        _ => {}
    }
    let join = if random.one_in(4) { "LEFT JOIN" } else { "JOIN" };
    let step = format!("{{list}} FROM r {join} {edges} AS e ON {on} WHERE r.d < {{bound}}{filter}");
    let terms = match random.below(4) {
        // Each path, as far as three edges go.
        0 => format!(
            "SELECT p.a, p.b, 0 FROM {start} AS p WHERE {begin} UNION ALL SELECT {}",
            step.replace("{list}", "r.x, e.b, r.d + 1").replace("{bound}", "2")
        ),
        1 => format!(
            "SELECT p.a, p.b, 0 FROM {start} AS p WHERE {begin} UNION SELECT {}",
            step.replace("{list}", "r.x, e.b, r.d + 1").replace("{bound}", "4")
        ),
        _ => format!(
            "SELECT p.a, p.b, 0 FROM {start} AS p WHERE {begin} UNION SELECT {}",
            step.replace("{list}", "r.x, e.b, r.d").replace("{bound}", "1")
        ),
    };
    let text = format!("WITH RECURSIVE r (x, y, d) AS ({terms}) SELECT r.x AS c0, r.y AS c1, r.d AS c2 FROM r");
    let columns = ["c0", "c1", "c2"].map(|name| Column { name: name.to_owned(), kind: Kind::Int });
    Query::new(text.clone(), text, columns.to_vec())
}
