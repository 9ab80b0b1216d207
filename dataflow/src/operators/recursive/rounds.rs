//! A recursion of which each round is computed as a whole: what its step makes of a row depends on the other rows of the round.
//!
//! - Rule: `W₀` is the base, `Wₙ₊₁` is what the step makes of `Wₙ`, until that is nothing; `R` is their sum. Without ALL a row that has been there is not
//!   there again. `ΔR` is the difference between what comes of the inputs as they are and what has come out.
//! - State: the rows of all inputs, and what has come out. The step's own state lives as long as an epoch: it is fed `Wₙ₊₁ - Wₙ`, so that a round costs
//!   what it changes.
//! - A retraction, as any change, computes all rounds again.
//!
//! As in PostgreSQL the step sees the base even where that is empty, and no empty round after it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Int64Array, UInt32Array};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use delta::Delta;
use planner::incremental::Recursive as Node;
use storage::{ChangeSet, Snapshot, StateId, Visit};

use super::super::States;
use super::super::row_bag::RowBag;
use super::step::Step;
use super::{MAX_ROUNDS, MAX_ROWS, endless, together};
use crate::Result;
use crate::expression::nullable;
use crate::failures::ERROR_SCHEMA;
use crate::operator::{Operator, StepContext, StepOutput};
use crate::state::KeyEncoder;

/// See [the module](self).
pub struct Rounds {
    node: Node,
    schema: SchemaRef,
    inputs: Vec<RowBag>,
    rows: RowBag,
    errors: RowBag,
    /// It has been computed since the start: a step may make rows of nothing.
    begun: bool,
}

/// What comes of the inputs.
struct Computed {
    rows: Delta,
    errors: Delta,
}

impl Rounds {
    /// The operator of a node that is computed so.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let schema = nullable(&node.schema);
        let inputs = std::iter::once(&node.base).chain(node.outers.iter().map(|outer| &outer.node));
        let bag = |(number, input): (usize, &Arc<planner::Node>)| {
            RowBag::new(input.schema(), states.state(&format!("input {number}")))
        };
        Ok(Self {
            inputs: inputs.enumerate().map(bag).collect::<Result<_>>()?,
            rows: RowBag::new(&schema, states.state("rows"))?,
            errors: RowBag::new(&ERROR_SCHEMA, states.state("errors"))?,
            node: node.clone(),
            schema,
            begun: false,
        })
    }

    /// All rounds; `None` if there is no end of them.
    fn compute(&self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<Option<Computed>> {
        let store: Arc<dyn Snapshot> = Arc::new(Nothing);
        let context = StepContext {
            epoch: context.epoch,
            timestamp_us: context.timestamp_us,
            watermarks_before: context.watermarks_before,
            watermarks: context.watermarks,
            snapshot: &store,
            workers: context.workers,
        };
        let mut step = Step::new(&self.node.step, &mut Scratch::default())?;
        let mut known = Known::new(&self.schema, self.node.all)?;
        let mut round = known.take(together(&inputs[0], &self.schema)?)?;
        let mut before = together(&[], &self.schema)?;
        // What the step makes of the round at hand, and what it fails on.
        let mut made = before.clone();
        let mut failed = together(&[], &ERROR_SCHEMA)?;
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        let mut rows = 0;
        for number in 0..MAX_ROUNDS {
            rows += round.num_rows();
            if rows > MAX_ROWS {
                return Ok(None);
            }
            all.push(round.clone());
            let change = together(&[round.clone(), before.negate()?], &self.schema)?;
            let outers = if number == 0 { &inputs[1..] } else { &[] };
            let mut failures = vec![failed];
            let mut output = step.run(&context, &[change], outers, &mut failures)?;
            output.push(made);
            made = together(&output, &self.schema)?;
            failed = together(&failures, &ERROR_SCHEMA)?;
            errors.push(failed.clone());
            before = std::mem::replace(&mut round, known.take(made.clone())?);
            if round.is_empty() {
                let rows = together(&all, &self.schema)?;
                return Ok(Some(Computed { rows, errors: together(&errors, &ERROR_SCHEMA)? }));
            }
        }
        Ok(None)
    }
}

