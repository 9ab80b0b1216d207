//! Window functions, the first rows in an order, and aggregates that need all rows of their group.
//!
//! - Rule: for the partitions that the epoch touches, `Δout = -f(their rows before) + f(their rows after)`, where rows that stay the
//!   same cancel. `f` is computed for all touched partitions together, column by column. (Recomputation of the affected groups: Gupta,
//!   Mumick, Subrahmanian, "Maintaining Views Incrementally", SIGMOD 1993.)
//! - State: the rows of each partition, by its key, in the form in which joins keep a side ([`Multimap`]).
//! - A retraction takes its row away; a partition without rows has no output.
//!
//! A function that fails on a partition (`ntile(0)`, a result beyond its type) makes an error of it, in the place of its rows; what fails on one row has
//! been evaluated below.
//!
//! Rows that tie in an order stand in the order of their columns: what comes out is a function of the rows, not of when they came.
//!
//! Where rows only ever come, those that a limit leaves out never come back: then only the first rows of each partition are
//! kept, and an epoch costs what came, not what is there. With a window among the keys the watermark closes partitions: their state is
//! freed, their rows stay, and what still comes for them is left out.

mod aggregates;
mod blocks;
mod first;
mod local;
mod order;
mod ranked;
mod region;
mod top;
mod windows;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use delta::{Delta, Part, SHARDS, consolidate};
use planner::explain::column_labels;
use planner::incremental::{OnError, Partition as Node, PartitionRule};
use storage::{ChangeSet, Snapshot, StateId, state_key};

use self::aggregates::{Aggregates, keys_of};
use self::blocks::Blocks;
use self::order::Partitions;
use self::top::Top;
use self::windows::Windows;
use super::States;
use super::closing::{Closing, Earliest};
use super::shards::share;
use crate::exchange::{checkpoint_shards, exchange, for_shards, is_parallel, rows_of};
use crate::expression::{batch_of, nullable, plain_column, positional, with_schema};
use crate::failures::{Failures, Report};
use crate::operator::{Operator, StepContext, StepOutput};
use crate::state::keys::{EncodedKeys, NO_SLOT, hash_keys};
use crate::state::row::EncodedRows;
use crate::state::{KeyEncoder, Multimap, RowCodec};
use crate::{Error, Result};

/// See [the module](self).
pub struct Partition {
    shared: Shared,
    shards: Vec<Shard>,
    begun: Option<Begun>,
}

/// An aggregate without keys has a row though no row came: whether it has come out.
struct Begun {
    state: StateId,
    known: bool,
    written: bool,
}

/// What all shards use.
struct Shared {
    /// The keys' columns.
    keys: Vec<usize>,
    /// In the order in which they are encoded: a window's end stands first.
    key_columns: Vec<usize>,
    /// Of the input's rows.
    schema: SchemaRef,
    encoder: KeyEncoder,
    codec: Arc<RowCodec>,
    rule: Rule,
    /// Of a rule that needs no more of a partition than its first rows.
    keeps_only_top: bool,
    /// There is a partition though no row is there.
    always: bool,
    closing: Option<Closing>,
    on_error: OnError,
    report: Report,
    output: SchemaRef,
}

enum Rule {
    Windows(Windows),
    Top(Top),
    Aggregates(Aggregates),
}

struct Shard {
    /// Of partitions that are computed whole.
    rows: Multimap,
    /// Of large ones, where it is known what a change reaches.
    blocks: Option<Blocks>,
    earliest: Earliest,
}

impl Shard {
    fn bytes(&self) -> usize {
        self.rows.bytes() + self.blocks.as_ref().map_or(0, Blocks::bytes)
    }
}

