//! The accumulators of one shard, and how a batch goes through them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, UInt32Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, IntervalUnit};
use storage::{ChangeSet, Snapshot, StateId};

use super::GroupKeys;
use super::aggregation::{Kind, Output, Plan, Source};
use super::boolean::Booleans;
use super::count::Count;
use super::distinct::{Distinct, MaskedRows, Transitions};
use super::extreme::Extreme;
use super::float::FloatSum;
use super::intervals::IntervalSum;
use super::moments::NumberMoments;
use super::ordered::Ordered;
use super::rows::{GroupRows, and_valid, selected_by};
use super::sum::Sum;
use super::value::corrupt;
use crate::failures::Failures;
use crate::state::keyed::fit;
use crate::state::{read_signed, write_signed};
use crate::{Error, Result};

/// The accumulators of all calls of a node, for the groups of one shard.
pub struct Accumulators {
    plan: Arc<Plan>,
    /// Sums of weights: every group has them, and they are `count(*)`.
    rows: Count,
    accumulators: Vec<Accumulator>,
    distincts: Vec<Distinct>,
    ordereds: Vec<Ordered>,
    /// Of each distinct argument, by filter; kept for their memory.
    transitions: Vec<Vec<Transitions>>,
}

impl std::fmt::Debug for Accumulators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accumulators").field("groups", &self.rows.counts.len()).finish_non_exhaustive()
    }
}

/// An accumulator that a group's own entry holds whole.
enum Accumulator {
    Count(Count),
    Sum(Sum),
    FloatSum(FloatSum),
    Moments(NumberMoments),
    Intervals(IntervalSum),
    Booleans(Booleans),
    Extreme(Extreme),
}

impl Accumulator {
    fn new(kind: &Kind) -> Self {
        match kind {
            Kind::Count(_) => Self::Count(Count::default()),
            Kind::Sum(_) => Self::Sum(Sum::default()),
            Kind::FloatSum { with_squares, .. } => Self::FloatSum(FloatSum::new(*with_squares)),
            Kind::Moments(_) => Self::Moments(NumberMoments::default()),
            Kind::Intervals(_) => Self::Intervals(IntervalSum::default()),
            Kind::Booleans(_) => Self::Booleans(Booleans::default()),
            Kind::Extreme { end, data_type, .. } => Self::Extreme(Extreme::new(*end, data_type.clone())),
        }
    }

    /// Adds rows; `argument` is the column of its call's argument, the rows are those in which it isn't NULL.
    fn update(&mut self, argument: Option<&ArrayRef>, rows: GroupRows<'_>) -> Result<()> {
        let argument = || argument.ok_or_else(|| Error::Broken("an aggregate without its argument".to_owned()));
        match self {
            Self::Count(count) => count.update(rows),
            Self::Sum(sum) => sum.update(argument()?, rows)?,
            Self::FloatSum(sum) => sum.update(argument()?, rows)?,
            Self::Moments(moments) => moments.update(argument()?, rows)?,
            Self::Intervals(sum) => sum.update(argument()?, rows)?,
            Self::Booleans(booleans) => booleans.update(argument()?, rows),
            Self::Extreme(extreme) => extreme.update(argument()?, rows)?,
        }
        Ok(())
    }

    fn resize(&mut self, groups: usize) {
        match self {
            Self::Count(count) => fit(&mut count.counts, groups, 0),
            Self::Sum(sum) => sum.resize(groups),
            Self::FloatSum(sum) => sum.resize(groups),
            Self::Moments(moments) => moments.resize(groups),
            Self::Intervals(sum) => sum.resize(groups),
            Self::Booleans(booleans) => booleans.resize(groups),
            Self::Extreme(extreme) => extreme.resize(groups),
        }
    }

    fn clear(&mut self, group: usize) {
        match self {
            Self::Count(count) => count.counts[group] = 0,
            Self::Sum(sum) => sum.clear(group),
            Self::FloatSum(sum) => sum.clear(group),
            Self::Moments(moments) => moments.clear(group),
            Self::Intervals(sum) => sum.clear(group),
            Self::Booleans(booleans) => booleans.clear(group),
            Self::Extreme(extreme) => extreme.clear(group),
        }
    }

    fn encode(&self, group: usize, out: &mut Vec<u8>) {
        match self {
            Self::Count(count) => count.encode(group, out),
            Self::Sum(sum) => sum.encode(group, out),
            Self::FloatSum(sum) => sum.encode(group, out),
            Self::Moments(moments) => moments.encode(group, out),
            Self::Intervals(sum) => sum.encode(group, out),
            Self::Booleans(booleans) => booleans.encode(group, out),
            Self::Extreme(extreme) => extreme.encode(group, out),
        }
    }

