//! `WITH (key = 'value', …)`, and RisingWave's trailing `FORMAT … ENCODE …`, which means two of those options.

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::cursor::Cursor;
use crate::{Error, Result, Span};

/// The options of a statement, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(pub Vec<WithOption>);

/// One `key = 'value'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithOption {
    /// In lower case unless it was quoted: `topic`, `kafka.linger.ms`.
    pub key: String,
    /// As written, without its quotes.
    pub value: String,
    /// Where the key stands.
    pub span: Span,
    /// Where the value stands.
    pub value_span: Span,
}

impl Options {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&WithOption> {
        self.0.iter().find(|option| option.key == key)
    }

    /// Takes an option out.
    pub fn take(&mut self, key: &str) -> Option<WithOption> {
        let at = self.0.iter().position(|option| option.key == key)?;
        Some(self.0.remove(at))
    }

    fn add(&mut self, option: WithOption) -> Result<()> {
        match self.get(&option.key) {
            None => self.0.push(option),
            Some(_) => return Err(Error::syntax(format!("option \"{}\" is given twice", option.key), option.span)),
        }
        Ok(())
    }
}

/// `WITH ( … )` and `FORMAT … ENCODE …`, in either order, each if it is there.
pub(crate) fn parse(cursor: &mut Cursor<'_>, options: &mut Options) -> Result<()> {
    loop {
        if cursor.peek_words(&["WITH"]) && !cursor.peek_words(&["WITH", "NO"]) && !cursor.peek_words(&["WITH", "DATA"])
        {
            cursor.expect("WITH")?;
            list(cursor, options)?;
        } else if cursor.peek_words(&["FORMAT"]) {
            format_encode(cursor, options)?;
        } else {
            return Ok(());
        }
    }
}

/// `( key = value, … )`.
pub(crate) fn list(cursor: &mut Cursor<'_>, options: &mut Options) -> Result<()> {
    cursor.expect_token(&Token::LParen)?;
    if cursor.token(&Token::RParen) {
        return Ok(());
    }
    loop {
        let span = cursor.here();
        let key = key(cursor)?;
        cursor.expect_token(&Token::Eq)?;
        let value_span = cursor.here();
        let value = value(cursor)?;
        options.add(WithOption { key, value, span, value_span })?;
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)
}

fn key(cursor: &mut Cursor<'_>) -> Result<String> {
    if let Token::SingleQuotedString(key) = cursor.peek() {
        let key = key.clone();
        cursor.next();
        return Ok(key);
    }
    let mut key = String::new();
    loop {
        let part = cursor.ident("an option's name")?;
        key.push_str(&if part.quote_style.is_some() { part.value } else { part.value.to_lowercase() });
        if !cursor.token(&Token::Period) {
            return Ok(key);
        }
        key.push('.');
    }
}

/// A string, a number or a bare word.
fn value(cursor: &mut Cursor<'_>) -> Result<String> {
    match cursor.peek().clone() {
        Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) | Token::DollarQuotedString(_) => {
            cursor.string("a value")
        }
        Token::Number(digits, _) => {
            cursor.next();
            Ok(digits)
        }
        Token::Minus => {
            cursor.next();
            match cursor.next() {
                Token::Number(digits, _) => Ok(format!("-{digits}")),
                _ => Err(cursor.unexpected("a number")),
            }
        }
        Token::Word(word) => {
            cursor.next();
            Ok(if word.quote_style.is_some() { word.value } else { word.value.to_lowercase() })
        }
        _ => Err(cursor.unexpected("a value in quotes")),
    }
}

fn format_encode(cursor: &mut Cursor<'_>, options: &mut Options) -> Result<()> {
    cursor.expect("FORMAT")?;
    let span = cursor.here();
    let envelope = cursor.ident("PLAIN, UPSERT or DEBEZIUM")?.value.to_lowercase();
    options.add(WithOption { key: "envelope".to_owned(), value: envelope, span, value_span: span })?;
    cursor.expect("ENCODE")?;
    let span = cursor.here();
    let format = cursor.ident("a format such as JSON")?.value.to_lowercase();
    options.add(WithOption { key: "format".to_owned(), value: format, span, value_span: span })?;
    if *cursor.peek() == Token::LParen {
        list(cursor, options)?;
    }
    Ok(())
}
