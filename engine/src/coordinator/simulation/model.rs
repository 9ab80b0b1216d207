//! What must be true: an account of each epoch kept beside the engine, from the topic and the clients' writes alone.
//!
//! Nothing here knows operators, deltas or states: a view is what its query says, computed from scratch or counted up record by record.

use std::collections::BTreeMap;

use catalog::{Catalog, ObjectKind};
use connectors::Positions;

use super::rows::Bag;
use super::topic::{PARTITIONS, Topic};

/// The delay of the source's watermark, microseconds.
const DELAY_US: i64 = 2_000_000;
/// The size of windows, microseconds.
const WINDOW_US: i64 = 5_000_000;
/// How long the rows of `recent` stay, microseconds.
const RETENTION_US: i64 = 8_000_000;
/// How long the rows of `lately` stay, microseconds.
const LATELY_US: i64 = 6_000_000;
/// For how long `busy` knows keys that nothing comes for, microseconds; it may be up to an eighth longer.
const TTL_US: i64 = 1_000_000;

/// What the engine is told to make, in this order.
pub(super) const DEFINITIONS: [(&str, &str); 13] = [
    (
        "events",
        "CREATE SOURCE events (k bigint, v bigint, at timestamptz, WATERMARK FOR at AS at - INTERVAL '2 seconds')
           WITH (connector = 'simulated', idle_timeout = 'off')",
    ),
    ("ledger", "CREATE TABLE ledger (id bigint PRIMARY KEY, k bigint, v bigint)"),
    (
        "by_k",
        "CREATE MATERIALIZED VIEW by_k AS
           SELECT k, count(*) AS n, sum(v)::bigint AS total, min(v) AS least, max(v) AS most FROM events GROUP BY k",
    ),
    (
        "of_by_k",
        "CREATE MATERIALIZED VIEW of_by_k AS
           SELECT n % 3 AS r, count(*) AS ks, sum(total)::bigint AS total FROM by_k GROUP BY n % 3",
    ),
    ("joined", "CREATE MATERIALIZED VIEW joined AS SELECT l.id, l.v, b.n FROM ledger l JOIN by_k b ON b.k = l.k"),
    ("log", "CREATE MATERIALIZED VIEW log AS SELECT k, v, at FROM events WHERE v >= 50"),
    (
        "closed",
        "CREATE MATERIALIZED VIEW closed AS SELECT window_start, count(*) AS n
           FROM TUMBLE(events, at, INTERVAL '5 seconds') GROUP BY window_start EMIT ON WINDOW CLOSE",
    ),
    (
        "ledger_by_k",
        "CREATE MATERIALIZED VIEW ledger_by_k AS SELECT k, count(*) AS n, sum(v)::bigint AS total FROM ledger GROUP BY k",
    ),
    (
        "recent",
        "CREATE MATERIALIZED VIEW recent WITH (retention = '8 seconds') AS SELECT k, v, at FROM events WHERE v < 40",
    ),
    (
        "busy",
        "CREATE MATERIALIZED VIEW busy WITH (state_ttl = '1 second') AS SELECT k, count(*) AS n FROM events GROUP BY k",
    ),
    (
        "lately",
        "CREATE MATERIALIZED VIEW lately AS SELECT k, v, at FROM events
           WHERE v >= 20 AND at <= now() AND at > now() - INTERVAL '6 seconds'",
    ),
    ("by_k_out", "CREATE SINK by_k_out FROM by_k WITH (connector = 'simulated')"),
    ("ledger_out", "CREATE SINK ledger_out FROM ledger_by_k WITH (connector = 'simulated')"),
];

/// What comes and goes while it runs.
pub(super) const PASSING: [(&str, &str); 4] = [
    (
        "both",
        "CREATE MATERIALIZED VIEW both AS SELECT e.k, count(*) AS n, sum(l.v)::bigint AS total
           FROM events e JOIN ledger l ON l.k = e.k GROUP BY e.k",
    ),
    ("most", "CREATE MATERIALIZED VIEW most AS SELECT k, max(v) AS most, count(*) AS n FROM events GROUP BY k"),
    ("of_joined", "CREATE MATERIALIZED VIEW of_joined AS SELECT n, count(*) AS ids FROM joined GROUP BY n"),
    ("log_out", "CREATE SINK log_out FROM log WITH (connector = 'simulated')"),
];

