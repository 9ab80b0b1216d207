//! The auction benchmark: of 50 events the first is a person, the next three are auctions, the others bids. Distributions are those of
//! the public generators: half of the bids go to the hot auction (the first of the last hundred), three of four bids come from the hot
//! bidder and three of four auctions from the hot seller, prices spread evenly over six powers of ten, half of the bids come over
//! four hot channels and the rest over 10,000 others. Long texts come from pools, so that events cost little to make.

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use catalog::SqlType;

use super::random::{Draw, Pool, Prices, array, below, letters};
use super::{Rows, Table};
use crate::options::{GeneratorOptions, NexmarkTable};

const FIRST_ID: i64 = 1000;
const EVENTS_PER_ROUND: u64 = 50;
const AUCTIONS_PER_ROUND: u64 = 3;
const BIDS_PER_ROUND: u64 = 46;
/// The hot auction, bidder and seller change this often.
const HOT_EVERY: u64 = 100;
const AUCTIONS_IN_FLIGHT: u64 = 100;
const ACTIVE_PEOPLE: u64 = 1000;
/// How far ids run ahead of what exists.
const ID_LEAD: u64 = 10;
const CHANNELS: u64 = 10_000;
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
/// Texts in a pool.
const POOL: u64 = 16_384;

const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];

pub(crate) fn table(table: NexmarkTable, options: &GeneratorOptions) -> Box<dyn Table> {
    match table {
        NexmarkTable::Person => Box::new(Person::new(options)),
        NexmarkTable::Auction => Box::new(Auction::new(options)),
        NexmarkTable::Bid => Box::new(Bid::new(options)),
    }
}

/// What the three tables have in common.
struct Common {
    seed: u64,
    base_us: i64,
    delay_us: u64,
}

impl Common {
    fn new(options: &GeneratorOptions) -> Self {
        Self { seed: options.seed, base_us: options.base_us, delay_us: options.delay_us }
    }

    fn draw(&self, table: NexmarkTable, purpose: u64) -> Draw {
        Draw::new(self.seed, (table as u64 + 1) << 32 | purpose)
    }

    /// Event time, of millisecond precision.
    #[inline]
    fn time_us(&self, event: u64) -> i64 {
        self.base_us + (event * self.delay_us / 1000) as i64 * 1000
    }

    fn times(&self, table: &dyn Table, rows: &Rows) -> ArrayRef {
        array(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| self.time_us(table.event(row)))))
    }
}

/// Rows of a table with `per_round` rows at `first` of each round.
fn rows_before(events: u64, first: u64, per_round: u64) -> u64 {
    events / EVENTS_PER_ROUND * per_round + (events % EVENTS_PER_ROUND).saturating_sub(first).min(per_round)
}

/// A person among those active in this round, or a little ahead of them.
#[inline]
fn person(bits: u64, last_person: u64) -> u64 {
    let people = last_person + 1;
    let active = people.min(ACTIVE_PEOPLE);
    people - active + below(bits, active + ID_LEAD)
}

fn integers(values: impl Iterator<Item = i64>) -> ArrayRef {
    array(Int64Array::from_iter_values(values))
}

