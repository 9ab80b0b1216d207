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
//! A recursion that doesn't end must not stop the epoch, nor take all memory ([`limits`]). Then everything is taken back to what it was before, which is feeding the same
//! changes with the other sign; the inputs' changes are put aside ([`waiting`]), and an error comes out, until changes come that may
//! help. The rows of a round are fed in pieces: as the step's operators are given changes of any size, that makes no difference to what comes of them.

mod limits;
mod rounds;
mod rows;
mod step;
mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray, UInt32Array};
use arrow::datatypes::SchemaRef;
use delta::{Delta, consolidate};
use planner::incremental::{Effect, Recursive as Node};
use storage::{ChangeSet, Snapshot};

use super::row_bag::RowBag;
use super::{Emit, States, counted};
use crate::Result;
use crate::expression::{batch_of, nullable, with_schema};
use crate::failures::ERROR_SCHEMA;
use crate::operator::{Operator, StepContext, StepOutput};
use limits::{Limit, Spent};
pub use rounds::Rounds;
use rows::{Phase, Rows};
use step::Step;
use waiting::Waiting;

/// The table of why a recursion was given up.
const ERRORS: &str = "errors";

/// What came of a recursion, or why it was given up.
type Followed<T> = std::result::Result<T, Limit>;

/// See [the module](self).
pub struct Recursive {
    all: bool,
    schema: SchemaRef,
    step: Step,
    rows: Rows,
    waiting: Waiting,
    /// Why it was given up, if it was; `None`: it was made by an older version, which knew of no reason but [one](Limit::Endless).
    errors: Option<RowBag>,
    /// It has been stepped since the start.
    begun: bool,
    /// What rows that are added to each input do; the base is the first.
    effects: Vec<Effect>,
}

