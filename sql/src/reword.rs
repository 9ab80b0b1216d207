//! The tokens of a statement as sqlparser has to see them, where it would read them otherwise than PostgreSQL or the dialect.

use datafusion::sql::sqlparser::keywords::{self, Keyword};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// The words behind which `TABLE name` is a query.
const BEFORE_QUERY: &[&str] =
    &["UNION", "ALL", "DISTINCT", "EXCEPT", "INTERSECT", "EXPLAIN", "ANALYZE", "VERBOSE", "FOR"];

/// The statements in which it is one behind AS too: elsewhere AS names a column.
const DEFINING: &[&str] = &["ALTER", "CREATE", "PREPARE"];

/// Rewords the tokens of one statement:
///
/// - a semicolon, which no statement contains otherwise, before each `EMIT CHANGES` and `EMIT ON WINDOW CLOSE`: EMIT would be taken for an alias;
/// - `!!`, an operator that nothing has any more, for the SYMMETRIC of BETWEEN, which isn't known;
/// - `->-1` and `>=-5` as an operator and a sign, as PostgreSQL reads them;
/// - `==` as an operator like any other: it would be taken for `=`;
/// - `SELECT * FROM` for the TABLE of a query, which would take ORDER for a part of the name;
/// - `IS NULL` for `ISNULL` behind a value; sqlparser knows NOTNULL alone;
/// - a blank in `TRIM(LEADING FROM text)`, where what is to be cut is left out;
/// - [`VARIADIC`] as an argument's name for the word, which isn't known;
/// - [`ROWS_FROM`] for `ROWS FROM (f(), g())`, which is read as a function of that name.
pub(crate) fn reword(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut reworded: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut first = None;
    let mut previous: Option<&TokenWithSpan> = None;
    // The last two before it.
    let mut earlier: [Option<&TokenWithSpan>; 2] = [None, None];
    for (at, token) in tokens.iter().enumerate() {
        let mut with = |token_as| reworded.push(TokenWithSpan { token: token_as, span: token.span });
        let next = tokens[at + 1..].iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
        if is(token, &["EMIT"]) && begins_emit_clause(next.clone()) {
            with(Token::SemiColon);
        }
        if let Some((operator, sign)) = before_sign(&token.token) {
            with(operator);
            with(sign);
        } else if token.token == Token::DoubleEq {
            with(Token::CustomBinaryOperator("==".to_owned()));
        } else if is(token, &["SYMMETRIC"]) && previous.is_some_and(|previous| is(previous, &["BETWEEN"])) {
            with(Token::DoubleExclamationMark);
        } else if is(token, &["FROM"])
            && previous.is_some_and(|side| is(side, &["LEADING", "TRAILING", "BOTH"]))
            && earlier[0].is_some_and(|open| open.token == Token::LParen)
            && earlier[1].is_some_and(|trim| is(trim, &["TRIM"]))
        {
            with(Token::SingleQuotedString(" ".to_owned()));
            with(token.token.clone());
        } else if is(token, &["ISNULL"])
            && previous.is_some_and(ends_value)
            && next.clone().next().is_none_or(|open| open.token != Token::LParen)
        {
            with(Token::make_keyword("IS"));
            with(Token::make_keyword("NULL"));
        } else if is(token, &["VARIADIC"])
            && previous.is_some_and(|previous| matches!(previous.token, Token::LParen | Token::Comma))
        {
            with(Token::make_word(VARIADIC, Some('"')));
            with(Token::RArrow);
        } else if is(token, &["ROWS"]) && begins_rows_from(next.clone()) {
            with(Token::make_word(ROWS_FROM, Some('"')));
        } else if is(token, &["FROM"])
            && previous.is_some_and(|rows| is(rows, &["ROWS"]))
            && next.clone().next().is_some_and(|open| open.token == Token::LParen)
        {
        } else if is(token, &["TABLE"]) && begins_query(previous, first) && names_table(next.clone()) {
            with(Token::make_keyword("SELECT"));
            with(Token::Mul);
            with(Token::make_keyword("FROM"));
        } else {
            with(token.token.clone());
        }
        if !matches!(token.token, Token::Whitespace(_)) {
            first.get_or_insert(token);
            earlier = [previous, earlier[0]];
            previous = Some(token);
        }
    }
    reworded
}