    fn decode(&mut self, group: usize, bytes: &mut &[u8]) -> Result<()> {
        let read = match self {
            Self::Count(count) => count.decode(group, bytes),
            Self::Sum(sum) => sum.decode(group, bytes),
            Self::FloatSum(sum) => sum.decode(group, bytes),
            Self::Moments(moments) => moments.decode(group, bytes),
            Self::Intervals(sum) => sum.decode(group, bytes),
            Self::Booleans(booleans) => booleans.decode(group, bytes),
            Self::Extreme(extreme) => return extreme.decode(group, bytes),
        };
        read.ok_or_else(|| corrupt("an accumulator"))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Count(count) => 8 * count.counts.capacity(),
            Self::Sum(sum) => sum.bytes(),
            Self::FloatSum(sum) => sum.bytes(),
            Self::Moments(moments) => moments.bytes(),
            Self::Intervals(sum) => sum.bytes(),
            Self::Booleans(booleans) => booleans.bytes(),
            Self::Extreme(extreme) => extreme.bytes(),
        }
    }
}

/// The arguments of an accumulator that must not be NULL; the first is what it computes with.
fn arguments_of(kind: &Kind) -> &[usize] {
    match kind {
        Kind::Count(arguments) => arguments,
        Kind::Sum(argument)
        | Kind::FloatSum { argument, .. }
        | Kind::Moments(argument)
        | Kind::Intervals(argument)
        | Kind::Booleans(argument)
        | Kind::Extreme { argument, .. } => std::slice::from_ref(argument),
    }
}

impl Accumulators {
    pub(super) fn new(plan: Arc<Plan>, states: &[StateId]) -> Self {
        let distincts = plan.distincts.iter().map(|distinct| {
            Distinct::new(states[distinct.state], &distinct.data_type, distinct.filters.len(), plan.append_only)
        });
        let ordereds =
            plan.ordereds.iter().map(|ordered| Ordered::new(states[ordered.state], ordered.data_type.clone()));
        let transitions = plan.distincts.iter().map(|distinct| {
            let mut transitions = Vec::new();
            transitions.resize_with(distinct.filters.len(), Transitions::default);
            transitions
        });
        Self {
            rows: Count::default(),
            accumulators: plan.accumulators.iter().map(|accumulator| Accumulator::new(&accumulator.kind)).collect(),
            distincts: distincts.collect(),
            ordereds: ordereds.collect(),
            transitions: transitions.collect(),
            plan,
        }
    }

