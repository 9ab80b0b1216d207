//! `EXPLAIN [ANALYZE] [(LOGICAL | PHYSICAL | INCREMENTAL | ANALYZE)] statement | [MATERIALIZED VIEW | STREAM] name`.

use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{Statement, StatementKind};
use crate::cursor::Cursor;
use crate::{Error, Result};

/// EXPLAIN.
#[derive(Clone, Debug, PartialEq)]
pub struct Explain {
    /// Which plan; `None`: the incremental one for what defines a view, the logical one for a query.
    pub kind: Option<ExplainKind>,
    /// ANALYZE: with what was measured.
    pub analyze: bool,
    /// What is explained.
    pub target: ExplainTarget,
}

/// Which plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainKind {
    /// DataFusion's logical plan.
    Logical,
    /// DataFusion's physical plan.
    Physical,
    /// The operators that keep a view up to date.
    Incremental,
}

/// What is explained.
#[derive(Clone, Debug, PartialEq)]
pub enum ExplainTarget {
    /// A statement: a query, or one that defines a view.
    Statement(Statement),
    /// A view or stream that exists.
    Name(ObjectName),
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Explain> {
    cursor.expect("EXPLAIN")?;
    let mut kind = None;
    let mut analyze = false;
    if *cursor.peek() == Token::LParen && !followed_by_query(cursor) {
        options(cursor, &mut kind, &mut analyze)?;
    } else {
        analyze = cursor.word("ANALYZE");
        cursor.word("VERBOSE");
        kind = word(cursor);
    }
    let target = target(cursor)?;
    Ok(Explain { kind, analyze, target })
}

fn followed_by_query(cursor: &Cursor<'_>) -> bool {
    ["SELECT", "VALUES", "WITH", "TABLE"].iter().any(|word| cursor.peek_second_is(word)) || cursor.peek_second_is("(")
}

fn word(cursor: &mut Cursor<'_>) -> Option<ExplainKind> {
    cursor.one_of(&["LOGICAL", "PHYSICAL", "INCREMENTAL"]).map(|word| match word {
        "LOGICAL" => ExplainKind::Logical,
        "PHYSICAL" => ExplainKind::Physical,
        _ => ExplainKind::Incremental,
    })
}

fn options(cursor: &mut Cursor<'_>, kind: &mut Option<ExplainKind>, analyze: &mut bool) -> Result<()> {
    cursor.expect_token(&Token::LParen)?;
    loop {
        let span = cursor.here();
        if let Some(found) = word(cursor) {
            *kind = Some(found);
        } else if cursor.word("ANALYZE") {
            *analyze = boolean(cursor);
        } else if cursor.one_of(&["VERBOSE", "COSTS", "TIMING", "SUMMARY", "BUFFERS", "SETTINGS"]).is_some() {
            boolean(cursor);
        } else if cursor.word("FORMAT") {
            if !cursor.word("TEXT") {
                return Err(Error::unsupported("EXPLAIN in another format than TEXT", span));
            }
        } else {
            return Err(cursor.unexpected("LOGICAL, PHYSICAL, INCREMENTAL or ANALYZE"));
        }
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)
}

fn boolean(cursor: &mut Cursor<'_>) -> bool {
    !matches!(cursor.one_of(&["TRUE", "ON", "FALSE", "OFF"]), Some("FALSE" | "OFF"))
}

fn target(cursor: &mut Cursor<'_>) -> Result<ExplainTarget> {
    let named = cursor.words(&["MATERIALIZED", "VIEW"]) || cursor.one_of(&["VIEW", "STREAM"]).is_some();
    let is_statement =
        ["SELECT", "VALUES", "WITH", "TABLE", "CREATE", "ALTER", "INSERT", "UPDATE", "DELETE", "SUBSCRIBE", "EXECUTE"]
            .iter()
            .any(|word| cursor.peek_words(&[word]));
    if named || (!is_statement && *cursor.peek() != Token::LParen) {
        return Ok(ExplainTarget::Name(cursor.name("a query, or the name of a view")?));
    }
    let (span, text) = cursor.rest();
    let kind = super::parse(cursor)?;
    match kind {
        StatementKind::Query(_)
        | StatementKind::Insert(_)
        | StatementKind::Update(_)
        | StatementKind::Delete(_)
        | StatementKind::Subscribe(_)
        | StatementKind::Alter(_)
        | StatementKind::CreateView(_)
        | StatementKind::CreateMaterializedView(_)
        | StatementKind::CreateStream(_) => {}
        other => return Err(Error::unsupported(&format!("EXPLAIN {other}"), span)),
    }
    Ok(ExplainTarget::Statement(Statement { kind, text: text.into(), span }))
}
