//! Text to statements with positions: the dialect, and nothing about what exists.
//!
//! First stage of the pipeline. What PostgreSQL has is parsed by sqlparser into its syntax tree; what this dialect adds
//! (sources, streams, sinks, watermarks, subscriptions) has a file of its own under [`statement`]. It knows no catalog and
//! performs no I/O.
//!
//! Reading order: [`position`], [`error`], [`script`] (a text into statements), [`cursor`] (tokens, and what is said when they are wrong),
//! [`statement`], [`walk`].

pub mod cursor;
pub mod cycle;
pub mod error;
mod exclusion;
mod fence;
mod keyword;
mod misread;
pub mod position;
mod print;
mod reword;
pub mod script;
pub mod statement;
pub mod walk;

pub use error::{Error, Result};
pub use position::{Position, Span};
pub use print::print;
pub use reword::{ROWS_FROM, VARIADIC};
pub use script::{parse, parse_expression, parse_one};
pub use statement::{Statement, StatementKind};

/// The syntax tree of everything that is PostgreSQL's.
pub use datafusion::sql::sqlparser::ast;
