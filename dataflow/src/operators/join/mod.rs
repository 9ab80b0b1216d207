//! Equi-joins of all kinds, with an optional further condition.
//!
//! - Rule: `Δ(L ⋈ R) = ΔL ⋈ R + (L + ΔL) ⋈ ΔR`. For outer, semi and anti joins also: a row comes or goes as its side changes, if it has
//!   (or lacks) a match; and rows of a key come or go when the other side's change gives them their first match or takes
//!   their last. (Griffin, Libkin: "Incremental Maintenance of Views with Duplicates", SIGMOD 1995; Larson, Zhou: "Efficient
//!   Maintenance of Materialized Outer-Join Views", ICDE 2007.)
//! - State: the rows of each side by join key. A side that is only asked whether a key is there keeps a count per key.
//! - A retraction joins like any row, with its weight, and takes its row from the state.
//! - Where the plan says when rows of a side find no match any more ([`Expiry`]), their state is freed when the watermark has come so far.
//! - A row on which a key fails is left out, and is an error. A pair on which the further condition fails is no match, and is an error.
//!
//! Without a further condition, whether a row has a match is whether the other side's weights under its key add up to
//! something. With one, matches are counted again, for the rows of the key that the change touches.

pub(super) mod alone;
mod contents;
mod matching;
mod temporal;
mod with_itself;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::logical_expr::Expr;
use delta::{Delta, Part, partition};
use planner::explain::column_labels;
use planner::incremental::{Expiry, Forgotten, Join as Node};
use storage::{Snapshot, StateId};

use self::alone::{Alone, Which, emits_pairs};
use self::matching::{Pairs, Rows};
use super::States;
use super::closing::Closing;
use super::shards::{Shards, Sides, for_sides};
use crate::exchange::{Parts, by_shard, exchange, for_shards, is_parallel, map_each, rows_of};
use crate::expression::{Condition, Evaluated, Expressions, batch_of, nullable};
use crate::failures::Report;
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::state::keys::{hash_keys, null_keys};
use crate::state::{KeyEncoder, Multimap, RowCodec};
use crate::{Error, Result};

pub use self::temporal::TemporalJoin;
pub use self::with_itself::JoinWithItself;

/// See [the module](self).
pub struct Join {
    shared: Shared,
    shards: Shards<Shard>,
    /// Of which sides rows are forgotten whose keys are idle, which a third input says.
    forgets: Forgets,
}

#[derive(Clone, Copy, Default)]
struct Forgets {
    left: bool,
    right: bool,
}

/// What all shards use.
struct Shared {
    left: Side,
    right: Side,
    /// Matching pairs come out.
    pairs: bool,
    residual: Option<Condition>,
    null_equal: bool,
    /// Of pairs on which the further condition fails.
    report: Report,
    schema: SchemaRef,
}

/// One input.
struct Side {
    keys: Expressions,
    /// Where the keys are in what is sent: the input's columns, then the keys that aren't just columns.
    key_columns: Vec<usize>,
    /// The keys that are appended.
    appended: Vec<usize>,
    sent_schema: SchemaRef,
    /// Columns of the input.
    width: usize,
    encoder: KeyEncoder,
    codec: Arc<RowCodec>,
    /// The rows of this side that come out by themselves.
    alone: Alone,
    /// Whether rows are kept, or only how many there are per key.
    keeps_rows: bool,
    /// The column that says when a row is over, and when that is.
    expiry: Option<(usize, Closing)>,
    /// Of rows on which a key fails.
    report: Report,
}

type Shard = Sides<Multimap>;

impl Join {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let shared = Shared::new(node)?;
        let (left, right): (StateId, StateId) = (states.state("left"), states.state("right"));
        let shard = |shard| Sides { left: shared.left.state(left, shard), right: shared.right.state(right, shard) };
        Ok(Self { shards: Shards::new(shard), shared, forgets: Forgets::default() })
    }

    /// The operator with a third input, of keys that are idle.
    pub(super) fn forgetting(self, forgotten: Forgotten) -> Self {
        let (left, right) = match forgotten {
            Forgotten::Left => (true, false),
            Forgotten::Right => (false, true),
            Forgotten::Both | Forgotten::WithOutput => (true, true),
        };
        Self { forgets: Forgets { left, right }, ..self }
    }
}

