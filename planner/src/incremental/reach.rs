//! Which rows' results a changed row of a partition can change.
//!
//! A call says what a row's result depends on: rows around it, within a distance in rows, in groups of peers or in the order's key; all rows before it,
//! through something small; or how many rows the partition has.

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition};
use datafusion::scalar::ScalarValue;

use super::{Partition, PartitionRule, WindowCall};
use crate::functions::excluding::Excluding;

/// What the result of a row depends on, beside the row's peers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reach {
    /// Rows before it.
    pub back: Extent,
    /// Rows behind it.
    pub ahead: Extent,
    /// And all rows before it, by something small that is carried from row to row.
    pub runs: bool,
    /// And its place among how many.
    pub ranked: Vec<Ranked>,
}

/// How far something reaches: as far as the farthest of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extent {
    /// So many rows.
    pub rows: usize,
    /// So many groups of peers.
    pub groups: usize,
    /// As far as the only key of the order differs by one of these.
    pub keys: Vec<ScalarValue>,
}

/// A function of a row's place, and of the number of rows of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranked {
    /// `percent_rank()`.
    PercentRank,
    /// `cume_dist()`.
    CumeDist,
    /// `ntile(n)` into so many buckets, at least one.
    Ntile(u64),
}

impl Extent {
    fn and(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        Self { rows: self.rows.max(other.rows), groups: self.groups.max(other.groups), keys: self.keys }
    }
}

impl Reach {
    fn running() -> Self {
        Self { runs: true, ..Self::default() }
    }

    fn and(mut self, other: Self) -> Self {
        self.ranked.extend(other.ranked);
        Self {
            back: self.back.and(other.back),
            ahead: self.ahead.and(other.ahead),
            runs: self.runs || other.runs,
            ranked: self.ranked,
        }
    }

    /// Whether one row more or less changes the results of most others.
    pub fn ranks_all(&self) -> bool {
        self.ranked.iter().any(|ranked| !matches!(ranked, Ranked::Ntile(_)))
    }
}

impl Partition {
    /// What window functions depend on; `None`: perhaps on all rows of their partition, or they aren't of one order.
    pub fn reach(&self) -> Option<Reach> {
        match &self.rule {
            PartitionRule::Windows(calls) if self.window.is_none() => Reach::of_calls(calls),
            _ => None,
        }
    }
}

/// These add up one row after the other to the same bits as in pieces, and what they know is small.
const CARRIED: [&str; 9] = ["count", "sum", "avg", "min", "max", "bool_and", "bool_or", "bit_and", "bit_or"];

impl Reach {
    /// What the results of calls of one order depend on.
    pub fn of_calls(calls: &[WindowCall]) -> Option<Self> {
        let (first, rest) = calls.split_first()?;
        if rest.iter().any(|call| call.order != first.order) {
            return None;
        }
        calls.iter().map(Self::of).try_fold(Self::default(), |all, reach| Some(all.and(reach?)))
    }

    /// What a call's results depend on; `None`: perhaps on all rows of the partition.
    pub fn of(call: &WindowCall) -> Option<Self> {
        let ordered = !call.order.is_empty();
        let from_first = matches!(&call.frame.start_bound, WindowFrameBound::Preceding(bound) if bound.is_null());
        match &call.function {
            WindowFunctionDefinition::WindowUDF(function) => match function.name() {
                "row_number" => Some(Self::running()),
                "rank" | "dense_rank" if ordered => Some(Self::running()),
                "percent_rank" | "cume_dist" | "ntile" => {
                    Some(Self { ranked: vec![Ranked::of(call)?], ..Self::default() })
                }
                "lag" | "lead" if !call.ignore_nulls => shifted(call, function.name() == "lag"),
                "last_value" if !call.ignore_nulls && from_first && ends_at_row(call) => Some(Self::default()),
                "first_value" | "last_value" | "nth_value" => bounded(call),
                _ if Excluding::of(function).is_some() => bounded(call),
                _ => None,
            },
            WindowFunctionDefinition::AggregateUDF(function) => {
                match from_first && ends_at_row(call) && CARRIED.contains(&function.name()) {
                    true => Some(Self::running()),
                    false => bounded(call),
                }
            }
        }
    }
}

