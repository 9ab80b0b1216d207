//! `WITH RECURSIVE`: the least rows that contain the base and what the step makes of them. See docs/decisions/0009-recursion.md.
//!
//! The step is a graph of operators inside this one ([`step`]), which an epoch runs many times: what comes out flows in again until
//! nothing does.
//!
//! - `UNION ALL` (`R = S + T(R)`, each derivation a row). Rule: `ΔR` is `ΔS + ΔT` of the inputs' changes, then over and over what `T` makes of
//!   it. As `T` is linear in `R`, changes of either sign just flow through. State: that of the step's operators.
//! - `UNION` (`R = distinct(S + T(R))`). Rule: delete and rederive. First all losses go in: a row that lost *any* derivation goes out and what
//!   was derived from it loses one, and so on; what stays has lost nothing. Then rows that went out but have a derivation left come
//!   back, new ones come, and what they derive comes too. (Gupta, Mumick, Subrahmanian: "Maintaining Views Incrementally", SIGMOD
//!   1993.) Rows that merely support each other in a circle so go when nothing else supports them. State: the number of derivations
//!   of each row ([`rows`]), and that of the step's operators.
//! - A retraction is a loss; in an epoch it costs what depends on it, not what is there.
//! - A step that isn't a sum over rows is computed in [`rounds`], all of them again by each change.
//!
//! A recursion that doesn't end must not stop the epoch. Then everything is taken back to what it was before, which is feeding the same
//! changes with the other sign; the inputs' changes are put aside ([`waiting`]), and an error comes out, until changes come that may
//! help.

mod rounds;
mod rows;
mod step;
mod waiting;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringViewArray, UInt32Array};
use arrow::datatypes::SchemaRef;
use delta::{Delta, consolidate};
use planner::incremental::{Effect, Recursive as Node};
use storage::{ChangeSet, Snapshot};

use super::{Emit, States, counted};
use crate::Result;
use crate::expression::{batch_of, nullable, with_schema};
use crate::failures::ERROR_SCHEMA;
use crate::operator::{Operator, StepContext, StepOutput};
pub use rounds::Rounds;
use rows::{Phase, Rows};
use step::Step;
use waiting::Waiting;

/// Rounds of an epoch in which rows come, at most: the longest path that an epoch follows. A round over few rows takes some ten
/// microseconds, so that a recursion without an end costs the epoch some tenths of a second.
pub(crate) const MAX_ROUNDS: usize = 10_000;

/// Rows that an epoch derives at most, those that come back counted too. They are held in memory until the epoch ends: 64 bytes each are 1 GiB.
const MAX_ROWS: usize = 1 << 24;

/// With `UNION ALL`, a row that is derived more often will be derived for ever, or nobody will read it to its end.
const MAX_WEIGHT: i64 = 1 << 40;

/// What is wrong with a recursion that doesn't end.
const ENDLESS: &str = "the recursive query doesn't end: it derives rows over and over, or more than 10000 rounds or 16777216 rows at a time";

/// See [the module](self).
pub struct Recursive {
    all: bool,
    schema: SchemaRef,
    step: Step,
    rows: Rows,
    waiting: Waiting,
    /// What rows that are added to each input do; the base is the first.
    effects: Vec<Effect>,
}

/// Whether a recursion goes on.
#[derive(Default)]
struct Progress {
    rounds: usize,
    rows: usize,
}

