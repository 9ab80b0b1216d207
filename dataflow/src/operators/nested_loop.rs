//! Joins without an equality: each row meets every row of the other side, under a condition or none (a cross join).
//!
//! - Rule: `Δ(L × R) = ΔL × R + (L + ΔL) × ΔR`; outer, semi and anti joins as in [`super::join`].
//! - State: each side's rows, by row: the weight, and for a side whose rows come out alone how many matches a row has, so that a change
//!   of the other side counts only what it changes.
//! - A retraction meets the other side's rows like any row, with its weight, and takes its row from the state.
//! - A pair on which the condition fails is no match, and is an error.
//!
//! There is no key to cut the work by. So rows lie in shards by their own hash, and each shard meets the whole change of the other side
//! with the rows that it has. A change of `n` rows costs `n` comparisons with each row of the other side, in blocks of bounded
//! size; for that the other side's rows are brought into memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{filter, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type};
use delta::{Delta, Part, SHARDS, partition};
use planner::explain::column_labels;
use planner::incremental::Join as Node;
use storage::{ChangeSet, Snapshot};

use super::States;
use super::join::alone::{Alone, Which, emits_pairs};
use super::shards::{checkpoint, share};
use crate::Result;
use crate::exchange::{by_shard, for_shards, is_parallel};
use crate::expression::{Condition, batch_of, nullable, with_schema};
use crate::failures::Report;
use crate::operator::{Operator, StepContext, StepOutput};
use crate::state::keyed::{Touched, WeightPairs};
use crate::state::keys::{EncodedKeys, hash_keys};
use crate::state::{Keyed, RowCodec};

/// Rows of the other side that are decoded at once.
const BLOCK: usize = 4096;
/// Pairs that are compared, or put together, at once.
const CHUNK: usize = 16 * 1024;

/// See [the module](self).
pub struct NestedLoop {
    shared: Shared,
    shards: Vec<Shard>,
}

struct Shared {
    left: Side,
    right: Side,
    /// Matching pairs come out.
    pairs: bool,
    condition: Option<Condition>,
    /// Of pairs on which the condition fails.
    report: Report,
    schema: SchemaRef,
}

struct Side {
    schema: SchemaRef,
    codec: RowCodec,
    alone: Alone,
    /// Where its columns begin among those of both sides.
    offset: usize,
}

/// Rows by themselves: the weight, and the weight of the other side's rows that match; that stays 0 where nobody asks.
struct Shard {
    left: Keyed<WeightPairs>,
    right: Keyed<WeightPairs>,
}

impl NestedLoop {
    /// The operator of a node without equalities.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let (left_alone, right_alone) = Alone::of(node.kind);
        let (left_schema, right_schema) = (node.left.schema(), node.right.schema());
        let condition = match &node.residual {
            Some(condition) => {
                let fields = left_schema.fields().iter().chain(right_schema.fields()).cloned();
                Some(Condition::new(&Schema::new(fields.collect::<Vec<_>>()), condition)?)
            }
            None => None,
        };
        let side = |schema: &SchemaRef, alone, offset| -> Result<Side> {
            let schema = nullable(schema);
            Ok(Side { codec: RowCodec::new(schema.clone())?, schema, alone, offset })
        };
        let (left_state, right_state) = (states.state("left"), states.state("right"));
        let shard = |shard| Shard {
            left: Keyed::new(left_state, shard, WeightPairs::default()),
            right: Keyed::new(right_state, shard, WeightPairs::default()),
        };
        Ok(Self {
            shared: Shared {
                left: side(left_schema, left_alone, 0)?,
                right: side(right_schema, right_alone, left_schema.fields().len())?,
                pairs: emits_pairs(node.kind),
                condition,
                report: Report::new(node.on_error, [column_labels(&node.left), column_labels(&node.right)].concat()),
                schema: nullable(&node.schema),
            },
            shards: (0..SHARDS).map(shard).collect(),
        })
    }

    /// One side's change: meets the other side as it is, and is added to its own.
    fn change(
        &mut self,
        which: Which,
        delta: &Delta,
        context: &StepContext<'_>,
        output: &mut StepOutput,
    ) -> Result<()> {
        let (shared, store) = (&self.shared, context.snapshot.as_ref());
        let others: usize = self.shards.iter().map(|shard| shard.side(which.other()).keys.len()).sum();
        let parallel = is_parallel(context.workers, delta.num_rows().saturating_mul(others));
        let meet = |shard: &mut Shard, ()| shard.meet(shared, which, delta, store);
        let all = vec![(); SHARDS];
        let mut matches = vec![0; delta.num_rows()];
        for met in for_shards(context.workers, parallel, &mut self.shards, all, |()| true, meet)? {
            output.deltas.extend(met.output);
            output.errors.extend(met.errors);
            matches.iter_mut().zip(met.matches).for_each(|(sum, matches)| *sum += matches);
        }

        let side = shared.side(which);
        let shown = matches.iter().zip(0_u32..).filter(|(matches, _)| side.alone.wants(**matches));
        let chosen: Vec<u32> = shown.map(|(_, row)| row).collect();
        if !chosen.is_empty() {
            let chosen = delta.take(&UInt32Array::from(chosen))?;
            let batch = shared.alone(which, chosen.batch().columns().to_vec(), chosen.num_rows())?;
            output.deltas.push(chosen.with_batch(batch));
        }

        let parts = by_shard(vec![side.send(delta, matches)?]);
        let add = |shard: &mut Shard, parts: Vec<Part>| shard.add(shared, which, &parts, store);
        let parallel = is_parallel(context.workers, delta.num_rows());
        for_shards(context.workers, parallel, &mut self.shards, parts, |parts| !parts.is_empty(), add)?;
        Ok(())
    }

    fn sides(&self) -> impl Iterator<Item = &Keyed<WeightPairs>> {
        self.shards.iter().flat_map(|shard| [&shard.left, &shard.right])
    }
}

