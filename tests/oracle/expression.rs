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
    /// A timestamp.
    Time,
    Bool,
    /// An array of bigints.
    List,
    Date,
    /// A timestamptz.
    Moment,
    /// An interval of hours or less.
    Interval,
    Json,
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
            Self::Moment,
            Self::Interval,
            Self::List,
            Self::Json,
            Self::Date,
        ])
    }

    /// A kind to group, join or union by.
    pub fn key(random: &mut Random) -> Self {
        let common = [Self::Int, Self::Int, Self::Int, Self::Text, Self::Text, Self::Numeric, Self::Time, Self::Bool];
        if random.one_in(6) {
            return *random.pick(&[Self::Moment, Self::Interval, Self::List, Self::Json, Self::Date]);
        }
        *random.pick(&common)
    }

    /// Whether its values have an order that all agree on.
    pub fn has_order(self) -> bool {
        self != Self::Json
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
            Kind::Date => format!("DATE '2024-01-0{}'", 1 + random.below(6)),
            Kind::List => random.pick(&["CAST(NULL AS BIGINT[])", "CAST(ARRAY[1, 2] AS BIGINT[])"]).to_string(),
            Kind::Moment => format!("TIMESTAMPTZ '2024-01-01 00:0{}:30+00'", random.below(6)),
            Kind::Interval => format!("INTERVAL '{} seconds'", 30 * random.below(4)),
            Kind::Json => "CAST('{\"k\": 3, \"t\": \"y\"}' AS JSONB)".to_owned(),
        };
    }
    let depth = depth - 1;
    let mut sub = |kind| expression(random, columns, kind, depth);
    match kind {
        Kind::Int => {
            let (left, right, text) = (sub(Kind::Int), sub(Kind::Int), sub(Kind::Text));
            if random.one_in(4) {
                return int_of(random, columns, depth);
            }
            match random.below(14) {
                12 => format!("({left} & 3)"),
                13 => format!("({left} | {right})"),
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
            if random.one_in(4) {
                return text_of(random, columns, depth);
            }
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
            match random.below(7) {
                6 => date_as_time(random, columns, depth),
                0 => format!("({left} + INTERVAL '1 minute')"),
                1 => format!("date_trunc('minute', {left})"),
                2 => format!("date_bin(INTERVAL '2 minutes', {left}, TIMESTAMP '1970-01-01')"),
                3 => format!("({left} + {})", expression(random, columns, Kind::Interval, depth)),
                4 => format!("({} AT TIME ZONE 'UTC')", expression(random, columns, Kind::Moment, depth)),
                _ => format!("coalesce({left}, {right})"),
            }
        }
        Kind::Bool => predicate(random, columns, depth),
        Kind::Date => {
            let (left, right, int, time) = (sub(Kind::Date), sub(Kind::Date), sub(Kind::Int), sub(Kind::Time));
            match random.below(5) {
                0 => format!("({left} - 1)"),
                1 => format!("({left} + CAST({int} AS INT))"),
                2 => format!("CAST({time} AS DATE)"),
                3 => format!("greatest({left}, {right})"),
                _ => format!("coalesce({left}, {right})"),
            }
        }
        Kind::List => {
            let (left, right, int) = (sub(Kind::List), sub(Kind::List), sub(Kind::Int));
            match random.below(8) {
                6 => format!("array_prepend(CAST({int} AS BIGINT), {left})"),
                7 => format!("array_cat({left}, {right})"),
                0 => format!("CAST(ARRAY[{int}, 3] AS BIGINT[])"),
                1 => format!("array_append({left}, CAST({int} AS BIGINT))"),
                2 => format!("({left} || {right})"),
                3 => format!("({left})[1:2]"),
                4 => format!("array_remove({left}, CAST({int} AS BIGINT))"),
                _ => format!("coalesce({left}, {right})"),
            }
        }
        Kind::Moment => {
            let (left, right, other) = (sub(Kind::Moment), sub(Kind::Moment), sub(Kind::Interval));
            match random.below(5) {
                0 => format!("({left} + {other})"),
                1 => format!("date_trunc('minute', {left})"),
                2 => format!("({} AT TIME ZONE 'UTC')", expression(random, columns, Kind::Time, depth)),
                3 => format!("greatest({left}, {right})"),
                _ => format!("coalesce({left}, {right})"),
            }
        }
        Kind::Interval => {
            let (left, right) = (sub(Kind::Interval), sub(Kind::Interval));
            let (time, other) = (sub(Kind::Time), sub(Kind::Time));
            match random.below(5) {
                0 => format!("({left} + {right})"),
                1 => format!("({left} * 2)"),
                2 => format!("({time} - {other})"),
                3 => format!("(-{left})"),
                _ => format!("coalesce({left}, {right})"),
            }
        }
        Kind::Json => {
            let (left, int, text) = (sub(Kind::Json), sub(Kind::Int), sub(Kind::Text));
            match random.below(9) {
                4 => format!("({left} || jsonb_build_object('m', {int}))"),
                // Of a scalar nothing can be taken away.
                5 => format!("CASE WHEN jsonb_typeof({left}) = 'object' THEN {left} - 'k' END"),
                6 => format!(
                    "CASE WHEN jsonb_typeof({left}) = 'object' THEN jsonb_set({left}, '{{t}}', to_jsonb(CAST({text} AS TEXT))) END"
                ),
                7 => format!("({left} #> '{{n}}')"),
                8 => format!("jsonb_path_query_first({left}, '$.n.*')"),
                0 => format!("({left} -> 'n')"),
                1 => format!("jsonb_build_object('k', {int}, 't', {text})"),
                2 => format!("to_jsonb({int})"),
                _ => format!("coalesce({left}, {})", expression(random, columns, Kind::Json, 0)),
            }
        }
    }
}

