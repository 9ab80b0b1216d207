//! `DROP kind [IF EXISTS] name, … [CASCADE | RESTRICT]`.

use std::fmt;

use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::cursor::Cursor;
use crate::{Error, Result};

/// DROP.
#[derive(Clone, Debug, PartialEq)]
pub struct Drop {
    /// What is dropped.
    pub kind: DropKind,
    /// IF EXISTS.
    pub if_exists: bool,
    /// Their names.
    pub names: Vec<ObjectName>,
    /// CASCADE: with all that depends on them.
    pub cascade: bool,
}

/// What DROP can drop, and ALTER change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropKind {
    /// A source.
    Source,
    /// A stream.
    Stream,
    /// A table.
    Table,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A sink.
    Sink,
    /// An index.
    Index,
    /// A schema.
    Schema,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Drop> {
    let start = cursor.here();
    cursor.expect("DROP")?;
    let kind = kind(cursor).ok_or_else(|| other_drop(cursor, start))?;
    cursor.word("CONCURRENTLY");
    let if_exists = cursor.if_exists();
    let mut names = vec![cursor.name("a name")?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.name("a name")?);
    }
    let cascade = cursor.one_of(&["CASCADE", "RESTRICT"]) == Some("CASCADE");
    Ok(Drop { kind, if_exists, names, cascade })
}

pub(super) fn kind(cursor: &mut Cursor<'_>) -> Option<DropKind> {
    if cursor.words(&["MATERIALIZED", "VIEW"]) {
        return Some(DropKind::MaterializedView);
    }
    Some(match cursor.one_of(&["SOURCE", "STREAM", "TABLE", "VIEW", "SINK", "INDEX", "SCHEMA"])? {
        "SOURCE" => DropKind::Source,
        "STREAM" => DropKind::Stream,
        "TABLE" => DropKind::Table,
        "VIEW" => DropKind::View,
        "SINK" => DropKind::Sink,
        "INDEX" => DropKind::Index,
        _ => DropKind::Schema,
    })
}

fn other_drop(cursor: &Cursor<'_>, start: crate::Span) -> Error {
    const KNOWN: &[&str] = &[
        "DATABASE",
        "EXTENSION",
        "FUNCTION",
        "OWNED",
        "PROCEDURE",
        "PUBLICATION",
        "ROLE",
        "SEQUENCE",
        "TRIGGER",
        "TYPE",
        "USER",
    ];
    match KNOWN.iter().find(|word| cursor.peek_words(&[word])) {
        Some(word) => Error::unsupported(&format!("DROP {word}"), start),
        None => cursor.unexpected("SOURCE, STREAM, TABLE, VIEW, MATERIALIZED VIEW, SINK, INDEX or SCHEMA"),
    }
}

impl fmt::Display for DropKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "SOURCE",
            Self::Stream => "STREAM",
            Self::Table => "TABLE",
            Self::View => "VIEW",
            Self::MaterializedView => "MATERIALIZED VIEW",
            Self::Sink => "SINK",
            Self::Index => "INDEX",
            Self::Schema => "SCHEMA",
        })
    }
}