struct Person {
    common: Common,
    columns: Vec<(&'static str, SqlType)>,
    names: Pool,
    emails: Pool,
    cards: Pool,
    cities: Pool,
    states: Pool,
    extras: Pool,
}

impl Person {
    fn new(options: &GeneratorOptions) -> Self {
        let common = Common::new(options);
        let draw = |purpose| common.draw(NexmarkTable::Person, purpose);
        let (email, card) = (draw(100), draw(101));
        let four = |bits: u64| format!("{:04}", below(bits, 10_000));
        Self {
            names: Pool::new(
                FIRST_NAMES.iter().flat_map(|first| LAST_NAMES.iter().map(move |last| format!("{first} {last}"))),
            ),
            emails: Pool::new((0..POOL).map(|index| {
                let whole = letters(email, index, 12, 12, false);
                format!("{}@{}.com", &whole[..7], &whole[7..])
            })),
            cards: Pool::new((0..POOL).map(|index| {
                let [a, b, c, d] = [0, 1, 2, 3].map(|part| four(card.bits(index * 4 + part)));
                format!("{a} {b} {c} {d}")
            })),
            cities: Pool::new(CITIES),
            states: Pool::new(STATES),
            extras: Pool::letters(draw(102), POOL, 108, 162, false),
            columns: vec![
                ("id", SqlType::BigInt),
                ("name", SqlType::Text),
                ("emailAddress", SqlType::Text),
                ("creditCard", SqlType::Text),
                ("city", SqlType::Text),
                ("state", SqlType::Text),
                ("dateTime", SqlType::Timestamp),
                ("extra", SqlType::Text),
            ],
            common,
        }
    }
}

impl Table for Person {
    fn columns(&self) -> &[(&'static str, SqlType)] {
        &self.columns
    }

    fn event(&self, row: u64) -> u64 {
        row * EVENTS_PER_ROUND
    }

    fn rows_before(&self, events: u64) -> u64 {
        rows_before(events, 0, 1)
    }

    fn column(&self, column: usize, rows: &Rows) -> ArrayRef {
        let draw = self.common.draw(NexmarkTable::Person, column as u64);
        let gather = |pool: &Pool| pool.gather(rows.iter().map(|row| below(draw.bits(row), pool.len())));
        match column {
            0 => integers(rows.iter().map(|row| FIRST_ID + row as i64)),
            1 => gather(&self.names),
            2 => gather(&self.emails),
            3 => gather(&self.cards),
            4 => gather(&self.cities),
            5 => gather(&self.states),
            6 => self.common.times(self, rows),
            _ => gather(&self.extras),
        }
    }
}

struct Auction {
    common: Common,
    columns: Vec<(&'static str, SqlType)>,
    prices: Prices,
    names: Pool,
    descriptions: Pool,
    extras: Pool,
}

impl Auction {
    fn new(options: &GeneratorOptions) -> Self {
        let common = Common::new(options);
        let draw = |purpose| common.draw(NexmarkTable::Auction, purpose);
        Self {
            prices: Prices::new(),
            names: Pool::letters(draw(100), POOL, 3, 19, true),
            descriptions: Pool::letters(draw(101), POOL, 3, 99, true),
            extras: Pool::letters(draw(102), POOL, 312, 468, false),
            columns: vec![
                ("id", SqlType::BigInt),
                ("itemName", SqlType::Text),
                ("description", SqlType::Text),
                ("initialBid", SqlType::BigInt),
                ("reserve", SqlType::BigInt),
                ("dateTime", SqlType::Timestamp),
                ("expires", SqlType::Timestamp),
                ("seller", SqlType::BigInt),
                ("category", SqlType::BigInt),
                ("extra", SqlType::Text),
            ],
            common,
        }
    }
}

impl Table for Auction {
    fn columns(&self) -> &[(&'static str, SqlType)] {
        &self.columns
    }

    fn event(&self, row: u64) -> u64 {
        row / AUCTIONS_PER_ROUND * EVENTS_PER_ROUND + 1 + row % AUCTIONS_PER_ROUND
    }

    fn rows_before(&self, events: u64) -> u64 {
        rows_before(events, 1, AUCTIONS_PER_ROUND)
    }

    fn column(&self, column: usize, rows: &Rows) -> ArrayRef {
        let draw = self.common.draw(NexmarkTable::Auction, column as u64);
        let gather = |pool: &Pool| pool.gather(rows.iter().map(|row| below(draw.bits(row), pool.len())));
        match column {
            0 => integers(rows.iter().map(|row| FIRST_ID + row as i64)),
            1 => gather(&self.names),
            2 => gather(&self.descriptions),
            3 => integers(rows.iter().map(|row| self.prices.price(draw.bits(row)))),
            4 => {
                let first = self.common.draw(NexmarkTable::Auction, 3);
                integers(rows.iter().map(|row| self.prices.price(first.bits(row)) + self.prices.price(draw.bits(row))))
            }
            5 => self.common.times(self, rows),
            6 => {
                // It stays open for the time in which some hundred others open.
                let span = AUCTIONS_IN_FLIGHT * EVENTS_PER_ROUND / AUCTIONS_PER_ROUND * self.common.delay_us / 1000;
                array(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| {
                    let open_ms = 1 + below(draw.bits(row), (span * 2).max(1)) as i64;
                    self.common.time_us(self.event(row)) + open_ms * 1000
                })))
            }
            7 => integers(rows.iter().map(|row| {
                let (bits, last_person) = (draw.bits(row), row / AUCTIONS_PER_ROUND);
                FIRST_ID
                    + if bits & 3 > 0 { last_person / HOT_EVERY * HOT_EVERY } else { person(bits, last_person) } as i64
            })),
            8 => integers(rows.iter().map(|row| 10 + below(draw.bits(row), 5) as i64)),
            _ => gather(&self.extras),
        }
    }
}

struct Bid {
    common: Common,
    columns: Vec<(&'static str, SqlType)>,
    prices: Prices,
    /// The hot ones first.
    channels: Pool,
    urls: Pool,
    extras: Pool,
}

impl Bid {
    fn new(options: &GeneratorOptions) -> Self {
        let common = Common::new(options);
        let draw = |purpose| common.draw(NexmarkTable::Bid, purpose);
        let (address, numbered) = (draw(100), draw(101));
        let hot = HOT_CHANNELS.len() as u64;
        let url = |index: u64| {
            let path = letters(address, index, 15, 15, false);
            let mut url =
                format!("https://www.nexmark.com/{}/{}/{}/item.htm?query=1", &path[..5], &path[5..10], &path[10..]);
            if index >= hot && below(numbered.bits(index), 10) > 0 {
                let id = (((index - hot) as u32).reverse_bits() as i32).unsigned_abs();
                url.push_str(&format!("&channel_id={id}"));
            }
            url
        };
        let names = HOT_CHANNELS
            .iter()
            .map(|name| (*name).to_owned())
            .chain((0..CHANNELS).map(|channel| format!("channel-{channel}")));
        Self {
            prices: Prices::new(),
            channels: Pool::new(names),
            urls: Pool::new((0..hot + CHANNELS).map(url)),
            extras: Pool::letters(draw(102), POOL, 54, 82, false),
            columns: vec![
                ("auction", SqlType::BigInt),
                ("bidder", SqlType::BigInt),
                ("price", SqlType::BigInt),
                ("channel", SqlType::Text),
                ("url", SqlType::Text),
                ("dateTime", SqlType::Timestamp),
                ("extra", SqlType::Text),
            ],
            common,
        }
    }