    /// Makes room for groups `0 .. groups`; new ones have no rows.
    pub fn resize(&mut self, groups: usize) {
        fit(&mut self.rows.counts, groups, 0);
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.resize(groups));
        self.distincts.iter_mut().for_each(|distinct| distinct.resize(groups));
        self.ordereds.iter_mut().for_each(|ordered| ordered.resize(groups));
    }

    /// Adds rows: `arguments` are the columns of [`super::Aggregation::arguments`], `groups[row]` is the group of a row, `weights` how often it
    /// counts (absent: once). What isn't in memory is read from `store`, with one multi-get per state and batch.
    ///
    /// # Errors
    /// If the store fails, or a row is taken away where the plan says that none is.
    pub fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        weights: Option<&Int64Array>,
        keys: &dyn GroupKeys,
        store: &dyn Snapshot,
    ) -> Result<()> {
        let plan = self.plan.clone();
        let weights = weights.map(|weights| &weights.values()[..]);
        if plan.append_only && weights.is_some_and(|weights| weights.iter().any(|weight| *weight < 0)) {
            return Err(Error::Broken("an append-only input took a row away".to_owned()));
        }
        // A weight of 0 adds no value to a set.
        let counting = weights.map(|weights| weights.iter().map(|weight| *weight != 0).collect::<BooleanBuffer>());
        let all = GroupRows { groups, weights, selection: None };
        self.rows.update(all);

        let selections = selections(&plan, arguments);
        for (accumulator, of) in self.accumulators.iter_mut().zip(&plan.accumulators) {
            let Source::Rows { filter } = of.source else { continue };
            let mut selection = filter.and_then(|filter| selections[filter].clone());
            if let (Accumulator::Extreme(_), Some(counting)) = (&*accumulator, &counting) {
                selection = Some(selection.map_or_else(|| counting.clone(), |selection| &selection & counting));
            }
            let own = arguments_of(&of.kind);
            for argument in own {
                selection = and_valid(selection.as_ref(), &arguments[*argument]);
            }
            let argument = own.first().map(|argument| &arguments[*argument]);
            accumulator.update(argument, GroupRows { selection: selection.as_ref(), ..all })?;
        }
        for (ordered, of) in self.ordereds.iter_mut().zip(&plan.ordereds) {
            let filter = of.filter.and_then(|filter| selections[filter].as_ref());
            let argument = &arguments[of.argument];
            let selection = and_valid(filter, argument);
            ordered.update(argument, GroupRows { selection: selection.as_ref(), ..all }, keys, store)?;
        }
        if !plan.distincts.is_empty() {
            self.update_distincts(arguments, all, &selections, counting.as_ref(), keys, store)?;
        }
        Ok(())
    }

    fn update_distincts(
        &mut self,
        arguments: &[ArrayRef],
        all: GroupRows<'_>,
        selections: &[Option<BooleanBuffer>],
        counting: Option<&BooleanBuffer>,
        keys: &dyn GroupKeys,
        store: &dyn Snapshot,
    ) -> Result<()> {
        let plan = self.plan.clone();
        let mut masks = Vec::new();
        for ((distinct, of), transitions) in self.distincts.iter_mut().zip(&plan.distincts).zip(&mut self.transitions) {
            let argument = &arguments[of.argument];
            masks.clear();
            masks.resize(all.groups.len(), 0);
            for (bit, filter) in of.filters.iter().enumerate() {
                set_bits(&mut masks, bit, filter.and_then(|filter| selections[filter].as_ref()));
            }
            let valid = and_valid(counting, argument);
            clear_others(&mut masks, valid.as_ref());
            transitions.iter_mut().for_each(Transitions::clear);
            let rows = MaskedRows { groups: all.groups, weights: all.weights, masks: &masks };
            distinct.update(argument, rows, keys, store, transitions)?;
        }
        for (accumulator, of) in self.accumulators.iter_mut().zip(&plan.accumulators) {
            let Source::Distinct { table, filter } = of.source else { continue };
            let transitions = &self.transitions[table][filter];
            if transitions.rows.is_empty() {
                continue;
            }
            let groups: Vec<u32> = transitions.rows.iter().map(|row| all.groups[*row as usize]).collect();
            let rows = GroupRows { groups: &groups, weights: Some(&transitions.weights), selection: None };
            let argument = match arguments_of(&of.kind).first() {
                Some(argument) => {
                    Some(take(&arguments[*argument], &UInt32Array::from(transitions.rows.clone()), None)?)
                }
                None => None,
            };
            accumulator.update(argument.as_ref(), rows)?;
        }
        Ok(())
    }

    /// The sum of a group's weights; 0: the group isn't there.
    pub fn rows(&self, group: u32) -> i64 {
        self.rows.counts[group as usize]
    }

    /// The results for these groups: a column per call, with NULL where a result is out of the range of its type, and where that is so. A
    /// group without rows yields what aggregates of no rows are.
    pub fn evaluate(&self, groups: &[u32]) -> Result<(Vec<ArrayRef>, Failures)> {
        let mut failures = Failures::default();
        let columns = self.plan.outputs.iter().map(|output| match self.output(output, groups) {
            Err(Error::OutOfRange { .. }) => self.output_one_by_one(output, groups, &mut failures),
            result => result,
        });
        Ok((columns.collect::<Result<_>>()?, failures))
    }

    fn output_one_by_one(&self, output: &Output, groups: &[u32], failures: &mut Failures) -> Result<ArrayRef> {
        let mut data_type = None;
        let mut results = Vec::with_capacity(groups.len());
        for (position, group) in groups.iter().enumerate() {
            match self.output(output, std::slice::from_ref(group)) {
                Ok(result) => {
                    data_type = Some(result.data_type().clone());
                    results.push(Some(result));
                }
                Err(error) => {
                    failures.add(position, error)?;
                    results.push(None);
                }
            }
        }
        // Only a sum or an average gets here, and those know their type.
        let data_type = data_type.or_else(|| output.data_type().cloned()).unwrap_or(DataType::Null);
        let results: Vec<ArrayRef> =
            results.into_iter().map(|result| result.unwrap_or_else(|| new_null_array(&data_type, 1))).collect();
        let results: Vec<&dyn Array> = results.iter().map(|result| result.as_ref()).collect();
        Ok(concat(&results)?)
    }

    fn output(&self, output: &Output, groups: &[u32]) -> Result<ArrayRef> {
        let counts = |counts: &Count| -> ArrayRef {
            Arc::new(groups.iter().map(|group| counts.counts[*group as usize]).collect::<Int64Array>())
        };
        match (output, output.accumulator().map(|of| &self.accumulators[of])) {
            (Output::Rows, _) => Ok(counts(&self.rows)),
            (Output::Ordered { table, end }, _) => self.ordereds[*table].evaluate(*end, groups),
            (Output::Count(_), Some(Accumulator::Count(count))) => Ok(counts(count)),
            (Output::Sum { scale, data_type, .. }, Some(Accumulator::Sum(sum))) => sum.sums(groups, *scale, data_type),
            (Output::Average { scale, data_type, .. }, Some(Accumulator::Sum(sum))) => {
                sum.averages(groups, *scale, data_type)
            }
            (Output::FloatSum { data_type, .. }, Some(Accumulator::FloatSum(sum))) => Ok(sum.sums(groups, data_type)),
            (Output::FloatAverage { data_type, .. }, Some(Accumulator::FloatSum(sum))) => {
                Ok(sum.averages(groups, data_type))
            }
            (Output::Spread { spread, data_type, .. }, Some(Accumulator::FloatSum(sum))) => {
                Ok(sum.spreads(groups, *spread, data_type))
            }
            (Output::ExactSpread { spread, scale, data_type, .. }, Some(Accumulator::Moments(moments))) => {
                moments.spreads(groups, *spread, *scale, data_type)
            }
            (Output::IntervalSum { averages, .. }, Some(Accumulator::Intervals(sum))) => sum.results(groups, *averages),
            (Output::All(_), Some(Accumulator::Booleans(booleans))) => Ok(booleans.all(groups)),
            (Output::Any(_), Some(Accumulator::Booleans(booleans))) => Ok(booleans.any(groups)),
            (Output::Extreme(_), Some(Accumulator::Extreme(extreme))) => extreme.evaluate(groups),
            (output, _) => Err(Error::Broken(format!("no accumulator yields {output:?}"))),
        }
    }

    /// Appends the value of a group's entry in the store.
    pub fn encode(&self, group: u32, out: &mut Vec<u8>) {
        write_signed(self.rows.counts[group as usize], out);
        self.accumulators.iter().for_each(|accumulator| accumulator.encode(group as usize, out));
        self.ordereds.iter().for_each(|ordered| ordered.encode(group, out));
    }

    /// Sets an empty group to what [`Accumulators::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the bytes are something else.
    pub fn decode(&mut self, group: u32, mut bytes: &[u8]) -> Result<()> {
        let bytes = &mut bytes;
        self.rows.counts[group as usize] = read_signed(bytes).ok_or_else(|| corrupt("a row count"))?;
        self.accumulators.iter_mut().try_for_each(|accumulator| accumulator.decode(group as usize, bytes))?;
        self.ordereds.iter_mut().try_for_each(|ordered| ordered.decode(group, bytes))?;
        self.distincts.iter_mut().for_each(|distinct| distinct.set_partial(group));
        if bytes.is_empty() { Ok(()) } else { Err(corrupt("the end of an entry")) }
    }

    /// Adds the entries per group and value that changed since the last call. (Groups' own entries are the operator's.)
    pub fn checkpoint(&mut self, keys: &dyn GroupKeys, changes: &mut ChangeSet) -> Result<()> {
        self.distincts.iter_mut().for_each(|distinct| distinct.checkpoint(keys, changes));
        self.ordereds.iter_mut().for_each(|ordered| ordered.checkpoint(keys, changes));
        Ok(())
    }

    /// Empties the slots of groups that have not changed since the last checkpoint, which must have been committed.
    pub fn forget(&mut self, groups: &[u32]) {
        self.clear(groups);
        self.distincts.iter_mut().for_each(|distinct| distinct.forget(groups));
        self.ordereds.iter_mut().for_each(|ordered| ordered.forget(groups));
    }

    /// Empties the slots of groups that will never change again; the next checkpoint removes their entries per group and value.
    /// (Groups' own entries are the operator's.)
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn close(&mut self, groups: &[u32], keys: &dyn GroupKeys, store: &dyn Snapshot) -> Result<()> {
        self.clear(groups);
        self.distincts.iter_mut().try_for_each(|distinct| distinct.close(groups, keys, store))?;
        self.ordereds.iter_mut().try_for_each(|ordered| ordered.close(groups, keys, store))
    }

    fn clear(&mut self, groups: &[u32]) {
        for group in groups {
            let group = *group as usize;
            self.rows.counts[group] = 0;
            self.accumulators.iter_mut().for_each(|accumulator| accumulator.clear(group));
        }
    }

    /// The last checkpoint is in the store.
    pub fn committed(&mut self) {
        self.distincts.iter_mut().for_each(Distinct::committed);
    }

    /// Drops entries per group and value that have not changed since the last checkpoint, which must have been committed, until
    /// [`Accumulators::bytes`] is at most `budget_bytes` or nothing more can go.
    pub fn evict(&mut self, budget_bytes: usize) {
        for index in 0..self.distincts.len() {
            let excess = self.bytes().saturating_sub(budget_bytes);
            let distinct = &mut self.distincts[index];
            distinct.evict(distinct.bytes().saturating_sub(excess));
        }
        for index in 0..self.ordereds.len() {
            let excess = self.bytes().saturating_sub(budget_bytes);
            let ordered = &mut self.ordereds[index];
            ordered.evict(ordered.bytes().saturating_sub(excess));
        }
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        let accumulators: usize = self.accumulators.iter().map(Accumulator::bytes).sum();
        let distincts: usize = self.distincts.iter().map(Distinct::bytes).sum();
        let ordereds: usize = self.ordereds.iter().map(Ordered::bytes).sum();
        8 * self.rows.counts.capacity() + accumulators + distincts + ordereds
    }
}