/// A timestamp of a date.
fn date_as_time(random: &mut Random, columns: &[Column], depth: usize) -> String {
    let date = expression(random, columns, Kind::Date, depth);
    match random.below(2) {
        0 => format!("CAST({date} AS TIMESTAMP)"),
        _ => format!("({date} + INTERVAL '0 days 90 seconds')"),
    }
}

/// An integer of values of other kinds.
fn int_of(random: &mut Random, columns: &[Column], depth: usize) -> String {
    let mut of = |kind| expression(random, columns, kind, depth);
    let (list, json, time, interval) = (of(Kind::List), of(Kind::Json), of(Kind::Time), of(Kind::Interval));
    let (text, date) = (of(Kind::Text), of(Kind::Date));
    match random.below(13) {
        6 => format!("array_length({list}, 1)"),
        7 => format!("array_position({list}, CAST({} AS BIGINT))", expression(random, columns, Kind::Int, depth)),
        8 => format!("CAST(extract(day FROM {date}) AS INT)"),
        9 => format!("(0 + ({date} - DATE '2024-01-02'))"),
        10 => format!("CAST({json} #>> '{{n,k}}' AS INT)"),
        11 => format!("ascii({text})"),
        12 => format!("jsonb_array_length(CASE WHEN jsonb_typeof({json}) = 'array' THEN {json} END)"),
        0 => format!("cardinality({list})"),
        1 => format!("({list})[1]"),
        2 => format!("CAST({json} ->> 'k' AS INT)"),
        3 => format!("CAST(extract(minute FROM {time}) AS INT)"),
        4 => format!("CAST(extract(epoch FROM {interval}) AS INT)"),
        _ => format!("position('x' IN {text})"),
    }
}

/// A text of values of other kinds, and by patterns.
fn text_of(random: &mut Random, columns: &[Column], depth: usize) -> String {
    let mut of = |kind| expression(random, columns, kind, depth);
    let (text, list, json, time) = (of(Kind::Text), of(Kind::List), of(Kind::Json), of(Kind::Time));
    match random.below(19) {
        6 => format!("lpad({text}, 3, '-')"),
        7 => format!("reverse({text})"),
        8 => format!("md5({text})"),
        9 => format!("initcap({text})"),
        10 => format!("translate({text}, 'xy', 'ab')"),
        11 => format!("concat_ws('-', {text}, {})", expression(random, columns, Kind::Text, 0)),
        12 => format!("format('%s/%L', {text}, {})", expression(random, columns, Kind::Int, depth)),
        13 => format!("trim(both 'x' from {text})"),
        14 => format!("replace({text}, 'x', 'yy')"),
        15 => format!("jsonb_typeof({json})"),
        16 => format!("overlay({text} placing 'q' from 1 for 1)"),
        17 => format!("CAST({} AS TEXT)", expression(random, columns, Kind::Date, depth)),
        18 => format!("({json} #>> '{{n,t}}')"),
        0 => format!("({json} ->> 't')"),
        1 => format!("array_to_string({list}, '-')"),
        2 => format!("to_char({time}, 'HH24:MI:SS')"),
        3 => format!("regexp_replace({text}, '[xX]', 'z')"),
        4 => format!("split_part({text}, 'x', 1)"),
        _ => format!("left({text}, 1)"),
    }
}

