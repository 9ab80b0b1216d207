//! Random queries: a grammar whose sentences are valid in PostgreSQL's dialect and in DataFusion's.
//!
//! Each relation has two texts: how the view names it, and how the oracle does, for which a view over a view is a subquery, and a window
//! of time an expression.

use super::expression::{Kind, call, expression, predicate};
use super::model::TABLES;
use crate::support::random::Random;

/// A column that can be named.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// Something that stands in FROM.
#[derive(Clone, Debug)]
pub struct Relation {
    pub(super) sql: String,
    pub(super) oracle: String,
    pub(super) columns: Vec<Column>,
}

/// A whole query.
#[derive(Clone, Debug)]
pub struct Query {
    /// For the view.
    pub sql: String,
    /// For the oracle.
    pub oracle: String,
    columns: Vec<Column>,
}

impl Relation {
    pub fn tables() -> Vec<Self> {
        let columns = [
            ("id", Kind::Int),
            ("a", Kind::Int),
            ("b", Kind::Int),
            ("s", Kind::Text),
            ("f", Kind::Float),
            ("n", Kind::Numeric),
            ("at", Kind::Time),
            ("ok", Kind::Bool),
        ];
        let columns: Vec<_> = columns.into_iter().map(|(name, kind)| column(name, kind)).collect();
        let table =
            |name: &&str| Self { sql: (*name).to_owned(), oracle: (*name).to_owned(), columns: columns.clone() };
        TABLES.iter().map(table).collect()
    }

    /// Under an alias.
    pub(super) fn named(self, alias: &str) -> Self {
        let columns = self.columns.iter().map(|c| column(&format!("{alias}.{}", c.name), c.kind)).collect();
        Self { sql: format!("{} AS {alias}", self.sql), oracle: format!("{} AS {alias}", self.oracle), columns }
    }

    /// Of one of these, its columns of a kind.
    pub(super) fn of_kind(&self, kind: Kind) -> Vec<&Column> {
        self.columns.iter().filter(|column| column.kind == kind).collect()
    }
}

fn column(name: &str, kind: Kind) -> Column {
    Column { name: name.to_owned(), kind }
}

impl Query {
    pub(super) fn new(sql: String, oracle: String, columns: Vec<Column>) -> Self {
        Self { sql, oracle, columns }
    }

    /// This query under a view's name.
    pub fn as_relation(&self, name: &str) -> Relation {
        Relation { sql: name.to_owned(), oracle: format!("({})", self.oracle), columns: self.columns.clone() }
    }

    /// A query over these relations, with subqueries up to `depth`.
    pub fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Self {
        match random.below(27) {
            0..=2 => project(random, relations, depth),
            3..=6 => aggregate(random, relations, depth),
            7..=9 => join(random, relations, depth),
            10 | 11 => exists(random, relations, depth),
            12 => scalar(random, relations, depth),
            13 => windows(random, relations),
            16..=19 => super::partition::generate(random, relations, depth),
            20 | 21 => super::recursion::generate(random, relations),
            22..=24 => super::rows::generate(random, relations, depth),
            25 | 26 => super::as_of::generate(random, relations, depth),
            _ => set_operation(random, relations, depth),
        }
    }

    fn both(text: impl Fn(&dyn Fn(&Relation) -> String) -> String, columns: Vec<Column>) -> Self {
        Self { sql: text(&|relation| relation.sql.clone()), oracle: text(&|relation| relation.oracle.clone()), columns }
    }
}

/// A relation with an alias: a table, a view, or a subquery.
pub(super) fn source(random: &mut Random, relations: &[Relation], depth: usize, alias: &str) -> Relation {
    let relation = if depth > 0 && random.one_in(3) {
        let query = Query::generate(random, relations, depth - 1);
        Relation { sql: format!("({})", query.sql), oracle: format!("({})", query.oracle), columns: query.columns }
    } else {
        random.pick(relations).clone()
    };
    relation.named(alias)
}

/// The same tail behind both texts of FROM.
pub(super) fn query(head: &str, from: &Relation, tail: &str, columns: Vec<Column>) -> Query {
    Query::both(|text| format!("{head} FROM {}{tail}", text(from)), columns)
}

/// Output columns `c0`, `c1`, … from expressions.
pub(super) fn outputs(expressions: &[(String, Kind)]) -> (String, Vec<Column>) {
    let named = expressions.iter().enumerate().map(|(i, (text, _))| format!("{text} AS c{i}"));
    let columns = expressions.iter().enumerate().map(|(i, (_, kind))| column(&format!("c{i}"), *kind));
    (named.collect::<Vec<_>>().join(", "), columns.collect())
}

pub(super) fn filter(random: &mut Random, columns: &[Column]) -> String {
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
    Query::both(|text| format!("SELECT {distinct}{list} FROM {}{tail}", text(&from)), columns)
}

