//! Conditions on `now()`, which in a view is the epoch's timestamp: `ts > now() - INTERVAL '1 hour'` says until when a row is there,
//! `ts <= now()` from when. Such a condition compares the clock, give or take a constant, with a time of the row, and stands alone or
//! under AND in WHERE, in HAVING, or in the condition of an inner join. The clock anywhere else is refused
//! ([`super::expression::positional`]).

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator, cast, lit};
use datafusion::scalar::ScalarValue;

use super::expiry::interval_us;
use super::expression::{column, positional};
use super::lowered::Lowered;
use super::map::{project, restrict};
use super::shared;
use crate::incremental::{Node, TemporalFilter};
use crate::{Error, Result};

const DAY_US: i64 = 86_400_000_000;

/// A condition in two parts: what the clock has no part in, and bounds by the clock.
pub(super) fn split(condition: &Expr) -> (Option<Expr>, Vec<Expr>) {
    let parts = split_conjunction(condition).into_iter().flat_map(|part| match part {
        Expr::Between(between) if !between.negated && asks_time(part) => {
            let (value, low, high) = (&between.expr, &between.low, &between.high);
            vec![
                Expr::BinaryExpr(BinaryExpr::new(value.clone(), Operator::GtEq, low.clone())),
                Expr::BinaryExpr(BinaryExpr::new(value.clone(), Operator::LtEq, high.clone())),
            ]
        }
        part => vec![part.clone()],
    });
    let (temporal, others): (Vec<_>, Vec<_>) = parts.partition(|part| bound(part).is_some());
    (conjunction(others), temporal)
}

/// The rows for which a condition is true, the clock's part in it included; `schema` names the input's columns.
pub(super) fn restrict_by(input: Lowered, condition: &Expr, schema: &DFSchema) -> Result<Lowered> {
    let (others, temporal) = split(condition);
    let input = match others {
        Some(others) => restrict(input, positional(&others, schema)?)?,
        None => input,
    };
    filter(input, &temporal, schema)
}

/// The rows that are there by these bounds.
pub(super) fn filter(mut input: Lowered, temporal: &[Expr], schema: &DFSchema) -> Result<Lowered> {
    if temporal.is_empty() {
        return Ok(input);
    }
    let width = input.columns.len();
    let mut columns: Vec<Expr> = (0..width).map(column).collect();
    let (mut from, mut until) = (Vec::new(), Vec::new());
    for bound in temporal.iter().filter_map(bound) {
        let side = if bound.from { &mut from } else { &mut until };
        let time = positional(&bound.at(schema)?, schema)?;
        let known = columns.iter().position(|column| *column == time).unwrap_or(columns.len());
        if known == columns.len() {
            columns.push(time);
        }
        side.push(known);
    }
    input = project(input, columns)?;
    // Rows come and go at other times than their own.
    input.columns.iter_mut().for_each(|column| column.time = None);
    input.node = shared(Node::TemporalFilter(TemporalFilter { input: input.node, from, until }));
    project(input, (0..width).map(column).collect())
}

/// What a comparison with the clock says: a row is there from a time on, or until just before it.
struct Bound<'a> {
    from: bool,
    /// The clock stands at that time, to its unit, rather than beyond it.
    reached: bool,
    time: &'a Expr,
    /// What `time` is compared with.
    clock: Clock,
}

/// The bound that a comparison with the clock is.
fn bound(condition: &Expr) -> Option<Bound<'_>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let (time, op, clock) = match (shifted_clock(left), shifted_clock(right)) {
        (None, Some(clock)) => (&**left, *op, clock),
        (Some(clock), None) => (&**right, op.swap()?, clock),
        _ => return None,
    };
    let (from, reached) = match op {
        Operator::Gt => (false, true),
        Operator::GtEq => (false, false),
        Operator::LtEq => (true, true),
        Operator::Lt => (true, false),
        _ => return None,
    };
    let fits = !clock.is_number && interval(clock.shift_us).is_some() && !asks_time(time);
    fits.then_some(Bound { from, reached, time, clock })
}

impl Bound<'_> {
    /// The time as a timestamptz.
    ///
    /// `time` is compared with the clock plus a shift, so the clock with `time` minus the shift. A clock that counts in days reaches a time as its
    /// day begins, or if the time is later than that, as the next day does, and is beyond it as the next day begins.
    fn at(&self, schema: &DFSchema) -> Result<Expr> {
        let Clock { shift_us, unit_us, .. } = self.clock;
        let time_type = self.time.get_type(schema)?;
        let time = if time_type == timestamptz() { self.time.clone() } else { cast(self.time.clone(), timestamptz()) };
        let whole = unit_us == 1 || time_type == DataType::Date32 && shift_us % unit_us == 0;
        let truncated = |time| cast(cast(time, DataType::Date32), timestamptz());
        Ok(match (whole, self.reached) {
            (true, true) => later(time, -shift_us),
            (true, false) => later(time, unit_us - shift_us),
            (false, true) => truncated(later(time, unit_us - 1 - shift_us)),
            (false, false) => later(truncated(later(time, -shift_us)), unit_us),
        })
    }
}

