//! `SESSION`: windows of time that go on as long as rows come, one after the other within a gap.
//!
//! - Rule: for the keys that the epoch touches, `Δout = -f(their rows before) + f(their rows after)`, where `f` gives each row the window
//!   `[first time, last time + gap)` of its session, and rows that stay the same cancel. A row that comes may join two sessions, one that
//!   goes may split one.
//! - State: the rows of open sessions by key, as a join keeps a side ([`Multimap`]); and when sessions end, with the key ([`Agenda`]).
//! - A retraction takes its row out of its session; what a closed session showed stays.
//!
//! A session is closed when the watermark before the epoch has reached its end: its rows leave the state. A row that would be in no session but
//! closed ones is late and comes out aside. (Akidau et al., "The Dataflow Model", VLDB 2015.)

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, is_not_null};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use catalog::ObjectId;
use delta::{Delta, Part, SHARDS, consolidate};
use planner::incremental::Session as Node;
use storage::{ChangeSet, Snapshot};

use super::States;
use super::agenda::Agenda;
use super::shards::{Held, Shards, share};
use crate::Result;
use crate::exchange::{exchange, for_shards, is_parallel, rows_of};
use crate::expression::{batch_of, nullable, with_schema};
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::state::keyed::Weights;
use crate::state::keys::{EncodedKeys, NO_SLOT, hash_keys};
use crate::state::row::EncodedRows;
use crate::state::{KeyEncoder, Keyed, Multimap, RowCodec};
use rows::{Bag, Group, Groups, Span, accept, bag, session_at, sessions};

/// Bytes of a time before the key in the table of ends.
const END_BYTES: usize = 9;

/// See [the module](self).
pub struct Session {
    shared: Shared,
    shards: Shards<Shard>,
}

struct Shared {
    time: usize,
    gap_us: i64,
    keys: Vec<usize>,
    watermark_of: Vec<ObjectId>,
    encoder: KeyEncoder,
    codec: Arc<RowCodec>,
    /// Of the input.
    schema: SchemaRef,
    output: SchemaRef,
}

struct Shard {
    rows: Multimap,
    /// Ends of open sessions, each with the key behind it.
    ends: Keyed<Weights>,
    agenda: Agenda,
}

impl Session {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let schema = nullable(node.input.schema());
        let codec = Arc::new(RowCodec::new(schema.clone())?);
        let (rows, ends) = (states.state("rows"), states.state("ends"));
        let shard = |shard| Shard {
            rows: Multimap::new(rows, shard, codec.clone()),
            ends: Keyed::new(ends, shard, Weights::default()),
            agenda: Agenda::new(),
        };
        let shards = Shards::new(shard);
        let shared = Shared {
            time: node.time,
            gap_us: node.gap_us,
            watermark_of: node.watermark_of.clone(),
            encoder: KeyEncoder::of_columns(&schema, &node.keys)?,
            keys: node.keys.clone(),
            codec,
            schema,
            output: nullable(&node.schema),
        };
        Ok(Self { shared, shards })
    }
}

impl Shared {
    fn send(&self, delta: &Delta) -> Result<(Delta, Vec<u64>)> {
        let mut sent = with_schema(delta, &self.schema)?;
        if sent.column(self.time).null_count() > 0 {
            sent = sent.filter(&is_not_null(sent.column(self.time))?)?;
        }
        let mut hashes = Vec::new();
        hash_keys(&self.keys_of(sent.batch()), sent.num_rows(), &mut hashes);
        Ok((sent, hashes))
    }

