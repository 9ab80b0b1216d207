//! What needs all rows of a partition: window functions, and aggregates without an incremental form.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, Sort, WindowFunction};
use datafusion::logical_expr::{Case, Expr, Window as LogicalWindow, WindowFunctionDefinition};

use super::aggregate::group_window;
use super::expression::{column, column_index, numbered_schema, positional};
use super::lowered::{Class, ColumnInfo, Lowered};
use super::map::{positional_all, project, properties};
use super::{Lowering, shared};
use crate::incremental::{AggregateCall, Node, OnError, OrderKey, OrderedCall, Partition, PartitionRule, WindowCall};
use crate::{Error, Result};

impl Lowering<'_> {
    /// Window functions, one operator for all calls over the same partitions.
    pub(super) fn window_functions(&mut self, window: &LogicalWindow) -> Result<Lowered> {
        let names = window.input.schema();
        let input = self.node(&window.input)?;
        let width = input.columns.len();
        // Where each call's column is. Those of one operator stand together, whatever the order of the calls.
        let mut columns: Vec<usize> = (0..width).collect();
        columns.resize(width + window.window_expr.len(), 0);
        let mut calls = window.window_expr.iter().map(|call| window_call(call, names)).collect::<Result<Vec<_>>>()?;
        let mut prepared = Prepared::new(input);
        for (keys, call) in &mut calls {
            keys.retain(|key| !matches!(key, Expr::Literal(..)));
            prepared.keys(keys);
            prepared.order(&mut call.order);
            prepared.arguments(&mut call.args, call.filter.as_mut());
        }
        let mut output = prepared.finish()?;
        let types: Vec<&DataType> = window.schema.fields().iter().map(|field| field.data_type()).collect();
        let mut left: Vec<usize> = (0..calls.len()).collect();
        while let Some(first) = left.first().copied() {
            let keys = &calls[first].0;
            let (now, later) = left.iter().copied().partition::<Vec<usize>, _>(|index| calls[*index].0 == *keys);
            for (place, index) in now.iter().enumerate() {
                columns[width + index] = output.columns.len() + place;
            }
            let added = now.iter().map(|index| (calls[*index].1.clone(), types[width + index].clone())).collect();
            output = self.windows(output, keys, added)?;
            left = later;
        }
        project(output, columns.into_iter().map(column).collect())
    }

    fn windows(&mut self, input: Lowered, keys: &[Expr], calls: Vec<(WindowCall, DataType)>) -> Result<Lowered> {
        let mut output = of_partitions(&input, keys);
        let (mut calls, mut types): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
        let first_class = output.free_class();
        let partition = partition_class(&input, keys);
        for (class, call) in (first_class..).zip(&calls) {
            output.columns.push(ColumnInfo { not_null: is_never_null(call), ..ColumnInfo::unknown(class) });
            if call.function.name() == "row_number"
                && let Some(partition) = &partition
            {
                output.add_key(partition.iter().copied().chain([class]).collect());
            }
        }
        // Over the same partitions below, it is one operator. What the calls below add doesn't change the partitions.
        let mut input_node = input.node.clone();
        if let Node::Partition(below @ Partition { rule: PartitionRule::Windows(first), .. }) = &*input.node {
            let width = below.input.schema().fields().len();
            if below.keys == keys && calls.iter().all(|call| uses_only(call, width)) {
                let below_types = below.schema.fields().iter().skip(width).map(|field| field.data_type().clone());
                calls = first.iter().cloned().chain(calls).collect();
                types = below_types.chain(types).collect();
                input_node = below.input.clone();
            }
        }
        let input_types = input_node.schema().fields().iter().map(|field| field.data_type());
        let partition = Partition {
            schema: numbered_schema(input_types.chain(&types)),
            keys: keys.to_vec(),
            window: group_window(&properties(&input, None, keys).columns),
            rule: PartitionRule::Windows(calls),
            on_error: OnError::default(),
            input: input_node,
        };
        output.node = shared(Node::Partition(partition));
        Ok(output)
    }

    /// `GROUP BY` with calls that need all rows of their group.
    pub(super) fn ordered_aggregate(
        &mut self,
        input: Lowered,
        mut keys: Vec<Expr>,
        mut calls: Vec<OrderedCall>,
        types: &[&DataType],
    ) -> Result<Partition> {
        let mut prepared = Prepared::new(input);
        prepared.keys(&mut keys);
        for OrderedCall { call, order, .. } in &mut calls {
            prepared.order(order);
            prepared.arguments(&mut call.args, call.filter.as_mut());
        }
        let input = prepared.finish()?;
        let partition = Partition {
            schema: numbered_schema(types.iter().copied()),
            window: group_window(&properties(&input, None, &keys).columns),
            keys,
            rule: PartitionRule::Aggregates(calls),
            on_error: OnError::default(),
            input: input.node,
        };
        Ok(partition)
    }
}

/// An operator's input with columns for what keys, orders and arguments compute: what fails there then belongs to its row, as
/// everywhere else.
pub(super) struct Prepared {
    input: Lowered,
    added: Vec<Expr>,
}

impl Prepared {
    pub(super) fn new(input: Lowered) -> Self {
        Self { input, added: Vec::new() }
    }

    /// Keys become columns.
    pub(super) fn keys(&mut self, keys: &mut [Expr]) {
        keys.iter_mut().filter(|key| column_index(key).is_none()).for_each(|key| self.add(key));
    }

    /// Orders become columns.
    pub(super) fn order(&mut self, order: &mut [OrderKey]) {
        order.iter_mut().for_each(|key| self.compute(&mut key.expression));
    }

