//! `(column type …, PRIMARY KEY (…), WATERMARK FOR …)` of CREATE SOURCE, STREAM and TABLE, and `INCLUDE …` after it.

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::cursor::Cursor;
use crate::{Error, Result, Span};

/// What stands in the parentheses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Elements {
    /// The columns, in order.
    pub columns: Vec<ColumnDefinition>,
    /// `PRIMARY KEY (a, b)`, with where it stands; a column's own `PRIMARY KEY` is with the column.
    pub primary_key: Option<(Vec<ast::Ident>, Span)>,
    /// `WATERMARK FOR …`.
    pub watermark: Option<WatermarkClause>,
    /// Constraints that are not done; a statement that can't have them refuses them.
    pub unsupported: Vec<UnsupportedConstraint>,
}

/// A constraint that is read, so that the refusal can name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedConstraint {
    /// `CHECK`, `UNIQUE`, `FOREIGN KEY`, ….
    pub name: &'static str,
    /// Where.
    pub span: Span,
}

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: ast::Ident,
    /// Its type.
    pub data_type: ast::DataType,
    /// Where its type stands.
    pub type_span: Span,
    /// NOT NULL.
    pub not_null: bool,
    /// PRIMARY KEY.
    pub primary_key: bool,
    /// DEFAULT, with its text.
    pub default: Option<(ast::Expr, String)>,
}

/// `WATERMARK FOR column AS expression`.
#[derive(Clone, Debug, PartialEq)]
pub struct WatermarkClause {
    /// The event time.
    pub column: ast::Ident,
    /// The watermark, given the event time.
    pub expression: ast::Expr,
    /// Where the clause stands.
    pub span: Span,
}

/// `INCLUDE part [AS name]`.
#[derive(Clone, Debug, PartialEq)]
pub struct IncludeClause {
    /// `KEY`, `PARTITION`, `OFFSET`, `TIMESTAMP` or `HEADERS`.
    pub part: &'static str,
    /// The column's name; `None`: the part's, in lower case.
    pub name: Option<ast::Ident>,
    /// Where it stands.
    pub span: Span,
}

