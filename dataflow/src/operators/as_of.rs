//! ASOF joins: each left row with the one right row of its keys whose time is nearest.
//!
//! - Rule: `Δ(L ⋈ R) = ΔL ⋈ R + (L + ΔL) ⋈ ΔR`, where a change of `R` at a time `t` can only matter to the left rows between `t` and the next
//!   time that `R` had: those are looked at before and after, and what meets another row than before goes and comes.
//! - State: the rows of each side by keys, time, and the rest, in that order ([`Ordered`]), so that a neighbour is one step away.
//! - A retraction meets what its row met, and takes its row from the state.
//! - A row with a NULL among its keys and time meets nothing and isn't kept. One on which they fail is left out, and is an error.
//!
//! Where the next later row is looked for, times are stored with all bits flipped, and so are the right side's rows always: the nearest right row, the
//! least of several of one time, is then in each case the last before a place.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{cast, filter, not, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::logical_expr::Expr;
use delta::{Delta, Part, partition, vnode_of};
use planner::explain::column_labels;
use planner::incremental::{AsOf as Node, Nearest};
use storage::Snapshot;

use super::States;
use super::join::alone::Which;
use super::shards::{Shards, Sides, for_sides};
use crate::exchange::{Parts, by_shard, map_each};
use crate::expression::{Evaluated, Expressions, batch_of, nullable};
use crate::failures::Report;
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::state::Ordered;
use crate::state::keys::{hash_keys, normal_floats, null_keys};
use crate::state::ordered::behind;
use crate::{Error, Result};

/// Left rows that are looked at, and rows that are put together, at once.
const BLOCK: usize = 4096;

/// See [the module](self).
pub struct AsOf {
    shared: Shared,
    shards: Shards<Shard>,
}

struct Shared {
    left: Side,
    right: Side,
    nearest: Nearest,
    outer: bool,
    schema: SchemaRef,
}

struct Side {
    /// The keys, then the time.
    keys: Expressions,
    /// Of the input.
    schema: SchemaRef,
    /// The input's columns, then keys and time.
    sent_schema: SchemaRef,
    key_converter: Option<RowConverter>,
    time_converter: RowConverter,
    /// Bytes of a time, which are the same for all: its type has a fixed width.
    time_len: usize,
    row_converter: RowConverter,
    /// Rows are stored with all bits flipped.
    flips_rows: bool,
    flips_times: bool,
    report: Report,
}

type Shard = Sides<Ordered>;

impl AsOf {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let (mut left_keys, mut right_keys): (Vec<Expr>, Vec<Expr>) = node.on.iter().cloned().unzip();
        left_keys.push(node.times.0.clone());
        right_keys.push(node.times.1.clone());
        let later = node.nearest.is_later();
        let side = |input: &planner::incremental::Node, keys: &[Expr], flips_rows| {
            Side::new(input.schema(), keys, flips_rows, later, Report::new(node.on_error, column_labels(input)))
        };
        let left = side(&node.left, &left_keys, false)?;
        let right = side(&node.right, &right_keys, true)?;
        if left.types() != right.types() {
            return Err(Error::Broken("the keys of a join have one type on both sides".to_owned()));
        }
        let (left_state, right_state) = (states.state("left"), states.state("right"));
        let shard = |shard| Sides { left: Ordered::new(left_state, shard), right: Ordered::new(right_state, shard) };
        Ok(Self {
            shared: Shared { left, right, nearest: node.nearest, outer: node.outer, schema: nullable(&node.schema) },
            shards: Shards::new(shard),
        })
    }
}

/// A converter of rows of these types.
fn converter<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<RowConverter> {
    let fields: Vec<SortField> = types.into_iter().map(|data_type| SortField::new(data_type.clone())).collect();
    if !RowConverter::supports_fields(&fields) {
        let names: Vec<_> = fields.iter().map(|field| format!("{field:?}")).collect();
        return Err(Error::Unsupported(format!("an ASOF join of rows without an order: {}", names.join(", "))));
    }
    Ok(RowConverter::new(fields)?)
}

impl Side {
    fn new(schema: &SchemaRef, keys: &[Expr], flips_rows: bool, flips_times: bool, report: Report) -> Result<Self> {
        let schema = nullable(schema);
        let keys = Expressions::new(&schema, keys, None)?;
        let types = keys.types(&schema);
        let (time, key_types) = types.split_last().ok_or_else(|| Error::Broken("a time".to_owned()))?;
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        fields.extend(
            types
                .iter()
                .enumerate()
                .map(|(index, data_type)| Arc::new(Field::new(format!("k{index}"), data_type.clone(), true))),
        );
        let time_converter = converter([time])?;
        let time_len = time_converter.convert_columns(&[new_null_array(time, 1)])?.row(0).data().len();
        Ok(Self {
            key_converter: if key_types.is_empty() { None } else { Some(converter(key_types)?) },
            time_converter,
            time_len,
            row_converter: converter(schema.fields().iter().map(|field| field.data_type()))?,
            sent_schema: Arc::new(Schema::new(fields)),
            schema,
            keys,
            flips_rows,
            flips_times,
            report,
        })
    }