fn aggregate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "g");
    let tail = filter(random, &from.columns);
    grouped(random, from, tail)
}

/// Aggregates over rows with a condition.
fn grouped(random: &mut Random, from: Relation, mut tail: String) -> Query {
    let mut keys = Vec::new();
    for _ in 0..random.below(3) {
        let kind = Kind::key(random);
        keys.push((expression(random, &from.columns, kind, 1), kind));
    }
    let mut expressions = keys.clone();
    for _ in 0..1 + random.below(4) {
        expressions.push(call(random, &from.columns));
    }
    let (list, columns) = outputs(&expressions);
    if !keys.is_empty() {
        let positions: Vec<_> = (1..=keys.len()).map(|i| i.to_string()).collect();
        // DataFusion knows no positions in grouping sets, where a constant would be one, and a key stands once.
        let texts: Vec<&str> = keys.iter().map(|(key, _)| key.as_str()).collect();
        let plain = texts.iter().all(|key| key.contains('.')) && (texts.len() < 2 || texts[0] != texts[1]);
        match random.below(6) {
            0 if plain => tail.push_str(&format!(" GROUP BY ROLLUP ({})", texts.join(", "))),
            1 if plain => tail.push_str(&format!(" GROUP BY CUBE ({})", texts.join(", "))),
            _ => tail.push_str(&format!(" GROUP BY {}", positions.join(", "))),
        }
    }
    match random.below(8) {
        0 => tail.push_str(&format!(" HAVING count(*) > {}", random.below(3))),
        1 => {
            let int = expression(random, &from.columns, Kind::Int, 0);
            tail.push_str(&format!(" HAVING max({int}) > {} OR min({int}) IS NULL", random.below(4)));
        }
        _ => {}
    }
    Query::both(|text| format!("SELECT {list} FROM {}{tail}", text(&from)), columns)
}