impl Partition {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let may_cut = node.window.is_none() && !node.keeps_only_top();
        Self::of(node, states, may_cut)
    }

    /// The operator of a node that a second input tells which partitions to forget: they are kept whole.
    pub(super) fn forgetting(node: &Node, states: &mut dyn States) -> Result<Self> {
        Self::of(node, states, false)
    }

    /// `may_cut`: large partitions are kept in blocks where it is known what a change reaches.
    fn of(node: &Node, states: &mut dyn States, may_cut: bool) -> Result<Self> {
        let schema = positional(node.input.schema());
        let always = node.has_row_of_nothing();
        let output = nullable(&node.schema);
        let types: Vec<DataType> = output.fields().iter().map(|field| field.data_type().clone()).collect();
        let rule = match &node.rule {
            PartitionRule::Windows(calls) => {
                Rule::Windows(Windows::new(calls, &schema, &types[schema.fields().len()..])?)
            }
            PartitionRule::Top(top) => Rule::Top(Top::new(top, &schema)?),
            PartitionRule::Aggregates(calls) => {
                Rule::Aggregates(Aggregates::new(calls, &schema, &types[node.keys.len()..])?)
            }
        };

        let key = |key| plain_column(key).ok_or_else(|| Error::Broken("a partition's key is no column".to_owned()));
        let keys = node.keys.iter().map(key).collect::<Result<Vec<usize>>>()?;
        let mut key_columns = keys.clone();
        if let Some(window) = &node.window {
            let end = key_columns.remove(window.end_key);
            key_columns.insert(0, end);
        }
        let labels = column_labels(&node.input);
        let codec = Arc::new(RowCodec::new(schema.clone())?);
        let state = states.state("partitions");
        let begun = always.then(|| Begun { state: states.state("begun"), known: false, written: false });
        // Rows without columns are all peers.
        let is_cut = may_cut && rule.cut_by().is_some() && !schema.fields().is_empty();
        let cut_states = is_cut.then(|| (states.state("blocks"), states.state("fences")));
        let shard = |shard| Shard {
            rows: Multimap::new(state, shard, codec.clone()),
            blocks: cut_states
                .map(|(rows, fences)| Blocks::new(Multimap::new(rows, shard, codec.clone()), fences, shard)),
            earliest: Earliest::new(),
        };
        let shards = (0..SHARDS).map(shard).collect();
        let shared = Shared {
            encoder: KeyEncoder::of_columns(&schema, &key_columns)?,
            on_error: node.on_error,
            report: Report::new(node.on_error, keys.iter().map(|key| labels[*key].clone()).collect()),
            keys,
            key_columns,
            schema,
            codec,
            rule,
            keeps_only_top: node.keeps_only_top(),
            always,
            closing: node
                .window
                .as_ref()
                .map(|window| Closing { offset_us: window.offset_us, watermark_of: window.watermark_of.clone() }),
            output,
        };
        Ok(Self { shared, shards, begun })
    }

    /// Whether the row of an aggregate without keys has come out before this step.
    fn begin(&mut self, store: &dyn Snapshot) -> Result<bool> {
        let Some(begun) = &mut self.begun else { return Ok(true) };
        let before = begun.known || store.get(&state_key(begun.state, 0, &[]))?.is_some();
        begun.written |= before && !begun.known;
        begun.known = true;
        Ok(before)
    }
}

impl Shared {
    /// What is sent of a delta, and the hashes of the keys. Rows of partitions that are closed are left out.
    fn send(&self, delta: &Delta, closed_to: Option<i64>) -> Result<(Delta, Vec<u64>)> {
        let mut sent = with_schema(delta, &self.schema)?;
        if let Some(closed_to) = closed_to {
            let ends = cast(sent.column(self.key_columns[0]), &DataType::Int64)?;
            let ends = ends.as_primitive::<Int64Type>();
            if ends.values().iter().any(|end| *end <= closed_to) {
                let open = |row| ends.is_null(row) || ends.value(row) > closed_to;
                sent = sent.filter(&BooleanArray::new(BooleanBuffer::collect_bool(ends.len(), open), None))?;
            }
        }
        let mut hashes = Vec::new();
        hash_keys(&self.keys_of(sent.batch()), sent.num_rows(), &mut hashes);
        Ok((sent, hashes))
    }

    /// Keys of partitions, and their hashes. (Of partitions that are closed by a window none are ever sent.)
    fn send_keys(&self, keys: &Delta) -> Result<(Delta, Vec<u64>)> {
        let fields = self.keys.iter().map(|column| self.schema.fields()[*column].clone());
        let keys = with_schema(keys, &Arc::new(Schema::new(fields.collect::<Vec<_>>())))?;
        let mut hashes = Vec::new();
        hash_keys(keys.batch().columns(), keys.num_rows(), &mut hashes);
        Ok((keys, hashes))
    }

    fn keys_of(&self, sent: &RecordBatch) -> Vec<ArrayRef> {
        self.key_columns.iter().map(|column| sent.column(*column).clone()).collect()
    }

