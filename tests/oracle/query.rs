//! Random queries: a small grammar whose sentences are valid in PostgreSQL's dialect and in DataFusion's.
//!
//! Each relation has two texts: how the view names it, and how the oracle does, for which a view over a view is a subquery.

use super::model::TABLES;
use crate::support::random::Random;

/// What an expression is; each kind has its own operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    Text,
    Float,
    Bool,
}

/// A column that can be named.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    kind: Kind,
}

/// Something that stands in FROM.
#[derive(Clone, Debug)]
pub struct Relation {
    sql: String,
    oracle: String,
    columns: Vec<Column>,
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
        let column = |(name, kind): (&str, Kind)| Column { name: name.to_owned(), kind };
        let columns = [("id", Kind::Int), ("a", Kind::Int), ("b", Kind::Int), ("s", Kind::Text), ("f", Kind::Float)];
        let columns: Vec<_> = columns.into_iter().map(column).collect();
        let table =
            |name: &&str| Self { sql: (*name).to_owned(), oracle: (*name).to_owned(), columns: columns.clone() };
        TABLES.iter().map(table).collect()
    }
}

impl Query {
    /// This query under a view's name.
    pub fn as_relation(&self, name: &str) -> Relation {
        Relation { sql: name.to_owned(), oracle: format!("({})", self.oracle), columns: self.columns.clone() }
    }

    /// A query over these relations, with subqueries up to `depth`.
    pub fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Self {
        match random.below(8) {
            0 | 1 => project(random, relations, depth),
            2 | 3 => aggregate(random, relations, depth),
            4 | 5 => join(random, relations, depth),
            6 => exists(random, relations, depth),
            _ => union(random, relations, depth),
        }
    }
}

/// A relation with an alias: a table, a view, or a subquery.
fn source(random: &mut Random, relations: &[Relation], depth: usize, alias: &str) -> Relation {
    let relation = if depth > 0 && random.one_in(3) {
        let query = Query::generate(random, relations, depth - 1);
        Relation { sql: format!("({})", query.sql), oracle: format!("({})", query.oracle), columns: query.columns }
    } else {
        random.pick(relations).clone()
    };
    let columns =
        relation.columns.iter().map(|c| Column { name: format!("{alias}.{}", c.name), kind: c.kind }).collect();
    Relation { sql: format!("{} AS {alias}", relation.sql), oracle: format!("{} AS {alias}", relation.oracle), columns }
}

/// The same tail behind both texts of FROM.
fn query(head: &str, from: &Relation, tail: &str, columns: Vec<Column>) -> Query {
    Query {
        sql: format!("{head} FROM {}{tail}", from.sql),
        oracle: format!("{head} FROM {}{tail}", from.oracle),
        columns,
    }
}

/// Output columns `c0`, `c1`, … from expressions.
fn outputs(expressions: &[(String, Kind)]) -> (String, Vec<Column>) {
    let named = expressions.iter().enumerate().map(|(i, (text, _))| format!("{text} AS c{i}"));
    let columns = expressions.iter().enumerate().map(|(i, (_, kind))| Column { name: format!("c{i}"), kind: *kind });
    (named.collect::<Vec<_>>().join(", "), columns.collect())
}

fn filter(random: &mut Random, columns: &[Column]) -> String {
    if random.one_in(2) { format!(" WHERE {}", predicate(random, columns, 2)) } else { String::new() }
}

fn project(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "p");
    let expressions: Vec<_> = (0..1 + random.below(4))
        .map(|_| {
            let kind = *random.pick(&[Kind::Int, Kind::Int, Kind::Text, Kind::Float]);
            (expression(random, &from.columns, kind, 2), kind)
        })
        .collect();
    let (list, columns) = outputs(&expressions);
    let distinct = if random.one_in(4) { "DISTINCT " } else { "" };
    let tail = filter(random, &from.columns);
    query(&format!("SELECT {distinct}{list}"), &from, &tail, columns)
}

