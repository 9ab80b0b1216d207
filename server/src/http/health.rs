//! `/health/live` and `/health/ready`, as orchestrators ask.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::server::Shared;

/// The process answers.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// The engine has recovered and takes statements.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    if shared.engine.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