/// Makes a bag hold these rows, and returns the difference.
fn change_to(bag: &mut RowBag, wanted: Delta, schema: &SchemaRef, context: &StepContext<'_>) -> Result<Vec<Delta>> {
    let there = bag.rows(context.snapshot.as_ref())?;
    let change = together(&[wanted, there.negate()?], schema)?;
    if change.is_empty() {
        return Ok(vec![]);
    }
    let change = vec![change];
    bag.add(context, &change)?;
    Ok(change)
}

impl Operator for Rounds {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        self.begun = true;
        self.inputs.iter_mut().zip(inputs).try_for_each(|(bag, deltas)| bag.add(context, deltas))?;
        let store = context.snapshot.as_ref();
        let all = self.inputs.iter_mut().map(|bag| Ok(vec![bag.rows(store)?])).collect::<Result<Vec<_>>>()?;
        let (deltas, errors) = match self.compute(context, &all)? {
            Some(Computed { rows, errors }) => (change_to(&mut self.rows, rows, &self.schema, context)?, errors),
            // What has come out stays until there is an end again.
            None => (vec![], endless(1)?),
        };
        let errors = change_to(&mut self.errors, errors, &ERROR_SCHEMA, context)?;
        Ok(StepOutput { deltas, errors, ..StepOutput::default() })
    }

    fn is_pending(&self) -> bool {
        !self.begun
    }

    fn checkpoint(&mut self, _workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        self.inputs.iter_mut().chain([&mut self.rows, &mut self.errors]).for_each(|bag| bag.checkpoint(changes));
        Ok(())
    }

    fn committed(&mut self, budget_bytes: usize) -> Result<()> {
        let total = self.state_bytes();
        let bags = self.inputs.iter_mut().chain([&mut self.rows, &mut self.errors]);
        bags.for_each(|bag| bag.committed(budget_bytes, total));
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        const ROW_BYTES: usize = 64;
        self.bags().map(RowBag::changed).sum::<usize>() * ROW_BYTES
    }

    fn state_bytes(&self) -> usize {
        self.bags().map(RowBag::bytes).sum()
    }

    fn state_rows(&self) -> usize {
        self.bags().map(RowBag::len).sum()
    }
}

impl Rounds {
    fn bags(&self) -> impl Iterator<Item = &RowBag> {
        self.inputs.iter().chain([&self.rows, &self.errors])
    }
}

/// The rows that have been there, where each is there once; `None`: they don't count.
struct Known(Option<(KeyEncoder, HashSet<Vec<u8>>)>);

impl Known {
    fn new(schema: &SchemaRef, all: bool) -> Result<Self> {
        if all {
            return Ok(Self(None));
        }
        let columns: Vec<usize> = (0..schema.fields().len()).collect();
        Ok(Self(Some((KeyEncoder::of_columns(schema, &columns)?, HashSet::new()))))
    }

    /// The rows of a round: all that the step has made, or those that are new, once.
    fn take(&mut self, made: Delta) -> Result<Delta> {
        let Some((encoder, rows)) = &mut self.0 else { return Ok(made) };
        let keys = encoder.encode(made.batch().columns(), made.num_rows())?;
        let is_new = |row: &usize| made.weight(*row) > 0 && rows.insert(keys.key(*row).to_vec());
        let new: Vec<u32> = (0..made.num_rows()).filter(is_new).map(|row| row as u32).collect();
        let new = made.take(&UInt32Array::from(new))?;
        let weights = Int64Array::from(vec![1; new.num_rows()]);
        Ok(Delta::new(new.batch().clone(), Some(weights)))
    }
}

/// Tables that are never written.
#[derive(Default)]
struct Scratch(HashMap<String, StateId>);

impl States for Scratch {
    fn state(&mut self, role: &str) -> StateId {
        let next = StateId(1 + self.0.len() as u32);
        *self.0.entry(role.to_owned()).or_insert(next)
    }
}

/// A store without entries.
struct Nothing;

impl Snapshot for Nothing {
    fn get(&self, _key: &[u8]) -> storage::Result<Option<Bytes>> {
        Ok(None)
    }

    fn multi_get(&self, keys: &[&[u8]]) -> storage::Result<Vec<Option<Bytes>>> {
        Ok(vec![None; keys.len()])
    }

    fn scan(&self, _start: &[u8], _end: &[u8], _visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> storage::Result<()> {
        Ok(())
    }

    fn scan_back(
        &self,
        _start: &[u8],
        _end: &[u8],
        _visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> storage::Result<()> {
        Ok(())
    }
}