fn aggregate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "g");
    let keys: Vec<_> = (0..random.below(3))
        .map(|_| {
            let kind = *random.pick(&[Kind::Int, Kind::Text]);
            (expression(random, &from.columns, kind, 1), kind)
        })
        .collect();
    let mut expressions = keys.clone();
    for _ in 0..1 + random.below(4) {
        expressions.push(call(random, &from.columns));
    }
    let (list, columns) = outputs(&expressions);
    let mut tail = filter(random, &from.columns);
    if !keys.is_empty() {
        let positions: Vec<_> = (1..=keys.len()).map(|i| i.to_string()).collect();
        tail.push_str(&format!(" GROUP BY {}", positions.join(", ")));
        if random.one_in(4) {
            tail.push_str(&format!(" HAVING count(*) > {}", random.below(3)));
        }
    }
    query(&format!("SELECT {list}"), &from, &tail, columns)
}

/// A call of an aggregate function.
fn call(random: &mut Random, columns: &[Column]) -> (String, Kind) {
    let int = expression(random, columns, Kind::Int, 1);
    let (text, kind) = match random.below(12) {
        0 => ("count(*)".to_owned(), Kind::Int),
        1 => (format!("count({int})"), Kind::Int),
        2 => (format!("sum({int})"), Kind::Int),
        3 => (format!("min({int})"), Kind::Int),
        4 => (format!("max({int})"), Kind::Int),
        5 => (format!("min({})", expression(random, columns, Kind::Text, 1)), Kind::Text),
        6 => (format!("max({})", expression(random, columns, Kind::Text, 1)), Kind::Text),
        7 => (format!("count(DISTINCT {int})"), Kind::Int),
        8 => (format!("sum({})", expression(random, columns, Kind::Float, 1)), Kind::Float),
        9 => (format!("avg({})", expression(random, columns, Kind::Float, 1)), Kind::Float),
        10 => (format!("bool_and({})", predicate(random, columns, 1)), Kind::Bool),
        _ => (format!("sum(DISTINCT {int})"), Kind::Int),
    };
    let filter =
        if random.one_in(4) { format!(" FILTER (WHERE {})", predicate(random, columns, 1)) } else { String::new() };
    (text + &filter, kind)
}

