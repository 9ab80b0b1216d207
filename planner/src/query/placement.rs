//! Where calls stand, and where aggregates and window functions may not: DataFusion's planner would say so without a place, or not at all.

use std::ops::ControlFlow;

use sql::Span;
use sql::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, JoinConstraint, JoinOperator, Query,
    Select, Spanned, Visitor,
};
use sql::walk::{self, Walk};

use super::name::folded;
use crate::error::ErrorKind;
use crate::functions::FunctionRegistry;
use crate::{Error, Result};

/// Refuses aggregates in WHERE, in conditions of joins, in GROUP BY and in each other, and window functions in all these and in HAVING.
pub(crate) fn check(select: &Select, functions: &FunctionRegistry) -> Result<()> {
    if let Some(selection) = &select.selection {
        refuse(selection, "in WHERE", true, functions)?;
    }
    for table in &select.from {
        for join in &table.joins {
            if let Some(condition) = condition(&join.join_operator) {
                refuse(condition, "in JOIN conditions", true, functions)?;
            }
        }
    }
    if let GroupByExpr::Expressions(expressions, _) = &select.group_by {
        for expression in expressions {
            refuse(expression, "in GROUP BY", true, functions)?;
        }
    }
    if let Some(having) = &select.having {
        refuse(having, "in HAVING", false, functions)?;
    }
    for item in &select.projection {
        nested(item, functions)?;
    }
    select.having.iter().try_for_each(|having| nested(having, functions))
}

/// Where the first aggregate of a SELECT stands, subqueries aside.
pub(crate) fn aggregate_of(select: &Select, functions: &FunctionRegistry) -> Option<Option<Span>> {
    let wanted = |function: &Function| function.over.is_none() && is_aggregate(function, functions);
    let items = select.projection.iter().map(|item| item as &dyn Walk);
    let mut nodes = items.chain(select.having.iter().map(|having| having as &dyn Walk));
    nodes.find_map(|node| first_call(node, wanted)).map(|(span, _)| span)
}

/// The condition of a join, if it has one.
pub(super) fn condition(operator: &JoinOperator) -> Option<&Expr> {
    let constraint = match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => constraint,
        _ => return None,
    };
    match constraint {
        JoinConstraint::On(condition) => Some(condition),
        _ => None,
    }
}

/// An error if a call over rows stands in `expression`; those of subqueries are their own.
fn refuse(expression: &Expr, place: &str, aggregates_too: bool, functions: &FunctionRegistry) -> Result<()> {
    let found = first_call(expression, |function| {
        function.over.is_some() || aggregates_too && is_aggregate(function, functions)
    });
    match found {
        Some((span, true)) => {
            Err(Error::new(ErrorKind::Windowing, format!("window functions are not allowed {place}")).at(span))
        }
        Some((span, false)) => {
            Err(Error::new(ErrorKind::Grouping, format!("aggregate functions are not allowed {place}")).at(span))
        }
        None => Ok(()),
    }
}

/// An error if an aggregate's argument contains an aggregate.
fn nested(node: &dyn Walk, functions: &FunctionRegistry) -> Result<()> {
    let mut inside = None;
    let aggregate = |function: &Function| function.over.is_none() && is_aggregate(function, functions);
    let _found = first_call(node, |function| {
        if aggregate(function) {
            inside = arguments(function).find_map(|argument| first_call(argument, aggregate));
        }
        inside.is_some()
    });
    match inside {
        Some((span, _)) => Err(Error::new(ErrorKind::Grouping, "aggregate function calls cannot be nested").at(span)),
        None => Ok(()),
    }
}

fn arguments(function: &Function) -> impl Iterator<Item = &Expr> {
    let list = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    list.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression),
        _ => None,
    })
}

/// Whether it is a call of an aggregate, over a window too.
pub(super) fn is_aggregate(function: &Function, functions: &FunctionRegistry) -> bool {
    let name = function.name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
    // rank(x) WITHIN GROUP (…) is one, rank() is none.
    functions.find_aggregate(&name).is_some() || !function.within_group.is_empty()
}

/// Where the first call stands that is `wanted`, subqueries aside, and whether it is over a window.
fn first_call(node: &dyn Walk, wanted: impl FnMut(&Function) -> bool) -> Option<(Option<Span>, bool)> {
    let mut finder = Finder { wanted, depth: 0 };
    match walk::read(node, &mut finder) {
        ControlFlow::Break(found) => Some(found),
        ControlFlow::Continue(()) => None,
    }
}

/// Where a function is called first, in subqueries too.
pub(crate) fn place_of_call(query: &Query, name: &str) -> Option<Span> {
    struct Named<'a>(&'a str);
    impl Visitor for Named<'_> {
        type Break = Option<Span>;

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
            match expr {
                Expr::Function(function)
                    if function
                        .name
                        .0
                        .last()
                        .and_then(|part| part.as_ident())
                        .is_some_and(|part| folded(part) == self.0) =>
                {
                    ControlFlow::Break(Span::of_parser(function.name.span()))
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match walk::read(query, &mut Named(name)) {
        ControlFlow::Break(span) => span,
        ControlFlow::Continue(()) => None,
    }
}

struct Finder<F> {
    wanted: F,
    /// Subqueries around what is visited.
    depth: usize,
}

impl<F: FnMut(&Function) -> bool> Visitor for Finder<F> {
    type Break = (Option<Span>, bool);

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Function(function) if self.depth == 0 && (self.wanted)(function) => {
                ControlFlow::Break((Span::of_parser(function.name.span()), function.over.is_some()))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