/// `( … )`.
pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Elements> {
    let mut elements = Elements::default();
    cursor.expect_token(&Token::LParen)?;
    if cursor.token(&Token::RParen) {
        return Ok(elements);
    }
    loop {
        element(cursor, &mut elements)?;
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    Ok(elements)
}

/// A column by itself, as ALTER TABLE … ADD COLUMN has it, and its constraints that are not done.
pub(crate) fn parse_one(cursor: &mut Cursor<'_>) -> Result<(ColumnDefinition, Vec<UnsupportedConstraint>)> {
    let mut elements = Elements::default();
    let column = column(cursor, &mut elements)?;
    Ok((column, elements.unsupported))
}

/// Whatever INCLUDE clauses there are.
pub(crate) fn parse_includes(cursor: &mut Cursor<'_>) -> Result<Vec<IncludeClause>> {
    let mut includes = Vec::new();
    loop {
        let span = cursor.here();
        if !cursor.word("INCLUDE") {
            return Ok(includes);
        }
        loop {
            let parts = ["KEY", "PARTITION", "OFFSET", "TIMESTAMP", "HEADERS"];
            let part = cursor
                .one_of(&parts)
                .ok_or_else(|| cursor.unexpected("KEY, PARTITION, OFFSET, TIMESTAMP or HEADERS"))?;
            let name = if cursor.word("AS") { Some(cursor.ident("a column name")?) } else { None };
            includes.push(IncludeClause { part, name, span });
            if !cursor.token(&Token::Comma) {
                break;
            }
            cursor.word("INCLUDE");
        }
    }
}

fn element(cursor: &mut Cursor<'_>, elements: &mut Elements) -> Result<()> {
    let span = cursor.here();
    if cursor.words(&["WATERMARK", "FOR"]) {
        let column = cursor.ident("a column name")?;
        cursor.expect("AS")?;
        let (expression, _) = cursor.expression()?;
        if elements.watermark.is_some() {
            return Err(Error::syntax("a source has one watermark", span));
        }
        elements.watermark = Some(WatermarkClause { column, expression, span });
        return Ok(());
    }
    if cursor.word("CONSTRAINT") {
        cursor.ident("a constraint's name")?;
        return if table_constraint(cursor, elements)? { Ok(()) } else { Err(cursor.unexpected("a constraint")) };
    }
    if table_constraint(cursor, elements)? {
        return Ok(());
    }
    let column = column(cursor, elements)?;
    elements.columns.push(column);
    Ok(())
}

/// A constraint of the whole table; `false` if none stands here.
fn table_constraint(cursor: &mut Cursor<'_>, elements: &mut Elements) -> Result<bool> {
    let span = cursor.here();
    if cursor.words(&["PRIMARY", "KEY"]) {
        let columns = cursor.ident_list("a column name")?;
        if elements.primary_key.is_some() {
            return Err(Error::syntax("multiple primary keys are not allowed", span));
        }
        elements.primary_key = Some((columns, span));
        not_enforced(cursor);
        return Ok(true);
    }
    let name = if cursor.peek_words(&["UNIQUE"]) {
        "UNIQUE"
    } else if cursor.peek_words(&["FOREIGN", "KEY"]) {
        "FOREIGN KEY"
    } else if cursor.peek_words(&["CHECK"]) {
        "CHECK"
    } else if cursor.peek_words(&["EXCLUDE"]) {
        "EXCLUDE"
    } else if cursor.peek_words(&["LIKE"]) {
        "LIKE"
    } else {
        return Ok(false);
    };
    elements.unsupported.push(UnsupportedConstraint { name, span });
    skip_element(cursor);
    Ok(true)
}

/// To the comma or parenthesis that ends an element.
fn skip_element(cursor: &mut Cursor<'_>) {
    let mut depth = 0;
    loop {
        match cursor.peek() {
            Token::EOF => return,
            Token::Comma | Token::RParen if depth == 0 => return,
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        cursor.next();
    }
}

/// RisingWave's and Flink's way to say that a key is only declared: it says nothing new here.
fn not_enforced(cursor: &mut Cursor<'_>) {
    cursor.words(&["NOT", "ENFORCED"]);
}

fn column(cursor: &mut Cursor<'_>, elements: &mut Elements) -> Result<ColumnDefinition> {
    let name = cursor.ident("a column name")?;
    let type_span = cursor.here();
    if !matches!(cursor.peek(), Token::Word(_)) {
        return Err(cursor.unexpected("a type"));
    }
    let data_type = cursor.with(Parser::parse_data_type)?;
    let mut column =
        ColumnDefinition { name, data_type, type_span, not_null: false, primary_key: false, default: None };
    loop {
        let span = cursor.here();
        if cursor.word("CONSTRAINT") {
            cursor.ident("a constraint's name")?;
        }
        if cursor.words(&["NOT", "NULL"]) {
            column.not_null = true;
        } else if cursor.word("NULL") {
            // It may be NULL, as any column that doesn't say otherwise.
        } else if cursor.words(&["PRIMARY", "KEY"]) {
            column.primary_key = true;
            not_enforced(cursor);
        } else if cursor.word("DEFAULT") {
            column.default = Some(cursor.expression()?);
        } else {
            let names = ["UNIQUE", "CHECK", "REFERENCES", "GENERATED", "COLLATE", "AS"];
            let Some(name) = cursor.one_of(&names) else { return Ok(column) };
            let name = match name {
                "REFERENCES" => "FOREIGN KEY",
                "AS" => "GENERATED",
                name => name,
            };
            elements.unsupported.push(UnsupportedConstraint { name, span });
            skip_element(cursor);
            return Ok(column);
        }
    }
}
