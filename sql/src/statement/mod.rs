//! The statements. What PostgreSQL's syntax tree can hold is kept as that; the rest has its own, one file per statement.

pub mod alter;
pub mod columns;
pub mod comment;
pub mod create_index;
pub mod create_schema;
pub mod create_sink;
pub mod create_source;
pub mod create_stream;
pub mod create_table;
pub mod create_view;
pub mod cursor;
pub mod describe;
pub mod drop;
pub mod explain;
pub mod options;
pub mod prepare;
pub mod query;
pub mod set;
pub mod show;
pub mod subscribe;
pub mod transaction;
pub mod truncate;

use std::fmt;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::cursor::Cursor;
use crate::misread;
use crate::{Error, Result, Span};

pub use alter::{Alter, AlterAction, ColumnChange};
pub use columns::{ColumnDefinition, Elements, IncludeClause, UnsupportedConstraint, WatermarkClause};
pub use comment::Comment;
pub use create_index::CreateIndex;
pub use create_schema::CreateSchema;
pub use create_sink::CreateSink;
pub use create_source::CreateSource;
pub use create_stream::CreateStream;
pub use create_table::CreateTable;
pub use create_view::{CreateMaterializedView, CreateView};
pub use cursor::{CloseCursor, DeclareCursor, Fetch};
pub use describe::Describe;
pub use drop::{Drop, DropKind};
pub use explain::{Explain, ExplainKind, ExplainTarget};
pub use options::{Options, WithOption};
pub use prepare::{Execute, Prepare};
pub use query::{Emit, Query};
pub use set::Set;
pub use show::{Show, ShowList};
pub use subscribe::{Subscribe, SubscribeTarget};
pub use transaction::{Modes, Transaction};
pub use truncate::Truncate;

/// A statement, with the text that it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// Its text, from its first word to its last.
    pub text: Arc<str>,
    /// Where that stands in the whole text. Positions inside the syntax tree are positions in the whole text as well.
    pub span: Span,
}

/// What a statement says.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    /// SELECT, VALUES, TABLE, WITH …, perhaps with EMIT CHANGES.
    Query(Box<Query>),
    /// INSERT.
    Insert(Box<ast::Insert>),
    /// UPDATE.
    Update(Box<ast::Update>),
    /// DELETE.
    Delete(Box<ast::Delete>),
    /// TRUNCATE.
    Truncate(Truncate),
    /// COPY: always [`ast::Statement::Copy`].
    Copy(Box<ast::Statement>),
    /// CREATE SCHEMA.
    CreateSchema(CreateSchema),
    /// CREATE SOURCE.
    CreateSource(Box<CreateSource>),
    /// CREATE STREAM.
    CreateStream(Box<CreateStream>),
    /// CREATE TABLE.
    CreateTable(Box<CreateTable>),
    /// CREATE VIEW.
    CreateView(Box<CreateView>),
    /// CREATE MATERIALIZED VIEW.
    CreateMaterializedView(Box<CreateMaterializedView>),
    /// CREATE SINK.
    CreateSink(Box<CreateSink>),
    /// CREATE INDEX.
    CreateIndex(Box<CreateIndex>),
    /// DROP.
    Drop(Drop),
    /// ALTER.
    Alter(Box<Alter>),
    /// COMMENT ON.
    Comment(Comment),
    /// SHOW.
    Show(Show),
    /// DESCRIBE.
    Describe(Describe),
    /// SUBSCRIBE.
    Subscribe(Box<Subscribe>),
    /// EXPLAIN.
    Explain(Box<Explain>),
    /// SET.
    Set(Set),
    /// RESET name; RESET ALL as `all`.
    Reset(String),
    /// BEGIN and its like.
    Transaction(Transaction),
    /// PREPARE.
    Prepare(Box<Prepare>),
    /// EXECUTE.
    Execute(Execute),
    /// DEALLOCATE; `None`: ALL.
    Deallocate(Option<ast::Ident>),
    /// DISCARD, with its one word in upper case.
    Discard(String),
    /// DECLARE … CURSOR.
    Declare(Box<DeclareCursor>),
    /// FETCH and MOVE.
    Fetch(Fetch),
    /// CLOSE.
    Close(CloseCursor),
}

impl StatementKind {
    /// The WITH list of a statement that makes something with a connector.
    pub fn options(&self) -> Option<&Options> {
        match self {
            Self::CreateSource(create) => Some(&create.options),
            Self::CreateStream(create) => Some(&create.options),
            Self::CreateTable(create) => Some(&create.options),
            Self::CreateSink(create) => Some(&create.options),
            _ => None,
        }
    }
}