    fn keys_of(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|column| batch.column(*column).clone()).collect()
    }

    fn time_of(&self, row: &[u8]) -> i64 {
        self.codec.integer(self.time, row).unwrap_or_default()
    }

    /// The sessions of rows that are there.
    fn sessions_of<'a>(&self, rows: impl Iterator<Item = (&'a Vec<u8>, &'a i64)>) -> Vec<Span> {
        sessions(rows.filter(|(_, weight)| **weight > 0).map(|(row, _)| self.time_of(row)).collect(), self.gap_us)
    }

    /// What goes and what comes for a key: rows in their windows.
    fn difference(&self, group: &Group) -> BTreeMap<(Span, Vec<u8>), i64> {
        let mut difference = BTreeMap::new();
        for (rows, sign) in [(&group.before, -1), (&group.after, 1)] {
            let sessions = self.sessions_of(rows.iter());
            for (row, weight) in rows.iter().filter(|(_, weight)| **weight > 0) {
                let window = session_at(&sessions, self.time_of(row));
                *difference.entry((window, row.clone())).or_default() += sign * weight;
            }
        }
        difference.retain(|_, weight| *weight != 0);
        difference
    }

    /// Rows with their windows behind them.
    fn windowed(&self, rows: &[(Span, Vec<u8>, i64)]) -> Result<Option<Delta>> {
        if rows.is_empty() {
            return Ok(None);
        }
        let bytes: Vec<&[u8]> = rows.iter().map(|(_, row, _)| row.as_slice()).collect();
        let mut columns = self.codec.decode(&bytes)?.columns().to_vec();
        let starts = Int64Array::from_iter_values(rows.iter().map(|((start, _), ..)| *start));
        let ends = Int64Array::from_iter_values(rows.iter().map(|((_, end), ..)| *end));
        let time_type = self.schema.field(self.time).data_type();
        columns.extend([cast(&starts, time_type)?, cast(&ends, time_type)?]);
        let weights: Vec<i64> = rows.iter().map(|(_, _, weight)| *weight).collect();
        let plain = weights.iter().all(|weight| *weight == 1);
        let batch = batch_of(&self.output, columns, rows.len())?;
        Ok(Some(Delta::new(batch, (!plain).then(|| Int64Array::from(weights)))))
    }
}

/// An end before a key, in the order of ends.
fn end_key(end: i64, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(END_BYTES + key.len());
    bytes.push(1);
    bytes.extend_from_slice(&((end as u64) ^ (1 << 63)).to_be_bytes());
    bytes.extend_from_slice(key);
    bytes
}

impl Shard {
    fn step(
        &mut self,
        shared: &Shared,
        parts: &[Part],
        closed_to: Option<i64>,
        store: &dyn Snapshot,
    ) -> Result<StepOutput> {
        self.rows.begin_step();
        self.ends.begin_step();
        let keys =
            parts.iter().map(|part| shared.encoder.encode(&shared.keys_of(part.delta.batch()), part.delta.num_rows()));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let rows = parts.iter().map(|part| shared.codec.encode(part.delta.batch().columns(), part.delta.num_rows()));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let mut groups = self.groups(parts, &keys, store)?;

        let mut output = StepOutput::default();
        let accepted = accept(shared, parts, &keys, &rows, &mut groups, closed_to);
        for (((part, keys), rows), (accepted, late)) in parts.iter().zip(&keys).zip(&rows).zip(accepted) {
            if late.iter().any(|late| *late) {
                output.late.push(part.delta.filter(&BooleanArray::from(late))?);
            }
            self.add(part, keys, rows, &accepted, store)?;
        }
        let mut changes = Vec::new();
        for group in groups.1.values() {
            let (mut go, mut come) = (Vec::new(), Vec::new());
            for ((window, row), weight) in shared.difference(group) {
                if weight < 0 { &mut go } else { &mut come }.push((window, row, weight));
            }
            changes.append(&mut go);
            changes.append(&mut come);
        }
        output.deltas.extend(shared.windowed(&changes)?);
        self.note_ends(shared, groups.1.values(), store)?;
        Ok(output)
    }

    /// The rows that are there for the keys of a change; the numbers of groups by key, and the groups by number.
    fn groups(&mut self, parts: &[Part], keys: &[EncodedKeys], store: &dyn Snapshot) -> Result<Groups> {
        let mut groups = Groups::default();
        let mut slots = Vec::new();
        for (part, keys) in parts.iter().zip(keys) {
            self.rows.probe(&part.hashes, keys, store, &mut slots)?;
            for (row, slot) in slots.iter().enumerate() {
                let next = groups.0.len();
                if groups.0.contains_key(keys.key(row)) {
                    continue;
                }
                groups.0.insert(keys.key(row).to_vec(), next);
                let mut group = Group { hash: part.hashes[row], key: keys.key(row).to_vec(), ..Group::default() };
                if *slot != NO_SLOT {
                    group.before = bag(self.rows.rows(*slot));
                    group.after = group.before.clone();
                }
                groups.1.insert(next, group);
            }
        }
        Ok(groups)
    }

    fn add(
        &mut self,
        part: &Part,
        keys: &EncodedKeys,
        rows: &EncodedRows,
        accepted: &[bool],
        store: &dyn Snapshot,
    ) -> Result<()> {
        let weights: Vec<i64> = (0..rows.len()).map(|row| part.delta.weight(row)).collect();
        if accepted.iter().all(|accepted| *accepted) {
            self.rows.add(&part.hashes, keys, rows, Some(&weights), store)?;
            return Ok(());
        }
        let chosen = (0..rows.len()).filter(|row| accepted[*row]);
        let chosen = chosen.map(|row| (part.hashes[row], keys.key(row), rows.row(row), weights[row]));
        self.add_bytes(chosen, store)
    }

