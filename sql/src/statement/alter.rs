//! `ALTER kind [IF EXISTS] name …`: RENAME TO, SET SCHEMA, SWAP WITH, RENAME COLUMN, ADD and DROP COLUMN, AS query.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::columns::{self, ColumnDefinition, UnsupportedConstraint};
use super::drop::{DropKind, kind};
use super::query::{self, Query};
use crate::cursor::Cursor;
use crate::{Error, Result, Span};

/// ALTER.
#[derive(Clone, Debug, PartialEq)]
pub struct Alter {
    /// What is changed.
    pub kind: DropKind,
    /// IF EXISTS.
    pub if_exists: bool,
    /// Its name.
    pub name: ObjectName,
    /// How.
    pub action: AlterAction,
}

/// What ALTER does.
#[derive(Clone, Debug, PartialEq)]
pub enum AlterAction {
    /// RENAME TO name.
    Rename(Ident),
    /// SET SCHEMA name.
    SetSchema(Ident),
    /// SWAP WITH name: each gets the other's name.
    Swap(ObjectName),
    /// `RENAME [COLUMN] from TO to`.
    RenameColumn {
        /// The column.
        from: Ident,
        /// Its new name.
        to: Ident,
    },
    /// `ADD [COLUMN] …` and `DROP [COLUMN] …`, one or more.
    Columns(Vec<ColumnChange>),
    /// AS query: another definition of a materialized view.
    As(Box<Query>),
}

/// A part of ALTER TABLE.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnChange {
    /// `ADD [COLUMN] [IF NOT EXISTS] name type …`.
    Add {
        /// IF NOT EXISTS.
        if_not_exists: bool,
        /// The column.
        definition: Box<ColumnDefinition>,
        /// Constraints that are not done.
        unsupported: Vec<UnsupportedConstraint>,
    },
    /// `DROP [COLUMN] [IF EXISTS] name [CASCADE | RESTRICT]`.
    Drop {
        /// IF EXISTS.
        if_exists: bool,
        /// The column.
        name: Ident,
        /// CASCADE: with all that reads it.
        cascade: bool,
    },
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Alter> {
    let start = cursor.here();
    cursor.expect("ALTER")?;
    let kind = match kind(cursor) {
        Some(DropKind::Schema) => return Err(Error::unsupported("ALTER SCHEMA", start)),
        Some(kind) => kind,
        None => return Err(other_alter(cursor, start)),
    };
    let if_exists = cursor.if_exists();
    if kind == DropKind::Table {
        cursor.word("ONLY");
    }
    let name = cursor.name("a name")?;
    let action = action(cursor, kind)?;
    Ok(Alter { kind, if_exists, name, action })
}

fn action(cursor: &mut Cursor<'_>, kind: DropKind) -> Result<AlterAction> {
    if cursor.words(&["RENAME", "TO"]) {
        return Ok(AlterAction::Rename(cursor.ident("a new name")?));
    }
    if cursor.word("RENAME") {
        cursor.word("COLUMN");
        let from = cursor.ident("a column name")?;
        cursor.expect("TO")?;
        return Ok(AlterAction::RenameColumn { from, to: cursor.ident("a new name")? });
    }
    if cursor.words(&["SET", "SCHEMA"]) {
        return Ok(AlterAction::SetSchema(cursor.ident("a schema")?));
    }
    if cursor.words(&["SWAP", "WITH"]) {
        return Ok(AlterAction::Swap(cursor.name("a name")?));
    }
    if kind == DropKind::MaterializedView && cursor.word("AS") {
        return Ok(AlterAction::As(Box::new(query::parse(cursor)?)));
    }
    if kind == DropKind::Table && (cursor.peek_words(&["ADD"]) || cursor.peek_words(&["DROP"])) {
        let mut changes = vec![column_change(cursor)?];
        while cursor.token(&Token::Comma) {
            changes.push(column_change(cursor)?);
        }
        return Ok(AlterAction::Columns(changes));
    }
    let here = cursor.here();
    for words in [&["OWNER"][..], &["ADD"], &["DROP"], &["ALTER"], &["SET"], &["RESET"], &["ATTACH"], &["CLUSTER"]] {
        if cursor.peek_words(words) {
            return Err(Error::unsupported(&format!("ALTER {kind} … {}", words.join(" ")), here));
        }
    }
    Err(cursor.unexpected(match kind {
        DropKind::Table => "RENAME, SET SCHEMA, SWAP WITH, ADD COLUMN or DROP COLUMN",
        DropKind::MaterializedView => "AS, RENAME, SET SCHEMA or SWAP WITH",
        _ => "RENAME, SET SCHEMA or SWAP WITH",
    }))
}

fn column_change(cursor: &mut Cursor<'_>) -> Result<ColumnChange> {
    let here = cursor.here();
    if cursor.word("ADD") {
        if !cursor.word("COLUMN") {
            for constraint in ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE"] {
                if cursor.peek_words(&[constraint]) {
                    return Err(Error::unsupported("ALTER TABLE … ADD CONSTRAINT", here));
                }
            }
        }
        let if_not_exists = cursor.if_not_exists();
        let (definition, unsupported) = columns::parse_one(cursor)?;
        return Ok(ColumnChange::Add { if_not_exists, definition: Box::new(definition), unsupported });
    }
    if cursor.word("DROP") {
        if !cursor.word("COLUMN") && cursor.peek_words(&["CONSTRAINT"]) {
            return Err(Error::unsupported("ALTER TABLE … DROP CONSTRAINT", here));
        }
        let if_exists = cursor.if_exists();
        let name = cursor.ident("a column name")?;
        let cascade = cursor.one_of(&["CASCADE", "RESTRICT"]) == Some("CASCADE");
        return Ok(ColumnChange::Drop { if_exists, name, cascade });
    }
    Err(cursor.unexpected("ADD COLUMN or DROP COLUMN"))
}

/// What PostgreSQL alters and this dialect doesn't; else a syntax error.
fn other_alter(cursor: &Cursor<'_>, start: Span) -> Error {
    const KNOWN: &[&str] = &[
        "AGGREGATE",
        "COLLATION",
        "CONVERSION",
        "DATABASE",
        "DEFAULT",
        "DOMAIN",
        "EVENT",
        "EXTENSION",
        "FOREIGN",
        "FUNCTION",
        "GROUP",
        "LANGUAGE",
        "LARGE",
        "OPERATOR",
        "POLICY",
        "PROCEDURE",
        "PUBLICATION",
        "ROLE",
        "ROUTINE",
        "RULE",
        "SEQUENCE",
        "SERVER",
        "STATISTICS",
        "SUBSCRIPTION",
        "SYSTEM",
        "TABLESPACE",
        "TEXT",
        "TRIGGER",
        "TYPE",
        "USER",
    ];
    match KNOWN.iter().find(|word| cursor.peek_words(&[word])) {
        Some(word) => Error::unsupported(&format!("ALTER {word}"), start),
        None => cursor.unexpected("SOURCE, STREAM, TABLE, VIEW, MATERIALIZED VIEW, SINK or INDEX"),
    }
}
