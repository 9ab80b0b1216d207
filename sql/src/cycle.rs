//! `CYCLE` behind a common table expression, which sqlparser doesn't know, as marks among the names of its columns.
//!
//! `WITH RECURSIVE r (a, b) AS (…) CYCLE a SET c TO 'y' DEFAULT 'n' USING p` becomes `r (a, b, "!! cycle", a, "!! set", c, "!! to", "'y'", "!! default", "'n'", "!! using",
//! p) AS (…)`. [`split`] takes the names apart again.

use datafusion::sql::sqlparser::ast::{Ident, TableAlias, TableAliasColumnDef};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::Span;
use crate::fence::is;

/// CYCLE, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// By which columns rows are the same.
    pub columns: Vec<Ident>,
    /// The column that says whether a row closes a cycle.
    pub set: Ident,
    /// The literal that it has for such a row.
    pub to: Ident,
    /// The literal that it has for others.
    pub default: Ident,
    /// The column of the rows on the way.
    pub using: Ident,
    /// Where the clause begins.
    pub span: Option<Span>,
}

/// Takes CYCLE out of the names that a common table expression gives to its columns.
pub fn split(alias: &mut TableAlias) -> Option<Cycle> {
    let at = alias.columns.iter().position(|column| is_mark(&column.name, "cycle"))?;
    let mut marked = alias.columns.split_off(at).into_iter().map(|TableAliasColumnDef { name, .. }| name);
    let span = Span::of_parser(marked.next()?.span);
    let columns = marked.by_ref().take_while(|name| !is_mark(name, "set")).collect();
    let set = marked.next()?;
    let mut rest = marked.filter(|name| !["to", "default", "using"].iter().any(|word| is_mark(name, word)));
    Some(Cycle { columns, set, to: rest.next()?, default: rest.next()?, using: rest.next()?, span })
}

fn mark(word: &str) -> String {
    format!("!! {word}")
}

fn is_mark(name: &Ident, word: &str) -> bool {
    name.quote_style.is_some() && name.value == mark(word)
}

/// Rewrites the tokens of a statement; each keeps its place.
pub(crate) fn marked(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut from = 0;
    while let Some(at) = tokens[from..].iter().position(|token| is(token, "CYCLE")).map(|at| from + at) {
        from = at + 1;
        let Some((marks, end)) = clause(&tokens, at) else { continue };
        let Some(place) = columns_of(&tokens, at) else { continue };
        tokens.drain(at..end);
        let with_place = |token| TokenWithSpan { token, span: tokens[place.at].span };
        let mut added = Vec::with_capacity(2 * marks.len() + 2);
        for mark in marks {
            let comma = if added.is_empty() && !place.has_names { Token::LParen } else { Token::Comma };
            added.push(with_place(comma));
            added.push(mark);
        }
        if !place.has_names {
            added.push(with_place(Token::RParen));
        }
        tokens.splice(place.at..place.at, added);
    }
    tokens
}

/// The clause at a token as marks, and where it ends.
fn clause(tokens: &[TokenWithSpan], at: usize) -> Option<(Vec<TokenWithSpan>, usize)> {
    let mut rest = Rest { tokens, at };
    let mut marks = vec![rest.word("CYCLE")?];
    marks.push(rest.name()?);
    while rest.token(&Token::Comma) {
        marks.push(rest.name()?);
    }
    marks.push(rest.word("SET")?);
    marks.push(rest.name()?);
    let quoted = |text: &str, token: &TokenWithSpan| TokenWithSpan {
        token: Token::make_word(text, Some('"')),
        span: token.span,
    };
    match rest.word("TO") {
        Some(to) => {
            marks.push(to);
            marks.push(rest.literal()?);
            marks.push(rest.word("DEFAULT")?);
            marks.push(rest.literal()?);
        }
        None => {
            let set = marks.last()?.clone();
            let words = [mark("to"), "true".to_owned(), mark("default"), "false".to_owned()];
            marks.extend(words.iter().map(|text| quoted(text, &set)));
        }
    }
    marks.push(rest.word("USING")?);
    marks.push(rest.name()?);
    Some((marks, rest.at))
}