impl Recursive {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let schema = nullable(&node.schema);
        let inputs = std::iter::once(&node.base).chain(node.outers.iter().map(|outer| &outer.node));
        Ok(Self {
            all: node.all,
            step: Step::new(&node.step, states)?,
            rows: Rows::new(&schema, states.state("rows"))?,
            waiting: Waiting::new(inputs, states)?,
            effects: std::iter::once(Effect::Adds).chain(node.outers.iter().map(|outer| outer.effect)).collect(),
            schema,
        })
    }

    /// Reads the rows of a recursion without `ALL`.
    pub(super) fn contents(
        node: &Node,
        states: &mut dyn States,
        store: &dyn Snapshot,
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        let schema = nullable(&node.schema);
        let is_there = |[_, is_there]: [i64; 2]| i64::from(is_there > 0);
        counted::contents(states.state("rows"), &schema, is_there, store, emit)
    }

    /// Brings the recursion to its end with these changes of its inputs; `None`, and nothing has happened, if it has none.
    fn follow(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<Option<StepOutput>> {
        let mut errors = Vec::new();
        let deltas = if self.all {
            self.count_all(context, inputs, &mut errors)?
        } else {
            self.delete_and_rederive(context, inputs, &mut errors)?
        };
        let Some(deltas) = deltas else { return Ok(None) };
        // Rows that went out and came back have failed in between.
        let errors = together(&errors, &ERROR_SCHEMA)?;
        let errors = if errors.is_empty() { vec![] } else { vec![errors] };
        Ok(Some(StepOutput { deltas, errors, ..StepOutput::default() }))
    }

    /// `UNION ALL`.
    fn count_all(
        &mut self,
        context: &StepContext<'_>,
        inputs: &[Vec<Delta>],
        errors: &mut Vec<Delta>,
    ) -> Result<Option<Vec<Delta>>> {
        let mut output = Vec::new();
        let mut rounds = Progress::default();
        let mut change = self.step.run(context, &[], &inputs[1..], errors)?;
        change.extend_from_slice(&inputs[0]);
        loop {
            let rows = together(&change, &self.schema)?;
            if rows.is_empty() {
                return Ok(Some(output));
            }
            if !rounds.go_on(std::slice::from_ref(&rows)) || rounds.repeats(&output, &self.schema)? {
                self.undo_step(context, &output, inputs)?;
                return Ok(None);
            }
            output.push(rows.clone());
            change = self.step.run(context, &[rows], &[], errors)?;
        }
    }

    /// `UNION`.
    fn delete_and_rederive(
        &mut self,
        context: &StepContext<'_>,
        inputs: &[Vec<Delta>],
        errors: &mut Vec<Delta>,
    ) -> Result<Option<Vec<Delta>>> {
        let (mut losses, mut gains) = (Vec::new(), Vec::new());
        for (deltas, effect) in inputs.iter().zip(&self.effects) {
            let (removed, added) = (of_sign(deltas, |weight| weight < 0)?, of_sign(deltas, |weight| weight > 0)?);
            let (loss, gain) = if *effect == Effect::TakesAway { (added, removed) } else { (removed, added) };
            losses.push(loss);
            gains.push(gain);
        }
        let (mut fed, mut taken): (Vec<Delta>, Vec<Delta>) = (Vec::new(), Vec::new());
        let mut rounds = Progress::default();
        for (phase, inputs_of_phase) in [(Phase::Lose, losses), (Phase::Gain, gains)] {
            let mut change = self.step.run(context, &[], &inputs_of_phase[1..], errors)?;
            change.extend_from_slice(&inputs_of_phase[0]);
            // Rows that went out are looked at again, once.
            let mut again = phase == Phase::Gain && !fed.is_empty();
            loop {
                let moved = self.rows.take(context, phase, again, &change)?;
                again = false;
                taken.append(&mut change);
                if moved.is_empty() {
                    break;
                }
                if !rounds.go_on(&moved) {
                    let taken = taken.iter().map(Delta::negate).collect::<std::result::Result<Vec<_>, _>>()?;
                    self.rows.undo(context, &taken)?;
                    self.undo_step(context, &fed, inputs)?;
                    return Ok(None);
                }
                change = self.step.run(context, &moved, &[], errors)?;
                fed.extend(moved);
            }
        }
        self.rows.moved().map(Some)
    }

    /// The step's operators forget what they have been given.
    fn undo_step(&mut self, context: &StepContext<'_>, fed: &[Delta], inputs: &[Vec<Delta>]) -> Result<()> {
        let negated = |deltas: &[Delta], schema: Option<&SchemaRef>| -> Result<Vec<Delta>> {
            let Some(schema) = schema else { return Ok(vec![]) };
            Ok(vec![together(deltas, schema)?.negate()?])
        };
        let rows = negated(fed, Some(&self.schema))?;
        let outers = inputs[1..].iter().map(|deltas| negated(deltas, deltas.first().map(Delta::schema).as_ref()));
        let outers = outers.collect::<Result<Vec<_>>>()?;
        self.step.run(context, &rows, &outers, &mut Vec::new())?;
        Ok(())
    }

    /// Whether changes may bring a recursion to an end that had none: only if they derive less.
    fn may_help(&self, inputs: &[Vec<Delta>]) -> bool {
        let helps = |delta: &Delta, effect: Effect| {
            (0..delta.num_rows()).any(|row| match effect {
                Effect::Adds => delta.weight(row) < 0,
                Effect::TakesAway => delta.weight(row) > 0,
                Effect::Both => true,
            })
        };
        inputs.iter().zip(&self.effects).any(|(deltas, effect)| deltas.iter().any(|delta| helps(delta, *effect)))
    }
}

