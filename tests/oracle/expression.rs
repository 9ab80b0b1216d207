//! Random expressions, conditions and aggregates over columns of known kinds. Numbers stay small: nothing overflows, and six digits tell them apart.

use super::sql::Column;
use crate::support::random::Random;

/// What an expression is; each kind has its own operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    Text,
    Float,
    Numeric,
    Time,
    Bool,
    /// An array of bigints; no column of a table is one.
    List,
}

impl Kind {
    /// A kind for a column of a SELECT list.
    pub fn any(random: &mut Random) -> Self {
        *random.pick(&[
            Self::Int,
            Self::Int,
            Self::Int,
            Self::Text,
            Self::Text,
            Self::Float,
            Self::Numeric,
            Self::Time,
            Self::Bool,
        ])
    }

    /// A kind to group, join or union by.
    pub fn key(random: &mut Random) -> Self {
        *random.pick(&[Self::Int, Self::Int, Self::Int, Self::Text, Self::Text, Self::Numeric, Self::Time, Self::Bool])
    }
}

/// An expression of a kind.
pub fn expression(random: &mut Random, columns: &[Column], kind: Kind, depth: usize) -> String {
    let candidates: Vec<_> = columns.iter().filter(|column| column.kind == kind).collect();
    if depth == 0 || !random.one_in(2) {
        if !candidates.is_empty() && !random.one_in(8) {
            return random.pick(&candidates).name.clone();
        }
        return match kind {
            Kind::Int => random.below(5).to_string(),
            Kind::Text => random.pick(&["'x'", "'y'", "'z'"]).to_string(),
            Kind::Float => "CAST(1.5 AS DOUBLE PRECISION)".to_owned(),
            Kind::Numeric => format!("CAST({}.25 AS NUMERIC(8,2))", random.below(4)),
            Kind::Time => format!("TIMESTAMP '2024-01-01 00:0{}:30'", random.below(6)),
            Kind::Bool => random.pick(&["true", "false"]).to_string(),
            Kind::List => "CAST(NULL AS BIGINT[])".to_owned(),
        };
    }
    let depth = depth - 1;
    let mut sub = |kind| expression(random, columns, kind, depth);
    match kind {
        Kind::Int => {
            let (left, right, text) = (sub(Kind::Int), sub(Kind::Int), sub(Kind::Text));
            match random.below(12) {
                0 => format!("({left} + {right})"),
                1 => format!("({left} - {right})"),
                2 => format!("abs({left})"),
                3 => format!("coalesce({left}, {right})"),
                4 => format!("length({text})"),
                5 => format!("({left} % 3)"),
                6 => format!("({left} / 2)"),
                7 => format!("nullif({left}, {right})"),
                8 => format!("greatest({left}, {right})"),
                9 => format!("least({left}, {right})"),
                10 => format!("CASE {left} WHEN 1 THEN {right} WHEN 2 THEN 7 END"),
                _ => format!("CASE WHEN {} THEN {left} ELSE {right} END", predicate(random, columns, 0)),
            }
        }
        Kind::Text => {
            let (left, right) = (sub(Kind::Text), sub(Kind::Text));
            match random.below(7) {
                0 => format!("upper({left})"),
                1 => format!("({left} || {right})"),
                2 => format!("nullif({left}, 'x')"),
                5 => format!("substr({left}, 1, 1)"),
                6 => format!("CAST({} AS TEXT)", expression(random, columns, Kind::Int, depth)),
                3 => format!("CASE WHEN {} THEN {left} END", predicate(random, columns, 0)),
                _ => format!("coalesce({left}, {right})"),
            }
        }
        Kind::Float | Kind::Numeric => {
            let (left, right) = (sub(kind), sub(kind));
            match random.below(4) {
                0 => format!("({left} + {right})"),
                1 => format!("({left} - {right})"),
                2 => format!("abs({left})"),
                _ => format!("coalesce({left}, {right})"),
            }
        }
        Kind::Time => {
            let (left, right) = (sub(Kind::Time), sub(Kind::Time));
            match random.below(3) {
                0 => format!("({left} + INTERVAL '1 minute')"),
                1 => format!("date_trunc('minute', {left})"),
                _ => format!("coalesce({left}, {right})"),
            }
        }
        Kind::Bool => predicate(random, columns, depth),
        Kind::List => sub(Kind::List),
    }
}