    fn encode_keys(&self, part: &Part) -> Result<EncodedKeys> {
        self.encoder.encode(&self.keys_of(part.delta.batch()), part.delta.num_rows())
    }

    fn encode_rows(&self, part: &Part) -> Result<EncodedRows> {
        self.codec.encode(part.delta.batch().columns(), part.delta.num_rows())
    }

    /// What comes out of partitions, and those on which a function fails.
    fn output(&self, partitions: &Partitions) -> Result<Output> {
        match self.compute(partitions) {
            Ok(rows) => Ok(Output { rows, errors: None }),
            Err(_) => self.compute_in_parts(partitions),
        }
    }

    /// Halves partitions until those that fail are alone.
    fn compute_in_parts(&self, partitions: &Partitions) -> Result<Output> {
        let mut failures = Failures::default();
        let mut done = Vec::new();
        let mut open = Vec::new();
        open.push(0..partitions.ranges.len());
        while let Some(part) = open.pop() {
            let some = partitions.some(part.clone());
            match self.compute(&some) {
                Ok(rows) => done.push(rows),
                Err(error) if part.len() <= 1 => {
                    failures.add(part.start, error)?;
                    if self.on_error == OnError::Null {
                        done.push(self.nulls(&some)?);
                    }
                }
                Err(_) => {
                    let half = part.start + part.len() / 2;
                    open.push(half..part.end);
                    open.push(part.start..half);
                }
            }
        }
        let rows = concat_batches(&self.output, &done)?;
        let errors = match self.report.wants(&failures) {
            true => Some(self.report.errors(&self.keys(partitions)?, &failures, |_| 1)?),
            false => None,
        };
        Ok(Output { rows, errors })
    }

    /// What comes out of partitions whose functions are NULL.
    fn nulls(&self, partitions: &Partitions) -> Result<RecordBatch> {
        let (mut columns, rows) = match &self.rule {
            Rule::Aggregates(_) => (self.keys(partitions)?, partitions.ranges.len()),
            Rule::Windows(_) | Rule::Top(_) => (partitions.batch.columns().to_vec(), partitions.batch.num_rows()),
        };
        let added = self.output.fields().iter().skip(columns.len());
        columns.extend(added.map(|field| new_null_array(field.data_type(), rows)).collect::<Vec<_>>());
        batch_of(&self.output, columns, rows)
    }

    /// The keys of each partition.
    fn keys(&self, partitions: &Partitions) -> Result<Vec<ArrayRef>> {
        let columns: Vec<_> = self.keys.iter().map(|key| partitions.batch.column(*key).clone()).collect();
        keys_of(&columns, partitions)
    }

    fn compute(&self, partitions: &Partitions) -> Result<RecordBatch> {
        let (columns, rows) = match &self.rule {
            Rule::Windows(windows) => {
                let mut columns = partitions.batch.columns().to_vec();
                columns.extend(windows.evaluate(partitions)?);
                (columns, partitions.batch.num_rows())
            }
            Rule::Top(top) => {
                let (rows, places) = top.evaluate(partitions)?;
                (rows.columns().iter().cloned().chain(places).collect(), rows.num_rows())
            }
            Rule::Aggregates(aggregates) => {
                let mut columns = self.keys(partitions)?;
                columns.extend(aggregates.evaluate(partitions)?);
                (columns, partitions.ranges.len())
            }
        };
        batch_of(&self.output, columns, rows)
    }

    /// What goes and what comes.
    fn difference(&self, before: Option<Output>, after: Output) -> Result<StepOutput> {
        let (before, errors_before) = before.map_or((None, None), |before| (Some(before.rows), before.errors));
        let mut deltas: Vec<Delta> = before.map(taken).into_iter().collect();
        deltas.push(Delta::inserts(after.rows));
        let difference = consolidate(&Delta::concat(&self.output, &deltas)?)?;
        let mut output = StepOutput::default();
        output.deltas.extend((!difference.is_empty()).then_some(difference));
        output.errors.extend(errors_before.map(|errors| taken(errors.batch().clone())));
        output.errors.extend(after.errors);
        Ok(output)
    }
}

/// What comes out of partitions.
struct Output {
    rows: RecordBatch,
    errors: Option<Delta>,
}

/// Rows that go.
fn taken(rows: RecordBatch) -> Delta {
    let weights = Int64Array::from(vec![-1; rows.num_rows()]);
    Delta::new(rows, Some(weights))
}