    /// The channel of a bid; its url goes with it.
    #[inline]
    fn channel(bits: u64) -> u64 {
        let hot = HOT_CHANNELS.len() as u64;
        if bits & 1 > 0 { below(bits, hot) } else { hot + below(bits, CHANNELS) }
    }
}

impl Table for Bid {
    fn columns(&self) -> &[(&'static str, SqlType)] {
        &self.columns
    }

    fn event(&self, row: u64) -> u64 {
        row / BIDS_PER_ROUND * EVENTS_PER_ROUND + 4 + row % BIDS_PER_ROUND
    }

    fn rows_before(&self, events: u64) -> u64 {
        rows_before(events, 4, BIDS_PER_ROUND)
    }

    fn column(&self, column: usize, rows: &Rows) -> ArrayRef {
        let draw = self.common.draw(NexmarkTable::Bid, column as u64);
        match column {
            0 => integers(rows.iter().map(|row| {
                let bits = draw.bits(row);
                let last = row / BIDS_PER_ROUND * AUCTIONS_PER_ROUND + AUCTIONS_PER_ROUND - 1;
                let auction = if bits & 1 > 0 {
                    last / HOT_EVERY * HOT_EVERY
                } else {
                    let oldest = last.saturating_sub(AUCTIONS_IN_FLIGHT);
                    oldest + below(bits, last - oldest + 1 + ID_LEAD)
                };
                FIRST_ID + auction as i64
            })),
            1 => integers(rows.iter().map(|row| {
                let (bits, last_person) = (draw.bits(row), row / BIDS_PER_ROUND);
                FIRST_ID
                    + if bits & 3 > 0 { last_person / HOT_EVERY * HOT_EVERY + 1 } else { person(bits, last_person) }
                        as i64
            })),
            2 => integers(rows.iter().map(|row| self.prices.price(draw.bits(row)))),
            3 | 4 => {
                let draw = self.common.draw(NexmarkTable::Bid, 3);
                let pool = if column == 3 { &self.channels } else { &self.urls };
                pool.gather(rows.iter().map(|row| Self::channel(draw.bits(row))))
            }
            5 => self.common.times(self, rows),
            _ => self.extras.gather(rows.iter().map(|row| below(draw.bits(row), self.extras.len()))),
        }
    }
}
