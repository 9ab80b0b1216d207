//! Window functions over sorted partitions.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_empty_array};
use arrow::compute::{cast, concat, filter, take};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::window_state::WindowFrameContext;
use datafusion::logical_expr::{Accumulator, WindowFrame, WindowFunctionDefinition};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_plan::windows::create_udwf_window_expr;
use datafusion::scalar::ScalarValue;
use planner::incremental::{OrderKey, WindowCall};

use super::order::{Order, Partitions, evaluate};
use crate::expression::{is_true, physical};
use crate::{Error, Result};

/// Calls, by the order in which they need the rows.
pub(super) struct Windows {
    groups: Vec<(Order, Vec<Call>)>,
    calls: usize,
}

struct Call {
    /// Which of the output's added columns.
    column: usize,
    function: Function,
    data_type: DataType,
}

enum Function {
    /// DataFusion evaluates it on a partition.
    Window(StandardWindowExpr),
    Aggregate(Box<Aggregate>),
}

/// An aggregate over a frame that moves from row to row.
struct Aggregate {
    function: AggregateFunctionExpr,
    args: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    frame: Arc<WindowFrame>,
    /// Rows that leave the frame are subtracted; else the frame is added up anew.
    retracts: bool,
}

impl Windows {
    /// `types` are those of the added columns.
    pub(super) fn new(calls: &[WindowCall], input: &SchemaRef, types: &[DataType]) -> Result<Self> {
        let mut groups: Vec<(&[OrderKey], Order, Vec<Call>)> = Vec::new();
        for (column, (call, data_type)) in calls.iter().zip(types).enumerate() {
            let known = groups.iter().position(|(order, ..)| *order == call.order);
            let group = match known {
                Some(group) => group,
                None => {
                    groups.push((&call.order, Order::new(input, &call.order)?, vec![]));
                    groups.len() - 1
                }
            };
            let function = Function::new(call, &groups[group].1, input)?;
            groups[group].2.push(Call { column, function, data_type: data_type.clone() });
        }
        Ok(Self { groups: groups.into_iter().map(|(_, order, calls)| (order, calls)).collect(), calls: calls.len() })
    }

    /// A column per call, in the order of the partitions' rows.
    pub(super) fn evaluate(&self, partitions: &Partitions) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.calls];
        for (order, calls) in &self.groups {
            let positions = order.sort(partitions)?.positions;
            let mut places = vec![0; positions.len()];
            for (place, position) in positions.iter().enumerate() {
                places[*position as usize] = place as u32;
            }
            let sorted = partitions.arrange(&UInt32Array::from(positions))?;
            let places = UInt32Array::from(places);
            for call in calls {
                let column = call.evaluate(order, &sorted, &partitions.ranges)?;
                columns[call.column] = Some(take(&column, &places, None)?);
            }
        }
        columns.into_iter().map(|column| column.ok_or_else(|| Error::Broken("a column per call".to_owned()))).collect()
    }
}

impl Function {
    fn new(call: &WindowCall, order: &Order, input: &SchemaRef) -> Result<Self> {
        let args = call.args.iter().map(|arg| physical(input, arg)).collect::<Result<Vec<_>>>()?;
        let frame = Arc::new(call.frame.clone());
        match &call.function {
            WindowFunctionDefinition::WindowUDF(function) => {
                let name = function.name().to_owned();
                let function = create_udwf_window_expr(function, &args, input, name, call.ignore_nulls)?;
                Ok(Self::Window(StandardWindowExpr::new(function, &[], &order.keys, frame)))
            }
            WindowFunctionDefinition::AggregateUDF(function) => {
                let builder = AggregateExprBuilder::new(function.clone(), args.clone()).schema(input.clone());
                let builder = builder.alias(function.name()).with_ignore_nulls(call.ignore_nulls);
                let filter = call.filter.as_ref().map(|filter| physical(input, filter)).transpose()?;
                Ok(Self::Aggregate(Box::new(Aggregate::new(builder.build()?, args, filter, frame, input)?)))
            }
        }
    }
}