/// The views that are checked.
pub(super) const VIEWS: [&str; 16] = [
    "by_k",
    "of_by_k",
    "joined",
    "log",
    "closed",
    "ledger_by_k",
    "ledger",
    "recent",
    "busy",
    "lately",
    "both",
    "most",
    "of_joined",
    CHANGING,
    "of_changing",
    BLOCK,
];

/// A view that gets one query after the other, and its other name.
pub(super) const CHANGING: &str = "changing";
pub(super) const CHANGED: &str = "changed";

/// A view that comes and goes in one transaction with a row of `ledger`.
pub(super) const BLOCK: &str = "block";
/// That row's id.
pub(super) const BLOCK_ID: i64 = 1_000;

/// What `changing` may be: a last column says which of them it is. Of some an operator is one of others, and goes on.
pub(super) const VARIANTS: [&str; 6] = [
    "SELECT k, count(*) AS n, 0::bigint AS variant FROM events GROUP BY k",
    "SELECT k, count(*) AS n, 1::bigint AS variant FROM events WHERE v >= 50 GROUP BY k",
    "SELECT k, sum(v)::bigint AS n, 2::bigint AS variant FROM ledger GROUP BY k",
    "SELECT k, count(*) AS n, 3::bigint AS variant FROM events GROUP BY k HAVING count(*) > 2",
    "SELECT l.k, count(*) AS n, 4::bigint AS variant FROM ledger l JOIN events e ON e.k = l.k GROUP BY l.k",
    "SELECT l.k, count(*) AS n, 5::bigint AS variant FROM ledger l JOIN events e ON e.k = l.k GROUP BY l.k HAVING count(*) > 3",
];

/// Which of [`VARIANTS`] the view is, if it is there.
pub(super) fn variant(catalog: &Catalog) -> Option<i64> {
    let named = |name: &str| catalog.find_in_path(&["public".to_owned()], name);
    let view = named(CHANGING).or_else(|| named(CHANGED))?;
    let ObjectKind::MaterializedView(view) = &view.kind else { return None };
    let query = view.query.to_lowercase();
    let found = (0..VARIANTS.len() as i64).find(|variant| query.contains(&format!("{variant}::bigint as variant")));
    Some(found.unwrap_or_else(|| panic!("{query} is none of the variants")))
}

/// The relation that a sink emits.
pub(super) fn emitted(sink: &str) -> Option<&'static str> {
    match sink {
        "by_k_out" => Some("by_k"),
        "ledger_out" => Some("ledger_by_k"),
        "log_out" => Some("log"),
        "changing_out" => Some(CHANGING),
        _ => None,
    }
}

/// A row of `ledger` but for its id.
pub(super) type LedgerRow = (i64, i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    n: i64,
    total: i64,
    least: i64,
    most: i64,
}

/// What is known of a key of `busy`: how many rows it has at least and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Busy {
    /// The epoch's timestamp when something came last, microseconds since 1970.
    last_us: i64,
    least: i64,
    most: i64,
}

/// Everything as of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// How far the topic has been read.
    pub(super) positions: Positions,
    pub(super) ledger: BTreeMap<i64, LedgerRow>,
    groups: BTreeMap<i64, Group>,
    /// The latest event time by partition.
    heard: BTreeMap<i32, i64>,
    pub(super) watermark: Option<i64>,
    /// Rows by the starts of their windows.
    open: BTreeMap<i64, i64>,
    closed: BTreeMap<i64, i64>,
    pub(super) late: u64,
    pub(super) rows: u64,
    pub(super) bad: u64,
    /// The epoch's timestamp, microseconds since 1970.
    timestamp_us: i64,
    busy: BTreeMap<i64, Busy>,
    /// Which of [`VARIANTS`] `changing` was.
    pub(super) variant: Option<i64>,
}

impl Moment {
    /// Before anything.
    pub(super) fn new() -> Self {
        Self { positions: (0..PARTITIONS).map(|p| (p, 0)).collect(), ..Self::default() }
    }