impl Shared {
    fn side(&self, which: Which) -> &Side {
        match which {
            Which::Left => &self.left,
            Which::Right => &self.right,
        }
    }

    /// Rows of one side as rows of the output: the other side's columns NULL.
    fn alone(&self, which: Which, mut columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        if columns.len() < self.schema.fields().len() {
            let missing = self.side(which.other());
            let nulls = missing.schema.fields().iter().map(|field| new_null_array(field.data_type(), rows));
            drop(columns.splice(missing.offset..missing.offset, nulls));
        }
        batch_of(&self.schema, columns, rows)
    }

    /// Whether a column of one side must be at hand to meet its rows.
    fn needs(&self, side: &Side, column: usize) -> bool {
        self.pairs
            || self.condition.as_ref().is_some_and(|condition| condition.columns().contains(&(side.offset + column)))
    }
}

impl Side {
    /// The rows with the number of their matches behind them, cut into parts.
    fn send(&self, delta: &Delta, matches: Vec<i64>) -> Result<Vec<Part>> {
        let mut hashes = Vec::new();
        hash_keys(delta.batch().columns(), delta.num_rows(), &mut hashes);
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("matches", DataType::Int64, false)));
        let mut columns = delta.batch().columns().to_vec();
        columns.push(Arc::new(Int64Array::from(matches)));
        let sent = delta.with_batch(batch_of(&Arc::new(Schema::new(fields)), columns, delta.num_rows())?);
        Ok(partition(&sent, &hashes)?)
    }

    fn hashes(&self, rows: &[&[u8]]) -> Result<Vec<u64>> {
        let mut hashes = Vec::new();
        hash_keys(self.codec.decode(rows)?.columns(), rows.len(), &mut hashes);
        Ok(hashes)
    }
}

/// What came of meeting a shard's rows.
struct Met {
    output: Vec<Delta>,
    errors: Vec<Delta>,
    /// For each row of the change: its matches in the shard.
    matches: Vec<i64>,
}

impl Shard {
    fn side(&self, which: Which) -> &Keyed<WeightPairs> {
        match which {
            Which::Left => &self.left,
            Which::Right => &self.right,
        }
    }

    fn side_mut(&mut self, which: Which) -> &mut Keyed<WeightPairs> {
        match which {
            Which::Left => &mut self.left,
            Which::Right => &mut self.right,
        }
    }

    /// The change of one side meets the other side's rows; those that come out alone have other matches then.
    fn meet(&mut self, shared: &Shared, which: Which, delta: &Delta, store: &dyn Snapshot) -> Result<Met> {
        let side = shared.side(which.other());
        let others = self.side_mut(which.other());
        others.load_all(store, |rows| side.hashes(rows))?;
        let slots: Vec<u32> = others.keys.occupied().filter(|slot| others.values.0[*slot as usize][0] != 0).collect();
        let mut meeting = Meeting {
            shared,
            which,
            delta,
            output: vec![],
            errors: vec![],
            matches: vec![0; delta.num_rows()],
            by: Vec::with_capacity(slots.len()),
        };
        for block in slots.chunks(BLOCK) {
            let rows: Vec<&[u8]> = block.iter().map(|slot| others.keys.key(*slot)).collect();
            let weights: Vec<i64> = block.iter().map(|slot| others.values.0[*slot as usize][0]).collect();
            meeting.meet(&Block::new(shared, side, &rows, weights)?)?;
        }
        let Meeting { mut output, errors, matches, by, .. } = meeting;
        if side.alone == Alone::No {
            return Ok(Met { output, errors, matches });
        }

        others.begin_step();
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        for (slot, by) in slots.into_iter().zip(by).filter(|(_, by)| *by != 0) {
            let [weight, matches] = &mut others.values.0[slot as usize];
            let (weight, before) = (*weight, *matches);
            *matches = before + by;
            others.touch(slot);
            let sign = side.alone.change(before, before + by);
            if sign != 0 {
                rows.push(others.keys.key(slot).to_vec());
                weights.push(sign * weight);
            }
        }
        if !rows.is_empty() {
            let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
            let columns = side.codec.decode(&rows)?.columns().to_vec();
            let batch = shared.alone(which.other(), columns, rows.len())?;
            output.push(Delta::new(batch, Some(Int64Array::from(weights))));
        }
        Ok(Met { output, errors, matches })
    }

