//! `WITH RECURSIVE`: where a query may refer to itself, and what types its columns have.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use catalog::SqlType;
use datafusion::catalog::default_table_source::{DefaultTableSource, provider_as_source};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DataFusionResult};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::logical_expr::{
    Cast, Expr as PlanExpr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, TableScanBuilder,
};
use sql::Span;
use sql::ast::{
    Cte, JoinOperator, LimitClause, Query, Select, SetExpr, SetOperator, SetQuantifier, Spanned, TableFactor,
    TableWithJoins, Visitor,
};
use sql::walk::{self, Walk};
use std::ops::ControlFlow;

use super::name::folded;
use super::operator::OWN_CAST;
use super::placement;
use crate::error::ErrorKind;
use crate::functions::FunctionRegistry;
use crate::{Error, Result};

/// Refuses what PostgreSQL refuses: DataFusion would compute something, or say so without a place.
pub(crate) fn check(query: &Query, functions: &FunctionRegistry) -> Result<()> {
    let Some(with) = query.with.as_ref().filter(|with| with.recursive) else { return Ok(()) };
    for cte in &with.cte_tables {
        let name = folded(&cte.alias.name);
        if !references(&*cte.query, &name).is_empty() {
            check_terms(cte, &name, functions)?;
        }
    }
    Ok(())
}

fn check_terms(cte: &Cte, name: &str, functions: &FunctionRegistry) -> Result<()> {
    let query = &cte.query;
    let SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } = &*query.body else {
        let form = "does not have the form non-recursive-term UNION [ALL] recursive-term";
        return Err(invalid(format!("recursive query \"{name}\" {form}")).at(Span::of_parser(cte.alias.name.span)));
    };
    let (limit, offset) = match &query.limit_clause {
        Some(LimitClause::LimitOffset { limit, offset, .. }) => (limit.as_ref(), offset.as_ref()),
        _ => (None, None),
    };
    let limit = limit.or(query.fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref()));
    let clauses = [
        ("ORDER BY", query.order_by.as_ref().map(Spanned::span)),
        ("OFFSET", offset.map(|offset| offset.value.span())),
        ("LIMIT", limit.map(Spanned::span)),
    ];
    for (clause, span) in clauses {
        if let Some(span) = span {
            let message = format!("{clause} in a recursive query is not implemented");
            return Err(Error::new(ErrorKind::Unsupported, message).at(Span::of_parser(span)));
        }
    }
    let mut terms = Terms { name, functions, seen: Vec::new() };
    for inner in query.with.iter().flat_map(|with| &with.cte_tables) {
        terms.query(&inner.query, Place::NonRecursive)?;
    }
    terms.set(left, Place::NonRecursive)?;
    terms.set(right, Place::Recursive)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidRecursion, message)
}

/// Where a reference of a query to itself stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where it may be.
    Recursive,
    NonRecursive,
    Subquery,
    OuterJoin,
    Intersect,
    Except,
}

/// The terms of one recursive query.
struct Terms<'a> {
    name: &'a str,
    functions: &'a FunctionRegistry,
    /// References in FROM.
    seen: Vec<Option<Span>>,
}

