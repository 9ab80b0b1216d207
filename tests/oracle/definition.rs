//! Definitions of views. Most are a query; some are more: rows on which an expression fails, conditions on the clock, rows that go after a time,
//! windows that appear when they close, rows that meet a table as it is when they come. What each of them holds is said by other means.

use super::expression::{Kind, expression, predicate};
use super::model::{DELAY_S, LOG, TABLES};
use super::query::{self, filter, grouped, source};
use super::sql::{CLOCK, Column, LOCAL_CLOCK, Query, Relation, Sql, column, outputs, select};
use super::window::windows_of;
use crate::support::random::Random;

/// A view's query, and what stands before and behind it.
pub struct Definition {
    /// ` WITH (…)`, or nothing.
    pub with: &'static str,
    pub query: Query,
    /// ` EMIT ON WINDOW CLOSE`, or nothing.
    pub emit: &'static str,
    /// A query that counts the rows on which an expression of the view fails, unless there it is NULL.
    pub fails: Option<Sql>,
    /// Where rows meet a table as it is when they come: which rows met which, by a table of its own.
    pub met: Option<Met>,
}

/// A join of the table that only grows with another one, row by row as they come. `{met}` in queries is the name of the table with the pairs.
#[derive(Clone)]
pub struct Met {
    /// The pairs of the rows with a greater `id` than `{last}`.
    pub pairs: String,
}

impl Definition {
    /// A query alone.
    pub fn plain(query: Query) -> Self {
        Self { with: "", query, emit: "", fails: None, met: None }
    }
}

/// A view over these relations, of which the first are the tables.
pub fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Definition {
    let grows = relations[LOG].grows;
    match random.below(20) {
        14 | 15 => failing(random, relations),
        16 | 17 => Definition::plain(present(random, relations)),
        18 => kept(random, relations),
        19 if grows && random.one_in(2) => closed(random, relations),
        19 if grows => met(random, relations),
        _ => Definition::plain(query::generate(random, relations, depth)),
    }
}

/// An expression that fails for some rows.
struct Risky {
    text: String,
    /// A condition that is true for those rows.
    fails: String,
    /// The expression, or NULL where it fails.
    guarded: String,
    kind: Kind,
}

fn risky(random: &mut Random, columns: &[Column]) -> Option<Risky> {
    let of = |kind: Kind| -> Vec<&Column> { columns.iter().filter(|column| column.kind == kind).collect() };
    let (kind, divided, condition) = *random.pick(&[
        (Kind::Int, Some("/"), "= 0"),
        (Kind::Int, Some("%"), "= 0"),
        (Kind::Float, Some("/"), "= 0"),
        (Kind::Text, None, "!~ '^[0-9]+$'"),
        (Kind::Numeric, Some("/"), "= 0"),
    ]);
    let candidates = of(kind);
    if candidates.is_empty() {
        return None;
    }
    let name = random.pick(&candidates).name.clone();
    let value = expression(random, columns, kind, 0);
    // A NULL beside it is NULL.
    let known = if divided.is_some() { format!("{value} IS NOT NULL AND ") } else { String::new() };
    let fails = format!("({known}{name} {condition})");
    let (text, kind) = match (kind, divided) {
        (Kind::Numeric, _) => (format!("({value} / {name} > 1)"), Kind::Bool),
        (_, Some(operator)) => (format!("({value} {operator} {name})"), kind),
        _ => (format!("CAST({name} AS BIGINT)"), Kind::Int),
    };
    Some(Risky { guarded: format!("CASE WHEN NOT coalesce({fails}, false) THEN {text} END"), text, fails, kind })
}