    /// Adds rows to their own side.
    fn add(&mut self, shared: &Shared, which: Which, parts: &[Part], store: &dyn Snapshot) -> Result<()> {
        let side = shared.side(which);
        let own = self.side_mut(which);
        own.begin_step();
        let (mut touched, mut slots): (Vec<Touched>, Vec<u32>) = (vec![], vec![]);
        for part in parts {
            let (columns, rows) = (part.delta.batch().columns(), part.delta.num_rows());
            let (matches, columns) = columns.split_last().expect("the matches stand behind the row");
            let matches = matches.as_primitive::<Int64Type>();
            let keys = EncodedKeys::Exact(side.codec.encode(columns, rows)?);
            own.locate(&part.hashes, &keys, store, &mut slots, &mut touched)?;
            for (row, slot) in slots.iter().enumerate() {
                let kept = &mut own.values.0[*slot as usize];
                kept[0] += part.delta.weight(row);
                kept[1] = if side.alone != Alone::No && kept[0] != 0 { matches.value(row) } else { 0 };
            }
        }
        Ok(())
    }
}

/// Some rows of one side, decoded.
struct Block<'a> {
    codec: &'a RowCodec,
    rows: &'a [&'a [u8]],
    /// By position; `None` where nobody needs it.
    columns: Vec<Option<ArrayRef>>,
    weights: Vec<i64>,
}

impl<'a> Block<'a> {
    fn new(shared: &Shared, side: &'a Side, rows: &'a [&'a [u8]], weights: Vec<i64>) -> Result<Self> {
        let decode = |column| match shared.needs(side, column) {
            true => side.codec.decode_column(column, rows).map(Some),
            false => Ok(None),
        };
        let columns = (0..side.schema.fields().len()).map(decode).collect::<Result<_>>()?;
        Ok(Self { codec: &side.codec, rows, columns, weights })
    }

    fn column(&self, index: usize) -> &ArrayRef {
        self.columns[index].as_ref().expect("what is needed is decoded")
    }

    /// All columns of some of the rows.
    fn take(&self, positions: &UInt32Array) -> Result<Vec<ArrayRef>> {
        let taken = self.columns.iter().enumerate().map(|(index, column)| {
            Ok(match column {
                Some(column) => take(column, positions, None)?,
                None => take(&self.codec.decode_column(index, self.rows)?, positions, None)?,
            })
        });
        taken.collect()
    }
}

/// A change of one side on its way through the rows of the other.
struct Meeting<'a> {
    shared: &'a Shared,
    /// The side that changes.
    which: Which,
    delta: &'a Delta,
    output: Vec<Delta>,
    errors: Vec<Delta>,
    /// By row of the change: the weight of the rows that match it.
    matches: Vec<i64>,
    /// By row of the other side: the weight of the change's rows that match it.
    by: Vec<i64>,
}

