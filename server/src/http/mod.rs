//! HTTP: health for orchestrators, metrics for Prometheus, `/api/sql` for programs without a PostgreSQL driver.

mod health;
pub(crate) mod json;
pub(crate) mod metrics;
mod origin;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::server::{Shared, stopped};

/// The longest request body; a statement in JSON is far below it.
const MAX_BODY_BYTES: usize = 16 << 20;
/// Requests get this long when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// Histograms hold what was recorded since the last upkeep.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Serves until the server stops.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, stopping: watch::Receiver<bool>) {
    let sql = Router::new()
        .route("/api/sql", post(sql::run))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        // Of this route only: a path that isn't there is answered as such to everybody.
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), origin::refuse_strangers));
    let router = Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::scrape))
        .merge(sql)
        .with_state(shared);

    let mut upkeep_stops = stopping.clone();
    let upkeep = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tokio::select! {
                _ = ticks.tick() => metrics::upkeep(),
                () = stopped(&mut upkeep_stops) => break,
            }
        }
    });
    let mut graceful_stops = stopping.clone();
    let graceful = async move { stopped(&mut graceful_stops).await };
    let mut hard_stops = stopping;
    let hard = async move {
        stopped(&mut hard_stops).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(graceful) => {
            if let Err(error) = served {
                tracing::error!(%error, "HTTP has failed");
            }
        }
        () = hard => tracing::warn!("closing HTTP connections that did not end in time"),
    }
    upkeep.abort();
}