/// A view with an expression that fails for some rows: of the list, of a condition, a key, an aggregate, a join.
fn failing(random: &mut Random, relations: &[Relation]) -> Definition {
    let depth = usize::from(random.one_in(3));
    let from = source(random, relations, depth, "g");
    let Some(risky) = risky(random, &from.columns) else {
        return Definition::plain(query::generate(random, relations, 1));
    };
    let is_null = random.one_in(3);
    let other = expression(random, &from.columns, Kind::Int, 1);
    let condition = if random.one_in(2) { predicate(random, &from.columns, 1) } else { "true".to_owned() };
    let number = |text: &str| if risky.kind == Kind::Bool { format!("CAST({text} AS INT)") } else { text.to_owned() };
    let shape = random.below(6);
    let inner = source(random, relations, 0, "r");
    let equal = inner.of_kind(Kind::Int).first().map_or("1".to_owned(), |column| column.name.clone());
    let direction = random.pick(&["", " DESC"]);
    let query = |text: &str| match shape {
        1 => select(
            &format!("SELECT {text} AS c0, count(*) AS c1, max({other}) AS c2"),
            &from,
            &format!(" WHERE {condition} GROUP BY 1"),
            vec![column("c0", risky.kind), column("c1", Kind::Int), column("c2", Kind::Int)],
        ),
        2 => select(
            &format!("SELECT {other} AS c0, sum({}) AS c1, count({text}) AS c2", number(text)),
            &from,
            &format!(" WHERE {condition} GROUP BY 1"),
            vec![
                column("c0", Kind::Int),
                column("c1", if risky.kind == Kind::Float { Kind::Float } else { Kind::Numeric }),
                column("c2", Kind::Int),
            ],
        ),
        3 => select(
            &format!("SELECT {other} AS c0"),
            &from,
            &format!(" WHERE {} >= 1", number(text)),
            vec![column("c0", Kind::Int)],
        ),
        4 => {
            let joined = Relation::new(from.sql.clone().and(" JOIN ").with(&inner.sql), vec![]);
            let on = format!(" ON {} = {equal}", number(text));
            select(
                &format!("SELECT {other} AS c0, {equal} AS c1"),
                &joined,
                &on,
                vec![column("c0", Kind::Int), column("c1", Kind::Int)],
            )
        }
        5 => select(
            &format!(
                "SELECT {other} AS c0, {text} AS c1, rank() OVER (PARTITION BY {other} ORDER BY {text}{direction}) AS c2"
            ),
            &from,
            &format!(" WHERE {condition}"),
            vec![column("c0", Kind::Int), column("c1", risky.kind), column("c2", Kind::Int)],
        ),
        _ => select(
            &format!("SELECT {other} AS c0, {text} AS c1"),
            &from,
            &format!(" WHERE {condition}"),
            vec![column("c0", Kind::Int), column("c1", risky.kind)],
        ),
    };
    let (view, guarded) = (query(&risky.text), query(&risky.guarded));
    // A condition or a key of a join is all that it has.
    let rows = if shape == 3 || shape == 4 { "true" } else { condition.as_str() };
    let fails = select("SELECT count(*)", &from, &format!(" WHERE {rows} AND {}", risky.fails), vec![]).sql;
    Definition {
        with: if is_null { " WITH (on_error = 'null')" } else { "" },
        query: Query { sql: Sql { view: view.sql.view, ..guarded.sql }, columns: view.columns },
        emit: "",
        fails: (!is_null).then_some(fails),
        met: None,
    }
}

/// A condition on the clock.
fn on_clock(random: &mut Random, columns: &[Column]) -> Option<Sql> {
    let times: Vec<&Column> = columns.iter().filter(|c| matches!(c.kind, Kind::Time | Kind::Moment)).collect();
    if times.is_empty() {
        return None;
    }
    let Column { name, kind } = (*random.pick(&times)).clone();
    let forms = [
        format!("{name} <= now()"),
        format!("{name} > now() - INTERVAL '1 minute'"),
        format!("{name} BETWEEN now() - INTERVAL '2 minutes' AND now()"),
        format!("now() < {name} + INTERVAL '90 seconds'"),
        format!("{name} >= now()"),
        format!("{name} - INTERVAL '30 seconds' < now() AND {name} + INTERVAL '1 minute' > now()"),
    ];
    let text = random.pick(&forms);
    let elsewhere = text.replace("now()", if kind == Kind::Time { LOCAL_CLOCK } else { CLOCK });
    Some(Sql { view: text.clone(), batch: Some(elsewhere.clone()), postgres: elsewhere })
}

/// A query whose rows come and go as time passes.
fn present(random: &mut Random, relations: &[Relation]) -> Query {
    let depth = usize::from(random.one_in(3));
    let from = source(random, relations, depth, "g");
    let Some(condition) = on_clock(random, &from.columns) else { return query::generate(random, relations, 1) };
    let more = if random.one_in(3) { format!(" AND {}", predicate(random, &from.columns, 1)) } else { String::new() };
    let rows = Relation { sql: from.sql.clone().and(" WHERE ").with(&condition).and(&more), ..from.clone() };
    match random.below(6) {
        4 | 5 => grouped(random, rows, String::new()),
        3 => {
            // Of a join, either side's.
            let other = source(random, relations, 0, "r");
            let on = query::equality(random, &from, &other);
            let sql = from.sql.and(" JOIN ").with(&other.sql).and(&format!(" ON {on} AND ")).with(&condition);
            let expressions =
                [random.pick(&from.columns), random.pick(&other.columns)].map(|c| (c.name.clone(), c.kind));
            let (list, columns) = outputs(&expressions);
            select(&format!("SELECT {list}"), &Relation::new(sql, vec![]), "", columns)
        }
        _ => {
            let mut expressions = Vec::new();
            for _ in 0..1 + random.below(3) {
                let kind = Kind::any(random);
                expressions.push((expression(random, &from.columns, kind, 1), kind));
            }
            let (list, columns) = outputs(&expressions);
            select(&format!("SELECT {list}"), &rows, "", columns)
        }
    }
}

