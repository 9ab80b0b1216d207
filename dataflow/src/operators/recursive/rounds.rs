//! A recursion of which each round is computed as a whole: what its step makes of a row depends on the other rows of the round.
//!
//! - Rule: `W₀` is the base, `Wₙ₊₁` is what the step makes of `Wₙ`, until that is nothing; `R` is their sum. Without ALL a row that has been there is not
//!   there again. `ΔR` is the difference between what comes of the inputs as they are and what has come out.
//! - State: the rows of all inputs, and what has come out. The step's own state lives as long as an epoch: it is fed `Wₙ₊₁ - Wₙ`, so that a round costs
//!   what it changes.
//! - A retraction, as any change, computes all rounds again.
//!
//! As in PostgreSQL the step sees the base even where that is empty, and no empty round after it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use arrow::array::{Int64Array, UInt32Array};
use arrow::datatypes::SchemaRef;
use delta::Delta;
use planner::incremental::Recursive as Node;
use storage::{ChangeSet, Durability, MemoryStore, Snapshot, StateId, Store};

use super::super::States;
use super::super::row_bag::RowBag;
use super::limits::Spent;
use super::step::Step;
use super::{Followed, given_up, of_sign, together};
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

    /// All rounds, or why they were given up.
    fn compute(&self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<Followed<Computed>> {
        let mut scratch = Scratch::new(context.recursion_bytes)?;
        let mut step = Step::new(&self.node.step, &mut Tables::default())?;
        let mut spent = Spent::new(context.recursion_bytes, true);
        let mut known = Known::new(&self.schema, self.node.all)?;
        let mut round = known.take(together(&inputs[0], &self.schema)?)?;
        let mut before = together(&[], &self.schema)?;
        // What the step makes of the round at hand, and what it fails on.
        let mut made = before.clone();
        let mut failed = together(&[], &ERROR_SCHEMA)?;
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        let mut outers = &inputs[1..];
        loop {
            let mut limit = spent.round(std::slice::from_ref(&round));
            all.push(round.clone());
            spent.hold(std::slice::from_ref(&round));
            let mut failures = vec![failed];
            let mut output = Vec::new();
            // What goes, first. The step sees the base even where that is empty.
            let change = together(&[round.clone(), before.negate()?], &self.schema)?;
            let mut left: VecDeque<Delta> = [
                of_sign(std::slice::from_ref(&change), |weight| weight < 0)?,
                of_sign(&[change], |weight| weight > 0)?,
            ]
            .into_iter()
            .flatten()
            .collect();
            let first = spent.next_piece(&mut left).unwrap_or_default();
            let mut piece = Some(first);
            while let Some(rows) = piece {
                limit = limit.or(spent.over());
                if let Some(limit) = limit {
                    return Ok(Err(limit));
                }
                let context = scratch.context(context);
                output.extend(step.run(&context, &rows, std::mem::take(&mut outers), &mut failures, &mut spent)?);
                piece = spent.next_piece(&mut left);
            }
            scratch.tidy(context, &mut step, spent.work())?;
            output.push(made);
            made = together(&output, &self.schema)?;
            failed = together(&failures, &ERROR_SCHEMA)?;
            errors.push(failed.clone());
            before = std::mem::replace(&mut round, known.take(made.clone())?);
            if round.is_empty() {
                let rows = together(&all, &self.schema)?;
                return Ok(Ok(Computed { rows, errors: together(&errors, &ERROR_SCHEMA)? }));
            }
        }
    }
}

impl Operator for Rounds {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let store = context.snapshot.as_ref();
        let restarted = !std::mem::replace(&mut self.begun, true) && inputs.iter().all(Vec::is_empty);
        // What was given up may come to an end with more memory.
        if restarted && self.rows.is_stored(store)? && !self.errors.is_stored(store)? {
            return Ok(StepOutput::default());
        }
        self.inputs.iter_mut().zip(inputs).try_for_each(|(bag, deltas)| bag.add(context, deltas))?;
        let all = self.inputs.iter_mut().map(|bag| Ok(vec![bag.rows(store)?])).collect::<Result<Vec<_>>>()?;
        let (deltas, errors) = match self.compute(context, &all)? {
            Ok(Computed { rows, errors }) => (self.rows.change_to(rows, context)?, errors),
            // What has come out stays until there is an end again.
            Err(limit) => (vec![], given_up(limit, 1)?),
        };
        let errors = self.errors.change_to(errors, context)?;
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

/// Tables of a step that lives as long as an epoch.
#[derive(Default)]
struct Tables(HashMap<String, StateId>);

impl States for Tables {
    fn state(&mut self, role: &str) -> StateId {
        let next = StateId(1 + self.0.len() as u32);
        *self.0.entry(role.to_owned()).or_insert(next)
    }
}

/// A store that lives as long as an epoch. Operators remember rows that have gone until they have written that down.
struct Scratch {
    store: MemoryStore,
    snapshot: Arc<dyn Snapshot>,
    /// What operators may keep in memory besides.
    cache_bytes: usize,
    /// The work of the step when it was last tidied up.
    tidied: usize,
}

impl Scratch {
    /// Rows that a step takes in before it is tidied up.
    const WORK: usize = 1 << 18;

    fn new(recursion_bytes: usize) -> Result<Self> {
        let store = MemoryStore::new();
        let snapshot = store.snapshot()?;
        Ok(Self { store, snapshot, cache_bytes: recursion_bytes / 4, tidied: 0 })
    }

    /// A context over it.
    fn context<'a>(&'a self, context: &StepContext<'a>) -> StepContext<'a> {
        StepContext { snapshot: &self.snapshot, ..*context }
    }

    /// Frees what the step's operators hold of rows that are gone.
    fn tidy(&mut self, context: &StepContext<'_>, step: &mut Step, work: usize) -> Result<()> {
        if work - self.tidied < Self::WORK {
            return Ok(());
        }
        self.tidied = work;
        let mut changes = ChangeSet::new();
        step.checkpoint(context.workers, &mut changes)?;
        self.store.commit(changes, Durability::Process)?;
        self.snapshot = self.store.snapshot()?;
        step.committed(self.cache_bytes, step.sum(|operator| operator.state_bytes()))
    }
}