fn join(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let left = source(random, relations, depth, "l");
    let right = source(random, relations, depth, "r");
    let mut from = joined(random, left, right);
    if random.one_in(4) {
        let more = source(random, relations, 0, "m");
        from = joined(random, from, more);
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
    Query::both(|text| format!("SELECT {list} FROM {}{tail}", text(&from)), columns)
}

fn joined(random: &mut Random, left: Relation, right: Relation) -> Relation {
    let mut on = equality(random, &left, &right);
    if random.one_in(4) {
        on.push_str(&format!(" AND {}", equality(random, &left, &right)));
    }
    let both: Vec<_> = left.columns.iter().chain(&right.columns).cloned().collect();
    if random.one_in(3) {
        on.push_str(&format!(" AND {}", predicate(random, &both, 1)));
    }
    let kind = random.pick(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
    Relation {
        sql: format!("{} {kind} {} ON {on}", left.sql, right.sql),
        oracle: format!("{} {kind} {} ON {on}", left.oracle, right.oracle),
        columns: both,
    }
}

/// `l.x = r.y` of one kind; where there is no such pair, whether columns are NULL is compared.
pub(super) fn equality(random: &mut Random, left: &Relation, right: &Relation) -> String {
    let first = Kind::key(random);
    for kind in [first, Kind::Int, Kind::Text] {
        let (left, right) = (left.of_kind(kind), right.of_kind(kind));
        if !left.is_empty() && !right.is_empty() {
            let (left, right) = (&random.pick(&left).name, &random.pick(&right).name);
            return match (kind, random.below(6)) {
                (Kind::Int, 0) => format!("{left} + 1 = {right}"),
                _ => format!("{left} = {right}"),
            };
        }
    }
    format!("({} IS NULL) = ({} IS NULL)", random.pick(&left.columns).name, random.pick(&right.columns).name)
}

/// EXISTS, IN, and their negations.
fn exists(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let (outer, inner) = (source(random, relations, depth, "o"), source(random, relations, 0, "i"));
    let expressions: Vec<_> = outer.columns.iter().map(|column| (column.name.clone(), column.kind)).collect();
    let (list, columns) = outputs(&expressions);
    let not = if random.one_in(2) { "NOT " } else { "" };
    let more = if random.one_in(2) { format!(" AND {}", predicate(random, &inner.columns, 1)) } else { String::new() };
    if let (Some(left), Some(right), true) =
        (outer.of_kind(Kind::Int).first(), inner.of_kind(Kind::Int).first(), random.one_in(3))
    {
        // With a NULL on either side, NOT IN is refused in views.
        let (left, right) = (&left.name, &right.name);
        return Query::both(
            |text| {
                let subquery = format!("SELECT {right} FROM {} WHERE {right} IS NOT NULL{more}", text(&inner));
                format!("SELECT {list} FROM {} WHERE {left} IS NOT NULL AND {left} {not}IN ({subquery})", text(&outer))
            },
            columns,
        );
    }
    let on = equality(random, &outer, &inner);
    let both: Vec<_> = outer.columns.iter().chain(&inner.columns).cloned().collect();
    let more = if random.one_in(3) { format!(" AND {}", predicate(random, &both, 0)) } else { more };
    Query::both(
        |text| {
            let subquery = format!("SELECT 1 FROM {} WHERE {on}{more}", text(&inner));
            format!("SELECT {list} FROM {} WHERE {not}EXISTS ({subquery})", text(&outer))
        },
        columns,
    )
}

/// A scalar subquery: an aggregate over all rows, or over those with the outer row's key.
fn scalar(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let (outer, inner) = (source(random, relations, depth, "o"), source(random, relations, 0, "i"));
    let value = expression(random, &inner.columns, Kind::Int, 0);
    let aggregate = random.pick(&["max", "min", "sum"]);
    let on = match random.one_in(2) {
        true => format!(" WHERE {}", equality(random, &outer, &inner)),
        false => String::new(),
    };
    let own = expression(random, &outer.columns, Kind::Int, 0);
    let columns = vec![column("c0", Kind::Int), column("c1", Kind::Int)];
    if random.one_in(2) {
        return Query::both(
            |text| {
                let subquery = format!("SELECT {aggregate}({value}) FROM {}{on}", text(&inner));
                format!("SELECT {own} AS c0, ({subquery}) AS c1 FROM {}", text(&outer))
            },
            columns,
        );
    }
    Query::both(
        |text| {
            let subquery = format!("SELECT {aggregate}({value}) FROM {}{on}", text(&inner));
            format!("SELECT {own} AS c0, {own} AS c1 FROM {} WHERE {own} >= ({subquery})", text(&outer))
        },
        columns,
    )
}

/// TUMBLE or HOP over a table; DataFusion bins the time itself.
fn windows(random: &mut Random, relations: &[Relation]) -> Query {
    let table = relations[random.below(TABLES.len() as u64) as usize].clone();
    let (sql, start) = match random.one_in(2) {
        true => (
            format!("TUMBLE({}, at, INTERVAL '2 minutes')", table.sql),
            "date_bin(INTERVAL '2 minutes', t.at, TIMESTAMP '1970-01-01')".to_owned(),
        ),
        false => (
            format!("HOP({}, at, INTERVAL '1 minute', INTERVAL '2 minutes')", table.sql),
            "date_bin(INTERVAL '1 minute', t.at, TIMESTAMP '1970-01-01') - k.k".to_owned(),
        ),
    };
    let offsets = if sql.starts_with("HOP") {
        " CROSS JOIN (VALUES (INTERVAL '0 minutes'), (INTERVAL '1 minute')) AS k (k)"
    } else {
        ""
    };
    let oracle = format!(
        "(SELECT t.*, {start} AS window_start, {start} + INTERVAL '2 minutes' AS window_end FROM {} AS t{offsets} WHERE t.at IS NOT NULL)",
        table.oracle
    );
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
    Query::both(|text| format!("SELECT {list} FROM {}{tail}", text(&from)), columns)
}

/// UNION, INTERSECT and EXCEPT, each with and without ALL.
fn set_operation(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let mut kinds = Vec::new();
    for _ in 0..1 + random.below(3) {
        kinds.push(Kind::key(random));
    }
    let mut side = |alias: &str| {
        let from = source(random, relations, depth.saturating_sub(1), alias);
        let expressions: Vec<_> =
            kinds.iter().map(|kind| (expression(random, &from.columns, *kind, 1), *kind)).collect();
        let (list, columns) = outputs(&expressions);
        let tail = filter(random, &from.columns);
        Query::both(|text| format!("SELECT {list} FROM {}{tail}", text(&from)), columns)
    };
    let (left, right) = (side("x"), side("y"));
    let operators = ["UNION ALL", "UNION", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"];
    let operator = *random.pick(&operators);
    let oracle = match operator.strip_suffix(" ALL") {
        Some(counted @ ("INTERSECT" | "EXCEPT")) => counted_sets(&left, counted, &right),
        _ => format!("{} {operator} {}", left.oracle, right.oracle),
    };
    Query { sql: format!("{} {operator} {}", left.sql, right.sql), oracle, columns: left.columns }
}

/// INTERSECT ALL and EXCEPT ALL, which DataFusion doesn't count right: equal rows get numbers, and are then a set.
fn counted_sets(left: &Query, operator: &str, right: &Query) -> String {
    let names: Vec<_> = left.columns.iter().map(|column| column.name.as_str()).collect();
    let list = names.join(", ");
    let numbered = |side: &Query| {
        format!("SELECT {list}, row_number() OVER (PARTITION BY {list}) AS copy FROM ({}) AS side", side.oracle)
    };
    format!("SELECT {list} FROM ({} {operator} {}) AS counted", numbered(left), numbered(right))
}
