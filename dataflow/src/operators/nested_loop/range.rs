//! Which rows of one side a row of the other can match, as far as order tells.
//!
//! Conditions such as `a.x BETWEEN b.lo AND b.hi` or `a.x < b.y` say that two intervals overlap: each side has a lower bound, an upper bound, or
//! both (a point is an interval of no length). Bounds are mapped to integers so that their order is kept; different values may become the same, so
//! what is found this way is a superset, of which the condition itself picks.
//!
//! Rows are kept in classes of intervals of about the same length, those of a class in the order of their lower bounds: of a class whose
//! intervals are at most `w` long, only those that begin at most `w` before another interval can overlap it. (As in hierarchical
//! interval indexes: Enderle, Hampel, Seidl, "Joining Interval Data in Relational Databases", SIGMOD 2004.)

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, SchemaRef};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use delta::Delta;

use crate::Result;
use crate::expression::{Evaluated, Expressions, columns_of};
use crate::failures::Failures;

/// A class of intervals.
pub(super) type Class = u8;
/// Intervals without an end, in the order of their lower bounds.
const NO_END: Class = 65;
/// Intervals without a beginning, in the order of their upper bounds.
const NO_BEGINNING: Class = 66;
/// Intervals without either: what always must be compared.
const ALL: Class = 67;

/// The interval of a row; `None`: without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    from: Option<i64>,
    to: Option<i64>,
}

impl Interval {
    /// Where a row with this interval is kept: its class, and its place in that.
    pub(super) fn place(self) -> (Class, i64) {
        match (self.from, self.to) {
            (Some(from), Some(to)) => {
                let width = u64::try_from(i128::from(to) - i128::from(from)).unwrap_or(0);
                ((u64::BITS - width.leading_zeros()) as Class, from)
            }
            (Some(from), None) => (NO_END, from),
            (None, Some(to)) => (NO_BEGINNING, to),
            (None, None) => (ALL, 0),
        }
    }

    /// Which places of a class have intervals that overlap this one: from the first to the last, both counted.
    pub(super) fn overlapped(self, class: Class) -> (i64, i64) {
        let (from, to) = (self.from.unwrap_or(i64::MIN), self.to.unwrap_or(i64::MAX));
        match class {
            ALL => (i64::MIN, i64::MAX),
            NO_END => (i64::MIN, to),
            NO_BEGINNING => (from, i64::MAX),
            class => {
                let longest = 1_i128.checked_shl(u32::from(class)).unwrap_or(i128::MAX) - 1;
                (i64::try_from(i128::from(from) - longest).unwrap_or(i64::MIN), to)
            }
        }
    }
}

/// What is compared of the left side, whether it must be below the right one, and what of the right side.
type Bound = (Expr, bool, Expr);

/// The bounds that a condition gives the rows of one side.
#[derive(Debug)]
pub(super) struct Bounds {
    expressions: Expressions,
    /// Which of the expressions is the lower bound.
    from: Option<usize>,
    to: Option<usize>,
}

/// The bounds of both sides. `width` is the left side's; the condition is over the columns of both.
pub(super) fn bounds(condition: Option<&Expr>, left: &SchemaRef, right: &SchemaRef) -> Result<(Bounds, Bounds)> {
    let width = left.fields().len();
    let orders: Vec<(Expr, bool, Expr)> = condition
        .into_iter()
        .flat_map(split_conjunction)
        .flat_map(comparisons)
        .filter_map(|comparison| order(comparison, width))
        .collect();
    // left <= right bounds the left side from above by what the right side ends with, and the other way round.
    let below = orders.iter().filter(|(_, is_below, _)| *is_below).collect::<Vec<_>>();
    let above = orders.iter().filter(|(_, is_below, _)| !*is_below).collect::<Vec<_>>();
    // Two that are about one value make the shortest intervals.
    let pairs = below.iter().flat_map(|b| above.iter().map(move |a| (Some(*b), Some(*a))));
    let alike = |pair: &(Option<&Bound>, Option<&Bound>)| match pair {
        (Some(below), Some(above)) => below.0 == above.0 || below.2 == above.2,
        _ => false,
    };
    let mut pairs = pairs.collect::<Vec<_>>();
    pairs.sort_by_key(|pair| !alike(pair));
    let (below, above) = match pairs.into_iter().next() {
        Some(pair) => pair,
        None => (below.into_iter().next(), above.into_iter().next()),
    };
    // `l <= r`: l is where the left interval begins, r where the right one ends.
    let left_bounds = Bounds::new(left, below.map(|order| &order.0), above.map(|order| &order.0))?;
    let right_bounds = Bounds::new(right, above.map(|order| &order.2), below.map(|order| &order.2))?;
    if !left_bounds.is_measured(left) || !right_bounds.is_measured(right) {
        return Ok((Bounds::new(left, None, None)?, Bounds::new(right, None, None)?));
    }
    Ok((left_bounds, right_bounds))
}

