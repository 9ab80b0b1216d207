//! Window functions over sorted partitions.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, UInt64Array, new_empty_array};
use arrow::compute::{cast, concat, filter, take};
use arrow::datatypes::{DataType, SchemaRef, UInt64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::logical_expr::window_state::WindowFrameContext;
use datafusion::logical_expr::{Accumulator, WindowFrame, WindowFunctionDefinition};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_plan::windows::create_udwf_window_expr;
use datafusion::scalar::ScalarValue;
use planner::incremental::{OrderKey, Ranked, Reach, WindowCall};

use super::order::{Order, Partitions, evaluate};
use super::ranked::{self, Standing};
use crate::expression::{is_true, physical};
use crate::{Error, Result};

/// Calls, by the order in which they need the rows.
pub(super) struct Windows {
    groups: Vec<(Order, Vec<Call>)>,
    calls: usize,
    /// Set if what a change reaches is known, and all calls are of one order.
    local: Option<Local>,
}

/// What a change of a row reaches.
pub(super) struct Local {
    pub(super) reach: Reach,
    /// Of what running calls know of the rows before a block.
    carried: Option<RowConverter>,
}

struct Call {
    /// Which of the output's added columns.
    column: usize,
    function: Function,
    data_type: DataType,
    /// Set if it follows from where a row stands.
    ranked: Option<Ranked>,
    /// Of a running call: where in what is carried its columns are.
    carried: Range<usize>,
}

/// Some of a partition's rows, one behind the other.
pub(super) struct Stretch<'a> {
    /// What the rows before them leave; without it there are none.
    pub(super) carried: Option<&'a [u8]>,
    /// Where it is asked for what is left: positions before which a row stands that is no peer of the one behind, none behind those that are wanted.
    pub(super) marks: &'a [usize],
    /// Of these the results are wanted; the others are what they depend on.
    pub(super) wanted: Range<usize>,
    /// Where those that are wanted stand in the partition.
    pub(super) standing: Standing,
}

