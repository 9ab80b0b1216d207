//! Aggregates over all rows of their group.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array, new_empty_array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::scalar::ScalarValue;
use planner::incremental::{OrderKey, OrderedCall};

use super::order::{Order, Partitions, evaluate};
use super::windows::slices;
use crate::expression::{is_true, physical};
use crate::state::keys::normal_floats;
use crate::{Error, Result};

/// Calls, by the order in which they need the rows.
pub(super) struct Aggregates {
    groups: Vec<(Order, Vec<Call>)>,
    calls: usize,
}

struct Call {
    /// Which of the calls.
    column: usize,
    function: AggregateFunctionExpr,
    args: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Equal arguments count once, where the first of them stands.
    distinct: Option<RowConverter>,
    data_type: DataType,
}

impl Aggregates {
    /// `types` are those of the calls' columns.
    pub(super) fn new(calls: &[OrderedCall], input: &SchemaRef, types: &[DataType]) -> Result<Self> {
        let mut groups: Vec<(Vec<OrderKey>, Order, Vec<Call>)> = Vec::new();
        for (column, (call, data_type)) in calls.iter().zip(types).enumerate() {
            let order = order_of(call);
            let known = groups.iter().position(|(other, ..)| *other == order);
            let group = match known {
                Some(group) => group,
                None => {
                    groups.push((order.clone(), Order::new(input, &order)?, vec![]));
                    groups.len() - 1
                }
            };
            let call = Call::new(column, call, &groups[group].1, input, data_type)?;
            groups[group].2.push(call);
        }
        Ok(Self { groups: groups.into_iter().map(|(_, order, calls)| (order, calls)).collect(), calls: calls.len() })
    }

    /// A column per call, a row per partition.
    pub(super) fn evaluate(&self, partitions: &Partitions) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.calls];
        for (order, calls) in &self.groups {
            let positions = order.sort(partitions)?.positions;
            let batch = partitions.arrange(&UInt32Array::from(positions))?;
            let sorted = Partitions { batch, ranges: partitions.ranges.clone() };
            for call in calls {
                columns[call.column] = Some(call.evaluate(&sorted)?);
            }
        }
        columns.into_iter().map(|column| column.ok_or_else(|| Error::Broken("a column per call".to_owned()))).collect()
    }
}

/// With DISTINCT and without ORDER BY, values come in their own order, as in PostgreSQL.
fn order_of(call: &OrderedCall) -> Vec<OrderKey> {
    if !call.call.distinct {
        return call.order.clone();
    }
    let by_value = call.call.args.iter().filter(|arg| !call.order.iter().any(|key| key.expression == **arg));
    let by_value = by_value.map(|arg| OrderKey { expression: arg.clone(), descending: false, nulls_first: false });
    call.order.iter().cloned().chain(by_value).collect()
}

impl Call {
    fn new(
        column: usize,
        ordered: &OrderedCall,
        order: &Order,
        input: &SchemaRef,
        data_type: &DataType,
    ) -> Result<Self> {
        let call = &ordered.call;
        let args = call.args.iter().map(|arg| physical(input, arg)).collect::<Result<Vec<_>>>()?;
        let mut builder = AggregateExprBuilder::new(call.function.clone(), args.clone()).schema(input.clone());
        // These say by their order what they compute; for others the rows come in order.
        if call.function.supports_within_group_clause() {
            builder = builder.order_by(order.keys[..ordered.order.len()].to_vec());
        }
        let function = builder.alias(call.function.name()).with_ignore_nulls(ordered.ignore_nulls).build()?;
        function.create_accumulator()?;
        let distinct = match call.distinct {
            false => None,
            true => {
                let fields =
                    args.iter().map(|arg| Ok(SortField::new(arg.data_type(input)?))).collect::<Result<Vec<_>>>()?;
                if !RowConverter::supports_fields(&fields) {
                    return Err(Error::Unsupported(format!("{}(DISTINCT …) of these types", call.function.name())));
                }
                Some(RowConverter::new(fields)?)
            }
        };
        let filter = call.filter.as_ref().map(|filter| physical(input, filter)).transpose()?;
        Ok(Self { column, function, args, filter, distinct, data_type: data_type.clone() })
    }

    fn evaluate(&self, sorted: &Partitions) -> Result<ArrayRef> {
        let args = self.args.iter().map(|arg| evaluate(arg, &sorted.batch)).collect::<Result<Vec<_>>>()?;
        let mut mask = match &self.filter {
            None => None,
            Some(filter) => Some(is_true(&evaluate(filter, &sorted.batch)?)),
        };
        if let Some(converter) = &self.distinct {
            mask = Some(firsts(converter, &args, mask.as_ref(), sorted)?);
        }
        let mut values = Vec::with_capacity(sorted.ranges.len());
        for range in &sorted.ranges {
            let mut accumulator = self.function.create_accumulator()?;
            if !range.is_empty() {
                accumulator.update_batch(&slices(&args, mask.as_ref(), range.clone())?)?;
            }
            values.push(accumulator.evaluate()?);
        }
        if values.is_empty() {
            return Ok(new_empty_array(&self.data_type));
        }
        let column = ScalarValue::iter_to_array(values)?;
        if *column.data_type() == self.data_type { Ok(column) } else { Ok(cast(&column, &self.data_type)?) }
    }
}

/// The first of equal arguments in each partition, of those that the filter takes.
fn firsts(
    converter: &RowConverter,
    args: &[ArrayRef],
    mask: Option<&BooleanArray>,
    sorted: &Partitions,
) -> Result<BooleanArray> {
    let args: Vec<ArrayRef> = args.iter().map(normal_floats).collect();
    let rows = converter.convert_columns(&args)?;
    let mut first = vec![false; rows.num_rows()];
    let mut seen = hashbrown::HashSet::new();
    for range in &sorted.ranges {
        seen.clear();
        for row in range.clone().filter(|row| mask.is_none_or(|mask| mask.value(*row))) {
            first[row] = seen.insert(rows.row(row).data());
        }
    }
    Ok(BooleanArray::from(first))
}

/// The key columns of each partition.
pub(super) fn keys_of(keys: &[ArrayRef], partitions: &Partitions) -> Result<Vec<ArrayRef>> {
    let start = |range: &Range<usize>| (!range.is_empty()).then_some(range.start as u32);
    let starts = UInt32Array::from_iter(partitions.ranges.iter().map(start));
    let key = |column: &ArrayRef| Ok(take(&normal_floats(column), &starts, None)?);
    keys.iter().map(key).collect()
}