impl Side {
    fn new(
        schema: &SchemaRef,
        keys: &[Expr],
        alone: Alone,
        keeps_rows: bool,
        expiry: Option<&Expiry>,
        report: Report,
    ) -> Result<Self> {
        let schema = nullable(schema);
        let width = schema.fields().len();
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        let compiled = Expressions::new(&schema, keys, None)?;
        let types = compiled.types(&schema);
        let (mut key_columns, mut appended) = (Vec::new(), Vec::new());
        for (index, data_type) in types.iter().enumerate() {
            match compiled.as_column(index) {
                Some(column) => key_columns.push(column),
                None => {
                    key_columns.push(fields.len());
                    appended.push(index);
                    fields.push(Arc::new(arrow::datatypes::Field::new(format!("k{index}"), data_type.clone(), true)));
                }
            }
        }
        let stored = if keeps_rows { schema.clone() } else { Arc::new(Schema::empty()) };
        Ok(Self {
            keys: compiled,
            key_columns,
            appended,
            sent_schema: Arc::new(Schema::new(fields)),
            width,
            encoder: KeyEncoder::new(types)?,
            codec: Arc::new(RowCodec::new(stored)?),
            alone,
            keeps_rows,
            // Counts have no times.
            expiry: expiry.filter(|_| keeps_rows).map(|expiry| {
                (expiry.column, Closing { offset_us: expiry.offset_us, watermark_of: expiry.watermark_of.clone() })
            }),
            report,
        })
    }

    fn state(&self, state: StateId, shard: usize) -> Multimap {
        match &self.expiry {
            Some((column, _)) => Multimap::expiring(state, shard, self.codec.clone(), *column),
            None => Multimap::new(state, shard, self.codec.clone()),
        }
    }

    /// What is sent of a delta.
    fn send(&self, delta: &Delta, null_equal: bool) -> Result<Sent> {
        let Evaluated { columns: mut keys, failures } = self.keys.evaluate(delta.batch())?;
        let mut columns = delta.batch().columns().to_vec();
        columns.extend(self.appended.iter().map(|index| keys[*index].clone()));
        let mut sent = delta.with_batch(batch_of(&self.sent_schema, columns, delta.num_rows())?);
        let mut errors = None;
        if self.report.wants(&failures) {
            errors = Some(self.report.errors(delta.batch().columns(), &failures, |row| delta.weight(row))?);
            sent = sent.filter(&failures.others(delta.num_rows()))?;
            keys = self.keys_of(sent.batch());
        }
        let mut nulls = None;
        if !null_equal && let Some(valid) = null_keys(&keys) {
            let keep = BooleanArray::new(valid.inner().clone(), None);
            if self.alone == Alone::Unmatched {
                nulls = Some(sent.filter(&arrow::compute::not(&keep)?)?);
            }
            sent = sent.filter(&keep)?;
        }
        let mut hashes = Vec::new();
        hash_keys(&self.keys_of(sent.batch()), sent.num_rows(), &mut hashes);
        Ok(Sent { parts: partition(&sent, &hashes)?, nulls, errors })
    }

    fn keys_of(&self, sent: &RecordBatch) -> Vec<ArrayRef> {
        self.key_columns.iter().map(|column| sent.column(*column).clone()).collect()
    }

    fn columns_of<'a>(&self, sent: &'a RecordBatch) -> &'a [ArrayRef] {
        &sent.columns()[..self.width]
    }
}

impl Shared {
    fn new(node: &Node) -> Result<Self> {
        let pairs = emits_pairs(node.kind);
        let (left_alone, right_alone) = Alone::of(node.kind);
        let (left_schema, right_schema) = (node.left.schema(), node.right.schema());
        let residual = match &node.residual {
            Some(condition) => {
                let fields = left_schema.fields().iter().chain(right_schema.fields()).cloned();
                Some(Condition::new(&Schema::new(fields.collect::<Vec<_>>()), condition)?)
            }
            None => None,
        };
        let keeps = |alone: Alone| pairs || residual.is_some() || alone != Alone::No;
        let (left_keys, right_keys): (Vec<_>, Vec<_>) = node.on.iter().cloned().unzip();
        let (left_labels, right_labels) = (column_labels(&node.left), column_labels(&node.right));
        let both = Report::new(node.on_error, [left_labels.clone(), right_labels.clone()].concat());
        let report = |labels| Report::new(node.on_error, labels);
        let (left_expiry, right_expiry) = (node.left_expiry.as_ref(), node.right_expiry.as_ref());
        let left = Side::new(left_schema, &left_keys, left_alone, keeps(left_alone), left_expiry, report(left_labels))?;
        let right =
            Side::new(right_schema, &right_keys, right_alone, keeps(right_alone), right_expiry, report(right_labels))?;
        if left.encoder.types() != right.encoder.types() {
            return Err(Error::Broken("the keys of a join have one type on both sides".to_owned()));
        }
        let schema = nullable(&node.schema);
        Ok(Self { left, right, pairs, residual, null_equal: node.null_equal, report: both, schema })
    }