impl Recursive {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let schema = nullable(&node.schema);
        let inputs = std::iter::once(&node.base).chain(node.outers.iter().map(|outer| &outer.node));
        Ok(Self {
            all: node.all,
            step: Step::new(&node.step, states)?,
            errors: match states.given("rows").is_some() && states.given(ERRORS).is_none() {
                true => None,
                false => Some(RowBag::new(&ERROR_SCHEMA, states.state(ERRORS))?),
            },
            begun: false,
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

    /// Brings the recursion to its end with these changes of its inputs; if it is given up, nothing has happened.
    fn follow(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<Followed<StepOutput>> {
        let mut errors = Vec::new();
        let deltas = if self.all {
            self.count_all(context, inputs, &mut errors)?
        } else {
            self.delete_and_rederive(context, inputs, &mut errors)?
        };
        let deltas = match deltas {
            Ok(deltas) => deltas,
            Err(limit) => return Ok(Err(limit)),
        };
        // Rows that went out and came back have failed in between.
        let errors = together(&errors, &ERROR_SCHEMA)?;
        let errors = if errors.is_empty() { vec![] } else { vec![errors] };
        Ok(Ok(StepOutput { deltas, errors, ..StepOutput::default() }))
    }

    /// `UNION ALL`.
    fn count_all(
        &mut self,
        context: &StepContext<'_>,
        inputs: &[Vec<Delta>],
        errors: &mut Vec<Delta>,
    ) -> Result<Followed<Vec<Delta>>> {
        let mut output: Vec<Delta> = Vec::new();
        let mut spent = Spent::new(context.recursion_bytes, false);
        let mut change = self.step.run(context, &[], &inputs[1..], errors, &mut spent)?;
        change.extend_from_slice(&inputs[0]);
        for round in 0.. {
            let rows = together(&change, &self.schema)?;
            if rows.is_empty() {
                break;
            }
            change.clear();
            let mut limit = spent.round(std::slice::from_ref(&rows));
            if limit.is_none() && repeats(round, &output, &self.schema)? {
                limit = Some(Limit::Endless);
            }
            spent.hold(std::slice::from_ref(&rows));
            let mut left = VecDeque::from([rows]);
            while let Some(piece) = spent.next_piece(&mut left) {
                if let Some(limit) = limit.or(spent.over()) {
                    self.undo_step(context, output, inputs)?;
                    return Ok(Err(limit));
                }
                change.extend(self.step.run(context, &piece, &[], errors, &mut spent)?);
                output.extend(piece);
            }
        }
        Ok(Ok(output))
    }

    /// `UNION`.
    fn delete_and_rederive(
        &mut self,
        context: &StepContext<'_>,
        inputs: &[Vec<Delta>],
        errors: &mut Vec<Delta>,
    ) -> Result<Followed<Vec<Delta>>> {
        let (mut losses, mut gains) = (Vec::new(), Vec::new());
        for (deltas, effect) in inputs.iter().zip(&self.effects) {
            let (removed, added) = (of_sign(deltas, |weight| weight < 0)?, of_sign(deltas, |weight| weight > 0)?);
            let (loss, gain) = if *effect == Effect::TakesAway { (added, removed) } else { (removed, added) };
            losses.push(loss);
            gains.push(gain);
        }
        let (mut fed, mut taken): (Vec<Delta>, Vec<Delta>) = (Vec::new(), Vec::new());
        let mut spent = Spent::new(context.recursion_bytes, false);
        for (phase, inputs_of_phase) in [(Phase::Lose, losses), (Phase::Gain, gains)] {
            let mut change = self.step.run(context, &[], &inputs_of_phase[1..], errors, &mut spent)?;
            change.extend_from_slice(&inputs_of_phase[0]);
            // Rows that went out are looked at again, once.
            let mut again = phase == Phase::Gain && !fed.is_empty();
            loop {
                let moved = self.rows.take(context, phase, again, &change)?;
                again = false;
                spent.hold(&change);
                taken.append(&mut change);
                if moved.is_empty() {
                    break;
                }
                let limit = spent.round(&moved);
                spent.hold(&moved);
                let mut left = VecDeque::from(moved);
                while let Some(piece) = spent.next_piece(&mut left) {
                    if let Some(limit) = limit.or(spent.over()) {
                        let taken = taken.iter().map(Delta::negate).collect::<std::result::Result<Vec<_>, _>>()?;
                        self.rows.undo(context, &taken)?;
                        self.undo_step(context, fed, inputs)?;
                        return Ok(Err(limit));
                    }
                    change.extend(self.step.run(context, &piece, &[], errors, &mut spent)?);
                    fed.extend(piece);
                }
            }
        }
        Ok(Ok(self.rows.moved()?))
    }

    /// The step's operators forget what they have been given, the last first.
    fn undo_step(&mut self, context: &StepContext<'_>, fed: Vec<Delta>, inputs: &[Vec<Delta>]) -> Result<()> {
        let (mut errors, mut spent) = (Vec::new(), Spent::new(usize::MAX, false));
        for delta in fed.into_iter().rev() {
            self.step.run(context, &[delta.negate()?], &[], &mut errors, &mut spent)?;
            errors.clear();
        }
        let negated = |deltas: &Vec<Delta>| -> Result<Vec<Delta>> {
            let Some(first) = deltas.first() else { return Ok(vec![]) };
            Ok(vec![together(deltas, &first.schema())?.negate()?])
        };
        let outers = inputs[1..].iter().map(negated).collect::<Result<Vec<_>>>()?;
        self.step.run(context, &[], &outers, &mut errors, &mut spent)?;
        Ok(())
    }

    fn was_short_of_memory(&mut self, context: &StepContext<'_>) -> Result<bool> {
        let Some(errors) = &mut self.errors else { return Ok(false) };
        let errors = errors.rows(context.snapshot.as_ref())?;
        let [kind, _] = Limit::Memory.error();
        Ok(errors.column(0).as_string_view().iter().any(|found| found == Some(kind)))
    }

    /// Says why the recursion was given up, or no longer; returns what is new of that.
    fn report(&mut self, context: &StepContext<'_>, limit: Option<Limit>) -> Result<Vec<Delta>> {
        let wanted = match limit {
            Some(limit) => given_up(limit, 1)?,
            None => together(&[], &ERROR_SCHEMA)?,
        };
        match &mut self.errors {
            Some(errors) => errors.change_to(wanted, context),
            None => Ok(vec![given_up(Limit::Endless, if limit.is_some() { 1 } else { -1 })?]),
        }
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

/// Whether it is sure, after so many rounds, that a linear step will never come to an end. One that takes rows of `n` kinds to rows of these
/// kinds yields nothing after `n` rounds, or never.
fn repeats(rounds: usize, rows: &[Delta], schema: &SchemaRef) -> Result<bool> {
    const FIRST_LOOK: usize = 64;
    if rounds < FIRST_LOOK || !rounds.is_power_of_two() {
        return Ok(false);
    }
    let rows: Vec<Delta> = rows.iter().map(|delta| Delta::inserts(delta.batch().clone())).collect();
    Ok(together(&rows, schema)?.num_rows() < rounds)
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

/// The error of a recursion that is given up, as it comes (1) or goes (-1).
fn given_up(limit: Limit, weight: i64) -> Result<Delta> {
    let [kind, text] = limit.error();
    let columns = [kind, text, ""].map(|text| -> ArrayRef { Arc::new(StringViewArray::from(vec![text])) });
    Ok(Delta::new(batch_of(&ERROR_SCHEMA, columns.to_vec(), 1)?, Some(Int64Array::from(vec![weight]))))
}

impl Operator for Recursive {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let waits = self.waiting.is_any(context.snapshot.as_ref())?;
        let restarted = !std::mem::replace(&mut self.begun, true);
        if !waits && inputs.iter().all(Vec::is_empty) {
            return Ok(StepOutput::default());
        }
        let all = if waits {
            self.waiting.add(context, inputs)?;
            // After a restart there may be more memory.
            let larger = restarted && self.was_short_of_memory(context)?;
            if !larger && !self.may_help(inputs) {
                return Ok(StepOutput::default());
            }
            Some(self.waiting.all(context.snapshot.as_ref())?)
        } else {
            None
        };
        match self.follow(context, all.as_deref().unwrap_or(inputs))? {
            Ok(mut output) if waits => {
                self.waiting.clear();
                output.errors.extend(self.report(context, None)?);
                Ok(output)
            }
            Ok(output) => Ok(output),
            Err(_) if waits && self.errors.is_none() => Ok(StepOutput::default()),
            Err(limit) => {
                if !waits {
                    self.waiting.add(context, inputs)?;
                }
                Ok(StepOutput { errors: self.report(context, Some(limit))?, ..StepOutput::default() })
            }
        }
    }

    fn is_pending(&self) -> bool {
        !self.begun
    }

    fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        self.step.checkpoint(workers, changes)?;
        self.waiting.checkpoint(changes);
        self.errors.iter_mut().for_each(|errors| errors.checkpoint(changes));
        self.rows.checkpoint(workers, changes)
    }

    fn committed(&mut self, budget_bytes: usize) -> Result<()> {
        let total = self.state_bytes();
        self.step.committed(budget_bytes, total)?;
        self.waiting.committed(budget_bytes, total);
        self.errors.iter_mut().for_each(|errors| errors.committed(budget_bytes, total));
        self.rows.committed(budget_bytes, total);
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        const ROW_BYTES: usize = 64;
        self.step.sum(|operator| operator.unwritten_bytes())
            + (self.rows.changed() + self.waiting.changed() + self.errors.as_ref().map_or(0, RowBag::changed))
                * ROW_BYTES
    }

    fn state_bytes(&self) -> usize {
        self.step.sum(|operator| operator.state_bytes()) + self.rows.bytes() + self.waiting.bytes()
    }

    fn state_rows(&self) -> usize {
        self.step.sum(|operator| operator.state_rows()) + self.rows.len() + self.waiting.len()
    }
}
