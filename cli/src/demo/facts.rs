//! What the engine says about itself, by SQL, as any client could ask.

use engine::Session;

use crate::error::Failure;
use crate::script;

/// One look at the views.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Orders that the views have counted.
    pub(crate) orders: u64,
    /// Rows of the joined view.
    pub(crate) paid_orders: u64,
    /// Rows of the windowed view.
    pub(crate) revenue_rows: u64,
    /// Records that wait in Kafka.
    pub(crate) lag: u64,
    /// Records that could not be decoded.
    pub(crate) dead_letters: u64,
    /// The epoch that all of this is from.
    pub(crate) epoch: u64,
    /// The first rows of `top_customers`.
    pub(crate) top: Vec<[String; 4]>,
}

/// Customers shown.
const TOP: usize = 8;

impl Facts {
    pub(crate) async fn ask(session: &mut Session) -> Result<Self, Failure> {
        let top = format!(
            "SELECT customer, orders, revenue, best_minute FROM top_customers ORDER BY revenue DESC, customer LIMIT {TOP}"
        );
        let top = script::rows(session, &top).await?;
        Ok(Self {
            orders: number(session, "SELECT sum(orders) FROM top_customers").await?,
            paid_orders: number(session, "SELECT rows FROM mr_catalog.views WHERE name = 'paid_orders'").await?,
            revenue_rows: number(session, "SELECT count(*) FROM revenue_per_minute").await?,
            lag: number(session, "SELECT sum(lag) FROM mr_catalog.source_partitions").await?,
            dead_letters: number(session, "SELECT count(*) FROM mr_catalog.dead_letters").await?,
            epoch: number(session, "SELECT max(epoch) FROM mr_catalog.views").await?,
            top: top.into_iter().filter_map(|row| row.try_into().ok()).collect(),
        })
    }
}

/// The one number that a query answers; 0 for NULL and for no row.
pub(crate) async fn number(session: &mut Session, query: &str) -> Result<u64, Failure> {
    let rows = script::rows(session, query).await?;
    Ok(rows.first().and_then(|row| row.first()).and_then(|text| text.parse().ok()).unwrap_or(0))
}
