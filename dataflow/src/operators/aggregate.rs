//! `GROUP BY`.
//!
//! - Rule: for each group that the epoch touches, `Δout = -(its row before) + (its row after)`, where they differ; a group without
//!   rows has no row. (Gupta, Mumick, Subrahmanian: "Maintaining Views Incrementally", SIGMOD 1993.)
//! - State: per group its accumulators ([`crate::aggregate`]), by group key.
//! - A retraction is subtracted from the accumulators; a group whose weights add up to nothing disappears.
//!
//! A row on which a key or an argument fails counts in no group, and is an error. So is a group of which a result is out of its type's range; its
//! error stands in the place of its row.
//!
//! With a window among the keys, the watermark closes groups: their state is freed, their rows stay, and what still comes for
//! them is left out.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, UInt32Array, make_comparator};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{SortOptions, cast, concat, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use delta::{Delta, Part, SHARDS, partition};
use planner::explain::column_labels;
use planner::incremental::Aggregate as Node;
use storage::{ChangeSet, Snapshot, StateId};

use super::closing::{Closing, Earliest};
use super::shards::share;
use super::{Emit, States};
use crate::Result;
use crate::aggregate::{Accumulators, Aggregation};
use crate::exchange::{Parts, by_shard, checkpoint_shards, exchange, for_shards, is_parallel, map_each, rows_of};
use crate::expression::{Evaluated, Expressions, batch_of, nullable, with_schema};
use crate::failures::{Failures, Report};
use crate::operator::{Operator, StepContext, StepOutput};
use crate::state::entries::Entries;
use crate::state::keyed::Touched;
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, Keyed, SlotValues};

/// See [the module](self).
pub struct Aggregate {
    shared: Shared,
    shards: Vec<Shard>,
    /// Without keys: the one group has not been looked for yet.
    pending: bool,
}

/// What all shards use.
struct Shared {
    /// Keys in the order in which they are encoded, then the arguments of the aggregates.
    sent: Expressions,
    sent_schema: SchemaRef,
    keys: usize,
    /// The position of each of the node's keys among the encoded ones.
    key_order: Vec<usize>,
    encoder: KeyEncoder,
    closing: Option<Closing>,
    schema: SchemaRef,
    /// Of rows on which a key or an argument fails.
    of_rows: Report,
    /// Of groups, by their keys as they are encoded.
    of_groups: Report,
}

struct Shard {
    groups: Keyed<Groups>,
    earliest: Earliest,
}

/// Accumulators as values of slots.
struct Groups {
    accumulators: Accumulators,
    /// Without keys the group is there even if it has no rows.
    always: bool,
}

impl SlotValues for Groups {
    fn resize(&mut self, slots: usize) {
        self.accumulators.resize(slots);
    }

    fn is_empty(&self, slot: u32) -> bool {
        !self.always && self.accumulators.rows(slot) == 0
    }

    fn encode(&self, slot: u32, out: &mut Vec<u8>) {
        self.accumulators.encode(slot, out);
    }

    fn decode(&mut self, slot: u32, bytes: &[u8]) -> Result<()> {
        self.accumulators.decode(slot, bytes)
    }

    fn clear(&mut self, slots: &[u32]) {
        self.accumulators.forget(slots);
    }

    fn bytes(&self) -> usize {
        self.accumulators.bytes()
    }
}

impl Aggregate {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let aggregation = Aggregation::new(node)?;
        let groups = states.state("groups");
        let values: Vec<StateId> = aggregation.value_states().iter().map(|role| states.state(role)).collect();

