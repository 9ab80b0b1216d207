//! `SET [SESSION | LOCAL] name = value`, the forms of SET with a syntax of their own, and `RESET`.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::StatementKind;
use super::transaction::{self, Transaction};
use crate::Result;
use crate::cursor::Cursor;

/// SET.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// The setting, in lower case.
    pub name: String,
    /// The value; members of a list are joined with `, `; `None`: DEFAULT.
    pub value: Option<String>,
    /// LOCAL: until the transaction ends.
    pub local: bool,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<StatementKind> {
    cursor.expect("SET")?;
    if cursor.words(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
        let modes = transaction::modes(cursor)?;
        return Ok(StatementKind::Transaction(Transaction::SetDefaults(modes)));
    }
    if cursor.words(&["SESSION", "AUTHORIZATION"]) {
        return value_only(cursor, "session_authorization", false);
    }
    let local = cursor.one_of(&["LOCAL", "SESSION"]) == Some("LOCAL");
    if cursor.word("TRANSACTION") {
        return Ok(StatementKind::Transaction(Transaction::SetModes(transaction::modes(cursor)?)));
    }
    if cursor.words(&["TIME", "ZONE"]) {
        if cursor.word("LOCAL") {
            return Ok(StatementKind::Set(Set { name: "timezone".to_owned(), value: None, local }));
        }
        if cursor.word("INTERVAL") {
            let value = Some(interval(cursor)?);
            return Ok(StatementKind::Set(Set { name: "timezone".to_owned(), value, local }));
        }
        return value_only(cursor, "timezone", local);
    }
    for (word, name) in [("NAMES", "client_encoding"), ("ROLE", "role"), ("SCHEMA", "search_path")] {
        if cursor.word(word) {
            return value_only(cursor, name, local);
        }
    }
    let name = name(cursor)?;
    if !cursor.token(&Token::Eq) {
        cursor.expect("TO")?;
    }
    let value = values(cursor)?;
    Ok(StatementKind::Set(Set { name, value, local }))
}

pub(crate) fn parse_reset(cursor: &mut Cursor<'_>) -> Result<StatementKind> {
    cursor.expect("RESET")?;
    if cursor.words(&["TIME", "ZONE"]) {
        return Ok(StatementKind::Reset("timezone".to_owned()));
    }
    if cursor.words(&["SESSION", "AUTHORIZATION"]) {
        return Ok(StatementKind::Reset("session_authorization".to_owned()));
    }
    Ok(StatementKind::Reset(name(cursor)?))
}

/// An interval behind its keyword, as one text: `INTERVAL '3 hour'` for `'3' HOUR`.
fn interval(cursor: &mut Cursor<'_>) -> Result<String> {
    const FIELDS: [&str; 6] = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"];
    let text = cursor.string("an interval")?;
    let field = cursor.one_of(&FIELDS);
    if field.is_some() && cursor.word("TO") && cursor.one_of(&FIELDS).is_none() {
        return Err(cursor.unexpected("a field of an interval"));
    }
    // Where the text is a bare number, the field says what it counts.
    Ok(match field.filter(|_| text.trim().parse::<f64>().is_ok()) {
        Some(field) => format!("INTERVAL '{text} {}'", field.to_lowercase()),
        None => format!("INTERVAL '{text}'"),
    })
}

fn value_only(cursor: &mut Cursor<'_>, name: &str, local: bool) -> Result<StatementKind> {
    let value = values(cursor)?;
    Ok(StatementKind::Set(Set { name: name.to_owned(), value, local }))
}

fn name(cursor: &mut Cursor<'_>) -> Result<String> {
    let mut name = cursor.ident("a setting")?.value.to_lowercase();
    while cursor.token(&Token::Period) {
        name = format!("{name}.{}", cursor.ident("a setting")?.value.to_lowercase());
    }
    Ok(name)
}

fn values(cursor: &mut Cursor<'_>) -> Result<Option<String>> {
    if cursor.word("DEFAULT") {
        return Ok(None);
    }
    let mut values = vec![value(cursor)?];
    while cursor.token(&Token::Comma) {
        values.push(value(cursor)?);
    }
    Ok(Some(values.join(", ")))
}

fn value(cursor: &mut Cursor<'_>) -> Result<String> {
    match cursor.peek().clone() {
        Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) | Token::DollarQuotedString(_) => {
            cursor.string("a value")
        }
        Token::Number(digits, _) => {
            cursor.next();
            Ok(digits)
        }
        sign @ (Token::Minus | Token::Plus) => {
            cursor.next();
            match cursor.next() {
                Token::Number(digits, _) if sign == Token::Minus => Ok(format!("-{digits}")),
                Token::Number(digits, _) => Ok(digits),
                _ => Err(cursor.unexpected("a number")),
            }
        }
        Token::Word(word) => {
            cursor.next();
            Ok(if word.quote_style.is_some() { word.value } else { word.value.to_lowercase() })
        }
        _ => Err(cursor.unexpected("a value")),
    }
}
