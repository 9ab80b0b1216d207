//! Produces orders and payments: JSON, keyed, over four partitions, some late within bounds, some malformed.
//!
//! It keeps count of what it sent, so that the end can be held against it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use connectors::kafka::produce::{self, Record};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::{ORDERS, PARTITIONS, PAYMENTS, outside};
use crate::error::Failure;

/// One record in so many can't be decoded.
const MALFORMED_EVERY: u64 = 500;
/// Two orders of three are paid.
const PAID_OF_THREE: u64 = 2;
/// Event times lie up to so far back, less than the watermark's delay, so none of them is late.
const DISORDER_MS: u64 = 2_000;
const CUSTOMERS: u64 = 100;
/// Every so often the moment of a payment is handed to the probe.
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// Probes that wait; a slow prober misses some instead of measuring its own queue.
const WAITING_PROBES: usize = 1;
/// The producer works off its rate in steps of this length.
const STEP: Duration = Duration::from_millis(2);

const PRODUCTS: [&str; 8] = ["anvil", "bellows", "chisel", "drill", "easel", "file", "gimlet", "hammer"];
const METHODS: [&str; 3] = ["card", "transfer", "cash"];

/// What has been sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Produced {
    /// Orders that can be decoded.
    pub(crate) orders: u64,
    /// Payments that can be decoded.
    pub(crate) payments: u64,
    /// Records that can't.
    pub(crate) malformed: u64,
    /// Orders and their sum in cents, by customer.
    pub(crate) by_customer: BTreeMap<String, (u64, u64)>,
}

/// A payment that has just been sent.
pub(crate) struct Sent {
    /// Of which order.
    pub(crate) order_id: u64,
    /// When it was handed to the Kafka client.
    pub(crate) at: Instant,
}

/// The thread that produces.
pub(crate) struct Producer {
    stop: Arc<AtomicBool>,
    produced: Arc<Mutex<Produced>>,
    probes: Receiver<Sent>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Producer {
    /// Starts sending `rate` orders a second.
    pub(crate) fn start(brokers: &str, rate: u32) -> Result<Self, Failure> {
        let writer = produce::Producer::new(brokers).map_err(outside)?;
        let stop = Arc::new(AtomicBool::new(false));
        let produced = Arc::new(Mutex::new(Produced::default()));
        let (sender, probes) = bounded(WAITING_PROBES);
        let thread = std::thread::Builder::new().name("producer".to_owned()).spawn({
            let (stop, produced) = (stop.clone(), produced.clone());
            move || Run::new(&writer, &produced, &sender).until(&stop, rate)
        });
        let thread = thread.map_err(|source| Failure::Process { what: "starting a thread", source })?;
        Ok(Self { stop, produced, probes, thread })
    }

    /// What has been sent so far.
    pub(crate) fn produced(&self) -> Produced {
        self.produced.lock().clone()
    }

    /// Payments as they are sent.
    pub(crate) fn probes(&self) -> Receiver<Sent> {
        self.probes.clone()
    }

    /// Stops, and waits until the broker has everything.
    pub(crate) fn stop(self) -> Result<Produced, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure::Demo("the producer broke down".to_owned()))??;
        Ok(self.produced.lock().clone())
    }
}

/// The state of the producing thread.
struct Run<'a> {
    writer: &'a produce::Producer,
    produced: &'a Mutex<Produced>,
    probes: &'a Sender<Sent>,
    random: u64,
    next_order: u64,
    last_probe: Instant,
    text: String,
}

impl<'a> Run<'a> {
    fn new(writer: &'a produce::Producer, produced: &'a Mutex<Produced>, probes: &'a Sender<Sent>) -> Self {
        let text = String::with_capacity(256);
        Self { writer, produced, probes, random: 42, next_order: 0, last_probe: Instant::now(), text }
    }

    fn until(&mut self, stop: &AtomicBool, rate: u32) -> Result<(), Failure> {
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            while self.next_order < due && !stop.load(Ordering::Relaxed) {
                self.order()?;
            }
            std::thread::sleep(STEP);
        }
        self.writer.flush(Duration::from_secs(30)).map_err(outside)
    }

    /// One order, and most often its payment.
    fn order(&mut self) -> Result<(), Failure> {
        let id = self.next_order;
        self.next_order += 1;
        let now_ms = now_ms();
        // Few customers buy most: the smaller of two draws.
        let customer = self.below(CUSTOMERS).min(self.below(CUSTOMERS));
        let customer = format!("customer-{customer:03}");
        let partition = (id % PARTITIONS as u64) as i32;
        if self.below(MALFORMED_EVERY) == 0 {
            return self.malformed(partition, &customer);
        }
        let cents = 100 + self.below(20_000);
        let product = PRODUCTS[self.below(PRODUCTS.len() as u64) as usize];
        let ordered_ms = now_ms - self.below(DISORDER_MS);
        self.text.clear();
        self.text.push_str(&format!(
            r#"{{"order_id":{id},"customer":"{customer}","product":"{product}","amount":{}.{:02},"ordered_at":{ordered_ms}}}"#,
            cents / 100,
            cents % 100
        ));
        self.send(ORDERS, partition, &customer)?;
        {
            let mut produced = self.produced.lock();
            produced.orders += 1;
            let (orders, total) = produced.by_customer.entry(customer).or_default();
            *orders += 1;
            *total += cents;
        }
        if self.below(3) < PAID_OF_THREE { self.payment(id, cents, now_ms) } else { Ok(()) }
    }

    fn payment(&mut self, id: u64, cents: u64, now_ms: u64) -> Result<(), Failure> {
        let method = METHODS[self.below(METHODS.len() as u64) as usize];
        self.text.clear();
        self.text.push_str(&format!(
            r#"{{"order_id":{id},"method":"{method}","paid":{}.{:02},"paid_at":{now_ms}}}"#,
            cents / 100,
            cents % 100
        ));
        self.send(PAYMENTS, (id % PARTITIONS as u64) as i32, &id.to_string())?;
        self.produced.lock().payments += 1;
        let at = Instant::now();
        if at - self.last_probe >= PROBE_EVERY {
            self.last_probe = at;
            // A full channel means that the probe is still waiting for an earlier one: this moment isn't measured.
            drop(self.probes.try_send(Sent { order_id: id, at }));
        }
        Ok(())
    }

    /// A record that ends in the middle, or whose amount is a word.
    fn malformed(&mut self, partition: i32, customer: &str) -> Result<(), Failure> {
        self.text.clear();
        let broken = match self.below(2) {
            0 => format!(r#"{{"order_id":1,"customer":"{customer}","amo"#),
            _ => format!(r#"{{"order_id":1,"customer":"{customer}","amount":"plenty"}}"#),
        };
        self.text.push_str(&broken);
        self.send(ORDERS, partition, customer)?;
        self.produced.lock().malformed += 1;
        Ok(())
    }

    fn send(&self, topic: &str, partition: i32, key: &str) -> Result<(), Failure> {
        let record = Record {
            key: Some(key.as_bytes()),
            value: Some(self.text.as_bytes()),
            partition: Some(partition),
            timestamp_ms: None,
        };
        self.writer.send(topic, record).map_err(outside)?;
        self.writer.poll();
        Ok(())
    }

    /// SplitMix64, below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
