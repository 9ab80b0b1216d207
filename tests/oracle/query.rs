//! Random queries: a grammar whose sentences are valid in PostgreSQL's dialect and, but for some, in DataFusion's.

use super::expression::{Kind, call, expression, predicate};
use super::model::TABLES;
use super::sql::{Column, Query, Relation, Sql, column, outputs, select};
use super::{as_of, forms, partition, recursion, rows, subquery, window};
use crate::support::random::Random;

/// A query over these relations, of which the first are the tables, with subqueries up to `depth`.
pub fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    match random.below(50) {
        44..=48 => forms::generate(random, relations, depth),
        49 => subquery::deep(random, relations, depth),
        36 | 37 => using(random, relations, depth),
        38 => values(random),
        39..=43 => partition::generate(random, relations, depth),
        0..=2 => project(random, relations, depth),
        3..=6 => aggregate(random, relations, depth),
        7..=10 => join(random, relations, depth),
        11..=16 => subquery::generate(random, relations, depth),
        17 | 18 => window::generate(random, relations),
        19..=23 => partition::generate(random, relations, depth),
        24 | 25 => recursion::generate(random, relations),
        26..=28 => rows::generate(random, relations, depth),
        29 | 30 => with(random, relations, depth),
        31..=33 => as_of::generate(random, relations, depth),
        _ => set_operation(random, relations, depth),
    }
}

/// A relation with an alias: a table, a view, or a subquery.
pub fn source(random: &mut Random, relations: &[Relation], depth: usize, alias: &str) -> Relation {
    let relation = if depth > 0 && random.one_in(3) {
        generate(random, relations, depth - 1).as_subquery()
    } else {
        random.pick(relations).clone()
    };
    relation.named(alias)
}

pub fn filter(random: &mut Random, columns: &[Column]) -> String {
    if random.one_in(2) { format!(" WHERE {}", predicate(random, columns, 2)) } else { String::new() }
}

fn project(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "p");
    let mut expressions = Vec::new();
    for _ in 0..1 + random.below(4) {
        let kind = Kind::any(random);
        expressions.push((expression(random, &from.columns, kind, 2), kind));
    }
    let (list, columns) = outputs(&expressions);
    let distinct = if random.one_in(4) { "DISTINCT " } else { "" };
    let tail = filter(random, &from.columns);
    select(&format!("SELECT {distinct}{list}"), &from, &tail, columns)
}

pub fn aggregate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "g");
    let tail = filter(random, &from.columns);
    grouped(random, from, tail)
}

/// Aggregates over rows with a condition.
pub fn grouped(random: &mut Random, from: Relation, mut tail: String) -> Query {
    let mut keys = Vec::new();
    let deep = usize::from(random.one_in(2));
    for _ in 0..random.below(3) {
        let kind = Kind::key(random);
        keys.push((expression(random, &from.columns, kind, deep), kind));
    }
    let mut expressions = keys.clone();
    for _ in 0..1 + random.below(4) {
        expressions.push(call(random, &from.columns));
    }
    let texts: Vec<&str> = keys.iter().map(|(key, _)| key.as_str()).collect();
    let positions: Vec<_> = (1..=keys.len()).map(|i| i.to_string()).collect();
    // DataFusion knows no positions in grouping sets, where a constant would be one, and a key stands once.
    let plain =
        texts.iter().all(|key| key.contains('.') && !key.contains('(')) && (texts.len() < 2 || texts[0] != texts[1]);
    let sets = plain && !keys.is_empty() && random.one_in(2);
    if sets {
        let keys = texts.join(", ");
        tail.push_str(&match random.below(3) {
            0 => format!(" GROUP BY ROLLUP ({keys})"),
            1 => format!(" GROUP BY CUBE ({keys})"),
            _ => format!(" GROUP BY GROUPING SETS (({keys}), ({}), ())", texts[0]),
        });
        if random.one_in(2) {
            expressions.push((format!("grouping({})", texts[0]), Kind::Int));
        }
    } else if !keys.is_empty() {
        tail.push_str(&format!(" GROUP BY {}", positions.join(", ")));
    }
    let (list, columns) = outputs(&expressions);
    match random.below(8) {
        7 => tail.push_str(&format!(" HAVING count(*) > {}", random.below(3))),
        6 => {
            let int = expression(random, &from.columns, Kind::Int, 0);
            tail.push_str(&format!(" HAVING max({int}) > {} OR min({int}) IS NULL", random.below(4)));
        }
        _ => {}
    }
    select(&format!("SELECT {list}"), &from, &tail, columns)
}