/// Rows that go a while after their time, by the clock.
fn kept(random: &mut Random, relations: &[Relation]) -> Definition {
    let tables: Vec<&Relation> =
        relations[..LOG].iter().filter(|table| !table.of_kind(Kind::Time).is_empty()).collect();
    if tables.is_empty() {
        return Definition::plain(query::generate(random, relations, 1));
    }
    let from = (*random.pick(&tables)).clone().named("g");
    let tail = filter(random, &from.columns);
    let kind = Kind::key(random);
    let key = expression(random, &from.columns, kind, 0);
    let query = if random.one_in(2) {
        let expressions = [("max(g.at)".to_owned(), Kind::Time), ("count(*)".to_owned(), Kind::Int), (key, kind)];
        let (list, columns) = outputs(&expressions);
        select(&format!("SELECT {list}"), &from, &format!("{tail} GROUP BY 3"), columns)
    } else {
        let (list, columns) = outputs(&[("g.at".to_owned(), Kind::Time), (key, kind)]);
        select(&format!("SELECT {list}"), &from, &tail, columns)
    };
    let condition = format!(") AS kept WHERE c0 IS NULL OR c0 + INTERVAL '90 seconds' > {LOCAL_CLOCK}");
    let elsewhere = Sql::text("SELECT * FROM (").with(&query.sql).and(&condition);
    Definition {
        with: " WITH (retention = '90 seconds', retention_column = 'c0')",
        query: Query { sql: Sql { view: query.sql.view, ..elsewhere }, columns: query.columns },
        emit: "",
        fails: None,
        met: None,
    }
}

/// Windows that appear when the watermark has passed their end.
fn closed(random: &mut Random, relations: &[Relation]) -> Definition {
    let from = windows_of(random, relations[LOG].clone());
    let tail = filter(random, &from.columns);
    let mut expressions = vec![("w.window_end".to_owned(), Kind::Time)];
    for _ in 0..1 + random.below(2) {
        expressions.push(super::expression::call(random, &from.columns));
    }
    let mut by = "w.window_start, w.window_end".to_owned();
    if random.one_in(3) {
        let key = random.pick(&from.columns).clone();
        by.push_str(&format!(", {}", key.name));
        expressions.push((key.name, key.kind));
    }
    let (list, columns) = outputs(&expressions);
    let having = if random.one_in(4) { " HAVING count(*) > 1" } else { "" };
    let query = select(&format!("SELECT {list}"), &from, &format!("{tail} GROUP BY {by}{having}"), columns);
    let condition = format!(
        ") AS closed CROSS JOIN (SELECT max(at) - INTERVAL '{DELAY_S} seconds' AS until FROM {}) AS w WHERE closed.c0 <= w.until",
        TABLES[LOG]
    );
    let elsewhere = Sql::text("SELECT closed.* FROM (").with(&query.sql).and(&condition);
    Definition {
        with: "",
        query: Query { sql: Sql { view: query.sql.view, ..elsewhere }, columns: query.columns },
        emit: " EMIT ON WINDOW CLOSE",
        fails: None,
        met: None,
    }
}

/// Rows of the source, each with the row of a table that it met when it came.
fn met(random: &mut Random, relations: &[Relation]) -> Definition {
    let (left, right) = (&relations[LOG], &relations[random.below(2) as usize]);
    let keys = right.key.iter().map(|key| {
        let candidates = left.of_kind(Kind::Int);
        format!("l.{} = r.{key}", random.pick(&candidates).name)
    });
    let on = keys.collect::<Vec<_>>().join(" AND ");
    let join = *random.pick(&["LEFT JOIN", "JOIN"]);
    let pair = |side: &str, relation: &Relation| -> Vec<Column> {
        relation.columns.iter().map(|c| column(&format!("m.{side}_{}", c.name), c.kind)).collect()
    };
    let (mine, theirs) = (pair("l", left), pair("r", right));
    let columns: Vec<Column> = mine.iter().chain(&theirs).cloned().collect();
    let as_pairs = |column: &Column| {
        let name = column.name.strip_prefix("m.").unwrap_or_default();
        format!("{} AS {name}", sides(&column.name))
    };
    let list: Vec<String> = columns.iter().map(as_pairs).collect();
    let pairs = format!(
        "SELECT {} FROM {} AS l {join} {} AS r ON {on} WHERE l.id > {{last}}",
        list.join(", "),
        left.sql.view,
        right.sql.view
    );
    let mut expressions = vec![{
        let column = random.pick(&theirs);
        (column.name.clone(), column.kind)
    }];
    for _ in 0..1 + random.below(3) {
        let kind = Kind::any(random);
        expressions.push((expression(random, &columns, kind, 1), kind));
    }
    let (list, columns_out) = outputs(&expressions);
    let tail = filter(random, &columns);
    let elsewhere = format!("SELECT {list} FROM {{met}} AS m{tail}");
    let view = format!(
        "SELECT {} FROM {} AS l {join} {} FOR SYSTEM_TIME AS OF PROCTIME() AS r ON {on}{}",
        sides(&list),
        left.sql.view,
        right.sql.view,
        sides(&tail)
    );
    let sql = Sql { view, batch: Some(elsewhere.clone()), postgres: elsewhere };
    Definition { with: "", query: Query { sql, columns: columns_out }, emit: "", fails: None, met: Some(Met { pairs }) }
}

/// Columns of pairs by the names that they have in the join.
fn sides(text: &str) -> String {
    text.replace("m.l_", "l.").replace("m.r_", "r.")
}