/// The statement at the cursor; the caller checks that nothing follows.
pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<StatementKind> {
    let start = cursor.here();
    let Token::Word(first) = cursor.peek() else {
        if *cursor.peek() == Token::LParen {
            return query::parse(cursor).map(|query| StatementKind::Query(Box::new(query)));
        }
        return Err(cursor.unexpected("a statement"));
    };
    let first = first.value.to_uppercase();
    Ok(match first.as_str() {
        "SELECT" | "VALUES" | "TABLE" => StatementKind::Query(Box::new(query::parse(cursor)?)),
        "WITH" => with(query::parse(cursor)?, start)?,
        "INSERT" | "UPDATE" | "DELETE" => match cursor.with(Parser::parse_statement)? {
            ast::Statement::Insert(insert) => {
                misread::check(&insert, cursor)?;
                StatementKind::Insert(Box::new(insert))
            }
            ast::Statement::Update(update) => {
                misread::check(&update, cursor)?;
                StatementKind::Update(Box::new(update))
            }
            ast::Statement::Delete(delete) => {
                misread::check(&delete, cursor)?;
                StatementKind::Delete(Box::new(delete))
            }
            _ => return Err(Error::unsupported(&format!("this form of {first}"), start)),
        },
        "COPY" => match cursor.with(Parser::parse_statement)? {
            copy @ ast::Statement::Copy { .. } => StatementKind::Copy(Box::new(copy)),
            _ => return Err(Error::unsupported("this form of COPY", start)),
        },
        "TRUNCATE" => StatementKind::Truncate(truncate::parse(cursor)?),
        "CREATE" => create(cursor)?,
        "DROP" => StatementKind::Drop(drop::parse(cursor)?),
        "ALTER" => StatementKind::Alter(Box::new(alter::parse(cursor)?)),
        "COMMENT" => StatementKind::Comment(comment::parse(cursor)?),
        "SHOW" => StatementKind::Show(show::parse(cursor)?),
        "DESCRIBE" | "DESC" => StatementKind::Describe(describe::parse(cursor)?),
        "SUBSCRIBE" => StatementKind::Subscribe(Box::new(subscribe::parse(cursor)?)),
        "EXPLAIN" => StatementKind::Explain(Box::new(explain::parse(cursor)?)),
        "SET" => set::parse(cursor)?,
        "RESET" => set::parse_reset(cursor)?,
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT" | "RELEASE" => {
            StatementKind::Transaction(transaction::parse(cursor)?)
        }
        "PREPARE" => StatementKind::Prepare(Box::new(prepare::parse(cursor)?)),
        "EXECUTE" => StatementKind::Execute(prepare::parse_execute(cursor)?),
        "DEALLOCATE" => prepare::parse_deallocate(cursor)?,
        "DISCARD" => prepare::parse_discard(cursor)?,
        "DECLARE" => StatementKind::Declare(Box::new(cursor::parse_declare(cursor)?)),
        "FETCH" | "MOVE" => StatementKind::Fetch(cursor::parse_fetch(cursor)?),
        "CLOSE" => StatementKind::Close(cursor::parse_close(cursor)?),
        "ANALYZE" | "CALL" | "CLUSTER" | "DO" | "GRANT" | "IMPORT" | "LISTEN" | "LOAD" | "LOCK" | "MERGE"
        | "NOTIFY" | "REASSIGN" | "REFRESH" | "REINDEX" | "REVOKE" | "SECURITY" | "UNLISTEN" | "VACUUM" => {
            return Err(Error::unsupported(&first, start));
        }
        _ => return Err(cursor.unexpected("")),
    })
}

/// `WITH … INSERT` puts its queries before the INSERT's own source.
fn with(mut query: Query, start: Span) -> Result<StatementKind> {
    Ok(match *query.query.body {
        ast::SetExpr::Insert(ast::Statement::Insert(mut insert)) => {
            match &mut insert.source {
                Some(source) if source.with.is_none() => source.with = query.query.with.take(),
                _ => return Err(Error::unsupported("this form of WITH … INSERT", start)),
            }
            StatementKind::Insert(Box::new(insert))
        }
        ast::SetExpr::Update(_) => return Err(Error::unsupported("WITH … UPDATE", start)),
        ast::SetExpr::Delete(_) => return Err(Error::unsupported("WITH … DELETE", start)),
        ast::SetExpr::Merge(_) => return Err(Error::unsupported("MERGE", start)),
        _ => StatementKind::Query(Box::new(query)),
    })
}