impl Terms<'_> {
    fn query(&mut self, query: &Query, place: Place) -> Result<()> {
        if defines(query, self.name) {
            return Ok(());
        }
        for inner in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.query(&inner.query, place)?;
        }
        self.set(&query.body, place)
    }

    fn set(&mut self, set: &SetExpr, place: Place) -> Result<()> {
        match set {
            SetExpr::Select(select) => self.select(select, place),
            SetExpr::Query(query) => self.query(query, place),
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                let all = *set_quantifier == SetQuantifier::All;
                let (of_left, of_right) = match op {
                    SetOperator::Intersect if all => (Place::Intersect, Place::Intersect),
                    SetOperator::Except | SetOperator::Minus if all => (Place::Except, Place::Except),
                    SetOperator::Except | SetOperator::Minus => (place, Place::Except),
                    SetOperator::Union | SetOperator::Intersect => (place, place),
                };
                // A place that is wrong for another reason stays so.
                let of = |inner| if place == Place::Recursive { inner } else { place };
                self.set(left, of(of_left))?;
                self.set(right, of(of_right))
            }
            _ => Ok(()),
        }
    }

    fn select(&mut self, select: &Select, place: Place) -> Result<()> {
        let before = self.seen.len();
        for table in &select.from {
            self.joined(table, place)?;
        }
        let in_expressions = references(select, self.name).into_iter().find(|span| !self.seen.contains(span));
        if let Some(span) = in_expressions {
            return self.reference(if place == Place::Recursive { Place::Subquery } else { place }, span);
        }
        if self.seen.len() > before
            && select.from.iter().any(|table| self.is_in(table))
            && let Some(span) = placement::aggregate_of(select, self.functions)
        {
            let message = "aggregate functions are not allowed in a recursive query's recursive term";
            return Err(invalid(message.to_owned()).at(span));
        }
        Ok(())
    }

    fn joined(&mut self, table: &TableWithJoins, place: Place) -> Result<()> {
        let outer = |relation: usize| {
            let own = relation > 0 && may_fill_right(&table.joins[relation - 1].join_operator);
            own || table.joins[relation..].iter().any(|join| may_fill_left(&join.join_operator))
        };
        let relations = std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation));
        for (number, relation) in relations.enumerate() {
            let place = if place == Place::Recursive && outer(number) { Place::OuterJoin } else { place };
            match relation {
                TableFactor::Derived { subquery, .. } => self.query(subquery, place)?,
                TableFactor::NestedJoin { table_with_joins, .. } => self.joined(table_with_joins, place)?,
                relation => {
                    if let Some(span) = named(relation, self.name) {
                        self.reference(place, span)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the query itself stands in FROM, not only in a subquery there.
    fn is_in(&self, table: &TableWithJoins) -> bool {
        let mut relations = std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation));
        relations.any(|relation| match relation {
            TableFactor::NestedJoin { table_with_joins, .. } => self.is_in(table_with_joins),
            relation => named(relation, self.name).is_some(),
        })
    }

    fn reference(&mut self, place: Place, span: Option<Span>) -> Result<()> {
        let place = match place {
            Place::Recursive if !self.seen.is_empty() => "more than once",
            Place::Recursive => {
                self.seen.push(span);
                return Ok(());
            }
            Place::NonRecursive => "within its non-recursive term",
            Place::Subquery => "within a subquery",
            Place::OuterJoin => "within an outer join",
            Place::Intersect => "within INTERSECT",
            Place::Except => "within EXCEPT",
        };
        Err(invalid(format!("recursive reference to query \"{}\" must not appear {place}", self.name)).at(span))
    }
}

/// Whether a join fills up what stands left of it with NULL.
pub(super) fn may_fill_left(operator: &JoinOperator) -> bool {
    matches!(operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_))
}

/// Whether a join fills up what stands right of it with NULL.
pub(super) fn may_fill_right(operator: &JoinOperator) -> bool {
    matches!(operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_) | JoinOperator::FullOuter(_))
}

/// The place of a table if it has that name.
fn named(relation: &TableFactor, wanted: &str) -> Option<Option<Span>> {
    let TableFactor::Table { name, args: None, .. } = relation else { return None };
    let [part] = name.0.as_slice() else { return None };
    part.as_ident().filter(|part| folded(part) == wanted).map(|part| Span::of_parser(part.span))
}

/// Whether a query calls something else by that name.
fn defines(query: &Query, name: &str) -> bool {
    query.with.iter().flat_map(|with| &with.cte_tables).any(|cte| folded(&cte.alias.name) == name)
}

/// Where a table of that name is read, in subqueries too.
pub(super) fn references(node: &dyn Walk, name: &str) -> Vec<Option<Span>> {
    struct Search<'a> {
        name: &'a str,
        /// Queries around what is visited in which the name means something else.
        hidden: usize,
        found: Vec<Option<Span>>,
    }

    impl Visitor for Search<'_> {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.hidden += usize::from(defines(query, self.name));
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.hidden -= usize::from(defines(query, self.name));
            ControlFlow::Continue(())
        }

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            self.found.extend(named(factor, self.name).filter(|_| self.hidden == 0));
            ControlFlow::Continue(())
        }
    }

    let mut search = Search { name, hidden: 0, found: Vec::new() };
    let _never_breaks = walk::read(node, &mut search);
    search.found
}

/// A recursive term whose own rows have other types than it was bound with: those of the first term, once that has PostgreSQL's.
pub(super) fn with_rows_of(term: LogicalPlan, name: &str, first: &DFSchema) -> DataFusionResult<LogicalPlan> {
    let fields = first.fields().iter().map(|field| Field::clone(field).with_nullable(true));
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let retyped = term.transform_up(|node| {
        let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::yes(node.recompute_schema()?)) };
        let source = scan.source.downcast_ref::<DefaultTableSource>();
        let table = source.and_then(|source| source.table_provider.downcast_ref::<CteWorkTable>());
        if table.is_none_or(|table| table.name() != name) {
            return Ok(Transformed::no(node));
        }
        let source = provider_as_source(Arc::new(CteWorkTable::new(name, schema.clone())));
        let scan = TableScanBuilder::new(scan.table_name.clone(), source).with_projection(scan.projection.clone());
        Ok(Transformed::yes(LogicalPlan::TableScan(scan.build()?)))
    })?;
    Ok(retyped.data)
}

/// Which columns of a recursive term, as it was bound, are cast to the first term's type. (Casts that were written are calls until they are typed.)
pub(super) fn coerced(term: &LogicalPlan) -> Vec<bool> {
    let is_cast = |expr: &PlanExpr| match expr {
        PlanExpr::Alias(alias) => matches!(*alias.expr, PlanExpr::Cast(_)),
        expr => matches!(expr, PlanExpr::Cast(_)),
    };
    match term {
        LogicalPlan::Projection(Projection { expr, .. }) => expr.iter().map(is_cast).collect(),
        _ => Vec::new(),
    }
}