    fn side(&self, which: Which) -> &Side {
        match which {
            Which::Left => &self.left,
            Which::Right => &self.right,
        }
    }

    /// Rows of one side as rows of the output, the other side's columns NULL.
    fn alone(&self, which: Which, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let mut columns = columns;
        let missing = self.schema.fields().len() - columns.len();
        let nulls = |fields: &[arrow::datatypes::FieldRef]| -> Vec<ArrayRef> {
            fields.iter().map(|field| new_null_array(field.data_type(), rows)).collect()
        };
        match which {
            Which::Left => columns.extend(nulls(&self.schema.fields()[columns.len()..])),
            Which::Right => drop(columns.splice(0..0, nulls(&self.schema.fields()[..missing]))),
        }
        batch_of(&self.schema, columns, rows)
    }

    fn exchange(
        &self,
        which: Which,
        workers: &rayon::ThreadPool,
        input: &[Delta],
        output: &mut StepOutput,
    ) -> Result<Parts> {
        let side = self.side(which);
        let rows = input.iter().map(Delta::num_rows).sum();
        let mut cut = Vec::with_capacity(input.len());
        for Sent { parts, nulls, errors } in map_each(workers, rows, input, |delta| side.send(delta, self.null_equal))?
        {
            cut.push(parts);
            output.errors.extend(errors);
            if let Some(nulls) = nulls {
                let columns = side.columns_of(nulls.batch()).to_vec();
                output.deltas.push(nulls.with_batch(self.alone(which, columns, nulls.num_rows())?));
            }
        }
        Ok(by_shard(cut))
    }
}

/// What one side sends of a delta.
struct Sent {
    parts: Vec<Part>,
    /// Rows that match nothing because a key is null.
    nulls: Option<Delta>,
    /// Of rows on which a key failed.
    errors: Option<Delta>,
}

impl Shard {
    fn step(&mut self, shared: &Shared, left: &[Part], right: &[Part], store: &dyn Snapshot) -> Result<StepOutput> {
        let mut output = StepOutput::default();
        self.left.begin_step();
        self.right.begin_step();
        for part in left {
            apply(shared, Which::Left, part, &mut self.left, &mut self.right, store, &mut output)?;
        }
        for part in right {
            apply(shared, Which::Right, part, &mut self.right, &mut self.left, store, &mut output)?;
        }
        Ok(output)
    }
}

/// One part of one side's change: joins it with the other side as it is, and adds it to its own side.
fn apply(
    shared: &Shared,
    which: Which,
    part: &Part,
    own: &mut Multimap,
    other: &mut Multimap,
    store: &dyn Snapshot,
    output: &mut StepOutput,
) -> Result<()> {
    let (delta, hashes) = (&part.delta, &part.hashes);
    let (side, other_which) = match which {
        Which::Left => (&shared.left, Which::Right),
        Which::Right => (&shared.right, Which::Left),
    };
    let other_side = shared.side(other_which);
    let rows = delta.num_rows();
    let keys = side.encoder.encode(&side.keys_of(delta.batch()), rows)?;
    let mut partners = Vec::new();
    other.probe(hashes, &keys, store, &mut partners)?;

    let columns = side.columns_of(delta.batch());
    let weights: Option<&[i64]> = delta.weights().map(|weights| &weights.values()[..]);
    let mut pairs = Pairs { shared, which, delta, columns, partners: &partners, other };

    // Whether the other side's rows come out depends on this side: how it was under the keys that are there too.
    let flips = other_side.alone != Alone::No;
    let mut before = Vec::new();
    let mut changes = Vec::new();
    if flips {
        let mut own_slots = Vec::new();
        own.probe(hashes, &keys, store, &mut own_slots)?;
        if shared.residual.is_none() {
            before = own_slots.iter().map(|slot| own.total(*slot)).collect();
        } else {
            changes = pairs.matches_before(own, &own_slots)?;
        }
    }

    let matches = pairs.emit(output)?;
    if side.alone != Alone::No {
        let chosen = (0..rows as u32).filter(|row| side.alone.wants(matches[*row as usize])).collect();
        let chosen = delta.take(&arrow::array::UInt32Array::from_iter_values::<Vec<u32>>(chosen))?;
        if !chosen.is_empty() {
            let batch = shared.alone(which, side.columns_of(chosen.batch()).to_vec(), chosen.num_rows())?;
            output.deltas.push(chosen.with_batch(batch));
        }
    }

    let encoded = side.codec.encode(if side.keeps_rows { columns } else { &[] }, rows)?;
    let own_slots = own.add(hashes, &keys, &encoded, weights, store)?;
    if !flips {
        return Ok(());
    }
    let mut flipped = Rows::default();
    if shared.residual.is_none() {
        let mut firsts: Vec<(u32, u32)> = partners.iter().copied().zip(0..rows as u32).collect();
        firsts.sort_unstable();
        firsts.dedup_by_key(|(partner, _)| *partner);
        for (partner, row) in firsts {
            let after = own.total(own_slots[row as usize]);
            let sign = other_side.alone.change(before[row as usize], after);
            if sign != 0 {
                other.rows(partner).for_each(|(row, weight)| flipped.push(row, sign * weight));
            }
        }
    } else {
        for change in &changes {
            let sign = other_side.alone.change(change.before, change.before + change.by);
            if sign != 0 {
                let (row, weight) =
                    other.rows(change.partner).nth(change.position).expect("the other side is as it was");
                flipped.push(row, sign * weight);
            }
        }
    }
    flipped.emit(shared, other_which, &mut output.deltas)
}