impl Shard {
    /// One epoch. Without `begun` there was no output before.
    fn step(&mut self, shared: &Shared, parts: &[Part], begun: bool, store: &dyn Snapshot) -> Result<StepOutput> {
        self.rows.begin_step();
        if let (Rule::Top(top), true) = (&shared.rule, shared.keeps_only_top) {
            return self.keep_first(shared, top, parts, store);
        }
        let (Some(blocks), Some(order)) = (&mut self.blocks, shared.rule.cut_by()) else {
            return Ok(self.recompute(shared, parts, begun, store)?.0);
        };
        blocks.begin_step(store)?;
        let (parts, mut output) = self.change_large(shared, order, parts, store)?;
        let (change, touched) = self.recompute(shared, &parts, begun, store)?;
        output.deltas.extend(change.deltas);
        output.errors.extend(change.errors);
        self.cut_grown(shared, order, &touched, store)?;
        Ok(output)
    }

    /// Computes partitions whole, as they were and as they are. Returns the slots of their rows too.
    fn recompute(
        &mut self,
        shared: &Shared,
        parts: &[Part],
        begun: bool,
        store: &dyn Snapshot,
    ) -> Result<(StepOutput, Vec<u32>)> {
        let keys = parts.iter().map(|part| shared.encode_keys(part)).collect::<Result<Vec<_>>>()?;
        let (mut slots, mut touched) = (Vec::new(), Vec::new());
        for (part, keys) in parts.iter().zip(&keys) {
            self.rows.probe(&part.hashes, keys, store, &mut slots)?;
            touched.extend(slots.iter().filter(|slot| **slot != NO_SLOT));
        }
        let before = match begun {
            true => Some(shared.output(&self.gather(shared, touched)?)?),
            false => None,
        };
        let mut touched = Vec::new();
        for (part, keys) in parts.iter().zip(&keys) {
            let weights: Option<&[i64]> = part.delta.weights().map(|weights| &weights.values()[..]);
            touched.extend(self.rows.add(&part.hashes, keys, &shared.encode_rows(part)?, weights, store)?);
        }
        self.note(shared, &touched);
        touched.sort_unstable();
        touched.dedup();
        let after = shared.output(&self.gather(shared, touched.clone())?)?;
        Ok((shared.difference(before, after)?, touched))
    }

    /// The rows of partitions.
    fn gather(&self, shared: &Shared, mut slots: Vec<u32>) -> Result<Partitions> {
        slots.sort_unstable();
        slots.dedup();
        let mut rows: Vec<&[u8]> = Vec::new();
        let mut ranges = Vec::with_capacity(slots.len());
        for slot in slots {
            let start = rows.len();
            for (row, weight) in self.rows.rows(slot) {
                rows.extend(std::iter::repeat_n(row, usize::try_from(weight).unwrap_or(0)));
            }
            if rows.len() > start {
                ranges.push(start..rows.len());
            }
        }
        if shared.always && ranges.is_empty() {
            ranges.push(0..0);
        }
        Ok(Partitions { batch: shared.codec.decode(&rows)?, ranges })
    }

    fn note(&mut self, shared: &Shared, touched: &[u32]) {
        if shared.closing.is_some() {
            self.earliest.note_rows(&self.rows, touched);
        }
    }

    /// Takes partitions away, whatever their rows.
    fn forget(&mut self, shared: &Shared, parts: &[Part], store: &dyn Snapshot) -> Result<StepOutput> {
        self.rows.begin_step();
        if let Some(blocks) = &mut self.blocks {
            blocks.begin_step(store)?;
        }
        let mut forgotten: Vec<u32> = Vec::new();
        let mut slots = Vec::new();
        for part in parts {
            let keys = shared.encoder.encode(part.delta.batch().columns(), part.delta.num_rows())?;
            for row in 0..keys.len() {
                self.join_blocks(shared, keys.key(row), store)?;
            }
            self.rows.probe(&part.hashes, &keys, store, &mut slots)?;
            forgotten.extend(slots.iter().filter(|slot| **slot != NO_SLOT));
        }
        if forgotten.is_empty() {
            return Ok(StepOutput::default());
        }
        let before = shared.output(&self.gather(shared, forgotten.clone())?)?;
        forgotten.into_iter().for_each(|slot| self.rows.clear(slot));
        let nothing = Output { rows: RecordBatch::new_empty(shared.output.clone()), errors: None };
        shared.difference(Some(before), nothing)
    }