impl Output {
    /// The type of the result, where the plan says it.
    fn data_type(&self) -> Option<&DataType> {
        match self {
            Self::Sum { data_type, .. }
            | Self::Average { data_type, .. }
            | Self::FloatSum { data_type, .. }
            | Self::FloatAverage { data_type, .. }
            | Self::Spread { data_type, .. }
            | Self::ExactSpread { data_type, .. } => Some(data_type),
            Self::IntervalSum { .. } => Some(&DataType::Interval(IntervalUnit::MonthDayNano)),
            Self::Rows | Self::Count(_) | Self::All(_) | Self::Any(_) | Self::Extreme(_) | Self::Ordered { .. } => None,
        }
    }

    fn accumulator(&self) -> Option<usize> {
        match self {
            Self::Rows | Self::Ordered { .. } => None,
            Self::Count(of)
            | Self::Sum { of, .. }
            | Self::Average { of, .. }
            | Self::FloatSum { of, .. }
            | Self::FloatAverage { of, .. }
            | Self::Spread { of, .. }
            | Self::ExactSpread { of, .. }
            | Self::IntervalSum { of, .. }
            | Self::All(of)
            | Self::Any(of)
            | Self::Extreme(of) => Some(*of),
        }
    }
}

/// For each argument that is a filter, the rows for which it is true.
fn selections(plan: &Plan, arguments: &[ArrayRef]) -> Vec<Option<BooleanBuffer>> {
    let of_accumulators = plan.accumulators.iter().filter_map(|accumulator| match accumulator.source {
        Source::Rows { filter } => filter,
        Source::Distinct { .. } => None,
    });
    let of_distincts = plan.distincts.iter().flat_map(|distinct| distinct.filters.iter().copied().flatten());
    let of_ordereds = plan.ordereds.iter().filter_map(|ordered| ordered.filter);
    let mut selections = vec![None; arguments.len()];
    for filter in of_accumulators.chain(of_distincts).chain(of_ordereds) {
        if selections[filter].is_none() {
            selections[filter] = Some(selected_by(&arguments[filter]));
        }
    }
    selections
}

/// Sets a bit in the masks of the rows of a selection (absent: of all).
fn set_bits(masks: &mut [u64], bit: usize, selection: Option<&BooleanBuffer>) {
    match selection {
        None => masks.iter_mut().for_each(|mask| *mask |= 1 << bit),
        Some(selection) => {
            masks.iter_mut().zip(selection).for_each(|(mask, selected)| *mask |= u64::from(selected) << bit);
        }
    }
}

/// Clears the masks of the rows outside a selection (absent: of none).
fn clear_others(masks: &mut [u64], selection: Option<&BooleanBuffer>) {
    if let Some(selection) = selection {
        masks.iter_mut().zip(selection).for_each(|(mask, selected)| *mask *= u64::from(selected));
    }
}
