//! The end: what was produced, held against what the views, the dead letters and the sink topic say.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use connectors::kafka::read::read_committed;
use engine::Session;

use super::display::milliseconds;
use super::facts::number;
use super::outside;
use super::probe::Latency;
use super::producer::Produced;
use crate::error::Failure;
use crate::script;

/// How long views and sink may take to catch up once the producer has stopped.
const PATIENCE: Duration = Duration::from_secs(30);

/// One thing that was compared.
struct Check {
    what: &'static str,
    expected: String,
    found: String,
}

/// All comparisons.
pub(crate) struct Verdict {
    checks: Vec<Check>,
    rows: u64,
    emitted: usize,
}

/// Customer, orders and revenue.
type Totals = BTreeMap<String, (String, String)>;

/// Waits until the views have seen everything, then compares.
pub(crate) async fn reach(
    session: &mut Session,
    produced: &Produced,
    brokers: &str,
    topic: &str,
) -> Result<Verdict, Failure> {
    let start = Instant::now();
    loop {
        let orders = number(session, "SELECT sum(orders) FROM top_customers").await?;
        let paid = number(session, "SELECT count(*) FROM paid_orders").await?;
        let dead = number(session, "SELECT count(*) FROM mr_catalog.dead_letters").await?;
        if (orders, paid, dead) == (produced.orders, produced.payments, produced.malformed)
            || start.elapsed() > PATIENCE
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let view = totals(session).await?;
    let (mut sink, mut emitted);
    loop {
        let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
        let records = tokio::task::spawn_blocking(move || read_committed(&brokers, &topic, PATIENCE)).await;
        let records =
            records.map_err(|error| Failure::Demo(format!("reading the sink topic: {error}")))?.map_err(outside)?;
        emitted = records.len();
        sink = Totals::new();
        for record in &records {
            apply(&mut sink, record.key.as_deref(), record.value.as_deref())?;
        }
        if sink == view || start.elapsed() > PATIENCE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let cents = produced.by_customer.values().map(|(_, cents)| cents).sum();
    let expected: Totals =
        produced.by_customer.iter().map(|(name, (n, cents))| (name.clone(), (n.to_string(), money(*cents)))).collect();
    let per_minute = "SELECT sum(orders) FROM revenue_per_minute";
    let revenue = script::rows(session, "SELECT sum(revenue) FROM revenue_per_minute").await?;
    let revenue = revenue.into_iter().flatten().next().unwrap_or_default();
    let check = |what, expected: String, found: String| Check { what, expected, found };
    let count = async |session: &mut Session, query| number(session, query).await.map(|n| n.to_string());
    let checks = vec![
        check("orders in revenue_per_minute", produced.orders.to_string(), count(session, per_minute).await?),
        check("revenue in revenue_per_minute", money(cents), revenue),
        check("customers whose totals differ", "0".to_owned(), differing(&expected, &view).to_string()),
        check(
            "rows in paid_orders",
            produced.payments.to_string(),
            count(session, "SELECT count(*) FROM paid_orders").await?,
        ),
        check(
            "dead letters",
            produced.malformed.to_string(),
            count(session, "SELECT count(*) FROM mr_catalog.dead_letters").await?,
        ),
        check("rows of the sink topic that differ from the view", "0".to_owned(), differing(&view, &sink).to_string()),
    ];
    let rows = count_rows(session).await?;
    Ok(Verdict { checks, rows, emitted })
}

/// Rows in all views.
async fn count_rows(session: &mut Session) -> Result<u64, Failure> {
    let mut rows = 0;
    for view in ["revenue_per_minute", "top_customers", "paid_orders"] {
        rows += number(session, &format!("SELECT count(*) FROM {view}")).await?;
    }
    Ok(rows)
}

async fn totals(session: &mut Session) -> Result<Totals, Failure> {
    let rows = script::rows(session, "SELECT customer, orders, revenue FROM top_customers").await?;
    Ok(rows.into_iter().filter_map(|row| <[String; 3]>::try_from(row).ok()).map(|[c, n, r]| (c, (n, r))).collect())
}

/// A record of the sink topic: the row of its key, or its end.
fn apply(sink: &mut Totals, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), Failure> {
    let broken = |error: serde_json::Error| Failure::Demo(format!("a record of the sink topic is no JSON: {error}"));
    let key: serde_json::Value = serde_json::from_slice(key.unwrap_or_default()).map_err(broken)?;
    let customer = key["customer"].as_str().or(key.as_str()).unwrap_or_default().to_owned();
    let Some(value) = value else {
        sink.remove(&customer);
        return Ok(());
    };
    let row: BTreeMap<String, Box<serde_json::value::RawValue>> = serde_json::from_slice(value).map_err(broken)?;
    let text = |name: &str| row.get(name).map(|raw| raw.get().trim_matches('"').to_owned()).unwrap_or_default();
    sink.insert(customer, (text("orders"), text("revenue")));
    Ok(())
}

/// Keys that are missing on one side or have another value there.
fn differing(left: &Totals, right: &Totals) -> usize {
    let missing = right.keys().filter(|key| !left.contains_key(*key)).count();
    missing + left.iter().filter(|(key, value)| right.get(*key) != Some(value)).count()
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

impl Verdict {
    /// Whether all of it adds up.
    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.expected == check.found)
    }

    pub(crate) fn print(&self, ran: Duration, produced: &Produced, latency: &Latency) {
        let events = produced.orders + produced.payments + produced.malformed;
        println!("ran              {:.1} s", ran.as_secs_f64());
        println!(
            "events in        {events} ({} orders, {} payments, {} malformed), {:.0}/s",
            produced.orders,
            produced.payments,
            produced.malformed,
            events as f64 / ran.as_secs_f64().max(0.001)
        );
        println!("rows out         {} in the views, {} records in the sink topic", self.rows, self.emitted);
        println!("dead letters     {}", produced.malformed);
        println!(
            "produce to query p50 {:.1} ms, p99 {:.1} ms ({} probes)",
            milliseconds(latency, 0.5),
            milliseconds(latency, 0.99),
            latency.len()
        );
        for Check { what, expected, found } in &self.checks {
            match expected == found {
                true => println!("ok     {what}: {found}"),
                false => println!("WRONG  {what}: {found}, but should be {expected}"),
            }
        }
        println!("{}", if self.holds() { "everything adds up" } else { "this does NOT add up" });
    }
}