/// The comparisons in a condition that stands under AND.
fn comparisons(condition: &Expr) -> Vec<(Expr, Operator, Expr)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let both = [Operator::GtEq, Operator::LtEq];
            let operators: &[Operator] = if *op == Operator::Eq { &both } else { std::slice::from_ref(op) };
            operators.iter().map(|op| ((**left).clone(), *op, (**right).clone())).collect()
        }
        Expr::Between(between) if !between.negated => vec![
            ((*between.expr).clone(), Operator::GtEq, (*between.low).clone()),
            ((*between.expr).clone(), Operator::LtEq, (*between.high).clone()),
        ],
        _ => vec![],
    }
}

/// An order of both sides, by expressions over the columns of each: whether the left one isn't greater, or isn't less.
fn order((left, op, right): (Expr, Operator, Expr), width: usize) -> Option<Bound> {
    let is_below = match op {
        Operator::Lt | Operator::LtEq => true,
        Operator::Gt | Operator::GtEq => false,
        _ => return None,
    };
    let side = |expr: &Expr| {
        let columns = columns_of([expr]).ok()?;
        let (first, last) = (*columns.first()?, *columns.last()?);
        if last < width { Some(true) } else { (first >= width).then_some(false) }
    };
    match (side(&left)?, side(&right)?) {
        (true, false) => Some((left, is_below, shifted(right, width)?)),
        (false, true) => Some((right, !is_below, shifted(left, width)?)),
        _ => None,
    }
}

/// An expression over the columns of both sides as one over those of the right side.
fn shifted(expr: Expr, width: usize) -> Option<Expr> {
    use datafusion::common::Column;
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let moved = expr.transform_up(|expr| match &expr {
        Expr::Column(column) => {
            let index = crate::expression::column_index(column)
                .map_err(|error| datafusion::common::DataFusionError::External(Box::new(error)))?;
            let name = planner::incremental::column_name(index - width);
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
        }
        _ => Ok(Transformed::no(expr)),
    });
    Some(moved.ok()?.data)
}

impl Bounds {
    fn new(schema: &SchemaRef, from: Option<&Expr>, to: Option<&Expr>) -> Result<Self> {
        let mut expressions: Vec<Expr> = Vec::new();
        let mut index = |bound: Option<&Expr>| {
            let bound = bound?;
            let known = expressions.iter().position(|known| known == bound);
            Some(known.unwrap_or_else(|| {
                expressions.push(bound.clone());
                expressions.len() - 1
            }))
        };
        let (from, to) = (index(from), index(to));
        Ok(Self { expressions: Expressions::new(schema, &expressions, None)?, from, to })
    }

    /// Whether values of the bounds' types can be mapped to integers.
    fn is_measured(&self, schema: &SchemaRef) -> bool {
        self.expressions.types(schema).iter().all(is_measured)
    }

    /// The interval of each row; `None`: a bound is NULL, so that the row matches nothing. A row on which a bound fails may match any: the condition
    /// says what is wrong with the pair.
    pub(super) fn of(&self, delta: &Delta) -> Result<Vec<Option<Interval>>> {
        let Evaluated { columns, failures } = self.expressions.evaluate(delta.batch())?;
        let measured = columns.iter().map(measure).collect::<Result<Vec<_>>>()?;
        let interval = |row: usize| Self::interval(self, &measured, &failures, row);
        Ok((0..delta.num_rows()).map(interval).collect())
    }

