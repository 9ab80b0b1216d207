//! `GROUP BY`.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Expr};

use super::distinct::distinct;
use super::expression::{column_index, numbered_schema, types_over};
use super::lowered::{ColumnInfo, Lowered};
use super::map::{positional_all, project, properties};
use super::partition::ordered_call;
use super::{Lowering, shared};
use crate::Result;
use crate::incremental::{Aggregate, AggregateCall, GroupWindow, Node, OnError, OrderedCall};

/// The aggregates that have an incremental form, by DataFusion's names; of others the rows are kept.
const SUPPORTED: [&str; 11] =
    ["count", "sum", "avg", "min", "max", "bool_and", "bool_or", "stddev", "stddev_pop", "var", "var_pop"];

/// Aggregates that don't care how often an argument counts.
const IDEMPOTENT: [&str; 4] = ["min", "max", "bool_and", "bool_or"];

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &LogicalAggregate) -> Result<Lowered> {
        let input = self.node(&aggregate.input)?;
        let names = aggregate.input.schema();
        let calls = aggregate.aggr_expr.iter().map(|e| ordered_call(e, names)).collect::<Result<Vec<_>>>()?;
        if let [Expr::GroupingSet(set)] = aggregate.group_expr.as_slice() {
            return self.grouping_sets(&input, aggregate, set, &calls);
        }
        let types: Vec<_> = aggregate.schema.fields().iter().map(|field| field.data_type()).collect();
        self.grouped(input, positional_all(&aggregate.group_expr, names)?, calls, &types)
    }

    /// Output: the keys, then the calls, in these types.
    pub(super) fn grouped(
        &mut self,
        input: Lowered,
        keys: Vec<Expr>,
        calls: Vec<OrderedCall>,
        types: &[&DataType],
    ) -> Result<Lowered> {
        let groups = properties(&input, None, &keys);
        if calls.is_empty() && !keys.is_empty() {
            return distinct(project(input, keys)?);
        }

        let mut output = groups.clone();
        let mut unique = groups.keys;
        // A constant tells no groups apart.
        let telling = groups.columns.iter().zip(&keys).filter(|(_, key)| !matches!(key, Expr::Literal(..)));
        unique.push(telling.map(|(column, _)| column.class).collect::<BTreeSet<_>>());
        let class = output.free_class();
        output.columns.extend((0..calls.len()).map(|index| ColumnInfo::unknown(class + index)));
        output.set_keys(unique);
        let incremental =
            calls.iter().map(|ordered| incremental_call(ordered, &input)).collect::<Result<Option<Vec<_>>>>()?;
        output.node = shared(match incremental {
            Some(calls) => Node::Aggregate(Aggregate {
                schema: numbered_schema(types.iter().copied()),
                window: group_window(&groups.columns),
                on_error: OnError::default(),
                keys,
                calls,
                input: input.node,
            }),
            // One that needs all rows of the group keeps them for all.
            None => Node::Partition(self.ordered_aggregate(input, keys, calls, types)?),
        });
        Ok(output)
    }
}

/// Which of the group's columns says when a group is complete.
pub(super) fn group_window(keys: &[ColumnInfo]) -> Option<GroupWindow> {
    let (end_key, bound, offset_us) = super::lowered::window_column(keys)?;
    Some(GroupWindow { end_key, offset_us, watermark_of: bound.sources.clone() })
}

/// The call as the operator with accumulators takes it; `None` if it needs the rows of its group.
fn incremental_call(ordered: &OrderedCall, input: &Lowered) -> Result<Option<AggregateCall>> {
    // What an order within the call says changes nothing for these functions.
    let OrderedCall { call: AggregateCall { function, args, distinct, filter }, .. } = ordered.clone();
    let name = function.name();
    if !SUPPORTED.contains(&name) {
        return Ok(None);
    }
    let mut args = args;
    let distinct = distinct && !IDEMPOTENT.contains(&name);
    if name == "count" && !distinct {
        args.retain(|arg| !never_null(arg, input));
    }
    let types = types_over(&input.node, &args)?;
    if distinct && args.len() != 1 || !types.iter().all(|data_type| takes(name, data_type)) {
        return Ok(None);
    }
    Ok(Some(AggregateCall { function, args, distinct, filter }))
}

/// Whether counting an argument is counting rows.
fn never_null(argument: &Expr, input: &Lowered) -> bool {
    match argument {
        Expr::Literal(value, _) => !value.is_null(),
        other => column_index(other).is_some_and(|index| input.columns[index].not_null),
    }
}

/// Whether the incremental form of an aggregate takes arguments of a type.
fn takes(name: &str, data_type: &DataType) -> bool {
    match name {
        "count" | "min" | "max" => true,
        "bool_and" | "bool_or" => *data_type == DataType::Boolean,
        "sum" | "avg" if matches!(data_type, DataType::Interval(IntervalUnit::MonthDayNano)) => true,
        _ => data_type.is_integer() || data_type.is_floating() || matches!(data_type, DataType::Decimal128(..)),
    }
}