        let labels = column_labels(&planner::Node::Aggregate(node.clone()));
        // The window's end stands first in an encoded key.
        let mut order: Vec<usize> = (0..node.keys.len()).collect();
        if let Some(window) = &node.window {
            order.remove(window.end_key);
            order.insert(0, window.end_key);
        }
        let key_order = (0..order.len()).map(|key| order.iter().position(|k| *k == key).unwrap_or(key)).collect();
        let keys = order.iter().map(|key| node.keys[*key].clone());
        let sent: Vec<_> = keys.chain(aggregation.arguments().iter().cloned()).collect();
        let input = node.input.schema();
        let sent = Expressions::new(input, &sent, None)?;
        let types = sent.types(input);
        let fields = types.iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t.clone(), true));
        let shared = Shared {
            sent_schema: std::sync::Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            sent,
            keys: order.len(),
            key_order,
            encoder: KeyEncoder::new(types[..order.len()].to_vec())?,
            closing: node
                .window
                .as_ref()
                .map(|window| Closing { offset_us: window.offset_us, watermark_of: window.watermark_of.clone() }),
            schema: nullable(&node.schema),
            of_rows: Report::new(node.on_error, column_labels(&node.input)),
            of_groups: Report::new(node.on_error, order.iter().map(|key| labels[*key].clone()).collect()),
        };
        let always = node.keys.is_empty();
        let shard = |shard| -> Result<Shard> {
            let accumulators = aggregation.accumulators(&values)?;
            let groups = Keyed::new(groups, shard, Groups { accumulators, always });
            Ok(Shard { groups, earliest: Earliest::new() })
        };
        Ok(Self { shared, shards: (0..SHARDS).map(shard).collect::<Result<_>>()?, pending: always })
    }
}

impl Aggregate {
    /// Reads what has come out; for an operator that was just made.
    pub(super) fn contents(mut self, store: &dyn Snapshot, emit: &mut Emit<'_>) -> Result<()> {
        let shared = &self.shared;
        for shard in &mut self.shards {
            let groups = &mut shard.groups;
            let mut entries = Entries::of_shard(groups.state(), groups.shard());
            loop {
                let piece = entries.next(store)?;
                if piece.is_empty() {
                    break;
                }
                let stored: Vec<&[u8]> = piece.iter().map(|(key, _)| key.as_slice()).collect();
                let keys = shared.encoder.decode(&stored)?;
                let mut hashes = Vec::new();
                hash_keys(&keys, stored.len(), &mut hashes);
                let encoded = shared.encoder.encode(&keys, stored.len())?;
                let mut slots = Vec::new();
                shard.groups.locate(&hashes, &encoded, store, &mut slots, &mut vec![])?;
                let after = shard.rows(shared, &slots)?;
                let nothing = Rows { exists: vec![false; slots.len()], columns: vec![], failures: Failures::default() };
                difference(shared, keys, vec![nothing], &after)?.map_or(Ok(()), &mut *emit)?;
                shard.groups.let_go();
            }
        }
        Ok(())
    }
}

impl Shared {
    /// What is sent of a delta, the hashes of the keys, and the errors. Rows of groups that are closed are left out.
    fn send(&self, delta: &Delta, closed_to: Option<i64>) -> Result<(Delta, Vec<u64>, Option<Delta>)> {
        let Evaluated { columns, failures } = self.sent.evaluate(delta.batch())?;
        let mut sent = delta.with_batch(batch_of(&self.sent_schema, columns, delta.num_rows())?);
        let mut errors = None;
        if self.of_rows.wants(&failures) {
            errors = Some(self.of_rows.errors(delta.batch().columns(), &failures, |row| delta.weight(row))?);
            sent = sent.filter(&failures.others(delta.num_rows()))?;
        }
        if let Some(closed_to) = closed_to {
            let ends = cast(sent.column(0), &DataType::Int64)?;
            let ends = ends.as_primitive::<Int64Type>();
            if ends.values().iter().any(|end| *end <= closed_to) {
                let open = |row| ends.is_null(row) || ends.value(row) > closed_to;
                sent = sent.filter(&BooleanArray::new(BooleanBuffer::collect_bool(ends.len(), open), None))?;
            }
        }
        let mut hashes = Vec::new();
        hash_keys(&sent.batch().columns()[..self.keys], sent.num_rows(), &mut hashes);
        Ok((sent, hashes, errors))
    }

    /// Keys of groups, and their hashes.
    fn send_keys(&self, keys: &Delta) -> Result<(Delta, Vec<u64>)> {
        let schema = std::sync::Arc::new(Schema::new(self.sent_schema.fields()[..self.keys].to_vec()));
        let keys = with_schema(keys, &schema)?;
        let mut hashes = Vec::new();
        hash_keys(keys.batch().columns(), keys.num_rows(), &mut hashes);
        Ok((keys, hashes))
    }