    fn types(&self) -> Vec<DataType> {
        self.keys.types(&self.schema)
    }

    fn width(&self) -> usize {
        self.schema.fields().len()
    }

    /// What is sent of a delta: rows with keys and time behind them.
    fn send(&self, delta: &Delta) -> Result<Sent> {
        let Evaluated { columns: keys, failures } = self.keys.evaluate(delta.batch())?;
        let valid = null_keys(&keys);
        let columns = [delta.batch().columns(), &keys].concat();
        let mut sent = delta.with_batch(batch_of(&self.sent_schema, columns, delta.num_rows())?);
        let mut keep = valid.map(|valid| BooleanArray::new(valid.inner().clone(), None));
        let mut errors = None;
        if self.report.wants(&failures) {
            errors = Some(self.report.errors(delta.batch().columns(), &failures, |row| delta.weight(row))?);
            let others = failures.others(delta.num_rows());
            sent = sent.filter(&others)?;
            keep = match keep {
                Some(keep) => Some(filter(&keep, &others)?.as_boolean().clone()),
                None => None,
            };
        }
        let mut nulls = None;
        if let Some(keep) = keep {
            nulls = Some(sent.filter(&not(&keep)?)?);
            sent = sent.filter(&keep)?;
        }
        let mut hashes = Vec::new();
        let last = sent.batch().num_columns() - 1;
        hash_keys(&sent.batch().columns()[self.width()..last], sent.num_rows(), &mut hashes);
        Ok(Sent { parts: partition(&sent, &hashes)?, nulls, errors })
    }

    /// Where the rows of a part are stored.
    fn places(&self, part: &Part) -> Result<Vec<Place>> {
        let (rows, keys) = part.delta.batch().columns().split_at(self.width());
        let (time, keys) = keys.split_last().expect("the time stands last");
        let normal = |columns: &[ArrayRef]| columns.iter().map(normal_floats).collect::<Vec<_>>();
        let keys = self.key_converter.as_ref().map(|encoder| encoder.convert_columns(&normal(keys))).transpose()?;
        let times = self.time_converter.convert_columns(&[normal_floats(time)])?;
        // A row without columns is one like any other.
        let rows = if rows.is_empty() { None } else { Some(self.row_converter.convert_columns(rows)?) };
        let place = |(index, hash): (usize, &u64)| {
            let mut bytes = vec![vnode_of(*hash)];
            if let Some(keys) = &keys {
                bytes.extend_from_slice(keys.row(index).data());
            }
            let group = bytes.len();
            push(&mut bytes, times.row(index).data(), self.flips_times);
            if let Some(rows) = &rows {
                push(&mut bytes, rows.row(index).data(), self.flips_rows);
            }
            Place { moment: group + self.time_len, bytes, group }
        };
        Ok(part.hashes.iter().enumerate().map(place).collect())
    }

    /// The row in where it is stored.
    fn row_of<'a>(&self, key: &'a [u8], group: usize) -> &'a [u8] {
        &key[group + self.time_len..]
    }

    /// The columns of stored rows, given without what stands before them; `None`: NULL.
    fn columns(&self, rows: &[Option<&[u8]>]) -> Result<Vec<ArrayRef>> {
        let nulls = || self.schema.fields().iter().map(|field| new_null_array(field.data_type(), 1));
        if self.width() == 0 {
            return Ok(vec![]);
        }
        let null = self.row_converter.convert_columns(&nulls().collect::<Vec<_>>())?;
        let bytes: Vec<Vec<u8>> = rows
            .iter()
            .map(|row| match row {
                Some(row) if self.flips_rows => row.iter().map(|byte| !byte).collect(),
                Some(row) => row.to_vec(),
                None => null.row(0).data().to_vec(),
            })
            .collect();
        let parser = self.row_converter.parser();
        let columns = self.row_converter.convert_rows(bytes.iter().map(|row| parser.parse(row)))?;
        let typed = columns.into_iter().zip(self.schema.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column);
            }
            Ok(cast(&column, field.data_type())?)
        });
        typed.collect()
    }
}

fn push(to: &mut Vec<u8>, bytes: &[u8], flipped: bool) {
    if flipped {
        to.extend(bytes.iter().map(|byte| !byte));
    } else {
        to.extend_from_slice(bytes);
    }
}

