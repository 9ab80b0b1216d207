//! Window functions whose frames leave out the row, its peers, or both.
//!
//! An excluded row leaves a gap: a frame is up to three runs of rows. Sums and counts of exact numbers are kept for the whole frame, and what is excluded
//! is subtracted for the moment; other aggregates are computed anew for each row.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{cast, filter, partition};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, Expr, PartitionEvaluator, Signature, TypeSignature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};

use super::definition::{Definition, one_of};
use crate::Error;
use crate::error::ErrorKind;

/// What stands for EXCLUDE while a query is planned; it is never computed.
pub(super) fn functions() -> Vec<Definition> {
    vec![Definition::new(
        "frame exclusion",
        one_of(&[&[DataType::Utf8View]], Volatility::Immutable),
        |_| Ok(catalog::SqlType::Text),
        |_| Err(Error::internal("EXCLUDE outside of a window's frame").into()),
    )]
}

/// Which rows are left out of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Exclusion {
    /// The row.
    CurrentRow,
    /// The row and its peers.
    Group,
    /// Its peers.
    Ties,
}

/// What is computed over what is left.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    Aggregate(Arc<AggregateUDF>),
    First,
    Last,
    Nth,
}

/// A function over frames with an exclusion. Its arguments are the function's, then the filter's value, if there is a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Excluding {
    name: String,
    function: Function,
    exclusion: Exclusion,
    args: usize,
    is_filtered: bool,
    ignore_nulls: bool,
    signature: Signature,
}

impl Excluding {
    pub(crate) fn new(
        function: Function,
        exclusion: Exclusion,
        args: usize,
        is_filtered: bool,
        ignore_nulls: bool,
    ) -> Self {
        let signature = Signature::new(TypeSignature::VariadicAny, Volatility::Immutable);
        let name = String::new();
        let mut this = Self { name, function, exclusion, args, is_filtered, ignore_nulls, signature };
        // All that it is, as states are known by it.
        let nulls = if ignore_nulls { " ignore nulls" } else { "" };
        let filter = if is_filtered { " filter" } else { "" };
        this.name = format!("{} exclude {}{nulls}{filter}", this.function(), this.exclusion());
        this
    }

    /// The function that it is, if it is one of these.
    pub(crate) fn of(function: &WindowUDF) -> Option<&Self> {
        function.inner().downcast_ref()
    }

    /// The name of what is computed over what is left.
    pub(crate) fn function(&self) -> &str {
        match &self.function {
            Function::Aggregate(aggregate) => aggregate.name(),
            Function::First => "first_value",
            Function::Last => "last_value",
            Function::Nth => "nth_value",
        }
    }

    /// What is left out, as it is written.
    pub(crate) fn exclusion(&self) -> &'static str {
        match self.exclusion {
            Exclusion::CurrentRow => "current row",
            Exclusion::Group => "group",
            Exclusion::Ties => "ties",
        }
    }

    pub(crate) fn ignores_nulls(&self) -> bool {
        self.ignore_nulls
    }

    /// The function's arguments, and its filter.
    pub(crate) fn inputs<'a>(&self, args: &'a [Expr]) -> (&'a [Expr], Option<&'a Expr>) {
        let (args, rest) = args.split_at(self.args.min(args.len()));
        (args, rest.first().filter(|_| self.is_filtered))
    }
}

impl WindowUDFImpl for Excluding {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let fields = &args.input_fields()[..self.args];
        let field = match &self.function {
            Function::Aggregate(aggregate) => Field::clone(&*aggregate.return_field(fields)?),
            // A frame may be empty.
            _ => Field::clone(&*fields[0]).with_nullable(true),
        };
        Ok(field.with_name(args.name()).into())
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        let fields = args.input_fields()[..self.args].to_vec();
        let computed = match &self.function {
            Function::Aggregate(aggregate) => {
                Computed::Aggregate(Aggregate::new(aggregate.clone(), fields, args.input_exprs())?)
            }
            Function::First => Computed::Value(|_, _| Ok(1), Direction::Forwards),
            Function::Last => Computed::Value(|_, _| Ok(1), Direction::Backwards),
            Function::Nth => Computed::Value(nth, Direction::Forwards),
        };
        Ok(Box::new(Evaluator { of: self.clone(), computed, row: 0, peers: None }))
    }
}