/// What is left to read.
struct Rest<'a> {
    tokens: &'a [TokenWithSpan],
    at: usize,
}

impl<'a> Rest<'a> {
    /// Takes the next token that isn't blank, if it is wanted.
    fn take(&mut self, is_wanted: impl Fn(&TokenWithSpan) -> bool) -> Option<&'a TokenWithSpan> {
        let at = (self.at..self.tokens.len()).find(|at| is_solid(&self.tokens[*at]))?;
        let token = self.tokens.get(at).filter(|token| is_wanted(token))?;
        self.at = at + 1;
        Some(token)
    }

    fn token(&mut self, wanted: &Token) -> bool {
        self.take(|token| token.token == *wanted).is_some()
    }

    /// A word of the clause, as a mark.
    fn word(&mut self, word: &str) -> Option<TokenWithSpan> {
        let token = self.take(|token| is(token, word))?;
        Some(TokenWithSpan { token: Token::make_word(&mark(&word.to_lowercase()), Some('"')), span: token.span })
    }

    fn name(&mut self) -> Option<TokenWithSpan> {
        self.take(|token| matches!(token.token, Token::Word(_))).cloned()
    }

    /// A literal, as a name of its text.
    fn literal(&mut self) -> Option<TokenWithSpan> {
        let is_literal = |token: &TokenWithSpan| match &token.token {
            Token::SingleQuotedString(_) | Token::Number(..) => true,
            _ => ["TRUE", "FALSE", "NULL"].iter().any(|word| is(token, word)),
        };
        let token = self.take(is_literal)?;
        let text = token.token.to_string();
        Some(TokenWithSpan { token: Token::make_word(&text, Some('"')), span: token.span })
    }
}

fn is_solid(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_))
}

/// Where names of columns can be added.
struct Names {
    at: usize,
    /// Whether there are some before, between parentheses.
    has_names: bool,
}

/// The names of the common table expression that ends before a token.
fn columns_of(tokens: &[TokenWithSpan], at: usize) -> Option<Names> {
    let mut before = (0..at).rev().filter(|at| is_solid(&tokens[*at])).peekable();
    let mut depth = 0;
    loop {
        match tokens[before.next()?].token {
            Token::RParen => depth += 1,
            Token::LParen => depth -= 1,
            _ if depth == 0 => return None,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    if before.next_if(|at| is(&tokens[*at], "MATERIALIZED")).is_some() {
        before.next_if(|at| is(&tokens[*at], "NOT"));
    }
    before.next_if(|at| is(&tokens[*at], "AS"))?;
    let last = before.next()?;
    match tokens[last].token {
        Token::RParen => Some(Names { at: last, has_names: true }),
        Token::Word(_) => Some(Names { at: last + 1, has_names: false }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_one;

    fn first_alias(text: &str) -> Option<TableAlias> {
        match parse_one(text).ok()?.kind {
            crate::StatementKind::Query(query) => Some(query.query.with?.cte_tables.into_iter().next()?.alias),
            _ => None,
        }
    }

    #[test]
    fn cycle_comes_back_from_the_names_of_columns() {
        let body = "AS (SELECT 1, 2 UNION ALL SELECT a, b FROM r) ";
        let split_of = |columns: &str, clause: &str| {
            let mut alias = first_alias(&format!("WITH RECURSIVE r{columns} {body}{clause} SELECT * FROM r"))?;
            let cycle = split(&mut alias)?;
            let words = [&cycle.set, &cycle.to, &cycle.default, &cycle.using].map(|word| word.value.clone());
            Some((alias.columns.len(), cycle.columns.len(), words))
        };
        let words = |words: [&str; 4]| words.map(str::to_owned);
        assert_eq!(split_of("(a, b)", "CYCLE a, b SET c USING p"), Some((2, 2, words(["c", "true", "false", "p"]))));
        assert_eq!(
            split_of("", "cycle a set c to 'y' default 'n' using p"),
            Some((0, 1, words(["c", "'y'", "'n'", "p"])))
        );
        assert_eq!(split_of("(a, b)", "CYCLE a SET c"), None);
        assert!(parse_one("SELECT (1) cycle FROM t").is_ok());
    }
}
