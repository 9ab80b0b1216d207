//! Where a mistake stands of which DataFusion's planner says only what it is. The syntax tree knows: what the message names is looked for there.

use std::ops::ControlFlow;

use sql::Span;
use sql::ast::{
    BinaryOperator, Expr, Function, GroupByExpr, LimitClause, ObjectName, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, Spanned, Value, ValueWithSpan, Visitor, VisitorMut, WindowType,
};
use sql::walk::{self, Walk};

use super::name::folded;
use super::placement;
use crate::Error;
use crate::error::ErrorKind;

/// Literals of one text beyond this number are not tried one by one.
const MOST_LITERALS: usize = 32;

/// Behind a literal: no value of any type but text ends with it.
const MARK: char = '\u{1}';

/// The error with its place, if the query tells. `again` plans another query in this one's place.
pub(crate) fn placed(error: Error, query: &Query, again: impl Fn(&Query) -> Option<Error>) -> Error {
    if error.span.is_some() {
        return error;
    }
    let message = error.message.as_str();
    let span = match error.kind {
        ErrorKind::InvalidText | ErrorKind::InvalidDatetime | ErrorKind::OutOfRange => literal(&error, query, again),
        ErrorKind::UndefinedFunction | ErrorKind::Unsupported | ErrorKind::DatatypeMismatch => {
            match message.strip_prefix("operator does not exist: ") {
                Some(operands) => operator(operands, query),
                None => called(message).and_then(|name| placement::place_of_call(query, name)),
            }
        }
        ErrorKind::InvalidColumnReference => {
            let number = message.split(" position ").nth(1).and_then(|rest| rest.split(' ').next());
            number.and_then(|number| find(query, Position { number, grouped: message.starts_with("GROUP BY") }))
        }
        ErrorKind::UndefinedTable => message.split('"').nth(1).and_then(|relation| find(query, Wildcard { relation })),
        ErrorKind::UndefinedObject if message.starts_with("window \"") => {
            message.split('"').nth(1).and_then(|window| find(query, Over { window }))
        }
        ErrorKind::InvalidLimit => bound(query, true),
        ErrorKind::InvalidOffset => bound(query, false),
        _ => None,
    };
    error.at(span)
}

/// The function that `function f(integer) does not exist` is about.
fn called(message: &str) -> Option<&str> {
    message.strip_prefix("function ").and_then(|rest| rest.split(['(', ' ']).next())
}

/// The literal that is no value of the type that it must have: the one whose change changes the message.
fn literal(error: &Error, query: &Query, again: impl Fn(&Query) -> Option<Error>) -> Option<Span> {
    let said = |text: &str| {
        let quoted = format!("\"{text}\"");
        error.message.contains(&quoted) || error.detail.as_ref().is_some_and(|detail| detail.contains(&quoted))
    };
    let mut literals = Literals { said, found: Vec::new() };
    let _never_breaks = walk::read(query, &mut literals);
    match literals.found.as_slice() {
        [] => None,
        [only] => Some(*only),
        several if several.len() > MOST_LITERALS => None,
        several => several.iter().copied().find(|span| {
            let mut marked = query.clone();
            let _never_breaks = walk::change(&mut marked, &mut Mark { span: *span });
            again(&marked).is_some_and(|other| {
                other.message.contains(MARK) || other.detail.is_some_and(|detail| detail.contains(MARK))
            })
        }),
    }
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
        Value::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}

struct Literals<F> {
    said: F,
    found: Vec<Span>,
}

impl<F: Fn(&str) -> bool> Visitor for Literals<F> {
    type Break = ();

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
        if text_of(&value.value).is_some_and(|text| (self.said)(text)) {
            self.found.extend(Span::of_parser(value.span));
        }
        ControlFlow::Continue(())
    }
}

struct Mark {
    span: Span,
}

impl VisitorMut for Mark {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if Span::of_parser(value.span) == Some(self.span)
            && let Some(text) = text_of(&value.value)
        {
            value.value = Value::SingleQuotedString(format!("{text}{MARK}"));
        }
        ControlFlow::Continue(())
    }
}