/// Where a row is stored: by virtual node and keys, time, and the row itself.
#[derive(Clone, Debug)]
struct Place {
    bytes: Vec<u8>,
    /// Where the time begins.
    group: usize,
    /// Where the time ends.
    moment: usize,
}

impl Place {
    fn group(&self) -> &[u8] {
        &self.bytes[..self.group]
    }

    /// With the time.
    fn moment(&self) -> &[u8] {
        &self.bytes[..self.moment]
    }
}

/// What one side sends of a delta.
struct Sent {
    parts: Vec<Part>,
    /// Rows that meet nothing because a key or the time is NULL.
    nulls: Option<Delta>,
    /// Of rows on which they failed.
    errors: Option<Delta>,
}

/// Left rows of one group whose nearest rows a change may have changed, by the ends of where they are stored.
struct Range {
    from: Vec<u8>,
    to: Vec<u8>,
    /// What the keys take of both.
    group: usize,
}

/// A left row that may meet another right row than before.
struct Affected {
    left: Vec<u8>,
    weight: i64,
    before: Option<Vec<u8>>,
    /// What the keys take of `left`, and of the right rows.
    group: usize,
}

impl Shared {
    fn exchange(
        &self,
        which: Which,
        workers: &rayon::ThreadPool,
        input: &[Delta],
        output: &mut StepOutput,
    ) -> Result<Parts> {
        let side = if which == Which::Left { &self.left } else { &self.right };
        let unmet_come = which == Which::Left && self.outer;
        let rows = input.iter().map(Delta::num_rows).sum();
        let mut cut = Vec::with_capacity(input.len());
        for Sent { parts, nulls, errors } in map_each(workers, rows, input, |delta| side.send(delta))? {
            cut.push(parts);
            output.errors.extend(errors);
            if let Some(nulls) = nulls.filter(|nulls| unmet_come && !nulls.is_empty()) {
                let columns = nulls.batch().columns()[..side.width()].to_vec();
                let unmet = vec![None; nulls.num_rows()];
                output.deltas.push(nulls.with_batch(self.rows(columns, &unmet)?));
            }
        }
        Ok(by_shard(cut))
    }

    /// Left columns beside right rows.
    fn rows(&self, mut left: Vec<ArrayRef>, right: &[Option<&[u8]>]) -> Result<RecordBatch> {
        left.extend(self.right.columns(right)?);
        batch_of(&self.schema, left, right.len())
    }

    /// A right row, given where it is stored and what its keys take of that.
    fn right_row<'a>(&self, (key, group): &'a (Option<Vec<u8>>, usize)) -> Option<&'a [u8]> {
        key.as_deref().map(|key| self.right.row_of(key, *group))
    }

    /// The right row that is nearest to what is stored under `moment` (keys and time) on the left.
    fn nearest(
        &self,
        right: &mut Ordered,
        group: &[u8],
        moment: &[u8],
        store: &dyn Snapshot,
    ) -> Result<Option<Vec<u8>>> {
        let to = if self.nearest.or_equal() { end_of(moment) } else { moment.to_vec() };
        right.last(group, &to, store)
    }
}

/// Behind all that begins with `prefix`, which has a virtual node before it.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    // Keys and times are never all ones: their first byte says that they are no NULL.
    behind(prefix).unwrap_or_else(|| [prefix, &[u8::MAX; 8]].concat())
}

impl Shard {
    fn step(&mut self, shared: &Shared, left: &[Part], right: &[Part], store: &dyn Snapshot) -> Result<StepOutput> {
        let mut output = StepOutput::default();
        for part in left {
            self.left(shared, part, store, &mut output)?;
        }
        if !right.is_empty() {
            self.right(shared, right, store, &mut output)?;
        }
        Ok(output)
    }

    /// Left rows meet the right side as it was, and are added to their own.
    fn left(&mut self, shared: &Shared, part: &Part, store: &dyn Snapshot, output: &mut StepOutput) -> Result<()> {
        let places = shared.left.places(part)?;
        let (mut rows, mut met) = (Vec::new(), Vec::new());
        for (row, place) in (0_u32..).zip(&places) {
            let nearest = shared.nearest(&mut self.right, place.group(), place.moment(), store)?;
            if nearest.is_some() || shared.outer {
                rows.push(row);
                met.push((nearest, place.group));
            }
        }
        for (row, place) in places.iter().enumerate() {
            self.left.add(&place.bytes, part.delta.weight(row), store)?;
        }
        if rows.is_empty() {
            return Ok(());
        }
        let rows = UInt32Array::from(rows);
        let columns = part.delta.batch().columns()[..shared.left.width()].iter();
        let columns = columns.map(|column| Ok(take(column, &rows, None)?)).collect::<Result<Vec<_>>>()?;
        let right: Vec<Option<&[u8]>> = met.iter().map(|met| shared.right_row(met)).collect();
        let weights = Int64Array::from_iter_values(rows.values().iter().map(|row| part.delta.weight(*row as usize)));
        output.deltas.push(Delta::new(shared.rows(columns, &right)?, Some(weights)));
        Ok(())
    }

