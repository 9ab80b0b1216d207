//! Which rows' results a changed row can change.

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition};
use datafusion::scalar::ScalarValue;
use planner::incremental::WindowCall;

/// What the result of a row depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// So many rows before it.
    pub(super) back: usize,
    /// So many rows behind it.
    pub(super) ahead: usize,
    /// And all rows before it, by something small that is carried from row to row.
    pub(super) runs: bool,
}

impl Reach {
    const PEERS: Self = Self { back: 0, ahead: 0, runs: false };
    const RUNS: Self = Self { back: 0, ahead: 0, runs: true };

    pub(super) fn and(self, other: Self) -> Self {
        Self { back: self.back.max(other.back), ahead: self.ahead.max(other.ahead), runs: self.runs || other.runs }
    }
}

/// These add up one row after the other to the same bits as in pieces, and what they know is small.
const CARRIED: [&str; 9] = ["count", "sum", "avg", "min", "max", "bool_and", "bool_or", "bit_and", "bit_or"];

/// What a call's results depend on, beside the row's peers; `None`: perhaps on all rows of the partition.
pub(super) fn of_call(call: &WindowCall) -> Option<Reach> {
    let ordered = !call.order.is_empty();
    match &call.function {
        WindowFunctionDefinition::WindowUDF(function) => match function.name() {
            "row_number" => Some(Reach::RUNS),
            "rank" | "dense_rank" if ordered => Some(Reach::RUNS),
            "lag" | "lead" if !call.ignore_nulls => {
                let by = match call.args.get(1) {
                    None => 1,
                    Some(Expr::Literal(by, _)) => integer(by)?,
                    Some(_) => return None,
                };
                let rows = usize::try_from(by.unsigned_abs()).ok()?;
                let is_back = (function.name() == "lag") == (by >= 0);
                Some(if is_back {
                    Reach { back: rows, ..Reach::default() }
                } else {
                    Reach { ahead: rows, ..Reach::default() }
                })
            }
            "last_value" if !call.ignore_nulls && ends_at_row(call, ordered) => match call.frame.start_bound {
                WindowFrameBound::Preceding(ref bound) if bound.is_null() => Some(Reach::PEERS),
                _ => bounded(call),
            },
            "first_value" | "last_value" | "nth_value" => bounded(call),
            _ => None,
        },
        WindowFunctionDefinition::AggregateUDF(function) => {
            let from_first = matches!(&call.frame.start_bound, WindowFrameBound::Preceding(bound) if bound.is_null());
            match from_first && ends_at_row(call, ordered) && CARRIED.contains(&function.name()) {
                true => Some(Reach::RUNS),
                false => bounded(call),
            }
        }
    }
}

/// Whether the frame ends with the row, or with its peers in an order.
fn ends_at_row(call: &WindowCall, ordered: bool) -> bool {
    let by_row = call.frame.units == WindowFrameUnits::Rows;
    matches!(call.frame.end_bound, WindowFrameBound::CurrentRow) && (by_row || ordered)
}

/// Of a frame of rows between bounds.
fn bounded(call: &WindowCall) -> Option<Reach> {
    if call.frame.units != WindowFrameUnits::Rows {
        return None;
    }
    let bound = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(by) => integer(by).and_then(i64::checked_neg),
        WindowFrameBound::CurrentRow => Some(0),
        WindowFrameBound::Following(by) => integer(by),
    };
    let rows = |by: i64| usize::try_from(by).unwrap_or(0);
    let (start, end) = (bound(&call.frame.start_bound)?, bound(&call.frame.end_bound)?);
    Some(Reach { back: rows(-start), ahead: rows(end), runs: false })
}

fn integer(value: &ScalarValue) -> Option<i64> {
    match value.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(value) => value,
        _ => None,
    }
}
