//! What a person sees: on a terminal one screen that changes, elsewhere a line a second.

use std::io::{IsTerminal, Write, stdout};
use std::net::SocketAddr;
use std::time::Duration;

use super::facts::Facts;
use super::probe::Latency;
use super::producer::Produced;

/// Queries to try while it runs.
const QUERIES: [&str; 5] = [
    "SELECT * FROM top_customers ORDER BY revenue DESC LIMIT 10;",
    "SELECT * FROM paid_orders WHERE order_id = 1000;",
    "SUBSCRIBE TO top_customers;",
    "SELECT reason, payload FROM mr_catalog.dead_letters LIMIT 5;",
    "EXPLAIN ANALYZE MATERIALIZED VIEW revenue_per_minute;",
];

/// The screen, or the lines.
pub(crate) struct Display {
    live: bool,
    sql_addr: SocketAddr,
    http_addr: SocketAddr,
    brokers: String,
    /// Events sent and counted at the last look, and when that was, for rates.
    last: (Duration, u64, u64),
    drawn: bool,
}

impl Display {
    pub(crate) fn new(sql_addr: SocketAddr, http_addr: SocketAddr, brokers: &str) -> Self {
        let live = stdout().is_terminal();
        Self { live, sql_addr, http_addr, brokers: brokers.to_owned(), last: Default::default(), drawn: false }
    }

    /// Whether there is a terminal.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// How to join in.
    pub(crate) fn welcome(&self) {
        if !self.live {
            print!("{}", self.invitation());
        }
    }

    fn invitation(&self) -> String {
        let Self { sql_addr, http_addr, brokers, .. } = self;
        let mut text = format!(
            "psql:     psql -h {} -p {} -d millrace\nkafka:    kcat -b {brokers} -L\nmetrics:  curl http://{http_addr}/metrics\n",
            sql_addr.ip(),
            sql_addr.port()
        );
        for (i, query) in QUERIES.iter().enumerate() {
            text.push_str(&format!("{:<10}{query}\n", if i == 0 { "try:" } else { "" }));
        }
        text
    }

    /// Shows one look.
    pub(crate) fn show(&mut self, elapsed: Duration, produced: &Produced, facts: &Facts, latency: &Latency) {
        let sent = produced.orders + produced.payments + produced.malformed;
        let span = (elapsed - self.last.0).as_secs_f64().max(0.001);
        let sent_rate = (sent - self.last.1.min(sent)) as f64 / span;
        let counted_rate = (facts.orders - self.last.2.min(facts.orders)) as f64 / span;
        self.last = (elapsed, sent, facts.orders);
        let (p50, p99) = (milliseconds(latency, 0.5), milliseconds(latency, 0.99));
        if !self.live {
            println!(
                "{:>4}s  sent {sent} ({sent_rate:.0}/s)  orders counted {} ({counted_rate:.0}/s)  paid {}  lag {}  \
                 visible after p50 {p50:.1} ms, p99 {p99:.1} ms  dead letters {}  epoch {}",
                elapsed.as_secs(),
                facts.orders,
                facts.paid_orders,
                facts.lag,
                facts.dead_letters,
                facts.epoch
            );
            return;
        }
        let mut screen = String::new();
        // Home, then each line is cleared as it is written: no flicker.
        screen.push_str(if self.drawn { "\x1b[H" } else { "\x1b[2J\x1b[H" });
        self.drawn = true;
        let mut line = |text: &str| screen.push_str(&format!("{text}\x1b[K\n"));
        line("\x1b[1mMillrace\x1b[0m  Kafka \u{2192} incremental views \u{2192} SQL \u{2192} Kafka");
        line("");
        line(&format!("  running       {:>10} s", elapsed.as_secs()));
        line(&format!(
            "  sent          {sent:>10}    {sent_rate:>9.0}/s   orders, payments, {} malformed",
            produced.malformed
        ));
        line(&format!(
            "  orders seen   {:>10}    {counted_rate:>9.0}/s   in {} rows of windows",
            facts.orders, facts.revenue_rows
        ));
        line(&format!("  orders paid   {:>10}", facts.paid_orders));
        line(&format!("  lag           {:>10}    dead letters {}", facts.lag, facts.dead_letters));
        line(&format!(
            "  visible after {p50:>7.1} ms    p50, {p99:.1} ms p99, from produce to query (epoch {})",
            facts.epoch
        ));
        line("");
        line(&format!("  \x1b[1m{:<16}{:>10}{:>16}{:>16}\x1b[0m", "top customers", "orders", "revenue", "best minute"));
        for [customer, orders, revenue, best] in &facts.top {
            line(&format!("  {customer:<16}{orders:>10}{revenue:>16}{best:>16}"));
        }
        line("");
        for text in self.invitation().lines() {
            line(text);
        }
        line("");
        line("Ctrl-C ends it with a summary.");
        screen.push_str("\x1b[J");
        let mut out = stdout().lock();
        // A terminal that has gone away ends the demo by its signal, not by this.
        drop(out.write_all(screen.as_bytes()).and_then(|()| out.flush()));
    }

    /// Leaves the screen as it is and goes below it.
    pub(crate) fn finish(&self) {
        println!();
    }
}

/// A quantile in milliseconds.
pub(crate) fn milliseconds(latency: &Latency, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e3
}