fn join(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let left = source(random, relations, depth, "l");
    let right = source(random, relations, depth, "r");
    let mut from = joined(random, left, right);
    for alias in ["m", "n"] {
        if random.one_in(4) {
            let more = source(random, relations, 0, alias);
            from = joined(random, from, more);
        }
    }
    let tail = if random.one_in(3) { filter(random, &from.columns) } else { String::new() };
    if random.one_in(3) {
        return grouped(random, from, tail);
    }
    let mut expressions = Vec::new();
    for _ in 0..1 + random.below(4) {
        let column = random.pick(&from.columns).clone();
        expressions.push((column.name, column.kind));
    }
    let (list, columns) = outputs(&expressions);
    select(&format!("SELECT {list}"), &from, &tail, columns)
}

/// Joins by names: USING and NATURAL, whose columns are the one or the other side's.
fn using(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let keys: Vec<Kind> = (0..1 + random.below(2)).map(|_| Kind::key(random)).collect();
    let mut side = |alias: &str| {
        let from = source(random, relations, depth, "f");
        let mut list: Vec<String> = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            list.push(format!("{} AS k{number}", expression(random, &from.columns, *key, 1)));
        }
        let more = random.pick(&from.columns).clone();
        list.push(format!("{} AS {alias}0", more.name));
        let query = select(&format!("SELECT {}", list.join(", ")), &from, &filter(random, &from.columns), vec![]);
        (query.as_subquery().named(alias), column(&format!("{alias}0"), more.kind))
    };
    let ((left, left_column), (right, right_column)) = (side("l"), side("r"));
    let kind = *random.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
    let names: Vec<String> = (0..keys.len()).map(|number| format!("k{number}")).collect();
    let mut columns: Vec<Column> = names.iter().zip(&keys).map(|(name, kind)| column(name, *kind)).collect();
    columns.extend([left_column, right_column]);
    let chosen: Vec<(String, Kind)> =
        (0..1 + random.below(4)).map(|_| random.pick(&columns).clone()).map(|c| (c.name, c.kind)).collect();
    let (list, outputs) = outputs(&chosen);
    let join = match random.one_in(2) {
        true => format!(" NATURAL {kind} "),
        false => format!(" {kind} "),
    };
    let on = if join.contains("NATURAL") { String::new() } else { format!(" USING ({})", names.join(", ")) };
    let tail = if random.one_in(3) { format!(" WHERE {}", predicate(random, &columns, 1)) } else { String::new() };
    let sql = Sql::text(format!("SELECT {list} FROM ")).with(&left.sql).and(&join).with(&right.sql).and(&on).and(&tail);
    // The same by a condition, over a query that gives its columns one name.
    let equal: Vec<String> = names.iter().map(|name| format!("l.{name} = r.{name}")).collect();
    let merged: Vec<String> = names.iter().map(|name| format!("coalesce(l.{name}, r.{name}) AS {name}")).collect();
    let all = Sql::text(format!("SELECT {list} FROM (SELECT {}, l.l0, r.r0 FROM ", merged.join(", ")));
    let all = all.with(&left.sql).and(&format!(" {kind} ")).with(&right.sql);
    let all = all.and(&format!(" ON {}) AS merged{tail}", equal.join(" AND ")));
    Query { sql: Sql { batch: all.batch, ..sql }, columns: outputs }
}

/// Rows that stand in the query itself.
fn values(random: &mut Random) -> Query {
    let rows: Vec<String> = (0..1 + random.below(3))
        .map(|_| format!("({}, {})", random.pick(&["1", "2", "NULL", "3"]), random.pick(&["'x'", "'y'", "NULL"])))
        .chain(["(0, 'z')".to_owned()])
        .collect();
    let from = Sql::text(format!("(VALUES {}) AS v (a, s)", rows.join(", ")));
    let from = Relation::new(from, vec![column("v.a", Kind::Int), column("v.s", Kind::Text)]);
    let (list, columns) = outputs(&[("v.a".to_owned(), Kind::Int), ("v.s".to_owned(), Kind::Text)]);
    select(&format!("SELECT {list}"), &from, &filter(random, &from.columns), columns)
}

