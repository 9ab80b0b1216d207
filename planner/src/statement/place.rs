//! Where the construct stands that a view can't do: the plan no longer knows, the syntax tree does.

use std::ops::ControlFlow;

use sql::Span;
use sql::ast::{
    self, Expr, Function, JoinConstraint, JoinOperator, LimitClause, Query, SetExpr, Spanned, TableFactor, Visitor,
};
use sql::walk;

use crate::Error;
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::query::set_returning::returns_set;

/// The error with the place of the first construct in the query that it may be about, unless it has a place.
pub(super) fn located(error: Error, query: &Query) -> Error {
    if error.kind != ErrorKind::Unsupported || error.span.is_some() {
        return error;
    }
    let place = walk::read(query, &mut Search { message: &error.message });
    match place {
        ControlFlow::Break(place) => error.at(place),
        ControlFlow::Continue(()) => error,
    }
}

fn found(node: &impl Spanned) -> ControlFlow<Span> {
    Span::of_parser(node.span()).map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

struct Search<'a> {
    /// What was refused: it begins with the construct's name.
    message: &'a str,
}

impl Search<'_> {
    fn is(&self, construct: &str) -> bool {
        self.message.starts_with(construct)
    }

    /// A call that is refused by its name or for being a window function.
    fn is_refused(&self, function: &Function) -> bool {
        let name = function.name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
        let mut words = self.message.split_whitespace();
        let named = match (words.next(), words.next(), words.next()) {
            (Some("the"), Some("function" | "aggregate"), Some(refused)) => refused == name,
            _ => false,
        };
        named
            || self.is("a window function") && function.over.is_some()
            || self.is("UNNEST") && returns_set(&function.name)
    }
}

impl Visitor for Search<'_> {
    type Break = Span;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Span> {
        if self.is("WITH RECURSIVE")
            && let Some(with) = query.with.as_ref().filter(|with| with.recursive)
        {
            return found(&with.cte_tables[0]);
        }
        if self.is("LIMIT") {
            let bounds = match &query.limit_clause {
                Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                    limit.as_ref().or(offset.as_ref().map(|offset| &offset.value))
                }
                _ => None,
            };
            let fetched = query.fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref());
            if let Some(bound) = bounds.or(fetched) {
                return found(bound);
            }
        }
        if (self.is("a cross join") || self.is("a join without"))
            && let SetExpr::Select(select) = &*query.body
        {
            return join(select);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ast::ObjectName) -> ControlFlow<Span> {
        let name = relation.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
        let refused = self.message.strip_prefix("the system view ").and_then(|rest| rest.split(' ').next());
        match refused.is_some_and(|refused| refused.rsplit('.').next() == Some(name.as_str())) {
            true => found(relation),
            false => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Span> {
        let refused = match factor {
            TableFactor::UNNEST { .. } => self.is("UNNEST"),
            TableFactor::Derived { lateral, .. } => *lateral && self.is("LATERAL"),
            _ => false,
        };
        if refused { found(factor) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Span> {
        let refused = match expr {
            Expr::Function(function) => self.is_refused(function),
            Expr::Subquery(_) => self.is("a correlated scalar subquery") || self.is("this form of subquery"),
            Expr::Exists { .. } => self.is("this form of subquery") || self.is("this form of EXISTS"),
            Expr::InSubquery { negated, .. } => {
                self.is("this form of EXISTS") || self.is("this form of subquery") || *negated && self.is("NOT IN")
            }
            _ => false,
        };
        if refused { found(expr) } else { ControlFlow::Continue(()) }
    }
}

/// The condition of a join, or what is joined without one.
fn join(select: &ast::Select) -> ControlFlow<Span> {
    if let Some(join) = select.from.iter().flat_map(|from| &from.joins).next() {
        let constraint = match &join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) => Some(constraint),
            _ => None,
        };
        return match constraint {
            Some(JoinConstraint::On(condition)) => found(condition),
            _ => found(&join.relation),
        };
    }
    match select.from.get(1) {
        Some(second) => found(&second.relation),
        None => ControlFlow::Continue(()),
    }
}
