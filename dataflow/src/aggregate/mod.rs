//! Incremental aggregation: what a group remembers, and how rows with weights change it.
//!
//! An [`Aggregation`] is what one [`Aggregate`](planner::incremental::Aggregate) node computes; from it come the [`Accumulators`] of each shard. Groups are dense numbers
//! (slots of the operator's key table), state is columnar: a vector over groups per accumulator, so that a batch is a few tight
//! loops and no row allocates. Calls share what they can: `sum(x)` and `avg(x)` are one sum, all `DISTINCT` calls on one argument
//! are one set of values, `count(*)` is the row count that every group has.
//!
//! # State
//!
//! A group has one entry, which the operator writes: its key, and as value what [`Accumulators::encode`] says. Two kinds of accumulator
//! need more, an entry per group and value, in state tables of their own ([`Aggregation::value_states`]):
//! `DISTINCT` ([`distinct`]) and `min`/`max` over input that takes rows away ([`extreme`]). Those the accumulators read, cache and
//! checkpoint themselves; their keys are `[state][virtual node][group key][value]`.
//!
//! # The life of a group
//!
//! 1. The operator gives it a slot and calls [`Accumulators::resize`]; then [`Accumulators::decode`], if the store has the group.
//! 2. [`Accumulators::update`] adds rows, [`Accumulators::evaluate`] yields results before and after, [`Accumulators::rows`] says
//!    whether the group still exists (its weights add up to more than nothing).
//! 3. At a checkpoint the operator writes [`Accumulators::encode`] of each changed group (or deletes the entry when there are no rows), and calls
//!    [`Accumulators::checkpoint`] once. A group without rows keeps its slot until then.
//! 4. [`Accumulators::forget`] empties slots of unchanged groups for reuse; [`Accumulators::close`] is for groups whose window has
//!    passed: state goes, in memory and in the store.

//!
//! Reading order: [`aggregation`] (what is needed for which calls), [`accumulators`] (how a batch goes through), then one accumulator per file.

pub mod accumulators;
pub mod aggregation;
mod boolean;
mod count;
mod distinct;
mod exact;
mod extreme;
mod float;
mod intervals;
mod moments;
mod ordered;
mod rows;
mod store_keys;
mod sum;
mod value;

pub use accumulators::Accumulators;
pub use aggregation::Aggregation;

/// Keys of groups, as the operator holds them.
pub trait GroupKeys {
    /// Appends what stands behind the state's number in the store key of a group: its virtual node (one byte), then the
    /// encoded key. No group's encoded key may be the beginning of another's.
    fn append_key(&self, group: u32, out: &mut Vec<u8>);
}

#[cfg(test)]
mod tests;