    fn add_bytes<'a>(
        &mut self,
        rows: impl Iterator<Item = (u64, &'a [u8], &'a [u8], i64)>,
        store: &dyn Snapshot,
    ) -> Result<()> {
        let (mut hashes, mut weights) = (Vec::new(), Vec::new());
        let (mut keys, mut encoded) = (EncodedRows::default(), EncodedRows::default());
        for (hash, key, row, weight) in rows {
            hashes.push(hash);
            weights.push(weight);
            keys.push(key);
            encoded.push(row);
        }
        if !hashes.is_empty() {
            self.rows.add(&hashes, &EncodedKeys::Exact(keys), &encoded, Some(&weights), store)?;
        }
        Ok(())
    }

    /// Keeps the table of ends.
    fn note_ends<'a>(
        &mut self,
        shared: &Shared,
        groups: impl Iterator<Item = &'a Group>,
        store: &dyn Snapshot,
    ) -> Result<()> {
        if shared.watermark_of.is_empty() {
            return Ok(());
        }
        let (mut hashes, mut keys, mut weights) = (Vec::new(), EncodedRows::default(), Vec::new());
        for group in groups {
            let ends = |rows: &Bag| -> BTreeSet<i64> {
                shared.sessions_of(rows.iter()).into_iter().map(|(_, end)| end).collect()
            };
            let (before, after) = (ends(&group.before), ends(&group.after));
            let gone = before.difference(&after).map(|end| (*end, -1));
            for (end, weight) in gone.chain(after.difference(&before).map(|end| (*end, 1))) {
                hashes.push(group.hash);
                keys.push(&end_key(end, &group.key));
                weights.push(weight);
            }
        }
        if hashes.is_empty() {
            return Ok(());
        }
        let (mut slots, mut touched) = (Vec::new(), Vec::new());
        self.ends.locate(&hashes, &EncodedKeys::Exact(keys), store, &mut slots, &mut touched)?;
        for (slot, weight) in slots.iter().zip(weights) {
            self.ends.values.0[*slot as usize] += weight;
        }
        self.agenda.note(&self.ends, &touched);
        Ok(())
    }

    /// Frees the rows of sessions that the watermark has passed.
    fn close(&mut self, shared: &Shared, closed_to: i64, store: &dyn Snapshot) -> Result<()> {
        self.ends.begin_step();
        let load = |ends: &mut Keyed<Weights>, keys: &[Vec<u8>]| {
            let hashes = hashes_of(shared, keys.iter().map(|key| &key[END_BYTES..]))?;
            let (mut missing, mut wanted) = (Vec::new(), EncodedRows::default());
            for (hash, key) in hashes.iter().zip(keys).filter(|(hash, key)| ends.keys.find(**hash, key).is_none()) {
                missing.push(*hash);
                wanted.push(key);
            }
            let mut touched = Vec::new();
            ends.locate(&missing, &EncodedKeys::Exact(wanted), store, &mut vec![], &mut touched)?;
            Ok(touched)
        };
        let due = self.agenda.due(&mut self.ends, closed_to, store, load)?;
        if due.is_empty() {
            return Ok(());
        }
        let (mut keys, mut hashes) = (BTreeSet::new(), Vec::new());
        for slot in due {
            keys.insert(self.ends.keys.key(slot)[END_BYTES..].to_vec());
            self.ends.values.0[slot as usize] = 0;
            self.ends.touch(slot);
        }
        hashes.extend(hashes_of(shared, keys.iter().map(Vec::as_slice))?);
        let mut wanted = EncodedRows::default();
        keys.iter().for_each(|key| wanted.push(key));
        self.rows.begin_step();
        let mut slots = Vec::new();
        self.rows.probe(&hashes, &EncodedKeys::Exact(wanted), store, &mut slots)?;
        let mut gone: Vec<(u64, &[u8], Vec<u8>, i64)> = Vec::new();
        for ((hash, key), slot) in hashes.iter().zip(&keys).zip(slots).filter(|(_, slot)| *slot != NO_SLOT) {
            let rows = bag(self.rows.rows(slot));
            let sessions = shared.sessions_of(rows.iter());
            let closed = rows
                .into_iter()
                .filter(|(row, weight)| *weight > 0 && session_at(&sessions, shared.time_of(row)).1 <= closed_to);
            gone.extend(closed.map(|(row, weight)| (*hash, key.as_slice(), row, -weight)));
        }
        self.add_bytes(gone.iter().map(|(hash, key, row, weight)| (*hash, *key, row.as_slice(), *weight)), store)
    }
}