/// What the recursive term makes of each column, before it is cast to the first term's type.
fn made(term: &LogicalPlan, coerced: &[bool]) -> DataFusionResult<Vec<FieldRef>> {
    let LogicalPlan::Projection(Projection { expr, input, .. }) = term else {
        return Ok(term.schema().fields().iter().cloned().collect());
    };
    let field = |(number, made): (usize, &PlanExpr)| match made.clone().unalias() {
        PlanExpr::Cast(Cast { expr, .. }) if coerced.get(number) == Some(&true) => Ok(expr.to_field(input.schema())?.1),
        other => Ok(other.to_field(input.schema())?.1),
    };
    expr.iter().enumerate().map(field).collect()
}

/// Refuses a recursive term of which a column would lose something in the type of the first term's.
pub(super) fn check_types(
    first: &LogicalPlan,
    term: &LogicalPlan,
    coerced: &[bool],
    name: &str,
) -> DataFusionResult<()> {
    for (number, (own, made)) in first.schema().fields().iter().zip(made(term, coerced)?).enumerate() {
        let is_decimal = made.data_type().is_decimal();
        let (Some(own), Some(made)) = (SqlType::of_field(own), SqlType::of_field(&made)) else { continue };
        let overall = match (&own, &made) {
            // Unsigned numbers of DataFusion's functions are integers.
            (_, SqlType::Numeric(_)) if !is_decimal => continue,
            (SqlType::SmallInt | SqlType::Integer | SqlType::BigInt, SqlType::Numeric(_)) => SqlType::Numeric(None),
            (SqlType::SmallInt | SqlType::Integer | SqlType::BigInt, SqlType::Real | SqlType::Double)
            | (SqlType::Numeric(_), SqlType::Real | SqlType::Double)
            | (SqlType::Date, SqlType::Timestamp | SqlType::Timestamptz) => made,
            (SqlType::Varchar(Some(_)), other) if own != *other => SqlType::Varchar(None),
            _ => continue,
        };
        let message = format!(
            "recursive query \"{name}\" column {} has type {own} in non-recursive term but type {overall} overall",
            number + 1
        );
        let hint = "Cast the output of the non-recursive term to the correct type.";
        return Err(Error::new(ErrorKind::DatatypeMismatch, message).with_hint(hint).into());
    }
    Ok(())
}

/// The first term with numbers of more digits, where the recursive term makes such of them: a number without declared digits has as many as it needs.
pub(super) fn widened(
    first: &LogicalPlan,
    term: &LogicalPlan,
    coerced: &[bool],
) -> DataFusionResult<Option<LogicalPlan>> {
    let mut any = false;
    let mut columns = Vec::with_capacity(first.schema().fields().len());
    for (number, made) in made(term, coerced)?.iter().enumerate() {
        let (qualifier, field) = first.schema().qualified_field(number);
        let column = PlanExpr::Column(Column::from((qualifier, field)));
        let wide = match (field.data_type(), made.data_type()) {
            (DataType::Decimal128(own, scale), DataType::Decimal128(digits, made))
                if own < digits && scale <= made || scale < made =>
            {
                let plain = SqlType::Numeric(None).field(OWN_CAST, true);
                Some(if *made <= 0 { plain.with_data_type(DataType::Decimal128(38, 0)) } else { plain })
            }
            _ => None,
        };
        any |= wide.is_some();
        columns.push(match wide {
            Some(wide) => PlanExpr::Cast(Cast::new_from_field(Box::new(column), Arc::new(wide)))
                .alias_qualified(qualifier.cloned(), field.name()),
            None => column,
        });
    }
    any.then(|| LogicalPlanBuilder::from(first.clone()).project(columns)?.build()).transpose()
}

/// A term without the casts to the types that it was bound with, where it has the wanted types without them.
pub(super) fn without_casts(term: LogicalPlan, wanted: &DFSchema) -> DataFusionResult<LogicalPlan> {
    let LogicalPlan::Projection(Projection { expr, input, .. }) = term else { return Ok(term) };
    let bare = |(expr, wanted): (PlanExpr, &Arc<Field>)| -> DataFusionResult<PlanExpr> {
        let (inner, alias) = match &expr {
            PlanExpr::Alias(alias) => (&*alias.expr, Some(alias.name.clone())),
            other => (other, None),
        };
        let PlanExpr::Cast(Cast { expr: inner, .. }) = inner else { return Ok(expr) };
        if inner.get_type(input.schema())? != *wanted.data_type() {
            return Ok(expr);
        }
        let name = alias.unwrap_or_else(|| expr.schema_name().to_string());
        inner.as_ref().clone().alias_if_changed(name)
    };
    let expressions = expr.into_iter().zip(wanted.fields()).map(bare).collect::<DataFusionResult<Vec<_>>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(expressions, input)?))
}
