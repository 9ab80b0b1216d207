//! `POST /api/sql`: one statement in JSON, its whole answer in JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use engine::{Cancel, Response, ResultColumn, Rows, Session, SessionParameters};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;

use super::json;
use crate::encode::{self, Column, Style};
use crate::error::WireError;
use crate::server::Shared;
use crate::sqlstate;

/// An answer is built in memory; a larger one is an error that says so.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Whom sessions of this door belong to.
const USER: &str = "millrace";

/// The request's body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    query: String,
}

/// Ends the statement when the client hangs up: the handler's future is dropped then.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs one statement in a session of its own.
pub(super) async fn run(State(shared): State<Arc<Shared>>, body: Bytes) -> HttpResponse {
    let request: Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            let message = format!("the body must be {{\"query\": \"…\"}}: {error}");
            return failure(&WireError::new(sqlstate::PROTOCOL_VIOLATION, message));
        }
    };
    let settings = BTreeMap::from([("application_name".to_owned(), "http".to_owned())]);
    let parameters = SessionParameters { user: USER.into(), database: USER.into(), settings };
    let session = match shared.engine.session(parameters) {
        Ok(session) => session,
        Err(error) => return failure(&WireError::of_engine(error, "")),
    };
    let _guard = CancelOnDrop(session.cancel_handle());
    // In a task of its own, so that a client that hangs up doesn't cut a commit short.
    match tokio::spawn(answer(session, request.query)).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Ok(Err(error)) => failure(&error),
        Err(error) => {
            tracing::error!(%error, "an HTTP statement's task panicked");
            failure(&WireError::new("XX000", "the statement ended in an internal error"))
        }
    }
}

async fn answer(mut session: Session, query: String) -> Result<String, WireError> {
    let failed = |error| WireError::of_engine(error, &query);
    let statements = session.parse(&query).map_err(failed)?;
    let [statement] = statements.as_slice() else {
        let message = format!("a request holds one statement, this one holds {}", statements.len());
        return Err(WireError::new(sqlstate::SYNTAX_ERROR, message));
    };
    match session.run(statement).await.map_err(failed)? {
        Response::Empty => Ok(document(&[], "[]", "")),
        Response::Done { tag } => Ok(document(&[], "[]", &tag)),
        Response::Rows(rows) if rows.live => {
            Err(WireError::new(sqlstate::FEATURE_NOT_SUPPORTED, "an answer without end is not supported over HTTP")
                .with_hint("connect with psql or a PostgreSQL driver"))
        }
        Response::Rows(rows) => {
            let style = Style::of(|name| session.setting(name));
            collect(rows, &session.cancel_handle(), &style, &query).await
        }
    }
}

async fn collect(mut rows: Rows, cancel: &Cancel, style: &Style, query: &str) -> Result<String, WireError> {
    let failed = |error| WireError::of_engine(error, query);
    let mut text = String::from("[");
    let mut count = 0;
    loop {
        let batch = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(WireError::new("57014", "canceling statement due to user request")),
            batch = rows.batches.next() => batch,
        };
        let Some(batch) = batch else { break };
        let batch = batch.map_err(failed)?;
        let arrays = encode::arrays(&batch, &rows.columns).map_err(failed)?;
        let columns = arrays
            .iter()
            .zip(rows.columns.iter())
            .map(|(array, column)| Column::new(array, &column.sql_type))
            .collect::<engine::Result<Vec<_>>>()
            .map_err(failed)?;
        for row in 0..batch.num_rows() {
            text.push_str(if count == 0 { "[" } else { ",[" });
            for (index, column) in columns.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                json::write(column, row, style, &mut text);
            }
            text.push(']');
            count += 1;
            if text.len() > MAX_ANSWER_BYTES {
                let message = format!("the answer is longer than {} MiB", MAX_ANSWER_BYTES >> 20);
                return Err(WireError::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, message)
                    .with_hint("add a LIMIT, or read it with psql or a PostgreSQL driver"));
            }
        }
    }
    text.push(']');
    let tag = match rows.tag.as_str() {
        tag @ ("SHOW" | "EXPLAIN") => tag.to_owned(),
        tag => format!("{tag} {count}"),
    };
    Ok(document(&rows.columns, &text, &tag))
}

fn document(columns: &[ResultColumn], rows: &str, tag: &str) -> String {
    let mut text = String::with_capacity(rows.len() + 64 * columns.len() + 64);
    text.push_str("{\"columns\":[");
    for (index, column) in columns.iter().enumerate() {
        text.push_str(if index == 0 { "{\"name\":" } else { ",{\"name\":" });
        json::string(&column.name, &mut text);
        text.push_str(",\"type\":");
        json::string(&column.sql_type.to_string(), &mut text);
        text.push('}');
    }
    text.push_str("],\"rows\":");
    text.push_str(rows);
    text.push_str(",\"tag\":");
    json::string(tag, &mut text);
    text.push_str("}\n");
    text
}

/// An error as JSON.
pub(super) fn error_body(error: &WireError) -> axum::Json<serde_json::Value> {
    axum::Json(json!({ "error": {
        "code": error.code,
        "message": error.message,
        "detail": error.detail,
        "hint": error.hint,
        "position": error.position,
    }}))
}

fn failure(error: &WireError) -> HttpResponse {
    (status(error.code), error_body(error)).into_response()
}

/// What HTTP calls a class of errors: the client's fault, a conflict, this server's lack of something.
fn status(code: &str) -> StatusCode {
    match code {
        "42P01" | "42704" | "3F000" => StatusCode::NOT_FOUND,
        "42501" => StatusCode::FORBIDDEN,
        "40001" | "23505" | "2BP01" | "42P07" | "42P06" => StatusCode::CONFLICT,
        "54000" => StatusCode::PAYLOAD_TOO_LARGE,
        "57014" => StatusCode::REQUEST_TIMEOUT,
        "0A000" => StatusCode::NOT_IMPLEMENTED,
        _ => match code.get(..2) {
            Some("XX") => StatusCode::INTERNAL_SERVER_ERROR,
            Some("53" | "55" | "57" | "58") => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_errors_have_a_status() {
        assert_eq!(status("42601"), StatusCode::BAD_REQUEST);
        assert_eq!(status("22012"), StatusCode::BAD_REQUEST);
        assert_eq!(status("42P01"), StatusCode::NOT_FOUND);
        assert_eq!(status("53100"), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status("XX000"), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn a_document_has_columns_rows_and_tag() {
        let column =
            ResultColumn { name: "a\"b".into(), sql_type: engine::SqlType::Numeric(Some((12, 2))), origin: None };
        assert_eq!(
            document(&[column], "[[\"1.50\"]]", "SELECT 1"),
            "{\"columns\":[{\"name\":\"a\\\"b\",\"type\":\"numeric(12,2)\"}],\"rows\":[[\"1.50\"]],\"tag\":\"SELECT 1\"}\n"
        );
    }
}
