//! Orders and the payments for them: one order an event, a few of them out of order; 19 of 20 are paid within a minute.

use arrow::array::{ArrayRef, Decimal128Array, Int32Array, Int64Array, TimestampMicrosecondArray};
use catalog::SqlType;

use super::random::{Draw, Pool, array, below};
use super::{Rows, Table};
use crate::options::{GeneratorOptions, OrdersTable};

/// Of so many orders in a row, one is never paid.
const BLOCK: u64 = 20;
/// The longest that an order is behind its time.
const LATE_US: u64 = 3_000_000;
/// One of so many orders is behind its time.
const LATE_EVERY: u64 = 20;
/// A payment follows within this time.
const PAID_WITHIN_US: u64 = 60_000_000;

const PRODUCTS: [&str; 12] =
    ["apples", "bread", "butter", "cheese", "chocolate", "coffee", "eggs", "milk", "olive oil", "pasta", "rice", "tea"];
const METHODS: [&str; 4] = ["card", "cash", "invoice", "transfer"];

pub(crate) fn table(table: OrdersTable, options: &GeneratorOptions) -> Box<dyn Table> {
    let orders = Orders::new(options);
    match table {
        OrdersTable::Orders => Box::new(orders),
        OrdersTable::Payments => Box::new(Payments::new(orders, options)),
    }
}

struct Orders {
    columns: Vec<(&'static str, SqlType)>,
    seed: u64,
    base_us: i64,
    delay_us: u64,
    customers: u64,
    /// Names of the first customers; there may be too many for a pool.
    names: Option<Pool>,
    products: Pool,
}

impl Orders {
    fn new(options: &GeneratorOptions) -> Self {
        let columns = vec![
            ("order_id", SqlType::BigInt),
            ("customer", SqlType::Text),
            ("product", SqlType::Text),
            ("quantity", SqlType::Integer),
            ("amount", SqlType::Numeric(Some((12, 2)))),
            ("ordered_at", SqlType::Timestamptz),
        ];
        Self {
            columns,
            seed: options.seed,
            base_us: options.base_us,
            delay_us: options.delay_us,
            customers: options.keys,
            names: (options.keys <= 1 << 20).then(|| Pool::new((0..options.keys).map(customer_name))),
            products: Pool::new(PRODUCTS),
        }
    }

    fn draw(&self, purpose: u64) -> Draw {
        Draw::new(self.seed, 1 << 40 | purpose)
    }

    /// Some customers order much more than others: the square of a uniform number.
    fn customer(&self, bits: u64) -> u64 {
        below(bits, self.customers).min(below(bits.rotate_left(32), self.customers))
    }

    fn quantity(&self, order: u64) -> i64 {
        1 + below(self.draw(3).bits(order), 9) as i64
    }

    fn cents(&self, order: u64) -> i128 {
        let each = 50 + below(self.draw(4).bits(order), 9_950) as i64;
        i128::from(each * self.quantity(order))
    }

    fn time_us(&self, order: u64) -> i64 {
        let bits = self.draw(5).bits(order);
        let behind = if bits & 0xFFFF < 0x10000 / LATE_EVERY { below(bits, LATE_US) } else { 0 };
        self.base_us + (order * self.delay_us) as i64 - behind as i64
    }
}

fn customer_name(customer: u64) -> String {
    format!("customer-{customer:04}")
}

fn amounts(values: impl Iterator<Item = i128>) -> ArrayRef {
    let values = Decimal128Array::from_iter_values(values).with_precision_and_scale(12, 2);
    array(values.expect("12 and 2 are a precision and scale"))
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    array(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

impl Table for Orders {
    fn columns(&self) -> &[(&'static str, SqlType)] {
        &self.columns
    }

    fn event(&self, row: u64) -> u64 {
        row
    }

    fn rows_before(&self, events: u64) -> u64 {
        events
    }

    fn column(&self, column: usize, rows: &Rows) -> ArrayRef {
        let draw = self.draw(column as u64);
        match column {
            0 => array(Int64Array::from_iter_values(rows.iter().map(|row| row as i64 + 1))),
            1 => match &self.names {
                Some(names) => names.gather(rows.iter().map(|row| self.customer(draw.bits(row)))),
                None => {
                    let names = rows.iter().map(|row| customer_name(self.customer(draw.bits(row))));
                    array(arrow::array::StringViewArray::from_iter_values(names))
                }
            },
            2 => self.products.gather(rows.iter().map(|row| below(draw.bits(row), self.products.len()))),
            3 => array(Int32Array::from_iter_values(rows.iter().map(|row| self.quantity(row) as i32))),
            4 => amounts(rows.iter().map(|row| self.cents(row))),
            _ => times(rows.iter().map(|row| self.time_us(row))),
        }
    }
}

struct Payments {
    columns: Vec<(&'static str, SqlType)>,
    orders: Orders,
    methods: Pool,
    unpaid: Draw,
}

impl Payments {
    fn new(orders: Orders, options: &GeneratorOptions) -> Self {
        let columns = vec![
            ("payment_id", SqlType::BigInt),
            ("order_id", SqlType::BigInt),
            ("method", SqlType::Text),
            ("amount", SqlType::Numeric(Some((12, 2)))),
            ("paid_at", SqlType::Timestamptz),
        ];
        Self { columns, orders, methods: Pool::new(METHODS), unpaid: Draw::new(options.seed, 2 << 40) }
    }

    /// The order that a payment is for: the one of its block that nobody pays is passed over.
    fn order(&self, row: u64) -> u64 {
        let (block, within) = (row / (BLOCK - 1), row % (BLOCK - 1));
        let unpaid = below(self.unpaid.bits(block), BLOCK);
        block * BLOCK + within + u64::from(within >= unpaid)
    }
}

impl Table for Payments {
    fn columns(&self) -> &[(&'static str, SqlType)] {
        &self.columns
    }

    fn event(&self, row: u64) -> u64 {
        self.order(row)
    }

    fn rows_before(&self, events: u64) -> u64 {
        let (block, within) = (events / BLOCK, events % BLOCK);
        let unpaid = below(self.unpaid.bits(block), BLOCK);
        block * (BLOCK - 1) + within - u64::from(within > unpaid)
    }

    fn column(&self, column: usize, rows: &Rows) -> ArrayRef {
        let draw = Draw::new(self.orders.seed, 3 << 40 | column as u64);
        match column {
            0 => array(Int64Array::from_iter_values(rows.iter().map(|row| row as i64 + 1))),
            1 => array(Int64Array::from_iter_values(rows.iter().map(|row| self.order(row) as i64 + 1))),
            2 => self.methods.gather(rows.iter().map(|row| below(draw.bits(row), self.methods.len()))),
            3 => amounts(rows.iter().map(|row| self.orders.cents(self.order(row)))),
            _ => times(
                rows.iter()
                    .map(|row| self.orders.time_us(self.order(row)) + 1 + below(draw.bits(row), PAID_WITHIN_US) as i64),
            ),
        }
    }
}
