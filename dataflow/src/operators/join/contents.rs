//! The output of a join, read off its state: one side's rows, some keys at a time, meet the other side as it is in the store.

use delta::{Delta, SHARDS};
use planner::incremental::{Join as Node, JoinKind};
use storage::StateId;

use super::{Join, JoinWithItself, Which};
use crate::Result;
use crate::operator::{Operator, StepContext};
use crate::operators::{Emit, States};
use crate::state::entries::Entries;
use crate::state::multimap::decode_stored;

/// A table of which the store has nothing: where the rows go that are met by the other side. It is never written.
const NOWHERE: StateId = StateId(u32::MAX - 1);

impl Join {
    /// Reads what has come out. An entry of the store has all rows of a key, so that each piece is joined by an operator of its own.
    pub(in crate::operators) fn contents(
        node: &Node,
        states: &mut dyn States,
        context: &StepContext<'_>,
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        let sides = Sides { left: states.state("left"), right: states.state("right") };
        // Rows that come out alone are found on the side that is read; only where both sides have such rows, the other's are seen to first.
        let read = match node.kind {
            JoinKind::Right | JoinKind::RightSemi | JoinKind::RightAnti => Which::Right,
            _ => Which::Left,
        };
        let join = Self::new(node, &mut { sides })?;
        if node.kind == JoinKind::Full {
            join.pieces(Which::Right, sides.right, context, &mut |rows| {
                let batch = join.shared.alone(Which::Right, rows.batch().columns().to_vec(), rows.num_rows())?;
                emit(rows.with_batch(batch))
            })?;
        }
        let state = if read == Which::Left { sides.left } else { sides.right };
        join.pieces(read, state, context, &mut |rows| {
            let output = match read {
                Which::Left => {
                    let mut join = Self::new(node, &mut Sides { left: NOWHERE, ..sides })?;
                    join.step(context, &[vec![rows], vec![]])?
                }
                Which::Right => {
                    let mut join = Self::new(node, &mut Sides { right: NOWHERE, ..sides })?;
                    join.step(context, &[vec![], vec![rows]])?
                }
            };
            output.deltas.into_iter().try_for_each(&mut *emit)
        })
    }

    fn pieces(&self, which: Which, state: StateId, context: &StepContext<'_>, see: &mut Emit<'_>) -> Result<()> {
        let codec = &self.shared.side(which).codec;
        for shard in 0..SHARDS {
            let mut entries = Entries::of_shard(state, shard);
            loop {
                let piece = entries.next(context.snapshot.as_ref())?;
                if piece.is_empty() {
                    break;
                }
                let (batch, weights) = decode_stored(&piece, codec)?;
                see(Delta::new(batch, Some(weights.into())))?;
            }
        }
        Ok(())
    }
}

impl JoinWithItself {
    /// As [`Join::contents`].
    pub(in crate::operators) fn contents(
        node: &Node,
        states: &mut dyn States,
        context: &StepContext<'_>,
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        let rows = states.state("left");
        let join = Join::new(node, &mut Sides { left: rows, right: NOWHERE })?;
        join.pieces(Which::Left, rows, context, &mut |rows| {
            let mut join = Self::new(node, &mut Sides { left: NOWHERE, right: NOWHERE })?;
            let output = join.step(context, &[vec![rows.clone()], vec![rows]])?;
            output.deltas.into_iter().try_for_each(&mut *emit)
        })
    }
}

/// The tables of a join's sides.
#[derive(Clone, Copy)]
struct Sides {
    left: StateId,
    right: StateId,
}

impl States for Sides {
    fn state(&mut self, role: &str) -> StateId {
        if role == "left" { self.left } else { self.right }
    }
}