fn hashes_of<'a>(shared: &Shared, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u64>> {
    let keys: Vec<&[u8]> = keys.collect();
    let mut hashes = Vec::new();
    hash_keys(&shared.encoder.decode(&keys)?, keys.len(), &mut hashes);
    Ok(hashes)
}

/// All rows in their sessions, for queries that aren't kept up to date. `keys` are columns of the batch.
pub fn assign_sessions(
    batch: &RecordBatch,
    time: usize,
    gap_us: i64,
    keys: &[usize],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let times = cast(batch.column(time), &DataType::Int64)?;
    let times = times.as_primitive::<Int64Type>();
    let columns: Vec<ArrayRef> = keys.iter().map(|key| batch.column(*key).clone()).collect();
    let encoder = KeyEncoder::new(columns.iter().map(|column| column.data_type().clone()).collect())?;
    let encoded = encoder.encode(&columns, batch.num_rows())?;
    let mut groups: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
    for row in (0..batch.num_rows()).filter(|row| times.is_valid(*row)) {
        groups.entry(encoded.key(row)).or_default().push(row as u32);
    }
    let (mut rows, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for group in groups.into_values() {
        let sessions = sessions(group.iter().map(|row| times.value(*row as usize)).collect(), gap_us);
        for row in group {
            let (start, end) = session_at(&sessions, times.value(row as usize));
            rows.push(row);
            starts.push(start);
            ends.push(end);
        }
    }
    let taken = Delta::inserts(batch.clone()).take(&UInt32Array::from(rows))?;
    let mut columns = taken.batch().columns().to_vec();
    let time_type = batch.column(time).data_type();
    columns.extend([cast(&Int64Array::from(starts), time_type)?, cast(&Int64Array::from(ends), time_type)?]);
    batch_of(&nullable(schema), columns, taken.num_rows())
}

impl Held for Shard {
    const STATES: usize = 2;

    fn changed(&self) -> usize {
        self.rows.changed() + self.ends.changed()
    }

    fn unwritten_bytes(&self) -> usize {
        Held::unwritten_bytes(&self.rows) + Held::unwritten_bytes(&self.ends)
    }

    fn write(&mut self, state: usize, changes: &mut ChangeSet) {
        if state == 0 {
            self.rows.checkpoint(changes);
        } else {
            self.ends.checkpoint(changes);
        }
    }

    fn committed(&mut self, budget_bytes: usize) {
        let total = self.bytes();
        self.rows.committed(share(budget_bytes, self.rows.bytes(), total));
        let evicted = self.ends.committed(share(budget_bytes, self.ends.bytes() + self.agenda.bytes(), total));
        self.agenda.tidy(&self.ends, evicted);
    }

    fn bytes(&self) -> usize {
        self.rows.bytes() + self.ends.bytes() + self.agenda.bytes()
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }
}

impl Operator for Session {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let (shared, store) = (&self.shared, context.snapshot.as_ref());
        let closed_to = context.watermark_before(&shared.watermark_of);
        // What comes and goes in one epoch is nothing.
        let change = inputs[0].iter().map(|delta| with_schema(delta, &shared.schema)).collect::<Result<Vec<_>>>()?;
        let change = consolidate(&Delta::concat(&shared.schema, &change)?)?;
        let parts = exchange(context.workers, &[change], |delta| shared.send(delta))?;
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let step = |shard: &mut Shard, parts: Vec<Part>| shard.step(shared, &parts, closed_to, store);
        let changes = for_shards(context.workers, parallel, &mut self.shards, parts, |parts| !parts.is_empty(), step)?;
        if let Some(closed_to) = context.watermark(&shared.watermark_of) {
            let close = |shard: &mut Shard, ()| shard.close(shared, closed_to, store);
            for_shards(context.workers, parallel, &mut self.shards, vec![(); SHARDS], |()| true, close)?;
        }
        let mut output = StepOutput::default();
        for change in changes {
            output.deltas.extend(change.deltas);
            output.late.extend(change.late);
        }
        Ok(output)
    }

    fn wants_time(&self) -> bool {
        !self.shared.watermark_of.is_empty()
    }

    fn state(&self) -> Option<&dyn State> {
        Some(&self.shards)
    }

    fn state_mut(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.shards)
    }
}