    /// Rows to shards, and their errors.
    fn exchange(
        &self,
        context: &StepContext<'_>,
        input: &[Delta],
        closed_to: Option<i64>,
    ) -> Result<(Parts, Vec<Delta>)> {
        let rows = input.iter().map(Delta::num_rows).sum();
        let cut = |delta: &Delta| -> Result<(Vec<Part>, Option<Delta>)> {
            if delta.is_empty() {
                return Ok((vec![], None));
            }
            let (sent, hashes, errors) = self.send(delta, closed_to)?;
            Ok((partition(&sent, &hashes)?, errors))
        };
        let (parts, errors): (Vec<_>, Vec<_>) = map_each(context.workers, rows, input, cut)?.into_iter().unzip();
        Ok((by_shard(parts), errors.into_iter().flatten().collect()))
    }
}

/// The rows of groups before or after an epoch.
struct Rows {
    /// A group that is an error has no row.
    exists: Vec<bool>,
    columns: Vec<ArrayRef>,
    failures: Failures,
}

/// What an epoch changes in a shard.
#[derive(Default)]
struct Change {
    rows: Option<Delta>,
    errors: Vec<Delta>,
}

impl Shard {
    fn step(&mut self, shared: &Shared, parts: &[Part], store: &dyn Snapshot) -> Result<Change> {
        self.groups.begin_step();
        let (mut touched, mut slots): (Vec<Touched>, Vec<u32>) = (vec![], vec![]);
        let mut before: Vec<Rows> = Vec::with_capacity(parts.len());
        let mut keys: Vec<Vec<ArrayRef>> = Vec::with_capacity(parts.len());
        for part in parts {
            let (rows, batch) = (part.delta.num_rows(), part.delta.batch());
            let (key_columns, arguments) = batch.columns().split_at(shared.keys);
            let encoded = shared.encoder.encode(key_columns, rows)?;
            let known = touched.len();
            self.groups.locate(&part.hashes, &encoded, store, &mut slots, &mut touched)?;
            if touched.len() > known {
                let new = &touched[known..];
                before.push(self.rows(shared, &new.iter().map(|touched| touched.slot).collect::<Vec<_>>())?);
                let firsts = UInt32Array::from_iter_values(new.iter().map(|touched| touched.row));
                keys.push(key_columns.iter().map(|column| take(column, &firsts, None)).collect::<Result<_, _>>()?);
            }
            let Keyed { keys, values, .. } = &mut self.groups;
            values.accumulators.update(arguments, &slots, part.delta.weights(), keys, store)?;
        }
        if shared.closing.is_some() {
            self.earliest.note(&self.groups, &touched);
        }
        let groups: Vec<u32> = touched.iter().map(|touched| touched.slot).collect();
        let after = self.rows(shared, &groups)?;
        if groups.is_empty() {
            return Ok(Change::default());
        }
        let keys = (0..shared.keys).map(|c| joined(keys.iter().map(|k| &k[c]))).collect::<Result<Vec<_>>>()?;
        let mut errors = Vec::new();
        let mut start = 0;
        for rows in &before {
            let keys: Vec<ArrayRef> = keys.iter().map(|key| key.slice(start, rows.exists.len())).collect();
            errors.extend(shared.errors_of_groups(&keys, &rows.failures, -1)?);
            start += rows.exists.len();
        }
        errors.extend(shared.errors_of_groups(&keys, &after.failures, 1)?);
        Ok(Change { rows: difference(shared, keys, before, &after)?, errors })
    }

    /// The one group of an aggregate without keys comes into being: its row, unless an earlier process showed it.
    fn begin(&mut self, shared: &Shared, store: &dyn Snapshot) -> Result<Option<Delta>> {
        let mut touched = Vec::new();
        self.groups.begin_step();
        let encoded = shared.encoder.encode(&[], 1)?;
        self.groups.locate(&[delta::EMPTY_KEY_HASH], &encoded, store, &mut vec![], &mut touched)?;
        if touched.is_empty() || self.groups.keys.is_stored(touched[0].slot) {
            return Ok(None);
        }
        let rows = self.rows(shared, &[touched[0].slot])?;
        Ok(Some(Delta::inserts(batch_of(&shared.schema, rows.columns, 1)?)))
    }

    fn rows(&self, shared: &Shared, groups: &[u32]) -> Result<Rows> {
        let mut exists: Vec<bool> = groups.iter().map(|group| !self.groups.values.is_empty(*group)).collect();
        let (columns, failures) = self.groups.values.accumulators.evaluate(groups)?;
        if shared.of_groups.wants(&failures) {
            exists.iter_mut().enumerate().for_each(|(group, exists)| *exists &= !failures.contains(group));
        }
        Ok(Rows { exists, columns, failures })
    }

