//! What one aggregate node computes, worked out once: which accumulators its calls need, each of them once.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable};
use planner::functions::spread::Spread;
use planner::incremental::{Aggregate, AggregateCall, column_name};
use planner::state::{ValueTable, ValueTableKind};
use storage::StateId;

use super::accumulators::Accumulators;
use super::distinct::MAX_FILTERS;
use super::extreme::End;
use super::sum::is_exact_number;
use crate::{Error, Result};

/// What one aggregate node computes.
#[derive(Clone, Debug)]
pub struct Aggregation {
    plan: Arc<Plan>,
    roles: Vec<String>,
}

/// See [`Aggregation`]; positions of arguments and filters are among [`Plan::arguments`].
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) arguments: Vec<Expr>,
    pub(super) accumulators: Vec<AccumulatorPlan>,
    pub(super) distincts: Vec<DistinctPlan>,
    pub(super) ordereds: Vec<OrderedPlan>,
    pub(super) outputs: Vec<Output>,
    pub(super) append_only: bool,
}

/// One accumulator and which rows it takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AccumulatorPlan {
    pub(super) kind: Kind,
    pub(super) source: Source,
}

/// What an accumulator computes over which argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Rows in which none of the arguments is NULL.
    Count(Vec<usize>),
    Sum(usize),
    FloatSum {
        argument: usize,
        with_squares: bool,
    },
    /// Of integers and decimals.
    Moments(usize),
    Intervals(usize),
    Booleans(usize),
    Extreme {
        argument: usize,
        end: End,
        data_type: DataType,
    },
}

/// Which rows an accumulator takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Those for which the filter is true.
    Rows { filter: Option<usize> },
    /// What enters and leaves the set of that filter of a distinct argument.
    Distinct { table: usize, filter: usize },
}

/// The values of an argument, once per filter.
#[derive(Debug)]
pub(super) struct DistinctPlan {
    pub(super) argument: usize,
    pub(super) data_type: DataType,
    pub(super) filters: Vec<Option<usize>>,
    /// Which of the aggregation's state tables it is.
    pub(super) state: usize,
}

/// The values of an argument in order.
#[derive(Debug)]
pub(super) struct OrderedPlan {
    pub(super) argument: usize,
    pub(super) data_type: DataType,
    pub(super) filter: Option<usize>,
    pub(super) state: usize,
}

/// How a call's result is read; numbers are positions of accumulators, or of tables.
#[derive(Clone, Debug)]
pub(super) enum Output {
    /// `count(*)`: the rows of the group.
    Rows,
    Count(usize),
    Sum {
        of: usize,
        scale: i8,
        data_type: DataType,
    },
    Average {
        of: usize,
        scale: i8,
        data_type: DataType,
    },
    FloatSum {
        of: usize,
        data_type: DataType,
    },
    FloatAverage {
        of: usize,
        data_type: DataType,
    },
    Spread {
        of: usize,
        spread: Spread,
        data_type: DataType,
    },
    ExactSpread {
        of: usize,
        spread: Spread,
        scale: i8,
        data_type: DataType,
    },
    IntervalSum {
        of: usize,
        averages: bool,
    },
    All(usize),
    Any(usize),
    Extreme(usize),
    Ordered {
        table: usize,
        end: End,
    },
}

impl Aggregation {
    /// The aggregation of a node.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a call that has no incremental form.
    pub fn new(node: &Aggregate) -> Result<Self> {
        let types = node.input.schema().fields().iter().enumerate();
        let fields = types.map(|(index, field)| Field::new(column_name(index), field.data_type().clone(), true));
        let schema = DFSchema::try_from(Schema::new(fields.collect::<Vec<_>>()))?;
        let mut planning = Planning { schema, plan: Plan::empty(node.input.append_only()) };
        let tables = node.value_tables();
        for (state, table) in tables.iter().enumerate() {
            planning.table(state, table)?;
        }
        for (index, call) in node.calls.iter().enumerate() {
            let data_type = node.schema.field(node.keys.len() + index).data_type();
            let output = planning.call(call, data_type, &tables)?;
            planning.plan.outputs.push(output);
        }
        Ok(Self { plan: planning.plan.into(), roles: tables.into_iter().map(|table| table.role).collect() })
    }