/// Whether a value can end with this token.
fn ends_value(token: &TokenWithSpan) -> bool {
    /// Words behind which a value begins, or a name.
    const BEFORE: &[&str] = &[
        "SELECT",
        "DISTINCT",
        "ALL",
        "AS",
        "WHERE",
        "ON",
        "HAVING",
        "AND",
        "OR",
        "NOT",
        "BY",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "IN",
        "LIKE",
        "ILIKE",
        "BETWEEN",
        "FROM",
        "JOIN",
        "RETURNING",
        "SET",
        "LIMIT",
        "OFFSET",
    ];
    match &token.token {
        Token::Word(_) => !is(token, BEFORE),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::DollarQuotedString(_)
        | Token::Placeholder(_)
        | Token::RParen
        | Token::RBracket => true,
        _ => false,
    }
}

/// An operator that is read with the sign behind it: only one that has any of `~!@#%^&|?` or a backtick may end with a sign.
fn before_sign(token: &Token) -> Option<(Token, Token)> {
    let Token::CustomBinaryOperator(text) = token else { return None };
    if text.contains(['~', '!', '@', '#', '%', '^', '&', '|', '?', '`']) {
        return None;
    }
    let (operator, sign) = match text.strip_suffix('-') {
        Some(operator) => (operator, Token::Minus),
        None => (text.strip_suffix('+')?, Token::Plus),
    };
    let operator = match operator {
        "=" => Token::Eq,
        "<" => Token::Lt,
        ">" => Token::Gt,
        "<=" => Token::LtEq,
        ">=" => Token::GtEq,
        "<>" => Token::Neq,
        "+" => Token::Plus,
        "-" => Token::Minus,
        "*" => Token::Mul,
        "/" => Token::Div,
        "->" => Token::Arrow,
        "->>" => Token::LongArrow,
        _ => return None,
    };
    Some((operator, sign))
}

/// What an argument is called that is an array of arguments.
pub const VARIADIC: &str = "variadic";

/// What ROWS FROM is called as a function.
pub const ROWS_FROM: &str = "rows from";

/// Whether `FROM (` comes next.
fn begins_rows_from<'a>(mut next: impl Iterator<Item = &'a TokenWithSpan>) -> bool {
    next.next().is_some_and(|from| is(from, &["FROM"])) && next.next().is_some_and(|open| open.token == Token::LParen)
}

fn begins_emit_clause<'a>(mut next: impl Iterator<Item = &'a TokenWithSpan>) -> bool {
    next.next().is_some_and(|first| {
        is(first, &["CHANGES"]) || is(first, &["ON"]) && next.next().is_some_and(|second| is(second, &["WINDOW"]))
    })
}

/// Whether a query can begin behind this token, in a statement that begins with `first`.
fn begins_query(previous: Option<&TokenWithSpan>, first: Option<&TokenWithSpan>) -> bool {
    let first_is = |words| first.is_some_and(|first| is(first, words));
    previous.is_none_or(|previous| match &previous.token {
        Token::LParen | Token::RParen => true,
        Token::Word(word) if first_is(&["INSERT"]) && word.keyword == Keyword::NoKeyword => true,
        _ => is(previous, BEFORE_QUERY) || first_is(DEFINING) && is(previous, &["AS"]),
    })
}

/// Whether a name comes next, and no clause: `SELECT 1 AS table FROM t` calls a column so.
fn names_table<'a>(mut next: impl Iterator<Item = &'a TokenWithSpan>) -> bool {
    next.next().is_some_and(|next| match &next.token {
        Token::Word(word) => word.quote_style.is_some() || !keywords::RESERVED_FOR_COLUMN_ALIAS.contains(&word.keyword),
        _ => false,
    })
}

fn is(token: &TokenWithSpan, words: &[&str]) -> bool {
    match &token.token {
        Token::Word(word) => word.quote_style.is_none() && words.iter().any(|is| word.value.eq_ignore_ascii_case(is)),
        _ => false,
    }
}