/// The only operator of its name in the query; of several none is known to be the one that is missing.
fn operator(operands: &str, query: &Query) -> Option<Span> {
    let mut operators = Operators { operands, found: Vec::new() };
    let _never_breaks = walk::read(query, &mut operators);
    match operators.found.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

struct Operators<'a> {
    operands: &'a str,
    found: Vec<Span>,
}

impl Visitor for Operators<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::BinaryOp { left, op, .. } = expr
            && self.operands.contains(&format!(" {} ", written(op)))
            && let Some(left) = Span::of_parser(left.span())
        {
            // Behind the left side and, as most write it, a blank.
            let start = sql::Position { column: left.end.column + 1, ..left.end };
            self.found.push(Span::at(start));
        }
        ControlFlow::Continue(())
    }
}

fn written(op: &BinaryOperator) -> String {
    match op {
        BinaryOperator::NotEq => "!=".to_owned(),
        other => other.to_string(),
    }
}

/// Where a visitor breaks.
fn find(query: &Query, mut visitor: impl Visitor<Break = Option<Span>>) -> Option<Span> {
    match walk::read(query, &mut visitor) {
        ControlFlow::Break(span) => span,
        ControlFlow::Continue(()) => None,
    }
}

/// The number of a column in GROUP BY or ORDER BY.
struct Position<'a> {
    number: &'a str,
    grouped: bool,
}

impl Position<'_> {
    fn among<'e>(&self, mut expressions: impl Iterator<Item = &'e Expr>) -> ControlFlow<Option<Span>> {
        match expressions.find(|expression| expression.to_string() == self.number) {
            Some(number) => ControlFlow::Break(Span::of_parser(number.span())),
            None => ControlFlow::Continue(()),
        }
    }
}

impl Visitor for Position<'_> {
    type Break = Option<Span>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        match query.order_by.as_ref().map(|order| &order.kind) {
            Some(OrderByKind::Expressions(by)) if !self.grouped => self.among(by.iter().map(|key| &key.expr)),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        match &select.group_by {
            GroupByExpr::Expressions(keys, _) if self.grouped => self.among(keys.iter()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// `relation.*`.
struct Wildcard<'a> {
    relation: &'a str,
}

impl Visitor for Wildcard<'_> {
    type Break = Option<Span>;

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        let named = |name: &ObjectName| name.0.last().and_then(|part| part.as_ident()).map(folded);
        let wildcard = select.projection.iter().find_map(|item| match item {
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _)
                if named(name).as_deref() == Some(self.relation) =>
            {
                Some(name)
            }
            _ => None,
        });
        match wildcard {
            Some(name) => ControlFlow::Break(Span::of_parser(name.span())),
            None => ControlFlow::Continue(()),
        }
    }
}

/// `OVER window`.
struct Over<'a> {
    window: &'a str,
}

impl Visitor for Over<'_> {
    type Break = Option<Span>;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Function(Function { over: Some(WindowType::NamedWindow(name)), .. })
                if folded(name) == self.window =>
            {
                ControlFlow::Break(Span::of_parser(name.span))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// LIMIT or OFFSET, if the query has one of them alone.
fn bound(query: &Query, limit: bool) -> Option<Span> {
    struct Bounds {
        limit: bool,
        found: Vec<Span>,
    }
    impl Visitor for Bounds {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
                let bound = if self.limit { limit.as_ref() } else { offset.as_ref().map(|offset| &offset.value) };
                self.found.extend(bound.and_then(|bound| Span::of_parser(bound.span())));
            }
            ControlFlow::Continue(())
        }
    }
    let mut bounds = Bounds { limit, found: Vec::new() };
    let _never_breaks = walk::read(query, &mut bounds);
    match bounds.found.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

/// The first parameter of a statement, and where it stands.
pub(crate) fn first_parameter(node: &dyn Walk) -> Option<(String, Option<Span>)> {
    struct Placeholder;
    impl Visitor for Placeholder {
        type Break = (String, Option<Span>);

        fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<Self::Break> {
            match &value.value {
                Value::Placeholder(name) => ControlFlow::Break((name.clone(), Span::of_parser(value.span))),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    walk::read(node, &mut Placeholder).break_value()
}
