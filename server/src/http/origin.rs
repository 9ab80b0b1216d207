//! Keeps web pages out of `/api/sql`: a browser lets any page send requests to this machine.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::WireError;
use crate::http::sql::error_body;
use crate::server::Shared;

/// Refuses requests that a page of another origin may have sent: those with a foreign `Origin`, those without the content type that would
/// need a preflight (which is never granted), and, on a loopback address, those that came by a name that is not this machine's (DNS
/// rebinding).
pub(super) async fn refuse_strangers(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let loopback = shared.settings.http_addr.ip().to_canonical().is_loopback();
    match check(request.headers(), loopback) {
        Ok(()) => next.run(request).await,
        Err((status, message)) => (status, error_body(&WireError::new("42501", message))).into_response(),
    }
}

fn check(headers: &HeaderMap, loopback: bool) -> Result<(), (StatusCode, &'static str)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    if loopback && !is_this_machine(host) {
        return Err((StatusCode::FORBIDDEN, "requests must be addressed to localhost or a loopback address"));
    }
    if let Some(origin) = text(header::ORIGIN)
        && origin.strip_prefix("http://") != Some(host)
    {
        return Err((StatusCode::FORBIDDEN, "cross-origin requests are refused"));
    }
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type must be application/json"));
    }
    Ok(())
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(headers: &[(header::HeaderName, &'static str)], loopback: bool) -> Option<u16> {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), axum::http::HeaderValue::from_static(value))).collect();
        check(&headers, loopback).err().map(|(status, _)| status.as_u16())
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let json = (header::CONTENT_TYPE, "application/json; charset=utf-8");
        let host = (header::HOST, "localhost:6566");
        assert_eq!(status(&[json.clone(), host.clone()], true), None);
        assert_eq!(status(&[json.clone(), (header::HOST, "[::1]:6566")], true), None);
        assert_eq!(status(&[json.clone(), host.clone(), (header::ORIGIN, "http://localhost:6566")], true), None);
        assert_eq!(status(&[json.clone(), host.clone(), (header::ORIGIN, "http://evil.example")], true), Some(403));
        assert_eq!(status(&[json.clone(), host.clone(), (header::ORIGIN, "null")], true), Some(403));
        assert_eq!(status(&[json.clone(), (header::HOST, "evil.example")], true), Some(403));
        assert_eq!(status(&[json, (header::HOST, "db.example:6566")], false), None);
        assert_eq!(status(&[(header::CONTENT_TYPE, "text/plain"), host.clone()], true), Some(415));
        assert_eq!(status(&[host], true), Some(415));
    }
}