impl Meeting<'_> {
    fn meet(&mut self, block: &Block<'_>) -> Result<()> {
        let first = self.by.len();
        let width = block.weights.len();
        self.by.resize(first + width, 0);
        let (mut own, mut others): (Vec<u32>, Vec<u32>) = (vec![], vec![]);
        let strip = (CHUNK / width).max(1);
        for start in (0..self.delta.num_rows()).step_by(strip) {
            let rows = start as u32..(start + strip).min(self.delta.num_rows()) as u32;
            let (of_change, of_block) = self.candidates(rows, block)?;
            for (row, other) in of_change.values().iter().zip(of_block.values()) {
                self.matches[*row as usize] += block.weights[*other as usize];
                self.by[first + *other as usize] += self.delta.weight(*row as usize);
            }
            if self.shared.pairs {
                own.extend_from_slice(of_change.values());
                others.extend_from_slice(of_block.values());
                if own.len() >= CHUNK {
                    self.emit(std::mem::take(&mut own), std::mem::take(&mut others), block)?;
                }
            }
        }
        self.emit(own, others, block)
    }

    /// The pairs of these rows of the change with all rows of the block that fulfil the condition.
    fn candidates(&mut self, rows: std::ops::Range<u32>, block: &Block<'_>) -> Result<(UInt32Array, UInt32Array)> {
        let width = block.weights.len() as u32;
        let own = rows.clone().flat_map(|row| std::iter::repeat_n(row, width as usize));
        let own = UInt32Array::from_iter_values(own);
        let others = UInt32Array::from_iter_values(rows.flat_map(|_| 0..width));
        let Some(condition) = &self.shared.condition else { return Ok((own, others)) };
        let side = self.shared.side(self.which);
        let other_side = self.shared.side(self.which.other());
        let column = |index: &usize| -> Result<ArrayRef> {
            let own_index = index.checked_sub(side.offset).filter(|index| *index < side.schema.fields().len());
            Ok(match own_index {
                Some(index) => take(self.delta.column(index), &own, None)?,
                None => take(block.column(index - other_side.offset), &others, None)?,
            })
        };
        let columns = condition.columns().iter().map(column).collect::<Result<Vec<_>>>()?;
        let (keep, failures) = condition.evaluate_on(columns, own.len())?;
        // Each pair comes by here once, as it comes and as it goes.
        if self.shared.report.wants(&failures) {
            let columns = self.columns_of_pairs(&own, &others, block)?;
            let weight = |pair: usize| self.weight(own.value(pair), others.value(pair), block);
            self.errors.push(self.shared.report.errors(&columns, &failures, weight)?);
        }
        let kept = |positions: &UInt32Array| -> Result<UInt32Array> {
            Ok(filter(positions, &keep)?.as_primitive::<UInt32Type>().clone())
        };
        Ok((kept(&own)?, kept(&others)?))
    }

    fn emit(&mut self, own: Vec<u32>, others: Vec<u32>, block: &Block<'_>) -> Result<()> {
        if own.is_empty() {
            return Ok(());
        }
        let weights: Vec<i64> = own.iter().zip(&others).map(|(row, other)| self.weight(*row, *other, block)).collect();
        let (own, others) = (UInt32Array::from(own), UInt32Array::from(others));
        let columns = self.columns_of_pairs(&own, &others, block)?;
        let plain = weights.iter().all(|weight| *weight == 1);
        let batch = batch_of(&self.shared.schema, columns, own.len())?;
        self.output.push(Delta::new(batch, (!plain).then(|| Int64Array::from(weights))));
        Ok(())
    }

    fn weight(&self, row: u32, other: u32, block: &Block<'_>) -> i64 {
        self.delta.weight(row as usize) * block.weights[other as usize]
    }

    /// The left columns and the right columns.
    fn columns_of_pairs(&self, own: &UInt32Array, others: &UInt32Array, block: &Block<'_>) -> Result<Vec<ArrayRef>> {
        let own_columns = self.delta.batch().columns().iter().map(|column| Ok(take(column, own, None)?));
        let own_columns = own_columns.collect::<Result<Vec<_>>>()?;
        let other_columns = block.take(others)?;
        Ok(match self.which {
            Which::Left => [own_columns, other_columns].concat(),
            Which::Right => [other_columns, own_columns].concat(),
        })
    }
}

/// All changes of an input as one.
fn together(input: &[Delta], schema: &SchemaRef) -> Result<Delta> {
    let deltas = input.iter().map(|delta| with_schema(delta, schema)).collect::<Result<Vec<_>>>()?;
    Ok(Delta::concat(schema, &deltas)?)
}

impl Operator for NestedLoop {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let mut output = StepOutput::default();
        for (which, input) in [Which::Left, Which::Right].into_iter().zip(inputs) {
            let delta = together(input, &self.shared.side(which).schema)?;
            if !delta.is_empty() {
                self.change(which, &delta, context, &mut output)?;
            }
        }
        Ok(output)
    }

    fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        let changed = self.sides().map(Keyed::changed).sum();
        for which in [Which::Left, Which::Right] {
            checkpoint(workers, &mut self.shards, changed, changes, |shard, changes| {
                shard.side_mut(which).checkpoint(changes);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn committed(&mut self, budget_bytes: usize) -> Result<()> {
        let total = self.state_bytes();
        for side in self.shards.iter_mut().flat_map(|shard| [&mut shard.left, &mut shard.right]) {
            side.committed(share(budget_bytes, side.bytes(), total));
        }
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        self.sides().map(|side| side.changed() * 64).sum()
    }

    fn state_bytes(&self) -> usize {
        self.sides().map(Keyed::bytes).sum()
    }

    fn state_rows(&self) -> usize {
        self.sides().map(|side| side.keys.len()).sum()
    }
}