    /// What an epoch makes of it that reads the topic up to `until`, at `timestamp_us`.
    pub(super) fn read(&mut self, topic: Topic, until: &Positions, timestamp_us: i64) {
        let before_us = self.timestamp_us;
        assert!(timestamp_us >= before_us, "8: it was {before_us}, and is {timestamp_us}: time never goes back");
        self.timestamp_us = timestamp_us;
        let mut came: BTreeMap<i64, i64> = BTreeMap::new();
        let passed = self.watermark;
        for (&partition, &end) in until {
            let from = self.positions.insert(partition, end).unwrap_or(0);
            assert!(from <= end, "partition {partition} was read up to {from}, and now up to {end}");
            self.bad += topic.bad(partition, from, end).count() as u64;
            for row in topic.rows(partition, from, end) {
                self.rows += 1;
                *came.entry(row.k).or_default() += 1;
                let group = self.groups.entry(row.k).or_insert(Group { n: 0, total: 0, least: row.v, most: row.v });
                group.n += 1;
                group.total += row.v;
                group.least = group.least.min(row.v);
                group.most = group.most.max(row.v);
                let heard = self.heard.entry(partition).or_insert(row.at_us);
                *heard = (*heard).max(row.at_us);
                let window = row.at_us.div_euclid(WINDOW_US) * WINDOW_US;
                if passed.is_some_and(|passed| window + WINDOW_US <= passed) {
                    self.late += 1;
                } else {
                    *self.open.entry(window).or_default() += 1;
                }
            }
        }
        for (k, rows) in came {
            let known = Busy { last_us: timestamp_us, least: 0, most: 0 };
            let busy = self.busy.entry(k).or_insert(known);
            if timestamp_us - busy.last_us >= TTL_US {
                busy.least = 0;
            }
            *busy = Busy { last_us: timestamp_us, least: busy.least + rows, most: busy.most + rows };
        }
        self.busy.retain(|_, busy| timestamp_us - busy.last_us < TTL_US + TTL_US / 8);
        if self.heard.len() == PARTITIONS as usize {
            let least = self.heard.values().min().map(|least| least - DELAY_US);
            self.watermark = self.watermark.max(least);
        }
        if let Some(passed) = self.watermark {
            let over: Vec<i64> = self.open.keys().copied().filter(|window| window + WINDOW_US <= passed).collect();
            for window in over {
                let rows = self.open.remove(&window).unwrap_or(0);
                *self.closed.entry(window).or_default() += rows;
            }
        }
    }

    /// Whether `busy` may have these rows: how long keys are known is not exact.
    pub(super) fn may_be_busy(&self, found: &Bag) -> bool {
        let may_be = |k: i64, n: Option<i64>| match (self.busy.get(&k), n) {
            (Some(busy), Some(n)) => (busy.least..=busy.most).contains(&n),
            (Some(busy), None) => self.timestamp_us - busy.last_us >= TTL_US,
            (None, n) => n.is_none(),
        };
        let parsed = |row: &str| -> Option<(i64, i64)> {
            let (k, n) = row.split_once('|')?;
            Some((k.parse().ok()?, n.parse().ok()?))
        };
        let rows: BTreeMap<i64, i64> = found.keys().filter_map(|row| parsed(row)).collect();
        let each_once = rows.len() == found.len() && found.values().all(|weight| *weight == 1);
        each_once && rows.keys().chain(self.busy.keys()).all(|k| may_be(*k, rows.get(k).copied()))
    }

