//! Joins that sqlparser doesn't know in PostgreSQL's dialect, as tokens that it does know.
//!
//! - `a ASOF [LEFT] JOIN b ON …` becomes `a GLOBAL [LEFT] JOIN b ON …`: a mark on the join, which nothing else sets. Before `MATCH_CONDITION` it
//!   stays, as sqlparser knows that.
//! - `t FOR SYSTEM_TIME AS OF x` becomes `t(!! x)`: a call with an operator that nothing has any more. `x` is a column, or a call without arguments.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Rewrites the tokens of a statement; each keeps its place.
pub(crate) fn fenced(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    const FIRST: [&str; 3] = ["ASOF", "GLOBAL", "SYSTEM_TIME"];
    if !tokens.iter().any(|token| FIRST.iter().any(|word| is(token, word))) {
        return tokens;
    }
    let mut fenced: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.as_slice();
    while let Some((token, after)) = rest.split_first() {
        if let Some(version) = version(rest) {
            let (first, last) = (rest[0].span, rest[version.end - 1].span);
            fenced.push(TokenWithSpan { token: Token::LParen, span: first });
            fenced.push(TokenWithSpan { token: Token::DoubleExclamationMark, span: first });
            fenced.extend_from_slice(&rest[version.clone()]);
            fenced.push(TokenWithSpan { token: Token::RParen, span: last });
            rest = &rest[version.end..];
            continue;
        }
        let joins = begins_join(after);
        let token = match &token.token {
            _ if is(token, "ASOF") && joins && !has_match_condition(after) => Token::make_keyword("GLOBAL"),
            // To PostgreSQL it is a name like any other.
            Token::Word(word) if is(token, "GLOBAL") => Token::make_word(&word.value.to_lowercase(), Some('"')),
            other => other.clone(),
        };
        fenced.push(TokenWithSpan { token, span: rest[0].span });
        rest = after;
    }
    fenced
}

pub(crate) fn is(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// Tokens that aren't blank, with their positions.
fn solid(tokens: &[TokenWithSpan]) -> impl Iterator<Item = (usize, &TokenWithSpan)> {
    tokens.iter().enumerate().filter(|(_, token)| !matches!(token.token, Token::Whitespace(_)))
}

/// Whether JOIN comes next, perhaps behind what kind of join it is.
pub(crate) fn begins_join(tokens: &[TokenWithSpan]) -> bool {
    const KINDS: [&str; 5] = ["INNER", "LEFT", "RIGHT", "FULL", "OUTER"];
    let mut words = solid(tokens).map(|(_, token)| token);
    words.find(|token| !KINDS.iter().any(|kind| is(token, kind))).is_some_and(|token| is(token, "JOIN"))
}

/// Whether the join that begins here says with MATCH_CONDITION what is nearest.
fn has_match_condition(tokens: &[TokenWithSpan]) -> bool {
    const ENDS: [&str; 5] = ["MATCH_CONDITION", "ON", "USING", "WHERE", "GROUP"];
    let mut depth = 0;
    for (_, token) in solid(tokens) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return false,
            Token::RParen => depth -= 1,
            Token::SemiColon => return false,
            _ if depth == 0 && ENDS.iter().any(|word| is(token, word)) => return is(token, "MATCH_CONDITION"),
            _ => {}
        }
    }
    false
}

/// Where the time of `FOR SYSTEM_TIME AS OF time` stands, if the tokens begin with that.
fn version(tokens: &[TokenWithSpan]) -> Option<std::ops::Range<usize>> {
    if !is(tokens.first()?, "FOR") {
        return None;
    }
    let mut next = solid(tokens);
    for word in ["FOR", "SYSTEM_TIME", "AS", "OF"] {
        next.next().filter(|(_, token)| is(token, word))?;
    }
    let mut next = next.peekable();
    let (start, _) = next.next().filter(|(_, token)| matches!(token.token, Token::Word(_)))?;
    let mut end = start + 1;
    while next.next_if(|(_, token)| token.token == Token::Period).is_some() {
        end = next.next().filter(|(_, token)| matches!(token.token, Token::Word(_)))?.0 + 1;
    }
    if next.next_if(|(_, token)| token.token == Token::LParen).is_some() {
        end = next.next().filter(|(_, token)| token.token == Token::RParen)?.0 + 1;
    }
    Some(start..end)
}
