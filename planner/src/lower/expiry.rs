//! Which rows of a join find no match any more, so that their state can be freed.
//!
//! Time goes on by a column of one side if its windows close: a row with a window that the watermark has passed never changes. If a join
//! demands of the other side's row that one of its columns, plus a constant, be at least that column, then a row that lies so
//! far back can match nothing that is still to come.

use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

use super::expression::column_index;
use super::lowered::{ColumnInfo, Lowered, both_bounds};
use crate::incremental::{Expiry, JoinKind, TimeBound, TimeKind};

/// A column, and how many microseconds are added to it.
type Shifted = (usize, i64);

/// When rows of the left and of the right side find no match any more.
pub(super) fn expiries(
    left: &Lowered,
    right: &Lowered,
    kind: JoinKind,
    on: &[(Expr, Expr)],
    residual: Option<&Expr>,
) -> (Option<Expiry>, Option<Expiry>) {
    let pairs: Vec<(usize, usize)> =
        on.iter().filter_map(|(l, r)| Some((column_index(l)?, column_index(r)?))).collect();
    if kind != JoinKind::Inner {
        // Rows of either side come and go as the other side's do, so that both must be over: a key whose window has passed is, as a whole.
        let bound = |(l, r): &(usize, usize)| {
            let bound = both_bounds(left.columns[*l].time.as_ref(), right.columns[*r].time.as_ref())?;
            Some((expiry(*l, 0, Some(&bound))?, expiry(*r, 0, Some(&bound))?))
        };
        return pairs.iter().filter_map(bound).next().unzip();
    }
    let width = left.columns.len();
    let mut orders: Vec<(Shifted, Shifted)> = Vec::new();
    for (l, r) in pairs {
        orders.push(((l, 0), (width + r, 0)));
        orders.push(((width + r, 0), (l, 0)));
    }
    for condition in residual.into_iter().flat_map(split_conjunction) {
        orders.extend(at_least(condition));
    }
    let column = |index: usize| -> &ColumnInfo {
        if index < width { &left.columns[index] } else { &right.columns[index - width] }
    };
    let soonest = |is_own: fn(usize, usize) -> bool| {
        let of_side = orders.iter().filter(|((own, _), (other, _))| is_own(*own, width) && !is_own(*other, width));
        let found = of_side.filter_map(|((own, plus), (other, minus))| {
            let own = if *own < width { *own } else { *own - width };
            expiry(own, plus.checked_sub(*minus)?, column(*other).time.as_ref())
        });
        found.min_by_key(|expiry| (expiry.offset_us, expiry.column))
    };
    (soonest(|column, width| column < width), soonest(|column, width| column >= width))
}

/// When a row is over of which `column`, plus `plus_us`, is at least a time by which the other side goes on.
fn expiry(column: usize, plus_us: i64, time: Option<&TimeBound>) -> Option<Expiry> {
    let time = time?;
    // A source's own rows may be late.
    let TimeKind::Window { offset_us } = time.kind else { return None };
    Some(Expiry { column, offset_us: plus_us.checked_add(offset_us)?, watermark_of: time.sources.clone() })
}

/// What a condition says of times: pairs of which the first is at least the second.
fn at_least(condition: &Expr) -> Vec<(Shifted, Shifted)> {
    let pair = |more: &Expr, less: &Expr| Some((shifted(more)?, shifted(less)?));
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::GtEq | Operator::Gt => pair(left, right).into_iter().collect(),
            Operator::LtEq | Operator::Lt => pair(right, left).into_iter().collect(),
            Operator::Eq => pair(left, right).into_iter().chain(pair(right, left)).collect(),
            _ => vec![],
        },
        Expr::Between(between) if !between.negated => {
            pair(&between.expr, &between.low).into_iter().chain(pair(&between.high, &between.expr)).collect()
        }
        _ => vec![],
    }
}

/// A column plus or minus constant intervals of a fixed length.
fn shifted(expression: &Expr) -> Option<Shifted> {
    match expression {
        Expr::Column(_) => Some((column_index(expression)?, 0)),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => {
            let (column, by) = shifted(left)?;
            Some((column, by.checked_add(interval_us(right)?)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
            let (column, by) = shifted(left)?;
            Some((column, by.checked_sub(interval_us(right)?)?))
        }
        _ => None,
    }
}

/// The length of a constant interval; months have none.
pub(super) fn interval_us(expression: &Expr) -> Option<i64> {
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) = expression else { return None };
    if interval.months != 0 || interval.nanoseconds % 1000 != 0 {
        return None;
    }
    i64::from(interval.days).checked_mul(86_400_000_000)?.checked_add(interval.nanoseconds / 1000)
}