fn join(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let (left, right) = (source(random, relations, depth, "l"), source(random, relations, depth, "r"));
    let mut on = equality(random, &left, &right);
    let both: Vec<_> = left.columns.iter().chain(&right.columns).cloned().collect();
    if random.one_in(3) {
        on.push_str(&format!(" AND {}", predicate(random, &both, 1)));
    }
    let kind = random.pick(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
    let from = Relation {
        sql: format!("{} {kind} {} ON {on}", left.sql, right.sql),
        oracle: format!("{} {kind} {} ON {on}", left.oracle, right.oracle),
        columns: both,
    };
    let expressions: Vec<_> = (0..1 + random.below(4))
        .map(|_| {
            let column = random.pick(&from.columns);
            (column.name.clone(), column.kind)
        })
        .collect();
    let (list, columns) = outputs(&expressions);
    let tail = if random.one_in(3) { filter(random, &from.columns) } else { String::new() };
    query(&format!("SELECT {list}"), &from, &tail, columns)
}

/// `l.x = r.y` of one kind; where there is no such pair, whether columns are NULL is compared.
fn equality(random: &mut Random, left: &Relation, right: &Relation) -> String {
    let first = if random.one_in(4) { Kind::Text } else { Kind::Int };
    for kind in [first, Kind::Int, Kind::Text] {
        let of = |relation: &Relation| -> Vec<String> {
            relation.columns.iter().filter(|column| column.kind == kind).map(|column| column.name.clone()).collect()
        };
        let (left, right) = (of(left), of(right));
        if !left.is_empty() && !right.is_empty() {
            return format!("{} = {}", random.pick(&left), random.pick(&right));
        }
    }
    format!("({} IS NULL) = ({} IS NULL)", random.pick(&left.columns).name, random.pick(&right.columns).name)
}

fn exists(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let (outer, inner) = (source(random, relations, depth, "o"), source(random, relations, 0, "i"));
    let on = equality(random, &outer, &inner);
    let more = if random.one_in(2) { format!(" AND {}", predicate(random, &inner.columns, 1)) } else { String::new() };
    let not = if random.one_in(2) { "NOT " } else { "" };
    let expressions: Vec<_> = outer.columns.iter().map(|column| (column.name.clone(), column.kind)).collect();
    let (list, columns) = outputs(&expressions);
    let text = |outer: &str, inner: &str| {
        format!("SELECT {list} FROM {outer} WHERE {not}EXISTS (SELECT 1 FROM {inner} WHERE {on}{more})")
    };
    Query { sql: text(&outer.sql, &inner.sql), oracle: text(&outer.oracle, &inner.oracle), columns }
}

fn union(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let kinds: Vec<_> = (0..1 + random.below(3)).map(|_| *random.pick(&[Kind::Int, Kind::Text])).collect();
    let mut side = |alias: &str| {
        let from = source(random, relations, depth.saturating_sub(1), alias);
        let expressions: Vec<_> =
            kinds.iter().map(|kind| (expression(random, &from.columns, *kind, 1), *kind)).collect();
        let (list, columns) = outputs(&expressions);
        let tail = filter(random, &from.columns);
        query(&format!("SELECT {list}"), &from, &tail, columns)
    };
    let (left, right) = (side("x"), side("y"));
    let operator = random.pick(&["UNION ALL", "UNION"]);
    Query {
        sql: format!("{} {operator} {}", left.sql, right.sql),
        oracle: format!("{} {operator} {}", left.oracle, right.oracle),
        columns: left.columns,
    }
}

/// An expression of a kind. Numbers stay small: nothing overflows.
fn expression(random: &mut Random, columns: &[Column], kind: Kind, depth: usize) -> String {
    let candidates: Vec<_> = columns.iter().filter(|column| column.kind == kind).collect();
    if depth == 0 || random.one_in(2) {
        if !candidates.is_empty() && !random.one_in(8) {
            return random.pick(&candidates).name.clone();
        }
        return match kind {
            Kind::Int => random.below(5).to_string(),
            Kind::Text => random.pick(&["'x'", "'y'", "'z'"]).to_string(),
            Kind::Float => "CAST(1.5 AS DOUBLE PRECISION)".to_owned(),
            Kind::Bool => "true".to_owned(),
        };
    }
    let mut sub = |kind| expression(random, columns, kind, depth - 1);
    match kind {
        Kind::Int => {
            let (left, right, text) = (sub(Kind::Int), sub(Kind::Int), sub(Kind::Text));
            match random.below(6) {
                0 => format!("({left} + {right})"),
                1 => format!("({left} - {right})"),
                2 => format!("abs({left})"),
                3 => format!("coalesce({left}, {right})"),
                4 => format!("length({text})"),
                _ => format!("CASE WHEN {} THEN {left} ELSE {right} END", predicate(random, columns, 0)),
            }
        }
        Kind::Text => {
            let (left, right) = (sub(Kind::Text), sub(Kind::Text));
            match random.below(3) {
                0 => format!("upper({left})"),
                1 => format!("({left} || {right})"),
                _ => format!("coalesce({left}, {right})"),
            }
        }
        Kind::Float => {
            let (left, right) = (sub(Kind::Float), sub(Kind::Float));
            if random.one_in(2) { format!("({left} + {right})") } else { format!("coalesce({left}, {right})") }
        }
        Kind::Bool => predicate(random, columns, depth - 1),
    }
}

fn predicate(random: &mut Random, columns: &[Column], depth: usize) -> String {
    if depth > 0 && random.one_in(3) {
        let (left, right) = (predicate(random, columns, depth - 1), predicate(random, columns, depth - 1));
        return match random.below(3) {
            0 => format!("({left} AND {right})"),
            1 => format!("({left} OR {right})"),
            _ => format!("NOT ({left})"),
        };
    }
    let int = expression(random, columns, Kind::Int, 0);
    match random.below(7) {
        0 | 1 => {
            let comparison = random.pick(&["=", "<", ">=", "<>"]);
            format!("{int} {comparison} {}", expression(random, columns, Kind::Int, 0))
        }
        2 => format!("{int} IS NULL"),
        3 => format!("{} IS NOT NULL", expression(random, columns, Kind::Text, 0)),
        4 => format!("{int} IN (0, 2, 4)"),
        5 => format!("{} LIKE 'x%'", expression(random, columns, Kind::Text, 0)),
        _ => format!("{int} BETWEEN 1 AND 3"),
    }
}
