//! Joins without an equality: each row meets the rows of the other side that a condition lets it meet, or all (a cross join).
//!
//! - Rule: `Δ(L × R) = ΔL × R + (L + ΔL) × ΔR`; outer, semi and anti joins as in [`super::join`].
//! - State: each side's rows in an order ([`Ordered`]): the weight, and for a side whose rows come out alone how many matches a row has, so that a
//!   change of the other side counts only what it changes.
//! - A retraction meets the other side's rows like any row, with its weight, and takes its row from the state.
//! - A pair on which the condition fails is no match, and is an error.
//! - Where the plan says when rows of a side find no match any more ([`Expiry`]), their state is freed once half of it is over.
//!
//! There is no key to cut the work by. So rows lie in shards by their own hash, and each shard meets the whole change of the other side
//! with the rows that it has: where the condition compares both sides, with those whose intervals may overlap ([`range`]), read
//! block by block, so that memory holds a block and the change, however large the other side is.

mod expiry;
mod meeting;
mod range;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use delta::{Delta, Part, SHARDS, partition, vnodes_of};
use planner::explain::column_labels;
use planner::incremental::{Expiry, Join as Node};
use storage::{ChangeSet, Snapshot};

use self::expiry::Over;
use self::meeting::{Block, Meeting, Query};
use self::range::{Bounds, Class, Interval, bounds};
use super::States;
use super::closing::Closing;
use super::join::alone::{Alone, Which, emits_pairs};
use super::shards::{Held, Shards, Sides};
use crate::Result;
use crate::exchange::{by_shard, for_shards, is_parallel};
use crate::expression::{Condition, batch_of, nullable, with_schema};
use crate::failures::Report;
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::state::keys::hash_keys;
use crate::state::{Ordered, RowCodec};

/// Rows of the other side that are read and decoded at once.
const BLOCK: usize = 4096;
/// Bytes of a place before the row: the virtual node, the class, the place in that.
const PLACE: usize = 10;

/// See [the module](self).
pub struct NestedLoop {
    shared: Shared,
    shards: Shards<Shard>,
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
    bounds: Bounds,
    /// The column that says when a row is over, and when that is.
    expiry: Option<(usize, Closing)>,
}

/// Rows by their places: the weight, and the weight of the other side's rows that match; that stays 0 where nobody asks.
type Shard = Sides<Kept>;

/// One side's rows in a shard.
struct Kept {
    rows: Ordered,
    over: Over,
}

