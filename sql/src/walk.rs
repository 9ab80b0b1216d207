//! Walks over syntax trees, compiled once.
//!
//! sqlparser's walk is generic over the visitor: each visitor brings a copy of it, some 1,700 functions, into the crate that uses it. Here
//! the walk exists once for reading and once for changing, and visitors are called through a table of functions. With a dozen visitors
//! that was three quarters of the planner's code, and most of the time that it took to compile.

use std::ops::ControlFlow;

use crate::ast::{
    Delete, Expr, GroupByExpr, Insert, ObjectName, Query, Select, SelectItem, Statement, TableFactor, Update,
    ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};

/// A node of the syntax tree that can be walked.
pub trait Walk {
    /// As [`read`], for a visitor that keeps what it breaks with to itself.
    fn walk(&self, visitor: &mut dyn Visitor<Break = ()>) -> ControlFlow<()>;

    /// As [`change`], for a visitor that keeps what it breaks with to itself.
    fn walk_mut(&mut self, visitor: &mut dyn VisitorMut<Break = ()>) -> ControlFlow<()>;
}

/// Shows a node and all below it to a visitor, until it breaks.
pub fn read<V: Visitor>(node: &dyn Walk, visitor: &mut V) -> ControlFlow<V::Break> {
    let mut holding = Holding { visitor, broke: None };
    let flow = node.walk(&mut holding);
    holding.outcome(flow)
}

/// Lets a visitor change a node and all below it, until it breaks.
pub fn change<V: VisitorMut>(node: &mut dyn Walk, visitor: &mut V) -> ControlFlow<V::Break> {
    let mut holding = Holding { visitor, broke: None };
    let flow = node.walk_mut(&mut holding);
    holding.outcome(flow)
}

macro_rules! walk {
    ($($node:ty),*) => {$(
        impl Walk for $node {
            fn walk(&self, visitor: &mut dyn Visitor<Break = ()>) -> ControlFlow<()> {
                Visit::visit(self, &mut Called(visitor))
            }

            fn walk_mut(&mut self, visitor: &mut dyn VisitorMut<Break = ()>) -> ControlFlow<()> {
                VisitMut::visit(self, &mut Called(visitor))
            }
        }
    )*};
}

walk!(Query, Select, SelectItem, GroupByExpr, Expr, TableFactor, Insert, Update, Delete);

/// A visitor behind a table of functions.
struct Called<'a, V: ?Sized>(&'a mut V);

/// A visitor, and what it has broken with.
struct Holding<'a, V, B> {
    visitor: &'a mut V,
    broke: Option<B>,
}

impl<V, B> Holding<'_, V, B> {
    fn hold(&mut self, flow: ControlFlow<B>) -> ControlFlow<()> {
        flow.map_break(|broke| self.broke = Some(broke))
    }

    fn outcome(self, flow: ControlFlow<()>) -> ControlFlow<B> {
        match self.broke {
            Some(broke) => ControlFlow::Break(broke),
            None => {
                debug_assert!(flow.is_continue(), "only the visitor breaks the walk");
                ControlFlow::Continue(())
            }
        }
    }
}

macro_rules! forward {
    ($($method:ident: $node:ty),*) => {
        impl Visitor for Called<'_, dyn Visitor<Break = ()> + '_> {
            type Break = ();
            $(fn $method(&mut self, node: &$node) -> ControlFlow<()> {
                self.0.$method(node)
            })*
        }

        impl VisitorMut for Called<'_, dyn VisitorMut<Break = ()> + '_> {
            type Break = ();
            $(fn $method(&mut self, node: &mut $node) -> ControlFlow<()> {
                self.0.$method(node)
            })*
        }

        impl<V: Visitor> Visitor for Holding<'_, V, V::Break> {
            type Break = ();
            $(fn $method(&mut self, node: &$node) -> ControlFlow<()> {
                let flow = self.visitor.$method(node);
                self.hold(flow)
            })*
        }

        impl<V: VisitorMut> VisitorMut for Holding<'_, V, V::Break> {
            type Break = ();
            $(fn $method(&mut self, node: &mut $node) -> ControlFlow<()> {
                let flow = self.visitor.$method(node);
                self.hold(flow)
            })*
        }
    };
}

forward!(
    pre_visit_query: Query,
    post_visit_query: Query,
    pre_visit_select: Select,
    post_visit_select: Select,
    pre_visit_relation: ObjectName,
    post_visit_relation: ObjectName,
    pre_visit_table_factor: TableFactor,
    post_visit_table_factor: TableFactor,
    pre_visit_expr: Expr,
    post_visit_expr: Expr,
    pre_visit_statement: Statement,
    post_visit_statement: Statement,
    pre_visit_value: ValueWithSpan,
    post_visit_value: ValueWithSpan
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts names until one is `stop`.
    #[derive(Default)]
    struct Names {
        seen: Vec<String>,
    }

    impl Visitor for Names {
        type Break = String;

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
            let Expr::Identifier(name) = expr else { return ControlFlow::Continue(()) };
            if name.value == "stop" {
                return ControlFlow::Break(format!("after {}", self.seen.len()));
            }
            self.seen.push(name.value.clone());
            ControlFlow::Continue(())
        }
    }

    struct Upper;

    impl VisitorMut for Upper {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Identifier(name) = expr {
                name.value = name.value.to_uppercase();
            }
            ControlFlow::Continue(())
        }
    }

    #[test]
    fn a_walk_sees_all_that_is_below_and_ends_with_what_the_visitor_breaks_with() {
        let whole = crate::parse_expression("a + (SELECT max(b) FROM t WHERE c IN (d))").expect("it is an expression");
        let mut names = Names::default();
        assert_eq!(read(&whole, &mut names), ControlFlow::Continue(()));
        assert_eq!(names.seen, ["a", "b", "c", "d"]);

        let broken = crate::parse_expression("a + stop + b").expect("it is an expression");
        assert_eq!(read(&broken, &mut Names::default()), ControlFlow::Break("after 1".to_owned()));
    }

    #[test]
    fn a_visitor_changes_what_it_is_shown() {
        let mut expr = crate::parse_expression("a + (SELECT b)").expect("it is an expression");
        assert_eq!(change(&mut expr, &mut Upper), ControlFlow::Continue(()));
        assert_eq!(expr.to_string(), "A + (SELECT B)");
    }
}
