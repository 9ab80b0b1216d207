//! `EXCLUDE` in a window's frame, which sqlparser doesn't know, as a mark among what the window is partitioned by.
//!
//! `OVER (PARTITION BY a ORDER BY b ROWS 2 PRECEDING EXCLUDE TIES)` becomes `OVER (PARTITION BY !! 'frame exclusion TIES', a ORDER BY b
//! ROWS 2 PRECEDING)`: `!!` is an operator that nothing has any more. `EXCLUDE NO OTHERS` says nothing.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Rewrites the tokens of a statement; each keeps its place.
pub(crate) fn marked(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|token| is(token, "EXCLUDE")) {
        return tokens;
    }
    let mut marked: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 8);
    // Where what is between parentheses begins.
    let mut open = Vec::new();
    let mut left = 0;
    for (at, token) in tokens.iter().enumerate() {
        if left > 0 {
            left -= 1;
            continue;
        }
        match &token.token {
            Token::LParen => open.push(marked.len() + 1),
            Token::RParen => {
                open.pop();
            }
            _ if is(token, "EXCLUDE") => {
                if let (Some(start), Some((what, length))) = (open.last(), exclusion(&tokens[at + 1..]))
                    && has_frame(&marked[*start..])
                {
                    left = length;
                    if what != "NO OTHERS" {
                        let place = *start;
                        mark(&mut marked, place, what, token);
                    }
                    continue;
                }
            }
            _ => {}
        }
        marked.push(token.clone());
    }
    marked
}

fn is(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

fn is_solid(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_))
}

/// What is excluded, if that is all that is left between parentheses, and how many tokens say it.
fn exclusion(tokens: &[TokenWithSpan]) -> Option<(&'static str, usize)> {
    const WORDS: [(&str, &[&str]); 4] = [
        ("CURRENT ROW", &["CURRENT", "ROW"]),
        ("GROUP", &["GROUP"]),
        ("TIES", &["TIES"]),
        ("NO OTHERS", &["NO", "OTHERS"]),
    ];
    let end = tokens.iter().position(|token| token.token == Token::RParen)?;
    let said: Vec<&TokenWithSpan> = tokens[..end].iter().filter(|token| is_solid(token)).collect();
    let same =
        |words: &[&str]| said.len() == words.len() && said.iter().zip(words).all(|(token, word)| is(token, word));
    WORDS.iter().find(|(_, words)| same(words)).map(|(what, _)| (*what, end))
}

/// Whether a frame is among the tokens, outside of parentheses.
fn has_frame(tokens: &[TokenWithSpan]) -> bool {
    let mut depth = 0;
    tokens.iter().any(|token| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0 && ["ROWS", "RANGE", "GROUPS"].iter().any(|unit| is(token, unit))
    })
}

/// Puts a mark into the window that begins at `start`.
fn mark(tokens: &mut Vec<TokenWithSpan>, start: usize, what: &str, place: &TokenWithSpan) {
    let with_place = |token: Token| TokenWithSpan { token, span: place.span };
    let mut value = vec![
        with_place(Token::DoubleExclamationMark),
        with_place(Token::SingleQuotedString(format!("frame exclusion {what}"))),
    ];
    let mut solid = (start..tokens.len()).filter(|at| is_solid(&tokens[*at]));
    let Some(first) = solid.next() else { return };
    let begins = |word: &&str| is(&tokens[first], word);
    let at = if begins(&"PARTITION") {
        // Behind BY.
        value.push(with_place(Token::Comma));
        solid.next().map_or(first, |by| by + 1)
    } else {
        value.insert(0, with_place(Token::make_keyword("PARTITION")));
        value.insert(1, with_place(Token::make_keyword("BY")));
        // The name of another window stands first.
        if ["ORDER", "ROWS", "RANGE", "GROUPS"].iter().any(begins) { first } else { first + 1 }
    };
    tokens.splice(at..at, value);
}

#[cfg(test)]
mod tests {
    use crate::parse_one;

    fn written(text: &str) -> Option<String> {
        let statement = parse_one(text).ok()?;
        match statement.kind {
            crate::StatementKind::Query(query) => Some(query.query.to_string()),
            _ => None,
        }
    }

    #[test]
    fn an_exclusion_is_a_mark() {
        let over = |window: &str| written(&format!("SELECT sum(x) OVER ({window}) FROM t"));
        let expected = |window: &str| Some(format!("SELECT sum(x) OVER ({window}) FROM t"));
        assert_eq!(
            over("PARTITION BY a, (b) ORDER BY c ROWS 2 PRECEDING EXCLUDE TIES"),
            expected("PARTITION BY !!'frame exclusion TIES', a, (b) ORDER BY c ROWS 2 PRECEDING")
        );
        assert_eq!(
            over("ORDER BY c RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING exclude current row"),
            expected(
                "PARTITION BY !!'frame exclusion CURRENT ROW' ORDER BY c RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING"
            )
        );
        assert_eq!(
            over("w ROWS 1 PRECEDING EXCLUDE GROUP"),
            expected("w PARTITION BY !!'frame exclusion GROUP' ROWS 1 PRECEDING")
        );
        assert_eq!(over("ORDER BY c ROWS 1 PRECEDING EXCLUDE NO OTHERS"), expected("ORDER BY c ROWS 1 PRECEDING"));
    }

    #[test]
    fn without_a_frame_it_is_a_mistake() {
        assert_eq!(written("SELECT sum(x) OVER (ORDER BY c EXCLUDE TIES) FROM t"), None);
        assert_eq!(written("SELECT sum(x) OVER (ORDER BY c ROWS 1 PRECEDING EXCLUDE OTHERS) FROM t"), None);
        assert!(written("SELECT exclude FROM t WHERE (exclude)").is_some());
    }
}