    /// Right rows change what the left rows near them meet.
    fn right(&mut self, shared: &Shared, parts: &[Part], store: &dyn Snapshot, output: &mut StepOutput) -> Result<()> {
        let mut places: Vec<(Place, i64)> = Vec::new();
        for part in parts {
            let weighed = shared.right.places(part)?.into_iter().enumerate();
            places.extend(weighed.map(|(row, place)| (place, part.delta.weight(row))));
        }
        places.sort_unstable_by(|a, b| a.0.bytes.cmp(&b.0.bytes));
        let mut affected = Vec::new();
        for Range { from, to, group } in self.ranges(shared, &places, store)? {
            let mut from = from;
            loop {
                let rows = self.left.range(&from, &to, BLOCK, store)?;
                let Some((last, _)) = rows.last() else { break };
                let more = rows.len() == BLOCK;
                from = [last.as_slice(), &[0]].concat();
                for (left, [weight, _]) in rows {
                    let moment = &left[..group + shared.left.time_len];
                    let before = shared.nearest(&mut self.right, &left[..group], moment, store)?;
                    affected.push(Affected { left, weight, before, group });
                }
                if !more {
                    break;
                }
            }
        }
        for (place, weight) in &places {
            self.right.add(&place.bytes, *weight, store)?;
        }
        for block in affected.chunks(BLOCK) {
            let (mut rows, mut met, mut weights) = (Vec::new(), Vec::new(), Vec::new());
            for row in block {
                let moment = &row.left[..row.group + shared.left.time_len];
                let after = shared.nearest(&mut self.right, &row.left[..row.group], moment, store)?;
                if after == row.before {
                    continue;
                }
                for (nearest, weight) in [(row.before.clone(), -row.weight), (after, row.weight)] {
                    if nearest.is_some() || shared.outer {
                        rows.push(Some(shared.left.row_of(&row.left, row.group)));
                        met.push((nearest, row.group));
                        weights.push(weight);
                    }
                }
            }
            if rows.is_empty() {
                continue;
            }
            let right: Vec<Option<&[u8]>> = met.iter().map(|met| shared.right_row(met)).collect();
            let batch = shared.rows(shared.left.columns(&rows)?, &right)?;
            output.deltas.push(Delta::new(batch, Some(Int64Array::from(weights))));
        }
        Ok(())
    }

    /// Where the left rows are that may meet other right rows once `places` (in order) have changed: from each to the next
    /// time that the right side had.
    fn ranges(&mut self, shared: &Shared, places: &[(Place, i64)], store: &dyn Snapshot) -> Result<Vec<Range>> {
        let mut ranges: Vec<Range> = Vec::new();
        let or_equal = shared.nearest.or_equal();
        for moment in places.chunk_by(|a, b| a.0.moment() == b.0.moment()) {
            let (group, moment) = (moment[0].0.group(), moment[0].0.moment());
            let from = if or_equal { moment.to_vec() } else { end_of(moment) };
            let (behind, end) = (end_of(moment), end_of(group));
            let to = match self.right.first(&behind, &end, store)? {
                Some(next) => {
                    let next = &next[..group.len() + shared.right.time_len];
                    if or_equal { next.to_vec() } else { end_of(next) }
                }
                None => end,
            };
            match ranges.last_mut().filter(|last| last.to >= from && last.group == group.len()) {
                Some(last) if last.from[..last.group] == *group => last.to = to.max(std::mem::take(&mut last.to)),
                _ => ranges.push(Range { from, to, group: group.len() }),
            }
        }
        Ok(ranges)
    }
}

impl Operator for AsOf {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let (shared, store) = (&self.shared, context.snapshot.as_ref());
        let mut output = StepOutput::default();
        let left = shared.exchange(Which::Left, context.workers, &inputs[0], &mut output)?;
        let right = shared.exchange(Which::Right, context.workers, &inputs[1], &mut output)?;
        let step = |shard: &mut Shard, left: Vec<Part>, right: Vec<Part>| shard.step(shared, &left, &right, store);
        for change in for_sides(context.workers, &mut self.shards, left, right, step)? {
            output.deltas.extend(change.deltas);
        }
        Ok(output)
    }

    fn state(&self) -> Option<&dyn State> {
        Some(&self.shards)
    }

    fn state_mut(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.shards)
    }
}