impl Ranked {
    /// What a call is, if it is one of these.
    pub fn of(call: &WindowCall) -> Option<Self> {
        let WindowFunctionDefinition::WindowUDF(function) = &call.function else { return None };
        // Without an order all rows are peers.
        let ordered = !call.order.is_empty();
        match (function.name(), call.args.first()) {
            ("percent_rank", _) if ordered => Some(Self::PercentRank),
            ("cume_dist", _) if ordered => Some(Self::CumeDist),
            ("ntile", Some(Expr::Literal(buckets, _))) => {
                u64::try_from(integer(buckets)?).ok().filter(|buckets| *buckets > 0).map(Self::Ntile)
            }
            _ => None,
        }
    }
}

/// Of `lag` and `lead`.
fn shifted(call: &WindowCall, is_lag: bool) -> Option<Reach> {
    let by = match call.args.get(1) {
        None => 1,
        Some(Expr::Literal(by, _)) => integer(by)?,
        Some(_) => return None,
    };
    let extent = Extent { rows: usize::try_from(by.unsigned_abs()).ok()?, ..Extent::default() };
    Some(match is_lag == (by >= 0) {
        true => Reach { back: extent, ..Reach::default() },
        false => Reach { ahead: extent, ..Reach::default() },
    })
}

/// Whether the frame ends with the row, or with its peers in an order.
fn ends_at_row(call: &WindowCall) -> bool {
    let by_row = call.frame.units == WindowFrameUnits::Rows;
    matches!(call.frame.end_bound, WindowFrameBound::CurrentRow) && (by_row || !call.order.is_empty())
}

/// Of a frame between bounds.
fn bounded(call: &WindowCall) -> Option<Reach> {
    let (units, start, end) = (call.frame.units, &call.frame.start_bound, &call.frame.end_bound);
    // Without an order all rows are peers.
    if units != WindowFrameUnits::Rows && call.order.is_empty() {
        return None;
    }
    let extent = |by: &ScalarValue| -> Option<Extent> {
        match units {
            WindowFrameUnits::Rows => Some(Extent { rows: count(by)?, ..Extent::default() }),
            WindowFrameUnits::Groups => Some(Extent { groups: count(by)?, ..Extent::default() }),
            WindowFrameUnits::Range if call.order.len() == 1 && is_distance(by) => {
                Some(Extent { keys: vec![by.clone()], ..Extent::default() })
            }
            WindowFrameUnits::Range => None,
        }
    };
    let ahead_of = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Following(by) => extent(by),
        WindowFrameBound::CurrentRow => Some(Extent::default()),
        WindowFrameBound::Preceding(by) => extent(by).map(|_| Extent::default()),
    };
    let back_of = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(by) => extent(by),
        WindowFrameBound::CurrentRow => Some(Extent::default()),
        WindowFrameBound::Following(by) => extent(by).map(|_| Extent::default()),
    };
    Some(Reach { back: back_of(start)?, ahead: ahead_of(end)?, ..Reach::default() })
}

/// A number of rows or groups; `None`: unbounded.
fn count(by: &ScalarValue) -> Option<usize> {
    usize::try_from(integer(by)?).ok()
}

/// Whether keys may differ by it, and not by less than nothing.
fn is_distance(by: &ScalarValue) -> bool {
    match by {
        ScalarValue::IntervalMonthDayNano(Some(by)) => by.months >= 0 && by.days >= 0 && by.nanoseconds >= 0,
        by if by.is_null() || !by.data_type().is_numeric() => false,
        by => ScalarValue::new_zero(&by.data_type()).is_ok_and(|zero| *by >= zero),
    }
}

fn integer(value: &ScalarValue) -> Option<i64> {
    match value.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(value) => value,
        _ => None,
    }
}