    /// Expressions over the node's input that the operator evaluates for [`Accumulators::update`]: arguments and filters, each once.
    pub fn arguments(&self) -> &[Expr] {
        &self.plan.arguments
    }

    /// Roles of the state tables that hold an entry per group and value. The operator finds a number for each.
    pub fn value_states(&self) -> &[String] {
        &self.roles
    }

    /// Accumulators for one shard; `states` are the numbers of [`Aggregation::value_states`], in that order.
    pub fn accumulators(&self, states: &[StateId]) -> Result<Accumulators> {
        if states.len() != self.roles.len() {
            return Err(Error::Broken(format!("{} states for {:?}", states.len(), self.roles)));
        }
        Ok(Accumulators::new(self.plan.clone(), states))
    }
}

impl Plan {
    fn empty(append_only: bool) -> Self {
        Self {
            arguments: Vec::new(),
            accumulators: Vec::new(),
            distincts: Vec::new(),
            ordereds: Vec::new(),
            outputs: Vec::new(),
            append_only,
        }
    }
}

/// A plan in the making.
struct Planning {
    schema: DFSchema,
    plan: Plan,
}

impl Planning {
    fn table(&mut self, state: usize, table: &ValueTable) -> Result<()> {
        let argument = self.argument(&table.argument);
        let data_type = table.argument.get_type(&self.schema)?;
        match &table.kind {
            ValueTableKind::Distinct { filters } => {
                if filters.len() > MAX_FILTERS {
                    let message = format!("DISTINCT of one argument with more than {MAX_FILTERS} filters");
                    return Err(Error::Unsupported(message));
                }
                let filters = filters.iter().map(|filter| filter.as_ref().map(|filter| self.argument(filter)));
                let filters = filters.collect();
                self.plan.distincts.push(DistinctPlan { argument, data_type, filters, state });
            }
            ValueTableKind::Ordered { filter } => {
                let filter = filter.as_ref().map(|filter| self.argument(filter));
                self.plan.ordereds.push(OrderedPlan { argument, data_type, filter, state });
            }
        }
        Ok(())
    }

    fn call(&mut self, call: &AggregateCall, data_type: &DataType, tables: &[ValueTable]) -> Result<Output> {
        let name = call.function.name();
        let source = self.source(call, tables)?;
        let data_type = data_type.clone();
        Ok(match name {
            "count" if call.distinct => Output::Count(self.accumulator(Kind::Count(Vec::new()), source)),
            "count" => {
                let arguments: Vec<usize> = call.args.iter().map(|arg| self.argument(arg)).collect();
                if arguments.is_empty() && source == (Source::Rows { filter: None }) {
                    return Ok(Output::Rows);
                }
                Output::Count(self.accumulator(Kind::Count(arguments), source))
            }
            "sum" | "avg" => self.sum(call, source, data_type)?,
            "min" | "max" => self.extreme(call, source, data_type)?,
            "bool_and" => Output::All(self.over_argument(call, source, Kind::Booleans)?),
            "bool_or" => Output::Any(self.over_argument(call, source, Kind::Booleans)?),
            "stddev" | "stddev_pop" | "var" | "var_pop" => {
                let spread = Spread { sample: !name.ends_with("_pop"), root: name.starts_with("stddev") };
                let argument = only_argument(call)?;
                let argument_type = argument.get_type(&self.schema)?;
                if is_exact_number(&argument_type) && data_type.is_decimal() {
                    let scale = scale_of(&argument_type);
                    let of = self.over_argument(call, source, Kind::Moments)?;
                    return Ok(Output::ExactSpread { of, spread, scale, data_type });
                }
                let kind = |argument| Kind::FloatSum { argument, with_squares: true };
                Output::Spread { of: self.over_argument(call, source, kind)?, spread, data_type }
            }
            other => return Err(Error::Unsupported(format!("the aggregate {other}"))),
        })
    }

    fn source(&mut self, call: &AggregateCall, tables: &[ValueTable]) -> Result<Source> {
        if !call.distinct {
            let filter = call.filter.as_ref().map(|filter| self.argument(filter));
            return Ok(Source::Rows { filter });
        }
        let sets = tables.iter().filter_map(|table| match &table.kind {
            ValueTableKind::Distinct { filters } => Some((table, filters)),
            ValueTableKind::Ordered { .. } => None,
        });
        let found = sets.enumerate().find_map(|(index, (table, filters))| {
            let filter = filters.iter().position(|filter| *filter == call.filter)?;
            (Some(&table.argument) == call.args.first()).then_some(Source::Distinct { table: index, filter })
        });
        found.ok_or_else(|| Error::Broken(format!("no state for {} DISTINCT", call.function.name())))
    }