impl Progress {
    /// Counts a round. Rows that go are no more than there are, so only those that come are counted.
    fn go_on(&mut self, change: &[Delta]) -> bool {
        let weights = change.iter().flat_map(|delta| (0..delta.num_rows()).map(|row| delta.weight(row)));
        let mut come = 0;
        for weight in weights {
            if weight > MAX_WEIGHT {
                return false;
            }
            come += usize::from(weight > 0);
        }
        self.rounds += usize::from(come > 0);
        self.rows += come;
        self.rounds <= MAX_ROUNDS && self.rows <= MAX_ROWS
    }

    /// Whether it is sure, after so many rounds, that a linear step will never come to an end. One that takes rows of `n` kinds to rows of these
    /// kinds yields nothing after `n` rounds, or never.
    fn repeats(&self, rounds: &[Delta], schema: &SchemaRef) -> Result<bool> {
        const FIRST_LOOK: usize = 64;
        if rounds.len() < FIRST_LOOK || !rounds.len().is_power_of_two() {
            return Ok(false);
        }
        let rows: Vec<Delta> = rounds.iter().map(|delta| Delta::inserts(delta.batch().clone())).collect();
        Ok(together(&rows, schema)?.num_rows() < rounds.len())
    }
}

/// All changes as one, rows that cancel out gone.
fn together(deltas: &[Delta], schema: &SchemaRef) -> Result<Delta> {
    let deltas = deltas.iter().map(|delta| with_schema(delta, schema)).collect::<Result<Vec<_>>>()?;
    Ok(consolidate(&Delta::concat(schema, &deltas)?)?)
}

/// The rows whose change as a whole has a sign.
fn of_sign(deltas: &[Delta], wanted: fn(i64) -> bool) -> Result<Vec<Delta>> {
    let Some(first) = deltas.first() else { return Ok(vec![]) };
    let change = together(deltas, &nullable(&first.schema()))?;
    let chosen: Vec<u32> = (0..change.num_rows() as u32).filter(|row| wanted(change.weight(*row as usize))).collect();
    Ok(if chosen.is_empty() { vec![] } else { vec![change.take(&UInt32Array::from(chosen))?] })
}

/// The error of a recursion without an end, as it comes (1) or goes (-1).
fn endless(weight: i64) -> Result<Delta> {
    let columns =
        ["limit exceeded", ENDLESS, ""].map(|text| -> ArrayRef { Arc::new(StringViewArray::from(vec![text])) });
    Ok(Delta::new(batch_of(&ERROR_SCHEMA, columns.to_vec(), 1)?, Some(Int64Array::from(vec![weight]))))
}

impl Operator for Recursive {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        if !self.waiting.is_any(context.snapshot.as_ref())? {
            if let Some(output) = self.follow(context, inputs)? {
                return Ok(output);
            }
            self.waiting.add(context, inputs)?;
            return Ok(StepOutput { errors: vec![endless(1)?], ..StepOutput::default() });
        }
        self.waiting.add(context, inputs)?;
        if !self.may_help(inputs) {
            return Ok(StepOutput::default());
        }
        let all = self.waiting.all(context.snapshot.as_ref())?;
        let Some(mut output) = self.follow(context, &all)? else { return Ok(StepOutput::default()) };
        self.waiting.clear();
        output.errors.push(endless(-1)?);
        Ok(output)
    }

    fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        self.step.checkpoint(workers, changes)?;
        self.waiting.checkpoint(changes);
        self.rows.checkpoint(workers, changes)
    }

    fn committed(&mut self, budget_bytes: usize) -> Result<()> {
        let total = self.state_bytes();
        self.step.committed(budget_bytes, total)?;
        self.waiting.committed(budget_bytes, total);
        self.rows.committed(budget_bytes, total);
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        const ROW_BYTES: usize = 64;
        self.step.sum(|operator| operator.unwritten_bytes())
            + (self.rows.changed() + self.waiting.changed()) * ROW_BYTES
    }

    fn state_bytes(&self) -> usize {
        self.step.sum(|operator| operator.state_bytes()) + self.rows.bytes() + self.waiting.bytes()
    }

    fn state_rows(&self) -> usize {
        self.step.sum(|operator| operator.state_rows()) + self.rows.len() + self.waiting.len()
    }
}
