//! Windows by name: `OVER w` and `OVER (w …)` as what the WINDOW clause says. DataFusion forgets the name in the latter.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sql::Span;
use sql::ast::{
    Expr, Ident, NamedWindowExpr, OrderByKind, Query, Select, SetExpr, Spanned, UnaryOperator, VisitorMut, WindowSpec,
    WindowType,
};
use sql::walk::{self, Walk};

use super::name::folded;
use crate::error::ErrorKind;
use crate::{Error, Result};

/// Puts windows in the places of their names, in a query's SELECT lists and its order.
pub(super) fn in_query(query: &mut Query) -> Result<()> {
    if let (SetExpr::Select(select), Some(order)) = (&*query.body, &mut query.order_by)
        && let OrderByKind::Expressions(keys) = &mut order.kind
    {
        let mut windows = Windows::of(select)?;
        keys.iter_mut().try_for_each(|key| windows.expand(&mut key.expr))?;
    }
    in_body(&mut query.body)
}

fn in_body(body: &mut SetExpr) -> Result<()> {
    match body {
        SetExpr::Select(select) => {
            let mut windows = Windows::of(select)?;
            select.projection.iter_mut().try_for_each(|item| windows.expand(item))?;
            select.qualify.iter_mut().try_for_each(|condition| windows.expand(condition))?;
            select.named_window.clear();
            Ok(())
        }
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left)?;
            in_body(right)
        }
        _ => Ok(()),
    }
}

/// What the WINDOW clause defines.
struct Windows {
    defined: HashMap<String, WindowSpec>,
    /// Queries within.
    depth: usize,
}

impl Windows {
    fn of(select: &Select) -> Result<Self> {
        let mut windows = Self { defined: HashMap::new(), depth: 0 };
        for definition in &select.named_window {
            let (name, window) = (&definition.0, &definition.1);
            let spec = match window {
                NamedWindowExpr::NamedWindow(other) => windows.named(other)?.clone(),
                NamedWindowExpr::WindowSpec(spec) => windows.whole(spec)?,
            };
            if windows.defined.insert(folded(name), spec).is_some() {
                let message = format!("window \"{}\" is already defined", folded(name));
                return Err(Error::new(ErrorKind::Windowing, message).at(Span::of_parser(name.span)));
            }
        }
        Ok(windows)
    }

    fn named(&self, name: &Ident) -> Result<&WindowSpec> {
        self.defined.get(&folded(name)).ok_or_else(|| {
            let message = format!("window \"{}\" does not exist", folded(name));
            Error::new(ErrorKind::UndefinedObject, message).at(Span::of_parser(name.span))
        })
    }

    /// A window with what the one that it names says.
    fn whole(&self, spec: &WindowSpec) -> Result<WindowSpec> {
        let Some(name) = &spec.window_name else { return Ok(spec.clone()) };
        let base = self.named(name)?;
        let wrong = |message: String| Err(Error::new(ErrorKind::Windowing, message).at(Span::of_parser(name.span)));
        if base.window_frame.is_some() {
            return wrong(format!("cannot copy window \"{}\" because it has a frame clause", folded(name)));
        }
        if spec.partition_by.iter().any(|key| !is_mark(key)) {
            return wrong(format!("cannot override PARTITION BY clause of window \"{}\"", folded(name)));
        }
        if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            return wrong(format!("cannot override ORDER BY clause of window \"{}\"", folded(name)));
        }
        let order = if spec.order_by.is_empty() { &base.order_by } else { &spec.order_by };
        Ok(WindowSpec {
            window_name: None,
            partition_by: spec.partition_by.iter().chain(&base.partition_by).cloned().collect(),
            order_by: order.clone(),
            window_frame: spec.window_frame.clone(),
        })
    }

    fn expand(&mut self, node: &mut dyn Walk) -> Result<()> {
        match walk::change(node, self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(*error),
        }
    }
}

/// Whether it is what EXCLUDE was parsed as.
fn is_mark(key: &Expr) -> bool {
    matches!(key, Expr::UnaryOp { op: UnaryOperator::PGPrefixFactorial, .. })
}

impl VisitorMut for Windows {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Box<Error>> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Box<Error>> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Box<Error>> {
        // A query within has windows of its own.
        let (0, Expr::Function(function)) = (self.depth, expr) else { return ControlFlow::Continue(()) };
        let spec = match &function.over {
            Some(WindowType::NamedWindow(name)) => self.named(name).cloned(),
            Some(WindowType::WindowSpec(spec)) if spec.window_name.is_some() => self.whole(spec),
            _ => return ControlFlow::Continue(()),
        };
        match spec {
            Ok(spec) => {
                function.over = Some(WindowType::WindowSpec(spec));
                ControlFlow::Continue(())
            }
            Err(error) => {
                let span = Span::of_parser(function.span());
                ControlFlow::Break(Box::new(error.at(span)))
            }
        }
    }
}