    /// Frees the partitions of windows that are over.
    fn close(&mut self, shared: &Shared, closed_to: i64, store: &dyn Snapshot) -> Result<()> {
        let closed = self.earliest.closed_rows(&mut self.rows, &shared.encoder, closed_to, store)?;
        closed.into_iter().for_each(|slot| self.rows.clear(slot));
        Ok(())
    }
}

impl Operator for Partition {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let store = context.snapshot.as_ref();
        let begun = self.begin(store)?;
        let shared = &self.shared;
        let closed_to = shared.closing.as_ref().and_then(|closing| closing.closed_before(context));
        let parts = exchange(context.workers, &inputs[0], |delta| shared.send(delta, closed_to))?;
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let first = (!begun).then(|| delta::shard_of(delta::vnode_of(delta::EMPTY_KEY_HASH)));
        let inputs_of_keys = inputs.get(1);
        let inputs: Vec<(usize, Vec<Part>)> = parts.into_iter().enumerate().collect();
        let wanted = |(shard, parts): &(usize, Vec<Part>)| !parts.is_empty() || first == Some(*shard);
        let step = |shard: &mut Shard, (_, parts): (usize, Vec<Part>)| shard.step(shared, &parts, begun, store);
        let changes = for_shards(context.workers, parallel, &mut self.shards, inputs, wanted, step)?;

        let mut changes = changes;
        if let Some(idle) = inputs_of_keys {
            let parts = exchange(context.workers, idle, |delta| shared.send_keys(delta))?;
            let parallel = is_parallel(context.workers, rows_of(&parts));
            let forget = |shard: &mut Shard, parts: Vec<Part>| shard.forget(shared, &parts, store);
            changes.extend(for_shards(context.workers, parallel, &mut self.shards, parts, |p| !p.is_empty(), forget)?);
        }
        let closed_to = shared.closing.as_ref().and_then(|closing| closing.closed_after(context));
        if let Some(closed_to) = closed_to {
            let all = vec![(); self.shards.len()];
            let close = |shard: &mut Shard, ()| shard.close(shared, closed_to, store);
            for_shards(context.workers, parallel, &mut self.shards, all, |()| true, close)?;
        }
        let mut output = StepOutput::default();
        for change in changes {
            output.deltas.extend(change.deltas);
            output.errors.extend(change.errors);
        }
        Ok(output)
    }

    fn wants_time(&self) -> bool {
        self.shared.closing.is_some()
    }

    fn is_pending(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| !begun.known)
    }

    fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        if let Some(begun) = self.begun.as_mut().filter(|begun| begun.known && !begun.written) {
            changes.put(&state_key(begun.state, 0, &[]), &[]);
            begun.written = true;
        }
        let changed = |shard: &Shard| shard.rows.changed() + shard.blocks.as_ref().map_or(0, |b| b.rows.changed());
        let changed = self.shards.iter().map(changed).sum();
        checkpoint_shards(workers, &mut self.shards, changed, changes, |shard, changes| {
            shard.rows.checkpoint(changes);
            if let Some(blocks) = &mut shard.blocks {
                blocks.checkpoint(changes);
            }
            Ok(())
        })
    }

    fn committed(&mut self, budget_bytes: usize) -> Result<()> {
        let total = self.state_bytes();
        for shard in &mut self.shards {
            if shard.rows.committed(share(budget_bytes, shard.rows.bytes(), total)) {
                shard.earliest.evicted();
            }
            if let Some(blocks) = &mut shard.blocks {
                blocks.rows.committed(share(budget_bytes, blocks.rows.bytes(), total));
            }
        }
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        let unwritten = |shard: &Shard| {
            shard.rows.unwritten_bytes() + shard.blocks.as_ref().map_or(0, |blocks| blocks.rows.unwritten_bytes())
        };
        self.shards.iter().map(unwritten).sum()
    }

    fn state_bytes(&self) -> usize {
        self.shards.iter().map(Shard::bytes).sum()
    }

    fn state_rows(&self) -> usize {
        self.shards.iter().map(|shard| shard.rows.len() + shard.blocks.as_ref().map_or(0, |b| b.rows.len())).sum()
    }
}

#[cfg(test)]
mod tests;