fn create(cursor: &mut Cursor<'_>) -> Result<StatementKind> {
    let start = cursor.here();
    cursor.expect("CREATE")?;
    let or_replace = cursor.words(&["OR", "REPLACE"]);
    let kind = if cursor.word("SOURCE") {
        StatementKind::CreateSource(Box::new(create_source::parse(cursor)?))
    } else if cursor.word("STREAM") {
        StatementKind::CreateStream(Box::new(create_stream::parse(cursor)?))
    } else if cursor.word("TABLE") {
        StatementKind::CreateTable(Box::new(create_table::parse(cursor)?))
    } else if cursor.words(&["MATERIALIZED", "VIEW"]) {
        let create = create_view::parse_materialized(cursor, or_replace)?;
        return Ok(StatementKind::CreateMaterializedView(Box::new(create)));
    } else if cursor.word("VIEW") {
        return Ok(StatementKind::CreateView(Box::new(create_view::parse(cursor, or_replace)?)));
    } else if cursor.word("SINK") {
        StatementKind::CreateSink(Box::new(create_sink::parse(cursor)?))
    } else if cursor.peek_words(&["INDEX"]) || cursor.peek_words(&["UNIQUE", "INDEX"]) {
        StatementKind::CreateIndex(Box::new(create_index::parse(cursor)?))
    } else if cursor.word("SCHEMA") {
        StatementKind::CreateSchema(create_schema::parse(cursor)?)
    } else {
        return Err(other_create(cursor, start));
    };
    if or_replace {
        let span = Span { start: start.start, end: start.end };
        let what = kind.to_string();
        let advice = "Only views can be replaced; drop the object first.";
        return Err(
            Error::unsupported(&format!("CREATE OR REPLACE{}", &what["CREATE".len()..]), span).with_hint(advice)
        );
    }
    Ok(kind)
}

/// What PostgreSQL creates and this dialect doesn't; else a syntax error.
fn other_create(cursor: &Cursor<'_>, start: Span) -> Error {
    const KNOWN: &[&str] = &[
        "AGGREGATE",
        "CAST",
        "COLLATION",
        "CONVERSION",
        "DATABASE",
        "DOMAIN",
        "EVENT",
        "EXTENSION",
        "FOREIGN",
        "FUNCTION",
        "GROUP",
        "LANGUAGE",
        "OPERATOR",
        "POLICY",
        "PROCEDURE",
        "PUBLICATION",
        "ROLE",
        "RULE",
        "SEQUENCE",
        "SERVER",
        "STATISTICS",
        "SUBSCRIPTION",
        "TABLESPACE",
        "TEMP",
        "TEMPORARY",
        "TRIGGER",
        "TYPE",
        "UNLOGGED",
        "USER",
    ];
    match KNOWN.iter().find(|word| cursor.peek_words(&[word])) {
        Some(&"TEMP" | &"TEMPORARY") => Error::unsupported("CREATE TEMPORARY", start),
        Some(word) => Error::unsupported(&format!("CREATE {word}"), start),
        None => cursor.unexpected("SOURCE, STREAM, TABLE, VIEW, MATERIALIZED VIEW, SINK, INDEX or SCHEMA"),
    }
}

/// The words that name the kind of statement, as the command tag has them.
impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Query(_) => "SELECT",
            Self::Insert(_) => "INSERT",
            Self::Update(_) => "UPDATE",
            Self::Delete(_) => "DELETE",
            Self::Truncate(_) => "TRUNCATE TABLE",
            Self::Copy(_) => "COPY",
            Self::CreateSchema(_) => "CREATE SCHEMA",
            Self::CreateSource(_) => "CREATE SOURCE",
            Self::CreateStream(_) => "CREATE STREAM",
            Self::CreateTable(_) => "CREATE TABLE",
            Self::CreateView(_) => "CREATE VIEW",
            Self::CreateMaterializedView(_) => "CREATE MATERIALIZED VIEW",
            Self::CreateSink(_) => "CREATE SINK",
            Self::CreateIndex(_) => "CREATE INDEX",
            Self::Drop(drop) => return write!(f, "DROP {}", drop.kind),
            Self::Alter(alter) => return write!(f, "ALTER {}", alter.kind),
            Self::Comment(_) => "COMMENT",
            Self::Show(_) => "SHOW",
            Self::Describe(_) => "DESCRIBE",
            Self::Subscribe(_) => "SUBSCRIBE",
            Self::Explain(_) => "EXPLAIN",
            Self::Set(_) => "SET",
            Self::Reset(_) => "RESET",
            Self::Transaction(transaction) => transaction.tag(),
            Self::Prepare(_) => "PREPARE",
            Self::Execute(_) => "EXECUTE",
            Self::Deallocate(_) => "DEALLOCATE",
            Self::Discard(what) => return write!(f, "DISCARD {what}"),
            Self::Declare(_) => "DECLARE CURSOR",
            Self::Fetch(fetch) if fetch.move_only => "MOVE",
            Self::Fetch(_) => "FETCH",
            Self::Close(_) => "CLOSE CURSOR",
        })
    }
}
