//! Random recursions over the tables as graphs, from `a` to `b`, which have circles.

use super::expression::{Kind, predicate};
use super::model::TABLES;
use super::sql::{Column, Query, Relation, Sql, column};
use crate::support::random::Random;

/// Paths that end where they come back.
fn with_cycles(random: &mut Random, first: &str, step: &str) -> Query {
    let by = random.pick(&["y", "x, y"]);
    let mark = random.pick(&["looped", "looped TO 'again' DEFAULT 'new'"]);
    let kind = if mark.contains("TO") { Kind::Text } else { Kind::Bool };
    let text = format!(
        "WITH RECURSIVE r (x, y, d) AS ({first} UNION SELECT {step}) CYCLE {by} SET {mark} USING way
         SELECT r.x AS c0, r.y AS c1, r.looped AS c2 FROM r"
    );
    let columns = vec![column("c0", Kind::Int), column("c1", Kind::Int), column("c2", kind)];
    Query { sql: Sql::text(text).not_for_batch(), columns }
}

pub(super) fn generate(random: &mut Random, relations: &[Relation]) -> Query {
    let mut table = || random.pick(&relations[..TABLES.len()]).clone();
    let (start, edges, others) = (table(), table(), table().sql.view);
    let columns = |relation: &Relation, alias: &str| -> Vec<Column> { relation.clone().named(alias).columns };
    let begin = predicate(random, &columns(&start, "p"), 1);
    let mut on = "e.a = r.y".to_owned();
    if random.one_in(2) {
        on.push_str(&format!(" AND {}", predicate(random, &columns(&edges, "e"), 1)));
    }
    let mut filter = String::new();
    match random.below(4) {
        3 => filter = format!(" AND NOT EXISTS (SELECT 1 FROM {others} AS n WHERE n.id = r.y)"),
        2 => filter = format!(" AND EXISTS (SELECT 1 FROM {others} AS n WHERE n.a = e.b)"),
        1 => filter = " AND e.b <> r.x".to_owned(),
        _ => {}
    }
    let join = if random.one_in(4) { "LEFT JOIN" } else { "JOIN" };
    let (start, edges) = (start.sql.view, edges.sql.view);
    let step = format!("{{list}} FROM r {join} {edges} AS e ON {on} WHERE r.d < {{bound}}{filter}");
    let first =
        format!("SELECT CAST(p.a AS BIGINT), CAST(p.b AS BIGINT), CAST(0 AS BIGINT) FROM {start} AS p WHERE {begin}");
    let step = |list: &str, bound: &str| step.replace("{list}", list).replace("{bound}", bound);
    if random.one_in(6) {
        return with_cycles(random, &first, &step("r.x, CAST(e.b AS BIGINT), r.d", "1"));
    }
    let terms = match random.below(6) {
        // What a round has as a whole.
        5 => format!("{first} UNION ALL SELECT DISTINCT {}", step("r.x, CAST(e.b AS BIGINT), r.d + 1", "3")),
        4 => format!(
            "{first} UNION SELECT {}",
            step("r.x, CAST(e.b AS BIGINT), r.d + count(*) OVER (PARTITION BY r.x)", "4")
        ),
        // Each path, as far as three edges go.
        3 => format!("{first} UNION ALL SELECT {}", step("r.x, CAST(e.b AS BIGINT), r.d + 1", "2")),
        2 => format!("{first} UNION SELECT {}", step("r.x, CAST(e.b AS BIGINT), r.d + 1", "4")),
        _ => format!("{first} UNION SELECT {}", step("r.x, CAST(e.b AS BIGINT), r.d", "1")),
    };
    let text = format!("WITH RECURSIVE r (x, y, d) AS ({terms}) SELECT r.x AS c0, r.y AS c1, r.d AS c2 FROM r");
    Query { sql: Sql::text(text), columns: ["c0", "c1", "c2"].map(|name| column(name, Kind::Int)).to_vec() }
}
