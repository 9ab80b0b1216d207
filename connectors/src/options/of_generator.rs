//! Options of generators.

use std::collections::BTreeMap;

use super::{WithList, invalid};
use crate::error::Result;
use crate::formats::datetime;

/// What a generator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorKind {
    /// The auction benchmark's events.
    Nexmark(NexmarkTable),
    /// Orders and payments.
    Orders(OrdersTable),
    /// Numbers.
    Sequence,
}

/// A table of `kind = 'nexmark'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NexmarkTable {
    /// 1 of 50 events.
    Person,
    /// 3 of 50 events.
    Auction,
    /// 46 of 50 events.
    Bid,
}

/// A table of `kind = 'orders'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrdersTable {
    /// One order an event.
    Orders,
    /// A payment for most orders, a little later.
    Payments,
}

/// Options of a generator source.
#[derive(Clone, Debug)]
pub struct GeneratorOptions {
    /// `kind`: `nexmark`, `orders` or `sequence`; with `table` where there are several.
    pub kind: GeneratorKind,
    /// `events`: how many in all (for nexmark: over its three tables); none: without end.
    pub events: Option<u64>,
    /// `rate`: events per second (for nexmark: over its three tables); none: as fast as it is read.
    pub rate: Option<f64>,
    /// `seed`, default 42.
    pub seed: u64,
    /// `delay_us`: event time between two events; default 100, for orders 10,000.
    pub delay_us: u64,
    /// `base_time`: event time of the first event, in microseconds; default 2024-01-01 00:00:00 UTC.
    pub base_us: i64,
    /// `partitions`, default 1: lanes, dealt round-robin.
    pub partitions: i32,
    /// `keys`, default 1,000: customers of `orders`, distinct ids of `sequence`.
    pub keys: u64,
    /// `skew`, default 0: the exponent of a Zipf distribution of the ids of `sequence`; 0 is uniform.
    pub skew: f64,
}

impl GeneratorOptions {
    /// Every option by name.
    pub const NAMES: &'static [&'static str] =
        &["kind", "table", "events", "rate", "seed", "delay_us", "base_time", "partitions", "keys", "skew"];

    /// Reads the list.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let list = WithList::new("generator", options, Self::NAMES, false)?;
        list.required("kind")?;
        let kind = match list.choice("kind", &[("nexmark", 0), ("orders", 1), ("sequence", 2)], 0)? {
            0 => {
                list.required("table")?;
                let tables =
                    [("person", NexmarkTable::Person), ("auction", NexmarkTable::Auction), ("bid", NexmarkTable::Bid)];
                GeneratorKind::Nexmark(list.choice("table", &tables, NexmarkTable::Bid)?)
            }
            1 => {
                list.required("table")?;
                let tables = [("orders", OrdersTable::Orders), ("payments", OrdersTable::Payments)];
                GeneratorKind::Orders(list.choice("table", &tables, OrdersTable::Orders)?)
            }
            _ if list.get("table").is_some() => return Err(invalid("table", "kind 'sequence' has only one")),
            _ => GeneratorKind::Sequence,
        };
        if list.get("keys").is_some() && matches!(kind, GeneratorKind::Nexmark(_)) {
            return Err(invalid("keys", "it belongs to the kinds orders and sequence"));
        }
        if list.get("skew").is_some() && kind != GeneratorKind::Sequence {
            return Err(invalid("skew", "it belongs to the kind sequence"));
        }
        let base_us = match list.get("base_time") {
            None => 1_704_067_200_000_000,
            Some(text) => datetime::timestamp(text.trim().as_bytes(), datetime::Zone::Apply)
                .or_else(|| text.trim().parse::<i64>().ok()?.checked_mul(1000))
                .ok_or_else(|| {
                    invalid("base_time", format!("expected a timestamp or milliseconds since 1970, found '{text}'"))
                })?,
        };
        let delay = if matches!(kind, GeneratorKind::Orders(_)) { 10_000 } else { 100 };
        Ok(Self {
            kind,
            events: list.number("events", 0, u64::MAX >> 16)?,
            rate: list.number("rate", 0.001, 1e12)?,
            seed: list.number("seed", 0, u64::MAX)?.unwrap_or(42),
            delay_us: list.number("delay_us", 0, 1 << 40)?.unwrap_or(delay),
            base_us,
            partitions: list.number("partitions", 1, 1024)?.unwrap_or(1),
            keys: list.number("keys", 1, 1 << 40)?.unwrap_or(1000),
            skew: list.number("skew", 0.0, 8.0)?.unwrap_or(0.0),
        })
    }
}