impl Call {
    /// Its column over sorted rows.
    fn evaluate(&self, order: &Order, sorted: &RecordBatch, ranges: &[Range<usize>]) -> Result<ArrayRef> {
        let ranges = ranges.iter().filter(|range| !range.is_empty());
        let parts: Vec<ArrayRef> = match &self.function {
            Function::Window(function) => {
                let part = |range: &Range<usize>| Ok(function.evaluate(&sorted.slice(range.start, range.len()))?);
                ranges.map(part).collect::<Result<_>>()?
            }
            Function::Aggregate(aggregate) => {
                let args = aggregate.args.iter().map(|arg| evaluate(arg, sorted)).collect::<Result<Vec<_>>>()?;
                let filter = aggregate.filter.as_ref().map(|filter| evaluate(filter, sorted)).transpose()?;
                let filter = filter.map(|mask| is_true(&mask));
                let keys = order.columns(sorted)?;
                let slice = |arrays: &[ArrayRef], range: &Range<usize>| -> Vec<ArrayRef> {
                    arrays.iter().map(|array| array.slice(range.start, range.len())).collect()
                };
                let part = |range: &Range<usize>| {
                    let filter = filter.as_ref().map(|mask| mask.slice(range.start, range.len()));
                    let options = order.keys.iter().map(|key| key.options).collect();
                    let context = WindowFrameContext::new(aggregate.frame.clone(), options);
                    aggregate.evaluate(slice(&args, range), &slice(&keys, range), filter, range.len(), context)
                };
                ranges.map(part).collect::<Result<_>>()?
            }
        };
        let column = match parts.as_slice() {
            [] => new_empty_array(&self.data_type),
            [part] => part.clone(),
            parts => concat(&parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>())?,
        };
        if *column.data_type() == self.data_type { Ok(column) } else { Ok(cast(&column, &self.data_type)?) }
    }
}

impl Aggregate {
    fn new(
        function: AggregateFunctionExpr,
        args: Vec<Arc<dyn PhysicalExpr>>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        frame: Arc<WindowFrame>,
        input: &SchemaRef,
    ) -> Result<Self> {
        // A sum of floats from which one is taken isn't the sum of the others.
        let exact = args.iter().map(|arg| Ok(!arg.data_type(input)?.is_floating())).collect::<Result<Vec<_>>>()?;
        let exact = exact.into_iter().all(|exact| exact) || matches!(function.fun().name(), "min" | "max" | "count");
        let mut aggregate = Self { function, args, filter, frame, retracts: false };
        if exact && !aggregate.frame.is_ever_expanding() {
            aggregate.retracts =
                aggregate.function.create_sliding_accumulator().is_ok_and(|a| a.supports_retract_batch());
        }
        aggregate.accumulator()?;
        Ok(aggregate)
    }

    fn accumulator(&self) -> Result<Box<dyn Accumulator>> {
        Ok(if self.retracts {
            self.function.create_sliding_accumulator()?
        } else {
            self.function.create_accumulator()?
        })
    }

    /// Its values over the rows of a partition.
    fn evaluate(
        &self,
        args: Vec<ArrayRef>,
        order: &[ArrayRef],
        filter: Option<BooleanArray>,
        rows: usize,
        mut context: WindowFrameContext,
    ) -> Result<ArrayRef> {
        let mut values: Vec<ScalarValue> = Vec::with_capacity(rows);
        let mut accumulator = self.accumulator()?;
        let part = |range: Range<usize>| slices(&args, filter.as_ref(), range);
        // What the accumulator holds, and the frame before, from which DataFusion searches on.
        let mut held = 0..0;
        let mut last = 0..0;
        for row in 0..rows {
            last = context.calculate_range(order, &last, rows, row)?;
            let frame = if last.is_empty() { 0..0 } else { last.clone() };
            if let Some(value) = values.last().filter(|_| frame == held || frame.is_empty() && held.is_empty()) {
                values.push(value.clone());
                continue;
            }
            let grows = frame.start == held.start && frame.end >= held.end;
            let moves = self.retracts && frame.start >= held.start && frame.end >= held.end && frame.start <= held.end;
            if grows || moves {
                if frame.end > held.end {
                    accumulator.update_batch(&part(held.end..frame.end)?)?;
                }
                if frame.start > held.start {
                    accumulator.retract_batch(&part(held.start..frame.start)?)?;
                }
            } else {
                accumulator = self.accumulator()?;
                if !frame.is_empty() {
                    accumulator.update_batch(&part(frame.clone())?)?;
                }
            }
            held = frame;
            values.push(accumulator.evaluate()?);
        }
        Ok(ScalarValue::iter_to_array(values)?)
    }
}

/// Some rows of an aggregate's arguments, those that the filter takes.
pub(super) fn slices(args: &[ArrayRef], mask: Option<&BooleanArray>, range: Range<usize>) -> Result<Vec<ArrayRef>> {
    let of = |array: &ArrayRef| -> Result<ArrayRef> {
        let values = array.slice(range.start, range.len());
        match mask {
            None => Ok(values),
            Some(mask) => Ok(filter(&values, &mask.slice(range.start, range.len()))?),
        }
    };
    args.iter().map(of).collect()
}