/// Which of the frame's rows `nth_value` wants, counted from 1; 0: none.
pub(super) fn nth(values: &[ArrayRef], row: usize) -> Result<usize> {
    let number = cast(&values[1], &DataType::Int64)?;
    match number.is_null(row) {
        true => Ok(0),
        false => {
            usize::try_from(number.as_primitive::<Int64Type>().value(row)).ok().filter(|n| *n > 0).ok_or_else(|| {
                Error::new(ErrorKind::InvalidParameterValue, "argument of nth_value must be greater than zero").into()
            })
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Forwards,
    Backwards,
}

#[derive(Debug)]
enum Computed {
    Aggregate(Aggregate),
    /// The value of a row of the frame: which one, counted from 1, in that direction.
    Value(fn(&[ArrayRef], usize) -> Result<usize>, Direction),
}

/// Evaluates a partition, whose rows come one after the other.
#[derive(Debug)]
struct Evaluator {
    of: Excluding,
    computed: Computed,
    row: usize,
    /// Of the partition: the rows that are peers.
    peers: Option<Vec<Range<usize>>>,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let row = self.row;
        self.row += 1;
        let rows = values[0].len();
        let inputs = self.of.args + usize::from(self.of.is_filtered);
        if self.peers.is_none() {
            // The order's keys stand behind the arguments.
            let keys = &values[inputs..];
            let all = std::iter::once(0..rows).collect();
            self.peers = Some(if keys.is_empty() { all } else { partition(keys)?.ranges() });
        }
        let peers = self.peers.as_deref().unwrap_or_default();
        let place = peers.partition_point(|range| range.end <= row);
        let peers = peers.get(place).cloned().unwrap_or(row..row + 1);
        let frame = if range.is_empty() { 0..0 } else { range.clone() };
        let excluded = match self.of.exclusion {
            Exclusion::CurrentRow => std::iter::once(row..row + 1).collect(),
            Exclusion::Group => std::iter::once(peers).collect(),
            Exclusion::Ties => vec![peers.start..row, row + 1..peers.end],
        };
        let within = |range: Range<usize>| range.start.max(frame.start)..range.end.min(frame.end);
        let excluded: Vec<Range<usize>> = excluded.into_iter().map(within).filter(|range| !range.is_empty()).collect();
        let mut left = Vec::with_capacity(3);
        let mut start = frame.start;
        for gap in &excluded {
            left.push(start..gap.start);
            start = gap.end;
        }
        left.push(start..frame.end);
        left.retain(|range| !range.is_empty());
        let args = &values[..self.of.args];
        match &mut self.computed {
            Computed::Aggregate(aggregate) => {
                let mask = self.of.is_filtered.then(|| values[self.of.args].as_boolean());
                aggregate.evaluate(args, mask, &frame, &excluded, &left)
            }
            Computed::Value(which, direction) => {
                let Some(wanted) = which(args, row)?.checked_sub(1) else {
                    return ScalarValue::try_from(args[0].data_type());
                };
                let counts = |row: &usize| !self.of.ignore_nulls || args[0].is_valid(*row);
                let found = match direction {
                    Direction::Forwards => left.into_iter().flatten().filter(counts).nth(wanted),
                    Direction::Backwards => left.into_iter().rev().flat_map(Iterator::rev).filter(counts).nth(wanted),
                };
                match found {
                    Some(row) => ScalarValue::try_from_array(&args[0], row),
                    None => ScalarValue::try_from(args[0].data_type()),
                }
            }
        }
    }

    fn uses_window_frame(&self) -> bool {
        true
    }
}

/// An aggregate of what is left of frames.
#[derive(Debug)]
struct Aggregate {
    function: Arc<AggregateUDF>,
    fields: Vec<FieldRef>,
    return_field: FieldRef,
    schema: Schema,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    /// Rows may be subtracted, in any order.
    retracts: bool,
    /// Of the whole frame, if rows may be subtracted.
    accumulator: Option<Box<dyn Accumulator>>,
    held: Range<usize>,
}

impl Aggregate {
    /// Of its inputs constants stay such: a delimiter must be one.
    fn new(function: Arc<AggregateUDF>, fields: Vec<FieldRef>, inputs: &[Arc<dyn PhysicalExpr>]) -> Result<Self> {
        let named = fields.iter().enumerate().map(|(index, field)| Field::clone(field).with_name(format!("c{index}")));
        let schema = Schema::new(named.collect::<Vec<_>>());
        let expr = |index: usize| match inputs.get(index) {
            Some(input) if input.is::<Literal>() => input.clone(),
            _ => Arc::new(Column::new(&format!("c{index}"), index)) as _,
        };
        let exprs = (0..fields.len()).map(expr).collect();
        let is_exact = !fields.iter().any(|field| field.data_type().is_floating());
        let retracts = function.name() == "count" || is_exact && matches!(function.name(), "sum" | "avg");
        let return_field = function.return_field(&fields)?;
        Ok(Self { function, fields, return_field, schema, exprs, retracts, accumulator: None, held: 0..0 })
    }

    fn accumulator(&self) -> Result<Box<dyn Accumulator>> {
        let args = AccumulatorArgs {
            return_field: self.return_field.clone(),
            schema: &self.schema,
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name: self.function.name(),
            is_distinct: false,
            exprs: &self.exprs,
            expr_fields: &self.fields,
        };
        if self.retracts { self.function.create_sliding_accumulator(args) } else { self.function.accumulator(args) }
    }

    fn evaluate(
        &mut self,
        args: &[ArrayRef],
        mask: Option<&BooleanArray>,
        frame: &Range<usize>,
        excluded: &[Range<usize>],
        left: &[Range<usize>],
    ) -> Result<ScalarValue> {
        let rows = |range: &Range<usize>| -> Result<Vec<ArrayRef>> {
            let slice = args.iter().map(|arg| arg.slice(range.start, range.len()));
            match mask {
                None => Ok(slice.collect()),
                Some(mask) => {
                    let mask = mask.slice(range.start, range.len());
                    slice.map(|values| Ok(filter(&values, &mask)?)).collect()
                }
            }
        };
        if !self.retracts {
            let mut accumulator = self.accumulator()?;
            for range in left {
                accumulator.update_batch(&rows(range)?)?;
            }
            return accumulator.evaluate();
        }
        let held = self.held.clone();
        let moves = frame.start >= held.start && frame.end >= held.end && frame.start <= held.end;
        let mut accumulator = match self.accumulator.take().filter(|_| moves) {
            Some(mut accumulator) => {
                if frame.end > held.end {
                    accumulator.update_batch(&rows(&(held.end..frame.end))?)?;
                }
                if frame.start > held.start {
                    accumulator.retract_batch(&rows(&(held.start..frame.start))?)?;
                }
                accumulator
            }
            None => {
                let mut accumulator = self.accumulator()?;
                if !frame.is_empty() {
                    accumulator.update_batch(&rows(frame)?)?;
                }
                accumulator
            }
        };
        for range in excluded {
            accumulator.retract_batch(&rows(range)?)?;
        }
        let value = accumulator.evaluate()?;
        for range in excluded {
            accumulator.update_batch(&rows(range)?)?;
        }
        self.held = frame.clone();
        self.accumulator = Some(accumulator);
        Ok(value)
    }
}