/// A condition that a range of the other side meets.
fn range(random: &mut Random, left: &Relation, right: &Relation) -> Option<String> {
    let kind = *random.pick(&[Kind::Time, Kind::Int, Kind::Moment, Kind::Numeric]);
    let (lefts, rights) = (left.of_kind(kind), right.of_kind(kind));
    if lefts.is_empty() || rights.is_empty() {
        return None;
    }
    let (value, low, high) = (&random.pick(&lefts).name, &random.pick(&rights).name, &random.pick(&rights).name);
    Some(match kind {
        Kind::Time | Kind::Moment => format!("{value} BETWEEN {low} - INTERVAL '1 minute' AND {low}"),
        _ => format!("{value} BETWEEN {low} AND {high} + 1"),
    })
}

/// Two relations as one, on any condition.
pub fn joined(random: &mut Random, left: Relation, right: Relation) -> Relation {
    let both: Vec<_> = left.columns.iter().chain(&right.columns).cloned().collect();
    let relation = |kind: &str, tail: String| {
        let sql = left.sql.clone().and(&format!(" {kind} ")).with(&right.sql).and(&tail);
        Relation::new(sql, both.clone())
    };
    match random.below(14) {
        12 | 13 => {
            if let Some(on) = range(random, &left, &right) {
                let kind = *random.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN"]);
                let equal =
                    if random.one_in(3) { format!(" AND {}", equality(random, &left, &right)) } else { String::new() };
                return relation(kind, format!(" ON {on}{equal}"));
            }
        }
        // Without an equality: by a range, or by nothing at all. PostgreSQL has no FULL JOIN of that kind.
        10 => {
            let kind = *random.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN"]);
            let (left, right) =
                (expression(random, &left.columns, Kind::Int, 0), expression(random, &right.columns, Kind::Int, 0));
            let more = if random.one_in(2) { format!(" AND {}", predicate(random, &both, 1)) } else { String::new() };
            return relation(kind, format!(" ON {left} {} {right}{more}", random.pick(&["<", ">=", "<>"])));
        }
        11 => return relation("CROSS JOIN", String::new()),
        _ => {}
    }
    let mut on = equality(random, &left, &right);
    if random.one_in(4) {
        on.push_str(&format!(" AND {}", equality(random, &left, &right)));
    }
    if random.one_in(3) {
        on.push_str(&format!(" AND {}", predicate(random, &both, 1)));
    }
    let kind: &str = random.pick::<&'static str>(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
    relation(kind, format!(" ON {on}"))
}

/// `l.x = r.y` of one kind; where there is no such pair, whether columns are NULL is compared.
pub fn equality(random: &mut Random, left: &Relation, right: &Relation) -> String {
    let first = Kind::key(random);
    for kind in [first, Kind::Int, Kind::Text] {
        let (left, right) = (left.of_kind(kind), right.of_kind(kind));
        if !left.is_empty() && !right.is_empty() {
            let (left, right) = (&random.pick(&left).name, &random.pick(&right).name);
            return match (kind, random.below(6)) {
                (Kind::Int, 5) => format!("{left} + 1 = {right}"),
                (_, 4) => format!("{left} IS NOT DISTINCT FROM {right}"),
                _ => format!("{left} = {right}"),
            };
        }
    }
    format!("({} IS NULL) = ({} IS NULL)", random.pick(&left.columns).name, random.pick(&right.columns).name)
}

/// A query that has the columns of another one, of which it has fewer rows, or more.
pub fn changed(random: &mut Random, query: &Query, more: bool) -> Query {
    let from = query.as_subquery().named("q");
    let (list, columns) = outputs(&from.columns.iter().map(|c| (c.name.clone(), c.kind)).collect::<Vec<_>>());
    let fewer =
        select(&format!("SELECT {list}"), &from, &format!(" WHERE {}", predicate(random, &from.columns, 1)), columns);
    let fewer = Query { columns: query.columns.clone(), ..fewer };
    if !more {
        return fewer;
    }
    // In parentheses, as it may end in ORDER BY.
    Query { sql: Sql::text("(").with(&query.sql).and(") UNION ALL ").with(&fewer.sql), columns: fewer.columns }
}

