//! The tokens of one statement, read one by one; wraps sqlparser's parser, so that own syntax and PostgreSQL's mix freely, and
//! turns what it says into PostgreSQL's errors.

use datafusion::sql::sqlparser::ast::{self, Ident, ObjectName};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::cycle;
use crate::exclusion;
use crate::fence;
use crate::keyword;
use crate::misread;
use crate::position::position;
use crate::reword::reword;
use crate::{Error, Position, Result, Span};

pub(crate) static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// Where parsing stands in the tokens of one statement.
pub struct Cursor<'a> {
    parser: Parser<'static>,
    /// The statement's tokens.
    tokens: &'a [TokenWithSpan],
    source: &'a str,
    lines: &'a Lines,
}

/// Where the lines of a text begin, for quick slicing.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    pub(crate) fn offset(&self, text: &str, position: Position) -> usize {
        let line = position.line as usize - 1;
        let Some(&start) = self.0.get(line) else { return text.len() };
        let mut characters = text[start..].char_indices().skip(position.column as usize - 1);
        characters.next().map_or(text.len(), |(at, _)| start + at)
    }

    pub(crate) fn slice<'a>(&self, text: &'a str, span: Span) -> &'a str {
        &text[self.offset(text, span.start)..self.offset(text, span.end)]
    }
}

impl<'a> Cursor<'a> {
    /// At the first of `tokens`, which stand in `source`.
    pub(crate) fn new(tokens: &'a [TokenWithSpan], source: &'a str, lines: &'a Lines) -> Self {
        let parser = Parser::new(&DIALECT)
            .with_tokens_with_locations(fence::fenced(exclusion::marked(cycle::marked(reword(tokens)))));
        Self { parser, tokens, source, lines }
    }

    /// Takes EMIT if it begins one of the dialect's clauses.
    pub(crate) fn emit(&mut self) -> bool {
        self.token(&Token::SemiColon) && self.word("EMIT")
    }

    /// Whether the token after the next one is this word or `(`.
    pub(crate) fn peek_second_is(&self, word: &str) -> bool {
        self.peek_is_word(1, word) || word == "(" && self.parser.peek_nth_token_ref(1).token == Token::LParen
    }

    /// The token that comes next.
    pub(crate) fn peek(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    fn peek_is_word(&self, ahead: usize, word: &str) -> bool {
        match &self.parser.peek_nth_token_ref(ahead).token {
            Token::Word(found) => found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word),
            _ => false,
        }
    }

