//! What sqlparser reads and PostgreSQL doesn't, and what is refused where only the tokens know its place.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    JoinConstraint, JoinOperator, Query, Select, Spanned, TableFactor, TableWithJoins, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::cursor::Cursor;
use crate::position::position;
use crate::walk::{self, Walk};
use crate::{Error, Position, Result, Span};

/// Checks what was read; `cursor` has the tokens that it was read from.
pub(crate) fn check(node: &dyn Walk, cursor: &Cursor<'_>) -> Result<()> {
    match walk::read(node, &mut Checker { cursor }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Checker<'a> {
    cursor: &'a Cursor<'a>,
}

type Flow = ControlFlow<Box<Error>>;

impl Visitor for Checker<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        match query.locks.first() {
            Some(lock) => ControlFlow::Break(Box::new(Error::unsupported(&lock.to_string(), self.lock()))),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        select.from.iter().try_for_each(|from| self.joins(from))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Flow {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => self.joins(table_with_joins),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Checker<'_> {
    /// A join needs ON or USING, unless it is CROSS or NATURAL.
    fn joins(&self, from: &TableWithJoins) -> Flow {
        let bare = from.joins.iter().find(|join| {
            matches!(
                join.join_operator,
                JoinOperator::Join(JoinConstraint::None)
                    | JoinOperator::Inner(JoinConstraint::None)
                    | JoinOperator::Left(JoinConstraint::None)
                    | JoinOperator::LeftOuter(JoinConstraint::None)
                    | JoinOperator::Right(JoinConstraint::None)
                    | JoinOperator::RightOuter(JoinConstraint::None)
                    | JoinOperator::FullOuter(JoinConstraint::None)
            )
        });
        match bare {
            Some(join) => {
                let error = self.cursor.error_at(self.behind(&join.relation), None);
                ControlFlow::Break(Box::new(error.with_hint("A join needs ON or USING, or is a CROSS JOIN.")))
            }
            None => ControlFlow::Continue(()),
        }
    }

    /// Where the token stands behind what is joined; `None` at the end.
    fn behind(&self, relation: &TableFactor) -> Option<Position> {
        let end = Span::of_parser(relation.span())?.end;
        let behind = |token: &&TokenWithSpan| {
            position(token.span.start).is_some_and(|start| start >= end) && !matches!(token.token, Token::Whitespace(_))
        };
        let mut tokens = self.cursor.tokens().iter().filter(behind).peekable();
        let in_parentheses = match relation {
            TableFactor::Derived { alias, .. } | TableFactor::NestedJoin { alias, .. } => alias.is_none(),
            TableFactor::Table { alias, args, .. } => alias.is_none() && args.is_some(),
            _ => false,
        };
        if in_parentheses {
            // To the parenthesis that closes it: the span ends inside, or before the arguments.
            let mut depth = 1 - i32::from(tokens.peek().is_some_and(|token| token.token == Token::LParen));
            for token in tokens.by_ref() {
                depth += match token.token {
                    Token::LParen => 1,
                    Token::RParen => -1,
                    _ => 0,
                };
                if depth == 0 {
                    break;
                }
            }
        }
        tokens.next().and_then(|token| position(token.span.start))
    }

    /// Where FOR UPDATE or the like stands.
    fn lock(&self) -> Option<Span> {
        let words: Vec<&TokenWithSpan> =
            self.cursor.tokens().iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
        let is = |token: &TokenWithSpan, wanted: &[&str]| match &token.token {
            Token::Word(word) => {
                word.quote_style.is_none() && wanted.iter().any(|wanted| word.value.eq_ignore_ascii_case(wanted))
            }
            _ => false,
        };
        let locks = |pair: &&[&TokenWithSpan]| is(pair[0], &["FOR"]) && is(pair[1], &["UPDATE", "SHARE", "NO", "KEY"]);
        words.windows(2).find(locks).and_then(|pair| Span::of_parser(pair[0].span))
    }
}