    /// Takes groups away, whatever their rows.
    fn forget(&mut self, shared: &Shared, parts: &[Part], store: &dyn Snapshot) -> Result<Change> {
        self.groups.begin_step();
        let mut change = Change::default();
        let mut forgotten: Vec<Delta> = Vec::new();
        for part in parts {
            let columns = part.delta.batch().columns();
            let encoded = shared.encoder.encode(columns, part.delta.num_rows())?;
            let (mut slots, mut touched) = (Vec::new(), Vec::new());
            self.groups.locate(&part.hashes, &encoded, store, &mut slots, &mut touched)?;
            let before = self.rows(shared, &slots)?;
            let Keyed { keys, values, .. } = &mut self.groups;
            values.accumulators.close(&slots, keys, store)?;
            let after = self.rows(shared, &slots)?;
            change.errors.extend(shared.errors_of_groups(columns, &before.failures, -1)?);
            forgotten.extend(difference(shared, columns.to_vec(), vec![before], &after)?);
        }
        change.rows = match forgotten.as_slice() {
            [] => None,
            forgotten => Some(Delta::concat(&shared.schema, forgotten)?),
        };
        Ok(change)
    }

    fn close(&mut self, shared: &Shared, closed_to: i64, store: &dyn Snapshot) -> Result<()> {
        let Self { groups, earliest } = self;
        let closed = earliest.closed(groups, &shared.encoder, closed_to, store)?;
        if closed.is_empty() {
            return Ok(());
        }
        let Keyed { keys, values, .. } = groups;
        values.accumulators.close(&closed, keys, store)?;
        closed.into_iter().for_each(|slot| groups.touch(slot));
        Ok(())
    }
}

impl Shared {
    /// The errors of groups with these keys, with a weight.
    fn errors_of_groups(&self, keys: &[ArrayRef], failures: &Failures, weight: i64) -> Result<Option<Delta>> {
        if !self.of_groups.wants(failures) {
            return Ok(None);
        }
        self.of_groups.errors(keys, failures, |_| weight).map(Some)
    }
}

/// One array of several.
fn joined<'a>(arrays: impl Iterator<Item = &'a ArrayRef>) -> Result<ArrayRef> {
    let arrays: Vec<&dyn Array> = arrays.map(|array| array.as_ref()).collect();
    match arrays.as_slice() {
        [only] => Ok(only.slice(0, only.len())),
        arrays => Ok(concat(arrays)?),
    }
}

/// The change from the rows before to the rows after, of groups in one order: what goes stands before what comes.
fn difference(shared: &Shared, keys: Vec<ArrayRef>, before: Vec<Rows>, after: &Rows) -> Result<Option<Delta>> {
    if after.exists.is_empty() {
        return Ok(None);
    }
    let existed: Vec<bool> = before.iter().flat_map(|rows| rows.exists.iter().copied()).collect();
    let existed_before = existed.contains(&true);
    let olds: Vec<ArrayRef> = match existed_before {
        true => (0..after.columns.len())
            .map(|c| joined(before.iter().map(|rows| &rows.columns[c])))
            .collect::<Result<_>>()?,
        false => vec![],
    };
    let same = same_rows(&existed, &olds, after)?;
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    for (group, existed) in existed.iter().enumerate() {
        if *existed && after.exists[group] && same.as_ref().is_some_and(|same| same.value(group)) {
            continue;
        }
        if *existed {
            gone.push(group as u32);
        }
        if after.exists[group] {
            come.push(group as u32);
        }
    }
    let rows = gone.len() + come.len();
    if rows == 0 {
        return Ok(None);
    }
    let weights = (!gone.is_empty()).then(|| {
        let mut weights = vec![-1; gone.len()];
        weights.resize(rows, 1);
        Int64Array::from(weights)
    });
    let both: UInt32Array = gone.iter().chain(&come).copied().collect::<Vec<_>>().into();
    let (gone, come) = (UInt32Array::from(gone), UInt32Array::from(come));
    let mut columns = Vec::with_capacity(shared.schema.fields().len());
    for position in &shared.key_order {
        columns.push(take(&keys[*position], &both, None)?);
    }
    for (index, new) in after.columns.iter().enumerate() {
        let new = take(new, &come, None)?;
        columns.push(match gone.len() {
            0 => new,
            _ => concat(&[take(&olds[index], &gone, None)?.as_ref(), new.as_ref()])?,
        });
    }
    let types = shared.schema.fields().iter().map(|field| field.data_type());
    let columns = columns
        .into_iter()
        .zip(types)
        .map(|(column, t)| if column.data_type() == t { Ok(column) } else { cast(&column, t) });
    let batch = batch_of(&shared.schema, columns.collect::<Result<_, _>>()?, rows)?;
    Ok(Some(Delta::new(batch, weights)))
}