/// A time, and so much more.
fn later(time: Expr, by_us: i64) -> Expr {
    match interval(by_us) {
        Some(by) if by_us != 0 => time + lit(by),
        _ => time,
    }
}

fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn interval(us: i64) -> Option<ScalarValue> {
    let nanoseconds = us.checked_rem(DAY_US)?.checked_mul(1000)?;
    let interval = IntervalMonthDayNano::new(0, i32::try_from(us / DAY_US).ok()?, nanoseconds);
    Some(ScalarValue::IntervalMonthDayNano(Some(interval)))
}

/// The clock, plus a constant.
#[derive(Clone, Copy)]
struct Clock {
    shift_us: i64,
    /// What it counts in.
    unit_us: i64,
    /// It is a number of days.
    is_number: bool,
}

/// The clock and what is added to it, in an expression that is nothing else.
fn shifted_clock(expression: &Expr) -> Option<Clock> {
    let plus = |clock: Clock, by: Option<i64>| Some(Clock { shift_us: clock.shift_us.checked_add(by?)?, ..clock });
    match expression {
        clock if is_clock(clock) => {
            Some(Clock { shift_us: 0, unit_us: if is_today(clock) { DAY_US } else { 1 }, is_number: false })
        }
        Expr::Cast(Cast { expr, field }) => {
            let clock = shifted_clock(expr)?;
            let whole = clock.unit_us == DAY_US && clock.shift_us % DAY_US == 0;
            match field.data_type() {
                DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _) if !clock.is_number => Some(clock),
                DataType::Date32 if whole => Some(Clock { is_number: false, ..clock }),
                DataType::Date32 if clock.shift_us == 0 => Some(Clock { unit_us: DAY_US, ..clock }),
                // What is added to a date is a number of days.
                DataType::Int32 | DataType::Int64 if whole => Some(Clock { is_number: true, ..clock }),
                _ => None,
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
            plus(shifted_clock(left)?, length_us(right)?.checked_neg())
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => match shifted_clock(left) {
            Some(clock) => plus(clock, length_us(right)),
            None => plus(shifted_clock(right)?, length_us(left)),
        },
        // Days are added to a date as integers are, with checks.
        Expr::ScalarFunction(call) => {
            let [left, right] = call.args.as_slice() else { return None };
            match call.func.name() {
                "integer_add" => match shifted_clock(left) {
                    Some(clock) => plus(clock, length_us(right)),
                    None => plus(shifted_clock(right)?, length_us(left)),
                },
                "integer_subtract" => plus(shifted_clock(left)?, length_us(right)?.checked_neg()),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The length of a constant interval, if it doesn't depend on where it begins; a number is one of days.
fn length_us(expression: &Expr) -> Option<i64> {
    match expression {
        Expr::Literal(ScalarValue::Int32(Some(days)), _) => i64::from(*days).checked_mul(DAY_US),
        Expr::Literal(ScalarValue::Int64(Some(days)), _) => days.checked_mul(DAY_US),
        other => interval_us(other),
    }
}

/// Whether an expression asks what time it is.
fn asks_time(expression: &Expr) -> bool {
    expression.exists(|part| Ok(is_clock(part))).unwrap_or(false)
}

/// A function that says what time the statement runs at. `clock_timestamp` is none: it goes on within a statement.
pub(super) fn is_clock(expression: &Expr) -> bool {
    const CLOCKS: [&str; 6] =
        ["now", "current_timestamp", "transaction_timestamp", "statement_timestamp", "localtimestamp", "current_date"];
    matches!(expression, Expr::ScalarFunction(call) if call.args.is_empty() && CLOCKS.contains(&call.func.name()))
}

fn is_today(expression: &Expr) -> bool {
    matches!(expression, Expr::ScalarFunction(call) if call.func.name() == "current_date")
}

/// The clock where a view can't have it.
pub(super) fn refused(clock: &Expr) -> Error {
    let name = match clock {
        Expr::ScalarFunction(call) => call.func.name(),
        _ => "now",
    };
    Error::unsupported(format!("the function {name} in this place of a materialized view"))
        .with_detail("Its value changes with every epoch, and with it what was computed from it.")
        .with_hint(
            "Compare it, plus or minus an interval of days or less, with a time of the row by <, <=, >, >= or BETWEEN, as a condition of WHERE \
             that stands alone or under AND: ts > now() - INTERVAL '1 hour'.",
        )
}