    /// Arguments and their filter become columns, or stay constants. A row that the filter leaves out doesn't compute the arguments.
    pub(super) fn arguments(&mut self, args: &mut [Expr], filter: Option<&mut Expr>) {
        for arg in args.iter_mut().filter(|arg| !is_plain(arg)) {
            if let Some(filter) = &filter {
                let when = vec![(Box::new(Expr::clone(filter)), Box::new(arg.clone()))];
                *arg = Expr::Case(Case { expr: None, when_then_expr: when, else_expr: None });
            }
            self.add(arg);
        }
        if let Some(filter) = filter {
            self.compute(filter);
        }
    }

    fn compute(&mut self, expression: &mut Expr) {
        if !is_plain(expression) {
            self.add(expression);
        }
    }

    /// Gives an expression a column, the same to equal ones.
    fn add(&mut self, expression: &mut Expr) {
        let known = self.added.iter().position(|added| added == expression);
        let place = known.unwrap_or(self.added.len());
        let computed = std::mem::replace(expression, column(self.input.columns.len() + place));
        if known.is_none() {
            self.added.push(computed);
        }
    }

    /// The input with these columns behind its own.
    pub(super) fn finish(self) -> Result<Lowered> {
        if self.added.is_empty() {
            return Ok(self.input);
        }
        let expressions = (0..self.input.columns.len()).map(column).chain(self.added).collect();
        project(self.input, expressions)
    }
}

fn is_plain(expression: &Expr) -> bool {
    matches!(expression, Expr::Literal(..)) || column_index(expression).is_some()
}

/// What is known of rows that come out of partitions as they went in: they may go and come again, so that only what all rows of
/// the partition share says how far time has come.
pub(super) fn of_partitions(input: &Lowered, keys: &[Expr]) -> Lowered {
    let mut output = input.clone();
    for (index, info) in output.columns.iter_mut().enumerate() {
        if !keys.iter().any(|key| column_index(key) == Some(index)) {
            info.time = None;
        }
    }
    output
}

/// Partition keys, and the call.
fn window_call(expression: &Expr, names: &DFSchema) -> Result<(Vec<Expr>, WindowCall)> {
    let Expr::WindowFunction(window) = expression.clone().unalias() else {
        return Err(Error::internal(format!("{expression} is no window function")));
    };
    let WindowFunction { fun, params } = *window;
    if params.distinct {
        return Err(Error::unsupported("DISTINCT in a window function of a materialized view"));
    }
    let filter = params.filter.as_deref().map(|filter| positional(filter, names)).transpose()?;
    if filter.is_some() && matches!(fun, WindowFunctionDefinition::WindowUDF(_)) {
        return Err(Error::unsupported("FILTER for a window function that is no aggregate"));
    }
    if let Some(place) = varying_constant(&fun, &params.args) {
        let what = format!("{} whose argument {place} is no constant in a materialized view", fun.name());
        return Err(Error::unsupported(what));
    }
    let call = WindowCall {
        args: positional_all(&params.args, names)?,
        order: order_keys(&params.order_by, names)?,
        frame: params.window_frame,
        filter,
        ignore_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
        function: fun,
    };
    Ok((positional_all(&params.partition_by, names)?, call))
}

/// Which argument (from 1) differs from row to row of those that DataFusion takes once for all rows.
fn varying_constant(function: &WindowFunctionDefinition, args: &[Expr]) -> Option<usize> {
    let WindowFunctionDefinition::WindowUDF(function) = function else { return None };
    let places: &[usize] = match function.name() {
        "ntile" => &[0],
        "nth_value" => &[1],
        "lag" | "lead" => &[1, 2],
        _ => &[],
    };
    let varies = |place: &&usize| args.get(**place).is_some_and(|arg| !arg.column_refs().is_empty());
    places.iter().find(varies).map(|place| place + 1)
}

/// `ORDER BY` over positions.
pub(super) fn order_keys(order: &[Sort], names: &DFSchema) -> Result<Vec<OrderKey>> {
    let key = |sort: &Sort| {
        let expression = positional(&sort.expr, names)?;
        Ok(OrderKey { expression, descending: !sort.asc, nulls_first: sort.nulls_first })
    };
    order.iter().map(key).collect()
}

/// An aggregate as DataFusion computes it.
pub(super) fn ordered_call(expression: &Expr, names: &DFSchema) -> Result<OrderedCall> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expression.clone().unalias() else {
        return Err(Error::internal(format!("{expression} is no aggregate")));
    };
    Ok(OrderedCall {
        call: AggregateCall {
            function: func,
            args: positional_all(&params.args, names)?,
            distinct: params.distinct,
            filter: params.filter.as_deref().map(|filter| positional(filter, names)).transpose()?,
        },
        order: order_keys(&params.order_by, names)?,
        ignore_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
    })
}

/// The classes of the columns that are the keys of partitions; `None` if a key is more than a column.
pub(super) fn partition_class(input: &Lowered, keys: &[Expr]) -> Option<BTreeSet<Class>> {
    keys.iter().map(|key| column_index(key).map(|index| input.columns[index].class)).collect()
}

fn uses_only(call: &WindowCall, width: usize) -> bool {
    let expressions = call.args.iter().chain(&call.filter).chain(call.order.iter().map(|key| &key.expression));
    expressions.into_iter().all(|expression| {
        let mut within = true;
        let walk = expression.apply(|part| {
            within &= column_index(part).is_none_or(|index| index < width);
            Ok(if within { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        });
        walk.is_ok() && within
    })
}

fn is_never_null(call: &WindowCall) -> bool {
    matches!(call.function.name(), "row_number" | "rank" | "dense_rank" | "percent_rank" | "cume_dist" | "count")
}