/// Which groups have equal rows before and after; `None` if no group existed before.
fn same_rows(existed: &[bool], olds: &[ArrayRef], after: &Rows) -> Result<Option<BooleanBuffer>> {
    if !existed.contains(&true) {
        return Ok(None);
    }
    let mut same = BooleanBuffer::new_set(existed.len());
    for (old, new) in olds.iter().zip(&after.columns) {
        let equal = if old.data_type().is_nested() {
            let compare = make_comparator(old, new, SortOptions::default())?;
            BooleanBuffer::collect_bool(existed.len(), |row| compare(row, row).is_eq())
        } else {
            not_distinct(old, new)?.values().clone()
        };
        same = &same & &equal;
    }
    Ok(Some(same))
}

impl Operator for Aggregate {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let shared = &self.shared;
        let store = context.snapshot.as_ref();
        let mut output = StepOutput::default();
        if self.pending {
            self.pending = false;
            let shard = delta::shard_of(delta::vnode_of(delta::EMPTY_KEY_HASH));
            output.deltas.extend(self.shards[shard].begin(shared, store)?);
        }
        let closed_to = shared.closing.as_ref().and_then(|closing| closing.closed_before(context));
        let (parts, errors) = shared.exchange(context, &inputs[0], closed_to)?;
        output.errors.extend(errors);
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let step = |shard: &mut Shard, parts: Vec<Part>| shard.step(shared, &parts, store);
        let changes = for_shards(context.workers, parallel, &mut self.shards, parts, |p| !p.is_empty(), step)?;
        for Change { rows, errors } in changes {
            output.deltas.extend(rows);
            output.errors.extend(errors);
        }

        if let Some(idle) = inputs.get(1) {
            let parts = exchange(context.workers, idle, |delta| shared.send_keys(delta))?;
            let parallel = is_parallel(context.workers, rows_of(&parts));
            let forget = |shard: &mut Shard, parts: Vec<Part>| shard.forget(shared, &parts, store);
            for Change { rows, errors } in
                for_shards(context.workers, parallel, &mut self.shards, parts, |p| !p.is_empty(), forget)?
            {
                output.deltas.extend(rows);
                output.errors.extend(errors);
            }
        }
        let closed_to = shared.closing.as_ref().and_then(|closing| closing.closed_after(context));
        if let Some(closed_to) = closed_to {
            let all = vec![(); self.shards.len()];
            let close = |shard: &mut Shard, ()| shard.close(shared, closed_to, store);
            for_shards(context.workers, parallel, &mut self.shards, all, |()| true, close)?;
        }
        Ok(output)
    }

    fn wants_time(&self) -> bool {
        self.shared.closing.is_some()
    }

    fn is_pending(&self) -> bool {
        self.pending
    }

    fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        let changed = self.shards.iter().map(|shard| shard.groups.changed()).sum();
        checkpoint_shards(workers, &mut self.shards, changed, changes, |shard, changes| {
            shard.groups.checkpoint(changes);
            let Keyed { keys, values, .. } = &mut shard.groups;
            values.accumulators.checkpoint(keys, changes)
        })
    }

    fn committed(&mut self, budget_bytes: usize) -> Result<()> {
        let total = self.state_bytes();
        for shard in &mut self.shards {
            shard.groups.values.accumulators.committed();
            let budget = share(budget_bytes, shard.groups.bytes(), total);
            if budget < usize::MAX {
                let values = share(budget, shard.groups.values.bytes(), shard.groups.bytes());
                shard.groups.values.accumulators.evict(values);
            }
            if shard.groups.committed(budget) {
                shard.earliest.evicted();
            }
        }
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        // A key and a value of a few numbers.
        self.shards.iter().map(|shard| shard.groups.changed() * 64).sum()
    }

    fn state_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.groups.bytes()).sum()
    }

    fn state_rows(&self) -> usize {
        self.shards.iter().map(|shard| shard.groups.keys.len()).sum()
    }
}