/// A condition.
pub fn predicate(random: &mut Random, columns: &[Column], depth: usize) -> String {
    if depth > 0 && random.one_in(3) {
        let (left, right) = (predicate(random, columns, depth - 1), predicate(random, columns, depth - 1));
        return match random.below(3) {
            0 => format!("({left} AND {right})"),
            1 => format!("({left} OR {right})"),
            _ => format!("(NOT ({left}))"),
        };
    }
    let mut leaf = |kind| expression(random, columns, kind, 0);
    let (int, text) = (leaf(Kind::Int), leaf(Kind::Text));
    match random.below(11) {
        0 | 1 => {
            let comparison = *random.pick(&["=", "<", ">=", "<>"]);
            format!("({int} {comparison} {})", expression(random, columns, Kind::Int, 0))
        }
        2 => format!("({int} IS NULL)"),
        3 => format!("({text} IS NOT NULL)"),
        4 => format!("({int} IN (0, 2, 4))"),
        5 => format!("({text} LIKE 'x%')"),
        6 => format!("({int} IS DISTINCT FROM {})", expression(random, columns, Kind::Int, 0)),
        7 => {
            let kind = *random.pick(&[Kind::Float, Kind::Numeric, Kind::Time, Kind::Text]);
            let (left, right) = (expression(random, columns, kind, 0), expression(random, columns, kind, 0));
            format!("({left} {} {right})", random.pick(&["<", "<=", "="]))
        }
        8 => format!("({} IS NOT TRUE)", expression(random, columns, Kind::Bool, 0)),
        9 => format!("({int} NOT BETWEEN 1 AND 3)"),
        _ => format!("({int} BETWEEN 1 AND 3)"),
    }
}

/// A call of an aggregate function.
pub fn call(random: &mut Random, columns: &[Column]) -> (String, Kind) {
    let int = expression(random, columns, Kind::Int, 1);
    let mut of = |kind| expression(random, columns, kind, 1);
    let (float, text, numeric, time) = (of(Kind::Float), of(Kind::Text), of(Kind::Numeric), of(Kind::Time));
    let (text, kind) = match random.below(24) {
        0 | 1 => ("count(*)".to_owned(), Kind::Int),
        2 => (format!("count({int})"), Kind::Int),
        3 => (format!("count({text})"), Kind::Int),
        4 => (format!("sum({int})"), Kind::Numeric),
        5 => (format!("min({int})"), Kind::Int),
        6 => (format!("max({int})"), Kind::Int),
        7 => (format!("min({text})"), Kind::Text),
        8 => (format!("max({text})"), Kind::Text),
        9 => (format!("count(DISTINCT {int})"), Kind::Int),
        10 => (format!("count(DISTINCT {text})"), Kind::Int),
        11 => (format!("sum(DISTINCT {int})"), Kind::Numeric),
        12 => (format!("sum({float})"), Kind::Float),
        13 => (format!("avg({float})"), Kind::Float),
        14 => (format!("sum({numeric})"), Kind::Numeric),
        15 => (format!("min({numeric})"), Kind::Numeric),
        16 => (format!("max({time})"), Kind::Time),
        17 => (format!("min({time})"), Kind::Time),
        18 => (format!("bool_and({})", predicate(random, columns, 1)), Kind::Bool),
        19 => (format!("bool_or({})", predicate(random, columns, 1)), Kind::Bool),
        20 => (format!("stddev({float})"), Kind::Float),
        21 => (format!("var_pop({float})"), Kind::Float),
        22 => (format!("stddev_pop({float})"), Kind::Float),
        _ => (format!("var_samp({float})"), Kind::Float),
    };
    let filter = match random.one_in(4) {
        true => format!(" FILTER (WHERE {})", predicate(random, columns, 1)),
        false => String::new(),
    };
    (text + &filter, kind)
}