/// A condition on values of the rarer kinds.
fn rare_predicate(random: &mut Random, columns: &[Column]) -> String {
    let mut of = |kind| expression(random, columns, kind, 0);
    let (int, text, list, json) = (of(Kind::Int), of(Kind::Text), of(Kind::List), of(Kind::Json));
    match random.below(24) {
        10 => format!("({json} ?| ARRAY['m', 'n'])"),
        11 => format!("({json} #> '{{n,k}}' IS NULL)"),
        12 => format!("({list} && CAST(ARRAY[1, 3] AS BIGINT[]))"),
        13 => format!("({list} < CAST(ARRAY[2] AS BIGINT[]))"),
        14 => format!("({int} <> ALL ({list}))"),
        15 => format!("(({int}, {text}) IN ((1, 'x'), (2, 'y')))"),
        16 => format!("({text} ILIKE 'X%')"),
        17 => format!("({text} !~ '[xy]')"),
        18 => format!("({int} BETWEEN SYMMETRIC 3 AND 1)"),
        19 => format!("({} IS UNKNOWN)", expression(random, columns, Kind::Bool, 0)),
        20 | 21 => {
            let (left, right) =
                (expression(random, columns, Kind::Date, 0), expression(random, columns, Kind::Date, 0));
            format!("({left} {} {right})", random.pick(&["<", "=", "<>"]))
        }
        22 => format!("jsonb_path_exists({json}, '$.n.k ? (@ > 2)')"),
        23 => format!("({int} NOT IN (1, NULL, 3))"),
        0 => format!("({int} = ANY ({list}))"),
        1 => format!("({json} @> '{{\"k\": 1}}')"),
        2 => format!("({json} ? 'k')"),
        3 => format!(
            "({} < {})",
            expression(random, columns, Kind::Moment, 0),
            expression(random, columns, Kind::Moment, 0)
        ),
        4 => {
            let (left, right) =
                (expression(random, columns, Kind::Interval, 0), expression(random, columns, Kind::Interval, 0));
            format!("({left} >= {right})")
        }
        5 => format!("({text} ~ '^[xX]')"),
        6 => format!("({text} SIMILAR TO '(x|y)%')"),
        7 => format!("(({int}, {text}) < (2, 'x'))"),
        8 => format!("({list} @> CAST(ARRAY[1] AS BIGINT[]))"),
        _ => format!("({int} IS NOT DISTINCT FROM {})", expression(random, columns, Kind::Int, 0)),
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
    if random.one_in(5) {
        return rare_predicate(random, columns);
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
    let (interval, moment, date, list) = (of(Kind::Interval), of(Kind::Moment), of(Kind::Date), of(Kind::List));
    let (text, kind) = match random.below(44) {
        34 => (format!("avg(0 + {numeric})"), Kind::Numeric),
        35 => (format!("max({date})"), Kind::Date),
        36 => (format!("every({})", predicate(random, columns, 1)), Kind::Bool),
        37 => (format!("approx_distinct({int})"), Kind::Int),
        38 => {
            let function = random.pick(&["rank", "dense_rank"]);
            (format!("{function}(2) WITHIN GROUP (ORDER BY {int})"), Kind::Int)
        }
        39 => {
            let function = random.pick(&["cume_dist", "percent_rank"]);
            (format!("{function}(2) WITHIN GROUP (ORDER BY {int} DESC)"), Kind::Float)
        }
        40 => (format!("sum(DISTINCT {numeric})"), Kind::Numeric),
        41 => (format!("avg(DISTINCT {int})"), Kind::Numeric),
        42 => {
            let other = expression(random, columns, Kind::Float, 0);
            let function = random.pick(&["regr_avgx", "regr_avgy", "regr_sxx", "regr_syy", "regr_sxy"]);
            (format!("{function}({float}, {other})"), Kind::Float)
        }
        43 => (format!("count(DISTINCT {list})"), Kind::Int),
        24 => (format!("sum({interval})"), Kind::Interval),
        25 => (format!("max({interval})"), Kind::Interval),
        26 => (format!("min({moment})"), Kind::Moment),
        27 => (format!("avg({int})"), Kind::Numeric),
        28 => (format!("bit_and({int})"), Kind::Int),
        29 => {
            let other = expression(random, columns, Kind::Float, 0);
            let function = random.pick(&["corr", "covar_samp", "covar_pop", "regr_slope", "regr_intercept", "regr_r2"]);
            (format!("{function}({float}, {other})"), Kind::Float)
        }
        30 => (format!("max({moment})"), Kind::Moment),
        31 => (format!("bit_or({int})"), Kind::Int),
        32 => (format!("count(DISTINCT {moment})"), Kind::Int),
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
