//! The network face of an engine: PostgreSQL's wire protocol and HTTP.
//!
//! It stands behind `engine` and before `cli`, and is the only crate that knows pgwire and axum. It never sees storage, operators or
//! connectors: all it does with an engine goes through [`engine::Session`].
//!
//! Reading order: [`server`] (listening and stopping), `wire` (a PostgreSQL connection from start-up to its end), `encode` and
//! `decode` (values on the wire), [`sqlstate`] (the codes of errors), `http`.

mod decode;
mod encode;
mod error;
mod http;
pub mod server;
pub mod sqlstate;
pub mod text;
mod wire;

pub use error::{Error, Result};
pub use http::metrics::install as install_metrics;
pub use server::{Server, ServerSettings};
