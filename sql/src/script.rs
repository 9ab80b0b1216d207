//! A text into statements.

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};

use crate::cursor::{Cursor, DIALECT, Lines};
use crate::position::position;
use crate::{Error, Position, Result, Span, Statement, statement};

/// The statements of a text, separated by semicolons. An empty statement is left out. One mistake anywhere, and there are none:
/// a script is read whole before any of it is done.
pub fn parse(text: &str) -> Result<Vec<Statement>> {
    let lines = Lines::of(text);
    let tokens = tokens(text, &lines)?;
    let mut statements = Vec::new();
    for tokens in tokens.split(|token| token.token == Token::SemiColon) {
        if let Some(span) = span_of(tokens) {
            let mut cursor = Cursor::new(tokens, text, &lines);
            let kind = statement::parse(&mut cursor)?;
            cursor.expect_end()?;
            statements.push(Statement { kind, text: lines.slice(text, span).into(), span });
        }
    }
    Ok(statements)
}

/// The only statement of a text.
pub fn parse_one(text: &str) -> Result<Statement> {
    let mut statements = parse(text)?;
    match statements.len() {
        1 => Ok(statements.remove(0)),
        0 => Err(Error::syntax("syntax error at end of input", None)),
        _ => Err(Error::syntax("expected a single statement", statements[1].span)),
    }
}

/// An expression alone, as the catalog keeps the defaults of columns.
pub fn parse_expression(text: &str) -> Result<ast::Expr> {
    let lines = Lines::of(text);
    let tokens = tokens(text, &lines)?;
    let mut cursor = Cursor::new(&tokens, text, &lines);
    let (expression, _) = cursor.expression()?;
    cursor.expect_end()?;
    Ok(expression)
}

/// From the first token that is no blank or comment to the last; `None` if there is none.
fn span_of(tokens: &[TokenWithSpan]) -> Option<Span> {
    let mut solid = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
    let first = solid.next()?;
    let last = solid.next_back().unwrap_or(first);
    Some(Span { start: position(first.span.start)?, end: position(last.span.end)? })
}

fn tokens(text: &str, lines: &Lines) -> Result<Vec<TokenWithSpan>> {
    let mut tokenizer = Tokenizer::new(&DIALECT, text);
    let mut tokens = tokenizer.tokenize_with_location().map_err(|error| unreadable(&error, text, lines))?;
    tokens.retain(|token| token.token != Token::EOF);
    Ok(tokens)
}

/// PostgreSQL's words for a text that has no tokens.
fn unreadable(error: &TokenizerError, text: &str, lines: &Lines) -> Error {
    let start = position(error.location).unwrap_or(Position::START);
    let rest = &text[lines.offset(text, start)..];
    let near: String = rest.lines().next().unwrap_or_default().chars().take(40).collect();
    let what = match error.message.as_str() {
        "Unterminated string literal" => "unterminated quoted string",
        "Unterminated dollar-quoted string" => "unterminated dollar-quoted string",
        "Unterminated encoded string literal" => "unterminated quoted string",
        message if message.contains("multi-line comment") => "unterminated /* comment",
        message if message.starts_with("Expected close delimiter") => "unterminated quoted identifier",
        _ => "syntax error",
    };
    let message =
        if near.is_empty() { format!("{what} at end of input") } else { format!("{what} at or near \"{near}\"") };
    Error::syntax(message, Span::at(start))
}

#[cfg(test)]
mod tests;