/// A common table expression that is named once or twice.
fn with(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let common = generate(random, relations, depth.saturating_sub(1));
    let name = format!("common{depth}");
    let named = Relation::new(Sql::text(&name), common.columns.clone());
    let mut known = relations.to_vec();
    known.truncate(TABLES.len());
    let mut names = vec![named.clone()];
    names.extend(known.iter().cloned());
    let from = match random.below(3) {
        0 => named.named("l"),
        1 => joined(random, named.clone().named("l"), named.named("r")),
        _ => {
            let other = source(random, relations, 0, "r");
            joined(random, named.named("l"), other)
        }
    };
    let tail = filter(random, &from.columns);
    let body = if random.one_in(2) {
        grouped(random, from, tail)
    } else {
        let mut expressions = Vec::new();
        for _ in 0..1 + random.below(4) {
            let column = random.pick(&from.columns).clone();
            expressions.push((column.name, column.kind));
        }
        let (list, columns) = outputs(&expressions);
        select(&format!("SELECT {list}"), &from, &tail, columns)
    };
    let materialized = random.pick(&["", "", " MATERIALIZED", " NOT MATERIALIZED"]);
    let head = |materialized: &str| format!("WITH {name} AS{materialized} (");
    let rest = |sql: Sql| sql.with(&common.sql).and(") ").with(&body.sql);
    let (plain, marked) = (rest(Sql::text(head(""))), rest(Sql::text(head(materialized))));
    Query { sql: Sql { batch: plain.batch, ..marked }, columns: body.columns }
}

/// UNION, INTERSECT and EXCEPT, each with and without ALL, of two or three.
pub fn set_operation(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let mut kinds = Vec::new();
    for _ in 0..1 + random.below(3) {
        kinds.push(Kind::key(random));
    }
    let left = side(random, relations, depth, &kinds, "x");
    let right = side(random, relations, depth, &kinds, "y");
    let pair = combined(random, left, right);
    if !random.one_in(4) {
        return pair;
    }
    let pair = pair.as_subquery().named("u");
    let (list, columns) = outputs(&pair.columns.iter().map(|c| (c.name.clone(), c.kind)).collect::<Vec<_>>());
    let third = side(random, relations, depth, &kinds, "z");
    combined(random, select(&format!("SELECT {list}"), &pair, "", columns), third)
}

fn side(random: &mut Random, relations: &[Relation], depth: usize, kinds: &[Kind], alias: &str) -> Query {
    let from = source(random, relations, depth.saturating_sub(1), alias);
    let expressions: Vec<_> = kinds.iter().map(|kind| (expression(random, &from.columns, *kind, 1), *kind)).collect();
    let (list, columns) = outputs(&expressions);
    select(&format!("SELECT {list}"), &from, &filter(random, &from.columns), columns)
}

fn combined(random: &mut Random, left: Query, right: Query) -> Query {
    let operators = ["UNION ALL", "UNION", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"];
    let operator = *random.pick(&operators);
    let text = |left: &Sql, operator: &str, right: &Sql| left.clone().and(&format!(" {operator} ")).with(right);
    let plain = text(&left.sql, operator, &right.sql);
    let batch = match operator.strip_suffix(" ALL") {
        Some(counted @ ("INTERSECT" | "EXCEPT")) => counted_sets(&left, counted, &right).batch,
        _ => plain.batch,
    };
    Query { sql: Sql { batch, ..plain }, columns: left.columns }
}

/// INTERSECT ALL and EXCEPT ALL, which DataFusion doesn't count right: equal rows get numbers, and are then a set.
fn counted_sets(left: &Query, operator: &str, right: &Query) -> Sql {
    let names: Vec<_> = left.columns.iter().map(|column| column.name.as_str()).collect();
    let list = names.join(", ");
    let numbered = |side: &Query| {
        let head = format!("SELECT {list}, row_number() OVER (PARTITION BY {list}) AS copy FROM (");
        Sql::text(head).with(&side.sql).and(") AS side")
    };
    let sets = numbered(left).and(&format!(" {operator} ")).with(&numbered(right));
    Sql::text(format!("SELECT {list} FROM (")).with(&sets).and(") AS counted")
}