    fn interval(&self, measured: &[Vec<Option<i64>>], failures: &Failures, row: usize) -> Option<Interval> {
        if failures.contains(row) {
            return Some(Interval { from: None, to: None });
        }
        let bound = |index: Option<usize>| match index {
            Some(index) => measured[index][row].map(Some),
            None => Some(None),
        };
        Some(Interval { from: bound(self.from)?, to: bound(self.to)? })
    }
}

fn is_measured(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Float32
                | DataType::Float64
                | DataType::Decimal128(..)
                | DataType::Timestamp(..)
                | DataType::Date32
                | DataType::Time64(_)
                | DataType::Utf8
                | DataType::Utf8View
        )
}

/// Values as integers of the same order; `None` is NULL. Different values may become one.
fn measure(column: &ArrayRef) -> Result<Vec<Option<i64>>> {
    let rows = column.len();
    Ok(match column.data_type() {
        DataType::Decimal128(..) => {
            let clamped = |value: i128| value.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
            column.as_primitive::<Decimal128Type>().iter().map(|value| value.map(clamped)).collect()
        }
        DataType::UInt64 => {
            let values = column.as_primitive::<arrow::datatypes::UInt64Type>().iter();
            values.map(|value| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX))).collect()
        }
        DataType::Float32 | DataType::Float64 => {
            let values = cast(column, &DataType::Float64)?;
            values.as_primitive::<Float64Type>().iter().map(|value| value.map(of_float)).collect()
        }
        DataType::Utf8 | DataType::Utf8View => {
            let values = cast(column, &DataType::Utf8View)?;
            let values = values.as_string_view();
            (0..rows).map(|row| values.is_valid(row).then(|| of_text(values.value(row)))).collect()
        }
        DataType::Date32 => {
            let values = cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?;
            values.as_primitive::<Int64Type>().iter().collect()
        }
        _ => cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().iter().collect(),
    })
}

/// In Arrow's order, but zeros without sign.
fn of_float(value: f64) -> i64 {
    let bits = (value + 0.0).to_bits() as i64;
    if bits < 0 { i64::MIN ^ !bits } else { bits }
}

/// By the first bytes.
fn of_text(value: &str) -> i64 {
    let mut first = [0; 8];
    let bytes = value.as_bytes();
    let length = bytes.len().min(8);
    first[..length].copy_from_slice(&bytes[..length]);
    (u64::from_be_bytes(first) ^ 1 << 63) as i64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn overlap(a: Interval, b: Interval) -> bool {
        let below = |from: Option<i64>, to: Option<i64>| from.is_none() || to.is_none() || from <= to;
        below(a.from, b.to) && below(b.from, a.to)
    }

    #[test]
    fn what_overlaps_is_found() {
        let bounds = [None, Some(i64::MIN), Some(-7), Some(-1), Some(0), Some(1), Some(2), Some(100), Some(i64::MAX)];
        let all = || bounds.iter().flat_map(|from| bounds.iter().map(|to| Interval { from: *from, to: *to }));
        for kept in all() {
            let (class, place) = kept.place();
            for asked in all().filter(|asked| overlap(*asked, kept)) {
                let (first, last) = asked.overlapped(class);
                assert!(first <= place && place <= last, "{asked:?} overlaps {kept:?} in class {class}");
            }
        }
    }

    #[test]
    fn values_keep_their_order() {
        let floats =
            [f64::NEG_INFINITY, -1.5, -f64::MIN_POSITIVE, 0.0, f64::MIN_POSITIVE, 1.5, f64::INFINITY, f64::NAN];
        assert!(floats.map(of_float).is_sorted());
        assert_eq!(of_float(-0.0), of_float(0.0));
        assert!(["", "\u{1}", "a", "ab", "b", "zzzzzzzzz", "é"].map(of_text).is_sorted());
        assert_eq!(of_text("12345678a"), of_text("12345678b"));
    }
}