    /// The contents of a view; of `changing` those of its variant.
    pub(super) fn view(&self, name: &str, variant: Option<i64>, topic: Topic) -> Bag {
        let mut rows = Bag::new();
        let mut add = |row: String| *rows.entry(row).or_default() += 1;
        let n = |k: &i64| self.groups.get(k).map_or(0, |group| group.n);
        match name {
            "ledger" => self.ledger.iter().for_each(|(id, (k, v))| add(format!("{id}|{k}|{v}"))),
            "by_k" => {
                self.groups.iter().for_each(|(k, g)| add(format!("{k}|{}|{}|{}|{}", g.n, g.total, g.least, g.most)))
            }
            "most" => self.groups.iter().for_each(|(k, g)| add(format!("{k}|{}|{}", g.most, g.n))),
            "of_by_k" => {
                let mut sums: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
                for group in self.groups.values() {
                    let (ks, total) = sums.entry(group.n % 3).or_default();
                    *ks += 1;
                    *total += group.total;
                }
                sums.iter().for_each(|(r, (ks, total))| add(format!("{r}|{ks}|{total}")));
            }
            "joined" => self
                .ledger
                .iter()
                .filter(|(_, (k, _))| n(k) > 0)
                .for_each(|(id, (k, v))| add(format!("{id}|{v}|{}", n(k)))),
            "of_joined" => {
                let mut ids: BTreeMap<i64, i64> = BTreeMap::new();
                self.ledger.values().filter(|(k, _)| n(k) > 0).for_each(|(k, _)| *ids.entry(n(k)).or_default() += 1);
                ids.iter().for_each(|(n, ids)| add(format!("{n}|{ids}")));
            }
            "ledger_by_k" | "both" => {
                let mut sums: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
                for (k, v) in self.ledger.values() {
                    let (rows, total) = sums.entry(*k).or_default();
                    *rows += 1;
                    *total += v;
                }
                let times = |k: &i64| if name == "both" { n(k) } else { 1 };
                sums.iter()
                    .filter(|(k, _)| times(k) > 0)
                    .for_each(|(k, (rows, total))| add(format!("{k}|{}|{}", rows * times(k), total * times(k))));
            }
            "log" => {
                for (partition, end) in &self.positions {
                    let rows = topic.rows(*partition, 0, *end).filter(|row| row.v >= 50);
                    rows.for_each(|row| add(format!("{}|{}|{}", row.k, row.v, row.at_us)));
                }
            }
            "recent" => {
                let over = self.watermark.map(|watermark| watermark - RETENTION_US);
                for (partition, end) in &self.positions {
                    let rows = topic.rows(*partition, 0, *end).filter(|row| row.v < 40);
                    let rows = rows.filter(|row| over.is_none_or(|over| row.at_us > over));
                    rows.for_each(|row| add(format!("{}|{}|{}", row.k, row.v, row.at_us)));
                }
            }
            "lately" => {
                let now = self.timestamp_us;
                for (partition, end) in &self.positions {
                    let rows = topic.rows(*partition, 0, *end).filter(|row| row.v >= 20);
                    let rows = rows.filter(|row| row.at_us <= now && row.at_us > now - LATELY_US);
                    rows.for_each(|row| add(format!("{}|{}|{}", row.k, row.v, row.at_us)));
                }
            }
            CHANGING => self.changing(variant, topic).iter().for_each(|(k, n)| {
                add(format!("{k}|{n}|{}", variant.unwrap_or_default()));
            }),
            "of_changing" => {
                let all = self.changing(variant, topic);
                if !all.is_empty() {
                    add(format!("{}|{}", variant.unwrap_or_default(), all.values().sum::<i64>()));
                }
            }
            BLOCK => match self.ledger.len() {
                0 => add("0|NULL".to_owned()),
                n => add(format!("{n}|{}", self.ledger.values().map(|(_, v)| v).sum::<i64>())),
            },
            "closed" => self.closed.iter().for_each(|(window, n)| add(format!("{window}|{n}"))),
            _ => panic!("there is no view {name}"),
        }
        rows
    }

    fn changing(&self, variant: Option<i64>, topic: Topic) -> BTreeMap<i64, i64> {
        let mut rows: BTreeMap<i64, i64> = BTreeMap::new();
        match variant {
            Some(0) => rows.extend(self.groups.iter().map(|(k, group)| (*k, group.n))),
            Some(1) => {
                for (partition, end) in &self.positions {
                    let of_both = topic.rows(*partition, 0, *end).filter(|row| row.v >= 50);
                    of_both.for_each(|row| *rows.entry(row.k).or_default() += 1);
                }
            }
            Some(3) => rows.extend(self.groups.iter().filter(|(_, group)| group.n > 2).map(|(k, group)| (*k, group.n))),
            Some(both @ (4 | 5)) => {
                let n = |k: &i64| self.groups.get(k).map_or(0, |group| group.n);
                self.ledger.values().for_each(|(k, _)| *rows.entry(*k).or_default() += n(k));
                rows.retain(|_, n| *n > if both == 5 { 3 } else { 0 });
            }
            _ => self.ledger.values().for_each(|(k, v)| *rows.entry(*k).or_default() += v),
        }
        rows
    }

    /// Where records stand that could not be decoded.
    pub(super) fn dead_letters(&self, topic: Topic) -> Vec<(i32, i64)> {
        let of = |(partition, end): (&i32, &i64)| {
            let partition = *partition;
            topic.bad(partition, 0, *end).map(move |offset| (partition, offset)).collect::<Vec<_>>()
        };
        self.positions.iter().flat_map(of).collect()
    }
}