/// What comes of some of a partition's rows.
pub(super) struct Run {
    /// A column per call, of the rows that are wanted.
    pub(super) columns: Vec<ArrayRef>,
    /// What is to be carried to each of the marks.
    pub(super) carried: Vec<Box<[u8]>>,
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
            let ranked = Ranked::of(call);
            groups[group].2.push(Call { column, function, data_type: data_type.clone(), ranked, carried: 0..0 });
        }
        let mut groups: Vec<_> = groups.into_iter().map(|(_, order, calls)| (order, calls)).collect();
        let local = match groups.as_mut_slice() {
            [(_, group)] => Local::new(calls, group)?,
            _ => None,
        };
        Ok(Self { groups, calls: calls.len(), local })
    }

    /// If what a change reaches is known: that, and the order of all calls.
    pub(super) fn local(&self) -> Option<(&Local, &Order)> {
        Some((self.local.as_ref()?, &self.groups.first()?.0))
    }

    /// The calls over sorted rows of one partition.
    pub(super) fn evaluate_run(&self, sorted: &RecordBatch, stretch: &Stretch<'_>) -> Result<Run> {
        let (Some(local), [(order, calls)]) = (&self.local, self.groups.as_slice()) else {
            return Err(Error::Broken("a run of calls that see the whole partition".to_owned()));
        };
        let Stretch { carried, marks, wanted, standing } = stretch;
        let carried: Option<Vec<ArrayRef>> = match (&local.carried, carried) {
            (Some(converter), Some(carried)) => {
                let parser = converter.parser();
                Some(converter.convert_rows([parser.parse(carried)])?)
            }
            _ => None,
        };
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.calls];
        let mut left: Vec<ArrayRef> = Vec::new();
        let rows = 0..sorted.num_rows();
        let whole = std::slice::from_ref(&rows);
        for call in calls {
            let carried = carried.as_ref().map(|carried| &carried[call.carried.clone()]);
            let mut states = Vec::new();
            if call.ranked.is_some() {
                continue;
            }
            let of_wanted = |column: ArrayRef| column.slice(wanted.start, wanted.len());
            let column = match (&call.function, call.carried.is_empty()) {
                (Function::Window(_), true) => of_wanted(call.evaluate(order, sorted, whole)?),
                (Function::Aggregate(aggregate), true) => {
                    let marks = (&[][..], &mut states);
                    call.typed(aggregate.evaluate_run(order, sorted, None, wanted.clone(), marks)?)?
                }
                (Function::Window(_), false) => {
                    let column = call.evaluate(order, sorted, whole)?;
                    let (column, places) = later(&column, carried, call.function.counts_rows(), marks)?;
                    left.push(places);
                    of_wanted(column)
                }
                (Function::Aggregate(aggregate), false) => {
                    let marked = (*marks, &mut states);
                    let column = aggregate.evaluate_run(order, sorted, carried, 0..wanted.end, marked)?;
                    for index in 0..call.carried.len() {
                        let values = states.iter().map(|state: &Vec<ScalarValue>| state[index].clone());
                        left.push(if marks.is_empty() {
                            new_empty_array(&DataType::Null)
                        } else {
                            ScalarValue::iter_to_array(values)?
                        });
                    }
                    of_wanted(call.typed(column)?)
                }
            };
            columns[call.column] = Some(column);
        }
        for (column, ranked) in self.evaluate_ranked(&sorted.slice(wanted.start, wanted.len()), *standing)? {
            columns[column] = Some(ranked);
        }
        let columns =
            columns.into_iter().map(|column| column.ok_or_else(|| Error::Broken("a column per call".to_owned())));
        let carried = match &local.carried {
            Some(converter) if !marks.is_empty() => {
                let rows = converter.convert_columns(&left)?;
                rows.iter().map(|row| row.data().into()).collect()
            }
            _ => vec![Box::default(); marks.len()],
        };
        Ok(Run { columns: columns.collect::<Result<_>>()?, carried })
    }

    /// The columns of calls that follow from where rows stand, over sorted rows of which none has a peer elsewhere.
    pub(super) fn evaluate_ranked(&self, sorted: &RecordBatch, standing: Standing) -> Result<Vec<(usize, ArrayRef)>> {
        let mut columns = Vec::new();
        for (order, calls) in &self.groups {
            let mut peers = None;
            for call in calls {
                let Some(ranked) = call.ranked else { continue };
                let peers = match &peers {
                    Some(peers) => peers,
                    None => peers.insert(order.peers(sorted)?),
                };
                let column = ranked::column(ranked, standing, sorted.num_rows(), peers);
                columns.push((call.column, call.typed(column)?));
            }
        }
        Ok(columns)
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
    /// Of `row_number`, `rank` and `dense_rank`: whether the last place is the number of rows.
    fn counts_rows(&self) -> bool {
        matches!(self, Self::Window(function) if function.name() != "dense_rank")
    }

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
                let (args, filter) = aggregate.inputs(sorted)?;
                let keys = order.columns(sorted)?;
                let slice = |arrays: &[ArrayRef], range: &Range<usize>| -> Vec<ArrayRef> {
                    arrays.iter().map(|array| array.slice(range.start, range.len())).collect()
                };
                let part = |range: &Range<usize>| {
                    let filter = filter.as_ref().map(|mask| mask.slice(range.start, range.len()));
                    let options = order.keys.iter().map(|key| key.options).collect();
                    let context = WindowFrameContext::new(aggregate.frame.clone(), options);
                    let mut accumulator = aggregate.accumulator()?;
                    let marks = (&[][..], &mut vec![]);
                    let (args, keys) = (slice(&args, range), slice(&keys, range));
                    let rows = (range.len(), 0..range.len());
                    aggregate.evaluate(&mut accumulator, args, &keys, filter, rows, context, marks)
                };
                ranges.map(part).collect::<Result<_>>()?
            }
        };
        self.typed(match parts.as_slice() {
            [] => new_empty_array(&self.data_type),
            [part] => part.clone(),
            parts => concat(&parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>())?,
        })
    }

    fn typed(&self, column: ArrayRef) -> Result<ArrayRef> {
        if *column.data_type() == self.data_type { Ok(column) } else { Ok(cast(&column, &self.data_type)?) }
    }
}