impl NestedLoop {
    /// The operator of a node without equalities.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let (left_alone, right_alone) = Alone::of(node.kind);
        let (left_schema, right_schema) = (nullable(node.left.schema()), nullable(node.right.schema()));
        let condition = match &node.residual {
            Some(condition) => {
                let fields = left_schema.fields().iter().chain(right_schema.fields()).cloned();
                Some(Condition::new(&Schema::new(fields.collect::<Vec<_>>()), condition)?)
            }
            None => None,
        };
        let (left_bounds, right_bounds) = bounds(node.residual.as_ref(), &left_schema, &right_schema)?;
        let side = |schema: &SchemaRef, alone, offset, bounds, expiry: Option<&Expiry>| -> Result<Side> {
            let expiry = expiry.map(|expiry| {
                (expiry.column, Closing { offset_us: expiry.offset_us, watermark_of: expiry.watermark_of.clone() })
            });
            Ok(Side { codec: RowCodec::new(schema.clone())?, schema: schema.clone(), alone, offset, bounds, expiry })
        };
        let width = left_schema.fields().len();
        let left = side(&left_schema, left_alone, 0, left_bounds, node.left_expiry.as_ref())?;
        let right = side(&right_schema, right_alone, width, right_bounds, node.right_expiry.as_ref())?;
        let (left_state, right_state) = (states.state("left"), states.state("right"));
        let kept = |state, shard| Kept { rows: Ordered::new(state, shard), over: Over::default() };
        let shard = |shard| Sides { left: kept(left_state, shard), right: kept(right_state, shard) };
        Ok(Self {
            shared: Shared {
                left,
                right,
                pairs: emits_pairs(node.kind),
                condition,
                report: Report::new(node.on_error, [column_labels(&node.left), column_labels(&node.right)].concat()),
                schema: nullable(&node.schema),
            },
            shards: Shards::new(shard),
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
        let side = shared.side(which);
        let intervals = side.bounds.of(delta)?;
        let others: usize = self.shards.iter().map(|shard| shard.side(which.other()).rows.len()).sum();
        let parallel = is_parallel(context.workers, delta.num_rows().saturating_mul(others));
        let intervals = &intervals;
        let meet =
            |(number, shard): &mut (usize, &mut Shard), ()| shard.meet(shared, *number, which, delta, intervals, store);
        let mut numbered: Vec<(usize, &mut Shard)> = self.shards.iter_mut().enumerate().collect();
        let mut matches = vec![0; delta.num_rows()];
        for met in for_shards(context.workers, parallel, &mut numbered, vec![(); SHARDS], |()| true, meet)? {
            output.deltas.extend(met.output);
            output.errors.extend(met.errors);
            matches.iter_mut().zip(met.matches).for_each(|(sum, matches)| *sum += matches);
        }

        let shown = matches.iter().zip(0_u32..).filter(|(matches, _)| side.alone.wants(**matches));
        let chosen: Vec<u32> = shown.map(|(_, row)| row).collect();
        if !chosen.is_empty() {
            let chosen = delta.take(&UInt32Array::from(chosen))?;
            let batch = shared.alone(which, chosen.batch().columns().to_vec(), chosen.num_rows())?;
            output.deltas.push(chosen.with_batch(batch));
        }

        let parts = by_shard(vec![side.send(delta, intervals, matches)?]);
        let over_to = side.expiry.as_ref().and_then(|(_, closing)| closing.closed_before(context));
        let add = |shard: &mut Shard, parts: Vec<Part>| shard.add(shared, which, &parts, over_to, store);
        let parallel = is_parallel(context.workers, delta.num_rows());
        for_shards(context.workers, parallel, &mut self.shards, parts, |parts| !parts.is_empty(), add)?;
        Ok(())
    }

    /// Frees the state of rows that are over after the epoch.
    fn expire(&mut self, context: &StepContext<'_>) -> Result<()> {
        let (shared, store) = (&self.shared, context.snapshot.as_ref());
        for which in [Which::Left, Which::Right] {
            let Some((column, closing)) = &shared.side(which).expiry else { continue };
            let Some(over_to) = closing.closed_after(context) else { continue };
            let time = |place: &[u8]| shared.side(which).codec.integer(*column, &place[PLACE..]);
            for shard in self.shards.iter_mut() {
                let Kept { rows, over } = shard.side_mut(which);
                over.expire(rows, over_to, &time, store)?;
            }
        }
        Ok(())
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
    /// The rows with their places and the number of their matches behind them, cut into parts. Those that match nothing, whatever comes, aren't
    /// kept.
    fn send(&self, delta: &Delta, intervals: &[Option<Interval>], matches: Vec<i64>) -> Result<Vec<Part>> {
        let mut hashes = Vec::new();
        hash_keys(delta.batch().columns(), delta.num_rows(), &mut hashes);
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        let number = |name: &str| Arc::new(Field::new(name, DataType::Int64, true));
        fields.extend([number("class"), number("place"), number("matches")]);
        let places: Vec<Option<(Class, i64)>> = intervals.iter().map(|interval| Some((*interval)?.place())).collect();
        let mut columns = delta.batch().columns().to_vec();
        columns.push(Arc::new(
            places.iter().map(|place| place.map(|(class, _)| i64::from(class))).collect::<Int64Array>(),
        ));
        columns.push(Arc::new(places.iter().map(|place| place.map(|(_, place)| place)).collect::<Int64Array>()));
        columns.push(Arc::new(Int64Array::from(matches)));
        let mut sent = delta.with_batch(batch_of(&Arc::new(Schema::new(fields)), columns, delta.num_rows())?);
        if places.iter().any(Option::is_none) {
            let kept: Vec<u32> =
                (0_u32..).zip(&places).filter(|(_, place)| place.is_some()).map(|(row, _)| row).collect();
            hashes = kept.iter().map(|row| hashes[*row as usize]).collect();
            sent = sent.take(&UInt32Array::from(kept))?;
        }
        Ok(partition(&sent, &hashes)?)
    }
}

/// Where a shard's places of a class begin. All rows of a shard lie under its first virtual node: a range is one in the store too.
fn prefix(shard: usize, class: Class) -> [u8; 2] {
    [*vnodes_of(shard).start(), class]
}

/// Where a place of a class begins.
fn place_key(shard: usize, class: Class, place: i64) -> Vec<u8> {
    let mut key = prefix(shard, class).to_vec();
    key.extend((place ^ i64::MIN).to_be_bytes());
    key
}

/// What [`place_key`] wrote.
fn place_of(key: &[u8]) -> i64 {
    let bytes: [u8; 8] = key[2..PLACE].try_into().expect("a row stands behind its place");
    i64::from_be_bytes(bytes) ^ i64::MIN
}

/// What came of meeting a shard's rows.
struct Met {
    output: Vec<Delta>,
    errors: Vec<Delta>,
    /// For each row of the change: its matches in the shard.
    matches: Vec<i64>,
}

impl Shard {
    fn side(&self, which: Which) -> &Kept {
        match which {
            Which::Left => &self.left,
            Which::Right => &self.right,
        }
    }

    fn side_mut(&mut self, which: Which) -> &mut Kept {
        match which {
            Which::Left => &mut self.left,
            Which::Right => &mut self.right,
        }
    }

    /// The change of one side meets the other side's rows; those that come out alone have other matches then.
    fn meet(
        &mut self,
        shared: &Shared,
        number: usize,
        which: Which,
        delta: &Delta,
        intervals: &[Option<Interval>],
        store: &dyn Snapshot,
    ) -> Result<Met> {
        let side = shared.side(which.other());
        let others = &mut self.side_mut(which.other()).rows;
        let mut meeting = Meeting::new(shared, which, delta);
        let end = [*vnodes_of(number).start(), Class::MAX];
        let mut from = prefix(number, 0).to_vec();
        // From one class that has rows to the next.
        while let Some(first) = others.first(&from, &end, store)? {
            let class = first[1];
            for group in asked(intervals, class) {
                let behind = match group.last.checked_add(1) {
                    Some(next) => place_key(number, class, next),
                    None => prefix(number, class + 1).to_vec(),
                };
                let mut from = place_key(number, class, group.first);
                loop {
                    let rows = others.range(&from, &behind, BLOCK, store)?;
                    let Some((last, _)) = rows.last() else { break };
                    from = [last.as_slice(), &[0]].concat();
                    let by = meeting.meet(&Block::new(shared, side, &rows)?, &group.queries)?;
                    if side.alone != Alone::No {
                        let mut flipped = (Vec::new(), Vec::new());
                        for ((key, [weight, before]), by) in rows.iter().zip(by).filter(|(_, by)| *by != 0) {
                            others.set(key, [*weight, before + by]);
                            let sign = side.alone.change(*before, before + by);
                            if sign != 0 {
                                flipped.0.push(&key[PLACE..]);
                                flipped.1.push(sign * weight);
                            }
                        }
                        if !flipped.0.is_empty() {
                            let columns = side.codec.decode(&flipped.0)?.columns().to_vec();
                            let batch = shared.alone(which.other(), columns, flipped.0.len())?;
                            meeting.output.push(Delta::new(batch, Some(Int64Array::from(flipped.1))));
                        }
                    }
                    if rows.len() < BLOCK {
                        break;
                    }
                }
            }
            from = prefix(number, class + 1).to_vec();
        }
        Ok(Met { output: meeting.output, errors: meeting.errors, matches: meeting.matches })
    }

    /// Adds rows to their own side. Rows that are over already aren't kept.
    fn add(
        &mut self,
        shared: &Shared,
        which: Which,
        parts: &[Part],
        over_to: Option<i64>,
        store: &dyn Snapshot,
    ) -> Result<()> {
        let side = shared.side(which);
        let Kept { rows: own, over } = self.side_mut(which);
        let width = side.schema.fields().len();
        for part in parts {
            let (columns, rows) = (part.delta.batch().columns(), part.delta.num_rows());
            let number = |index: usize| columns[width + index].as_primitive::<Int64Type>();
            let (classes, places, matches) = (number(0), number(1), number(2));
            let encoded = side.codec.encode(&columns[..width], rows)?;
            for row in 0..rows {
                let time = side.expiry.as_ref().and_then(|(column, _)| side.codec.integer(*column, encoded.row(row)));
                if time.is_some_and(|time| over.is_over(time) || over_to.is_some_and(|to| time <= to)) {
                    continue;
                }
                let mut key = place_key(part.shard, classes.value(row) as Class, places.value(row));
                key.extend_from_slice(encoded.row(row));
                let weight = part.delta.weight(row);
                own.update(&key, store, |value| {
                    value[0] += weight;
                    value[1] = if side.alone != Alone::No && value[0] != 0 { matches.value(row) } else { 0 };
                })?;
                over.note(time, weight);
            }
        }
        Ok(())
    }
}

/// Rows of a change whose intervals ask for places that overlap or touch each other.
struct Asked {
    first: i64,
    last: i64,
    queries: Vec<Query>,
}

/// What the rows of a change ask of a class, in the order of places.
fn asked(intervals: &[Option<Interval>], class: Class) -> Vec<Asked> {
    let mut queries: Vec<Query> = (0_u32..)
        .zip(intervals)
        .filter_map(|(row, interval)| {
            let (first, last) = (*interval)?.overlapped(class);
            (first <= last).then_some(Query { row, first, last })
        })
        .collect();
    queries.sort_by_key(|query| query.first);
    let mut asked: Vec<Asked> = Vec::new();
    for query in queries {
        match asked.last_mut().filter(|group| query.first <= group.last) {
            Some(group) => {
                group.last = group.last.max(query.last);
                group.queries.push(query);
            }
            None => asked.push(Asked { first: query.first, last: query.last, queries: vec![query] }),
        }
    }
    asked
}

/// All changes of an input as one.
fn together(input: &[Delta], schema: &SchemaRef) -> Result<Delta> {
    let deltas = input.iter().map(|delta| with_schema(delta, schema)).collect::<Result<Vec<_>>>()?;
    Ok(Delta::concat(schema, &deltas)?)
}

impl Held for Kept {
    fn changed(&self) -> usize {
        self.rows.changed()
    }

    fn unwritten_bytes(&self) -> usize {
        self.rows.unwritten_bytes()
    }

    fn write(&mut self, _state: usize, changes: &mut ChangeSet) {
        self.rows.checkpoint(changes);
    }

    fn committed(&mut self, budget_bytes: usize) {
        self.rows.committed(budget_bytes);
    }

    fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }
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
        self.expire(context)?;
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