    /// Whether these words come next.
    pub(crate) fn peek_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(ahead, word)| self.peek_is_word(ahead, word))
    }

    /// Takes these words if all of them come next.
    pub(crate) fn words(&mut self, words: &[&str]) -> bool {
        let all = self.peek_words(words);
        if all {
            for _ in words {
                self.parser.next_token();
            }
        }
        all
    }

    /// Takes this word if it comes next.
    pub(crate) fn word(&mut self, word: &str) -> bool {
        self.words(&[word])
    }

    /// Takes the first of these words that comes next.
    pub(crate) fn one_of<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        words.iter().copied().find(|word| self.word(word))
    }

    /// Takes this word or fails.
    pub(crate) fn expect(&mut self, word: &str) -> Result<()> {
        if self.word(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    /// Takes this token if it comes next.
    pub(crate) fn token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// Takes this token or fails.
    pub(crate) fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.token(token) { Ok(()) } else { Err(self.unexpected(&format!("\"{token}\""))) }
    }

    /// Whether the statement ends here.
    pub(crate) fn at_end(&self) -> bool {
        *self.peek() == Token::EOF
    }

    /// Fails unless the statement ends here.
    pub(crate) fn expect_end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected("the end of the statement")) }
    }

    /// `IF EXISTS`.
    pub(crate) fn if_exists(&mut self) -> bool {
        self.words(&["IF", "EXISTS"])
    }

    /// `IF NOT EXISTS`.
    pub(crate) fn if_not_exists(&mut self) -> bool {
        self.words(&["IF", "NOT", "EXISTS"])
    }

    /// An identifier.
    pub(crate) fn ident(&mut self, what: &str) -> Result<Ident> {
        match self.peek() {
            Token::Word(_) => self.with(Parser::parse_identifier),
            _ => Err(self.unexpected(what)),
        }
    }

    /// A name, perhaps with its schema.
    pub(crate) fn name(&mut self, what: &str) -> Result<ObjectName> {
        match self.peek() {
            Token::Word(_) => self.with(|parser| parser.parse_object_name(false)),
            _ => Err(self.unexpected(what)),
        }
    }

    /// `(a, b, …)` of identifiers.
    pub(crate) fn ident_list(&mut self, what: &str) -> Result<Vec<Ident>> {
        self.expect_token(&Token::LParen)?;
        let mut list = vec![self.ident(what)?];
        while self.token(&Token::Comma) {
            list.push(self.ident(what)?);
        }
        self.expect_token(&Token::RParen)?;
        Ok(list)
    }

    /// A string literal.
    pub(crate) fn string(&mut self, what: &str) -> Result<String> {
        match self.peek() {
            Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) | Token::DollarQuotedString(_) => {
                self.with(Parser::parse_literal_string)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// An unsigned integer.
    pub(crate) fn number(&mut self, what: &str) -> Result<u64> {
        match self.peek() {
            Token::Number(..) => self.with(Parser::parse_literal_uint),
            _ => Err(self.unexpected(what)),
        }
    }

    /// A query, with the text that it has.
    pub(crate) fn query(&mut self) -> Result<(Box<ast::Query>, String)> {
        let start = self.here();
        let query = self.with(Parser::parse_query)?;
        misread::check(&*query, self)?;
        Ok((query, self.text_since(start).to_owned()))
    }

    /// An expression, with the text that it has.
    pub(crate) fn expression(&mut self) -> Result<(ast::Expr, String)> {
        let start = self.here();
        let expression = self.with(Parser::parse_expr)?;
        misread::check(&expression, self)?;
        Ok((expression, self.text_since(start).to_owned()))
    }

    /// Lets sqlparser read something.
    pub(crate) fn with<T>(
        &mut self,
        parse: impl FnOnce(&mut Parser<'static>) -> std::result::Result<T, ParserError>,
    ) -> Result<T> {
        parse(&mut self.parser).map_err(|error| self.translate(&error))
    }

    /// Takes the next token, whatever it is.
    pub(crate) fn next(&mut self) -> Token {
        self.parser.next_token().token
    }

    /// The statement's tokens, blanks and comments too.
    pub(crate) fn tokens(&self) -> &'a [TokenWithSpan] {
        self.tokens
    }

    /// Where the next token stands.
    pub(crate) fn here(&self) -> Span {
        Span::of_parser(self.parser.peek_token_ref().span).unwrap_or_else(|| self.end_span())
    }

    /// The text from `start` to the last token that was taken.
    pub(crate) fn text_since(&self, start: Span) -> &'a str {
        let end = self.taken_until();
        if end <= start.start { "" } else { self.lines.slice(self.source, Span { start: start.start, end }) }
    }

    /// The text from the next token to the end of the statement.
    pub(crate) fn rest(&self) -> (Span, &'a str) {
        let span = Span { start: self.here().start, end: self.end_span().end };
        (span, self.lines.slice(self.source, span))
    }

    /// Where the last taken token ends.
    fn taken_until(&self) -> Position {
        let next = self.here().start;
        let taken = self.tokens.iter().take_while(|token| position(token.span.start).is_some_and(|start| start < next));
        let ends = taken.filter(|token| !matches!(token.token, Token::Whitespace(_)));
        ends.filter_map(|token| position(token.span.end)).last().unwrap_or(next)
    }

    fn end_span(&self) -> Span {
        let last = self.tokens.last().and_then(|token| position(token.span.end));
        Span::at(last.unwrap_or(Position::START))
    }

    /// The error that the next token is not `expected`.
    pub(crate) fn unexpected(&self, expected: &str) -> Error {
        self.error_at(Span::of_parser(self.parser.peek_token_ref().span).map(|span| span.start), Some(expected))
    }

    /// `syntax error at or near …` the token at `start` (`None`: at the end).
    pub(crate) fn error_at(&self, start: Option<Position>, expected: Option<&str>) -> Error {
        let at = start.and_then(|start| self.tokens.iter().position(|token| position(token.span.start) == Some(start)));
        let at = at.map(|at| self.behind_wildcard(at).unwrap_or(at));
        if let Some(error) = at.and_then(|at| self.behind_common_table(at)) {
            return error;
        }
        let hint = self.hint(at.unwrap_or(self.tokens.len()), expected);
        let (message, span) = match at.and_then(|at| Span::of_parser(self.tokens[at].span)) {
            Some(span) => {
                let text = self.lines.slice(self.source, span);
                (format!("syntax error at or near \"{text}\""), span)
            }
            None => ("syntax error at end of input".to_owned(), self.end_span()),
        };
        Error { hint, ..Error::syntax(message, span) }
    }

    /// The word between `SELECT *` and the token at `at`: sqlparser takes it for an alias, which a wildcard can't have.
    fn behind_wildcard(&self, at: usize) -> Option<usize> {
        let mut before = (0..at).rev().filter(|at| !matches!(self.tokens[*at].token, Token::Whitespace(_)));
        let (word, star, select) = (before.next()?, before.next()?, before.next()?);
        let is_word = matches!(&self.tokens[word].token, Token::Word(word) if word.keyword == Keyword::NoKeyword);
        let is_select = match &self.tokens[select].token {
            Token::Word(word) => word.keyword == Keyword::SELECT,
            other => *other == Token::Comma,
        };
        (is_word && self.tokens[star].token == Token::Mul && is_select).then_some(word)
    }

    /// The clause of a recursive query that sqlparser doesn't know: it needs values of row types that are ordered column by column.
    fn behind_common_table(&self, at: usize) -> Option<Error> {
        let is_solid = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
        let word = |token: &TokenWithSpan| match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            _ => String::new(),
        };
        let behind = self.tokens[..at].iter().rev().find(is_solid)?;
        let next = self.tokens[at + 1..].iter().find(is_solid)?;
        let (clause, hint) = match (word(&self.tokens[at]).as_str(), word(next).as_str()) {
            ("SEARCH", "DEPTH" | "BREADTH") => (
                "SEARCH in WITH RECURSIVE",
                "Let the query carry what it is to be ordered by: an array of the path (path || id) for depth first, a level for breadth first.",
            ),
            _ => return None,
        };
        (behind.token == Token::RParen)
            .then(|| Error::unsupported(clause, Span::of_parser(self.tokens[at].span)).with_hint(hint))
    }

    /// A word at or before the wrong token that looks like a keyword, else what was expected.
    fn hint(&self, at: usize, expected: Option<&str>) -> Option<String> {
        let solid: Vec<&TokenWithSpan> = self.tokens[..(at + 1).min(self.tokens.len())]
            .iter()
            .filter(|token| !matches!(token.token, Token::Whitespace(_)))
            .collect();
        for (index, token) in solid.iter().enumerate().rev().take(3) {
            let Token::Word(word) = &token.token else { continue };
            if word.quote_style.is_none()
                && word.keyword == Keyword::NoKeyword
                && !keyword::is_known(&word.value)
                && let Some(meant) = keyword::meant(&word.value, index == 0)
            {
                return Some(format!("Did you mean \"{meant}\" instead of \"{}\"?", word.value));
            }
        }
        let expected = expected.filter(|expected| !expected.is_empty() && !expected.starts_with("an SQL statement"))?;
        Some(format!("Expected {expected}."))
    }

    fn translate(&self, error: &ParserError) -> Error {
        let text = match error {
            ParserError::RecursionLimitExceeded => {
                return Error::syntax("the statement is nested too deeply", self.here());
            }
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        };
        let (text, start) = split_location(text);
        if let Some(expected) = text.strip_prefix("Expected: ") {
            let expected = expected.split(", found: ").next();
            return self.error_at(start, expected.map(tidy).as_deref());
        }
        let next = Span::of_parser(self.parser.peek_token_ref().span).map(|span| span.start);
        let mut error = self.error_at(start.or(next), None);
        let words = text.trim_end_matches('.');
        error.hint.get_or_insert_with(|| format!("{words}."));
        error
    }
}

/// sqlparser's name for what it expected, as a person would say it.
fn tidy(expected: &str) -> String {
    match expected {
        "end of statement" => "the end of the statement".to_owned(),
        "identifier" => "a name".to_owned(),
        other if other.chars().all(|character| character.is_ascii_punctuation()) => format!("\"{other}\""),
        other => other.trim_end_matches([':', '.']).to_owned(),
    }
}

/// Takes ` at Line: 1, Column: 2` off the end.
fn split_location(text: &str) -> (&str, Option<Position>) {
    let split = || {
        let (text, location) = text.rsplit_once(" at Line: ")?;
        let (line, column) = location.split_once(", Column: ")?;
        Some((text, Position { line: line.parse().ok()?, column: column.trim().parse().ok()? }))
    };
    split().map_or((text, None), |(text, position)| (text, Some(position)))
}