impl Local {
    /// Of calls of one order; gives running ones their places in what is carried.
    fn new(plans: &[WindowCall], calls: &mut [Call]) -> Result<Option<Self>> {
        let Some(reach) = Reach::of_calls(plans) else { return Ok(None) };
        let mut fields: Vec<SortField> = Vec::new();
        for call in calls {
            if !Reach::of(&plans[call.column]).is_some_and(|reach| reach.runs) {
                continue;
            }
            let types = match &call.function {
                Function::Window(_) => vec![DataType::UInt64],
                Function::Aggregate(aggregate) => {
                    aggregate.function.state_fields()?.iter().map(|field| field.data_type().clone()).collect()
                }
            };
            call.carried = fields.len()..fields.len() + types.len();
            fields.extend(types.into_iter().map(SortField::new));
        }
        if !RowConverter::supports_fields(&fields) {
            return Ok(None);
        }
        let carried = if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) };
        Ok(Some(Self { reach, carried }))
    }

    /// Whether something is carried from block to block.
    pub(super) fn carries(&self) -> bool {
        self.carried.is_some()
    }
}

/// Places as they are behind the rows that stand before, and at marks. `counts_rows`: of a row or its first peer; else of its peers.
fn later(
    places: &ArrayRef,
    carried: Option<&[ArrayRef]>,
    counts_rows: bool,
    marks: &[usize],
) -> Result<(ArrayRef, ArrayRef)> {
    let before = match carried {
        Some([before]) => before.as_primitive::<UInt64Type>().value(0),
        _ => 0,
    };
    let places = cast(places, &DataType::UInt64)?;
    let places: UInt64Array = places.as_primitive::<UInt64Type>().unary(|place| place + before);
    let at = |mark: &usize| match mark.checked_sub(1) {
        None => before,
        Some(_) if counts_rows => before + *mark as u64,
        Some(last) => places.value(last),
    };
    let at: UInt64Array = marks.iter().map(at).collect();
    Ok((Arc::new(places), Arc::new(at)))
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

    /// Its arguments, and which rows its filter takes.
    fn inputs(&self, rows: &RecordBatch) -> Result<(Vec<ArrayRef>, Option<BooleanArray>)> {
        let args = self.args.iter().map(|arg| evaluate(arg, rows)).collect::<Result<Vec<_>>>()?;
        let filter = self.filter.as_ref().map(|filter| evaluate(filter, rows)).transpose()?;
        Ok((args, filter.map(|mask| is_true(&mask))))
    }

    /// Its values of those rows that are wanted, and its states at marks, if it is a running one.
    fn evaluate_run(
        &self,
        order: &Order,
        sorted: &RecordBatch,
        carried: Option<&[ArrayRef]>,
        wanted: Range<usize>,
        marks: (&[usize], &mut Vec<Vec<ScalarValue>>),
    ) -> Result<ArrayRef> {
        let (args, filter) = self.inputs(sorted)?;
        let keys = order.columns(sorted)?;
        let options = order.keys.iter().map(|key| key.options).collect();
        let context = WindowFrameContext::new(self.frame.clone(), options);
        let mut accumulator = self.accumulator()?;
        if let Some(carried) = carried {
            accumulator.merge_batch(carried)?;
        }
        let rows = (sorted.num_rows(), wanted);
        self.evaluate(&mut accumulator, args, &keys, filter, rows, context, marks)
    }

    /// Its values of those of so many rows that are wanted. Of an accumulator whose frame only grows, the states before the rows at marks are noted.
    #[expect(clippy::too_many_arguments, reason = "the columns of a partition, and what is wanted of them")]
    fn evaluate(
        &self,
        accumulator: &mut Box<dyn Accumulator>,
        args: Vec<ArrayRef>,
        order: &[ArrayRef],
        filter: Option<BooleanArray>,
        (rows, wanted): (usize, Range<usize>),
        mut context: WindowFrameContext,
        (marks, states): (&[usize], &mut Vec<Vec<ScalarValue>>),
    ) -> Result<ArrayRef> {
        let mut values: Vec<ScalarValue> = Vec::with_capacity(wanted.len());
        let mut marks = marks.iter().copied().peekable();
        let part = |range: Range<usize>| slices(&args, filter.as_ref(), range);
        // What the accumulator holds, and the frame before, from which DataFusion searches on.
        let mut held = 0..0;
        let mut last = 0..0;
        for row in wanted {
            if marks.next_if_eq(&row).is_some() {
                states.push(accumulator.state()?);
            }
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
                *accumulator = self.accumulator()?;
                if !frame.is_empty() {
                    accumulator.update_batch(&part(frame.clone())?)?;
                }
            }
            held = frame;
            values.push(accumulator.evaluate()?);
        }
        if marks.next().is_some() {
            states.push(accumulator.state()?);
        }
        if values.is_empty() {
            return Ok(new_empty_array(self.function.field().data_type()));
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