    /// `sum` or `avg`: in integers where the numbers are exact, else of floating point numbers.
    fn sum(&mut self, call: &AggregateCall, source: Source, data_type: DataType) -> Result<Output> {
        let is_sum = call.function.name() == "sum";
        let argument = only_argument(call)?;
        // A value enters a set as it is in the batch; without a set, what an integer is cast to doesn't matter.
        let argument = if call.distinct { argument.clone() } else { self.uncast(argument)? };
        let argument_type = argument.get_type(&self.schema)?;
        let argument = self.argument(&argument);
        if matches!(argument_type, DataType::Interval(_)) {
            let of = self.accumulator(Kind::Intervals(argument), source);
            return Ok(Output::IntervalSum { of, averages: !is_sum });
        }
        if is_exact_number(&argument_type) {
            let of = self.accumulator(Kind::Sum(argument), source);
            let scale = scale_of(&argument_type);
            return Ok(match is_sum {
                true => Output::Sum { of, scale, data_type },
                false => Output::Average { of, scale, data_type },
            });
        }
        let of = self.accumulator(Kind::FloatSum { argument, with_squares: false }, source);
        Ok(if is_sum { Output::FloatSum { of, data_type } } else { Output::FloatAverage { of, data_type } })
    }

    /// The number under a cast to a decimal that loses nothing: `sum(bigint)` is a sum of numerics in SQL, but the integers can be summed as
    /// they are, and once for `sum` and `avg`.
    fn uncast(&self, argument: &Expr) -> Result<Expr> {
        if let Expr::Cast(Cast { expr, field }) = argument
            && let DataType::Decimal128(_, scale) = field.data_type()
        {
            let lossless = match expr.get_type(&self.schema)? {
                DataType::Decimal128(_, inner) => inner <= *scale,
                other => other.is_integer(),
            };
            if lossless {
                return Ok((**expr).clone());
            }
        }
        Ok(argument.clone())
    }

    fn extreme(&mut self, call: &AggregateCall, source: Source, data_type: DataType) -> Result<Output> {
        let end = if call.function.name() == "min" { End::Least } else { End::Greatest };
        if self.plan.append_only {
            let kind = |argument| Kind::Extreme { argument, end, data_type };
            return Ok(Output::Extreme(self.over_argument(call, source, kind)?));
        }
        let argument = self.argument(only_argument(call)?);
        let Source::Rows { filter } = source else {
            return Err(Error::Broken("min and max don't care about DISTINCT".to_owned()));
        };
        let table = self.plan.ordereds.iter().position(|table| table.argument == argument && table.filter == filter);
        let table = table.ok_or_else(|| Error::Broken(format!("no state for {}", call.function.name())))?;
        Ok(Output::Ordered { table, end })
    }

    fn over_argument(
        &mut self,
        call: &AggregateCall,
        source: Source,
        kind: impl FnOnce(usize) -> Kind,
    ) -> Result<usize> {
        let argument = self.argument(only_argument(call)?);
        Ok(self.accumulator(kind(argument), source))
    }

    /// The position of an expression among the arguments.
    fn argument(&mut self, expression: &Expr) -> usize {
        let known = self.plan.arguments.iter().position(|argument| argument == expression);
        known.unwrap_or_else(|| {
            self.plan.arguments.push(expression.clone());
            self.plan.arguments.len() - 1
        })
    }

    /// The position of an accumulator.
    fn accumulator(&mut self, kind: Kind, source: Source) -> usize {
        let wanted = AccumulatorPlan { kind, source };
        let known = self.plan.accumulators.iter().position(|accumulator| *accumulator == wanted);
        known.unwrap_or_else(|| {
            self.plan.accumulators.push(wanted);
            self.plan.accumulators.len() - 1
        })
    }
}

/// Digits behind the point of an exact number's type.
fn scale_of(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

fn only_argument(call: &AggregateCall) -> Result<&Expr> {
    match call.args.as_slice() {
        [argument] => Ok(argument),
        args => Err(Error::Unsupported(format!("{} of {} arguments", call.function.name(), args.len()))),
    }
}
