//! A syntax tree as text again.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Expr, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::cursor::{DIALECT, Lines};
use crate::{Span, fence, walk};

/// A query's text, which reads as the same query again: what [`crate::cursor`] marked for the parser is written as people write it.
pub fn print(query: &ast::Query) -> String {
    let mut apart = query.clone();
    let walked = walk::change(&mut apart, &mut Signs);
    debug_assert!(walked.is_continue(), "nothing breaks the walk");
    let text = apart.to_string();
    if !text.contains("GLOBAL") && !text.contains("(!!") {
        return text;
    }
    let Ok(tokens) = Tokenizer::new(&DIALECT, &text).tokenize_with_location() else { return text };
    let lines = Lines::of(&text);
    let mut printed = String::with_capacity(text.len() + 32);
    let mut copied = 0;
    for (span, words) in marks(&tokens) {
        printed.push_str(&text[copied..lines.offset(&text, span.start)]);
        printed.push_str(words);
        copied = lines.offset(&text, span.end);
    }
    printed.push_str(&text[copied..]);
    printed
}

/// Puts a sign's operand into parentheses if it has a sign itself: `- -5` would be printed as a comment.
struct Signs;

impl VisitorMut for Signs {
    type Break = ();

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::UnaryOp { expr: operand, .. } = expression
            && matches!(**operand, Expr::UnaryOp { .. })
        {
            let inner = std::mem::replace(&mut **operand, Expr::value(ast::Value::Null));
            **operand = Expr::Nested(Box::new(inner));
        }
        ControlFlow::Continue(())
    }
}

/// What stands for other words, in order.
fn marks(tokens: &[TokenWithSpan]) -> Vec<(Span, &'static str)> {
    let mut marks = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(span) = Span::of_parser(token.span) else { continue };
        if fence::is(token, "GLOBAL") && fence::begins_join(&tokens[at + 1..]) {
            marks.push((span, "ASOF"));
        } else if token.token == Token::LParen
            && let Some(mark) = tokens.get(at + 1)
            && mark.token == Token::DoubleExclamationMark
            && let Some(opened) = Span::of_parser(mark.span)
            && let Some(closed) = closing(&tokens[at..]).and_then(|token| Span::of_parser(token.span))
        {
            marks.push((Span { start: span.start, end: opened.end }, " FOR SYSTEM_TIME AS OF "));
            marks.push((closed, ""));
        }
    }
    marks.sort_by_key(|(span, _)| span.start);
    marks
}

/// The parenthesis that closes the first.
fn closing(tokens: &[TokenWithSpan]) -> Option<&TokenWithSpan> {
    let mut depth = 0;
    tokens.iter().find(|token| {
        depth += match token.token {
            Token::LParen => 1,
            Token::RParen => -1,
            _ => 0,
        };
        depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::print;
    use crate::StatementKind;

    #[test]
    fn what_is_printed_reads_as_the_same_query() {
        let queries = [
            "SELECT a.x FROM a ASOF JOIN b ON a.k = b.k AND a.at >= b.at",
            "SELECT 'GLOBAL JOIN' FROM (SELECT 1 FROM a ASOF LEFT JOIN b ON a.at > b.at) t",
            "SELECT * FROM a JOIN t FOR SYSTEM_TIME AS OF a.at AS u ON a.k = u.k LEFT JOIN v FOR SYSTEM_TIME AS OF PROCTIME() ON v.k = a.k",
            "SELECT - - x, + -5, -(-(- 1)), a - -1 FROM a",
            "SELECT g.x FROM a AS \"global\" JOIN b AS g ON true",
            "SELECT sum(x) OVER (PARTITION BY y ORDER BY x ROWS 1 PRECEDING EXCLUDE TIES) FROM a WHERE x BETWEEN SYMMETRIC 2 AND 1",
        ];
        for text in queries {
            let query = |text: &str| match crate::parse_one(text).map(|statement| statement.kind) {
                Ok(StatementKind::Query(query)) => query.query,
                other => panic!("{text}: {other:?}"),
            };
            let once = print(&query(text));
            let twice = print(&query(&once));
            assert_eq!(once, twice);
        }
    }
}
