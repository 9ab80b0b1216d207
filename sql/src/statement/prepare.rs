//! `PREPARE`, `EXECUTE`, `DEALLOCATE`, `DISCARD`.

use datafusion::sql::sqlparser::ast::{DataType, Expr, Ident};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{Statement, StatementKind};
use crate::cursor::Cursor;
use crate::{Error, Result};

/// `PREPARE name [(types)] AS statement`.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepare {
    /// Its name.
    pub name: Ident,
    /// Types of the parameters, as far as they are said.
    pub types: Vec<DataType>,
    /// What is prepared.
    pub statement: Statement,
}

/// `EXECUTE name [(arguments)]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Execute {
    /// The prepared statement.
    pub name: Ident,
    /// Its arguments.
    pub arguments: Vec<Expr>,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Prepare> {
    let start = cursor.here();
    cursor.expect("PREPARE")?;
    if cursor.peek_words(&["TRANSACTION"]) {
        return Err(Error::unsupported("PREPARE TRANSACTION", start));
    }
    let name = cursor.ident("a name for the statement")?;
    let mut types = Vec::new();
    if cursor.token(&Token::LParen) {
        loop {
            types.push(cursor.with(Parser::parse_data_type)?);
            if !cursor.token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen)?;
    }
    cursor.expect("AS")?;
    let (span, text) = cursor.rest();
    let kind = super::parse(cursor)?;
    match kind {
        StatementKind::Query(_) | StatementKind::Insert(_) | StatementKind::Update(_) | StatementKind::Delete(_) => {}
        other => return Err(Error::syntax(format!("{other} can not be prepared"), span)),
    }
    Ok(Prepare { name, types, statement: Statement { kind, text: text.into(), span } })
}

pub(crate) fn parse_execute(cursor: &mut Cursor<'_>) -> Result<Execute> {
    cursor.expect("EXECUTE")?;
    let name = cursor.ident("the name of a prepared statement")?;
    let mut arguments = Vec::new();
    if cursor.token(&Token::LParen) && !cursor.token(&Token::RParen) {
        loop {
            arguments.push(cursor.expression()?.0);
            if !cursor.token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen)?;
    }
    Ok(Execute { name, arguments })
}

pub(crate) fn parse_deallocate(cursor: &mut Cursor<'_>) -> Result<StatementKind> {
    cursor.expect("DEALLOCATE")?;
    cursor.word("PREPARE");
    if cursor.word("ALL") {
        return Ok(StatementKind::Deallocate(None));
    }
    Ok(StatementKind::Deallocate(Some(cursor.ident("the name of a prepared statement, or ALL")?)))
}

pub(crate) fn parse_discard(cursor: &mut Cursor<'_>) -> Result<StatementKind> {
    cursor.expect("DISCARD")?;
    let words = ["ALL", "PLANS", "SEQUENCES", "TEMPORARY", "TEMP"];
    let word = cursor.one_of(&words).ok_or_else(|| cursor.unexpected("ALL, PLANS, SEQUENCES or TEMP"))?;
    Ok(StatementKind::Discard(if word == "TEMPORARY" { "TEMP" } else { word }.to_owned()))
}