impl Operator for Join {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let shared = &self.shared;
        let store = context.snapshot.as_ref();
        let mut output = StepOutput::default();
        let left = shared.exchange(Which::Left, context.workers, &inputs[0], &mut output)?;
        let right = shared.exchange(Which::Right, context.workers, &inputs[1], &mut output)?;
        let parallel = is_parallel(context.workers, rows_of(&left) + rows_of(&right));
        let step = |shard: &mut Shard, left: Vec<Part>, right: Vec<Part>| shard.step(shared, &left, &right, store);
        let changes = for_sides(context.workers, &mut self.shards, left, right, step)?;
        for change in changes {
            output.deltas.extend(change.deltas);
            output.errors.extend(change.errors);
        }
        self.expire(context, parallel)?;
        if let Some(idle) = inputs.get(2) {
            self.forget(context, idle)?;
        }
        Ok(output)
    }

    fn wants_time(&self) -> bool {
        self.shared.left.expiry.is_some() || self.shared.right.expiry.is_some()
    }

    fn state(&self) -> Option<&dyn State> {
        Some(&self.shards)
    }

    fn state_mut(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.shards)
    }
}

impl Join {
    /// Frees the state of rows that are over after the epoch.
    fn expire(&mut self, context: &StepContext<'_>, parallel: bool) -> Result<()> {
        let over = |side: &Side| side.expiry.as_ref().and_then(|(_, closing)| closing.closed_after(context));
        let (left, right) = (over(&self.shared.left), over(&self.shared.right));
        if left.is_none() && right.is_none() {
            return Ok(());
        }
        let shared = &self.shared;
        let store = context.snapshot.as_ref();
        let work = |shard: &mut Shard, ()| -> Result<()> {
            if let Some(to) = left {
                shard.left.expire(to, &shared.left.encoder, store)?;
            }
            if let Some(to) = right {
                shard.right.expire(to, &shared.right.encoder, store)?;
            }
            Ok(())
        };
        let all = vec![(); self.shards.len()];
        for_shards(context.workers, parallel, &mut self.shards, all, |()| true, work)?;
        Ok(())
    }

    /// Frees the state of idle keys: of pairs that have come out nothing is taken back.
    fn forget(&mut self, context: &StepContext<'_>, idle: &[Delta]) -> Result<()> {
        let (shared, store, forgets) = (&self.shared, context.snapshot.as_ref(), self.forgets);
        let parts = exchange(context.workers, idle, |delta| {
            let mut hashes = Vec::new();
            hash_keys(delta.batch().columns(), delta.num_rows(), &mut hashes);
            Ok((delta.clone(), hashes))
        })?;
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let work = |shard: &mut Shard, parts: Vec<Part>| -> Result<()> {
            for part in &parts {
                let keys = shared.left.encoder.encode(part.delta.batch().columns(), part.delta.num_rows())?;
                if forgets.left {
                    shard.left.forget(&part.hashes, &keys, store)?;
                }
                if forgets.right {
                    shard.right.forget(&part.hashes, &keys, store)?;
                }
            }
            Ok(())
        };
        for_shards(context.workers, parallel, &mut self.shards, parts, |parts| !parts.is_empty(), work)?;
        Ok(())
    }
}
