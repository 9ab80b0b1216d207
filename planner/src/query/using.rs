//! `USING` and `NATURAL`: the columns that a join makes one of two, what they mean, and where `*` has them.
//!
//! Such a join becomes one with ON, and the bare names of its columns become what they mean: the left side's column, the right side's behind a
//! RIGHT join, whichever isn't NULL behind a FULL one; where the two have different types ([`wider`]), it has the type of both. `*` is first what the last join has merged, then the left side's other columns, then the
//! right side's. DataFusion would leave the columns where they are, and take the left side's in every join.

use std::collections::HashSet;
use std::ops::ControlFlow;

use catalog::SqlType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use sql::Span;
use sql::ast::{
    BinaryOperator, Distinct, ExceptSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, OrderByKind,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned, TableFactor, TableWithJoins, Value,
    VisitorMut, WildcardAdditionalOptions,
};
use sql::walk::{self, Walk};

use super::as_of::written as as_of;
use super::from_columns::FromColumns;
use super::name::{column_name, folded};
use super::rewrite::{call, cast};
use super::set_returning::{select_all, table_alias};
use crate::error::ErrorKind;
use crate::{Error, Result};

/// Rewrites the SELECTs of a query, and its ORDER BY. `names` has entered the query.
pub(super) fn rewrite(query: &mut Query, names: &mut FromColumns<'_>) -> Result<()> {
    let columns = in_body(&mut query.body, names)?;
    let SetExpr::Select(select) = &*query.body else { return Ok(()) };
    let outputs: Vec<String> = select.projection.iter().filter_map(output_name).collect();
    if let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order| &mut order.kind) {
        for key in keys {
            replace_unless_output(&mut key.expr, &outputs, &columns, names);
        }
    }
    Ok(())
}

/// The columns of the SELECT that a body is, if it has merged ones.
fn in_body(body: &mut SetExpr, names: &mut FromColumns<'_>) -> Result<Vec<Part>> {
    match body {
        SetExpr::Select(select) => in_select(select, names),
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left, names)?;
            in_body(right, names)?;
            Ok(Vec::new())
        }
        _ => Ok(Vec::new()),
    }
}

fn in_select(select: &mut Select, names: &mut FromColumns<'_>) -> Result<Vec<Part>> {
    if !select.from.iter().any(merges) {
        return Ok(Vec::new());
    }
    let mut columns = Vec::new();
    for table in &mut select.from {
        let joined = joined(table, &columns, names)?;
        columns.extend(joined);
    }
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(options) => {
                if options.opt_except.is_some() || options.opt_exclude.is_some() || options.opt_replace.is_some() {
                    let error = Error::unsupported("a * with EXCEPT, EXCLUDE or REPLACE beside USING or NATURAL");
                    return Err(error.with_hint("Name the columns.").at(Span::of_parser(options.span())));
                }
                select.projection.extend(columns.iter().filter_map(Part::wildcard));
            }
            SelectItem::UnnamedExpr(mut expr) => {
                let name = column_name(&expr);
                select.projection.push(match replace(&mut expr, &columns, names) {
                    true => SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) },
                    false => SelectItem::UnnamedExpr(expr),
                });
            }
            SelectItem::ExprWithAlias { mut expr, alias } => {
                replace(&mut expr, &columns, names);
                select.projection.push(SelectItem::ExprWithAlias { expr, alias });
            }
            other => select.projection.push(other),
        }
    }
    for condition in select.selection.iter_mut().chain(&mut select.having).chain(&mut select.qualify) {
        replace(condition, &columns, names);
    }
    replace(&mut select.group_by, &columns, names);
    if let Some(Distinct::On(keys)) = &mut select.distinct {
        let outputs: Vec<String> = select.projection.iter().filter_map(output_name).collect();
        keys.iter_mut().for_each(|key| replace_unless_output(key, &outputs, &columns, names));
    }
    Ok(columns)
}

fn output_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    }
}

/// A bare name in ORDER BY means a column of the answer first.
fn replace_unless_output(key: &mut Expr, outputs: &[String], columns: &[Part], names: &mut FromColumns<'_>) {
    if !matches!(&*key, Expr::Identifier(name) if outputs.contains(&folded(name))) {
        replace(key, columns, names);
    }
}

/// Whether joins that merge columns stand in an item of FROM.
fn merges(table: &TableWithJoins) -> bool {
    let inside = |factor: &TableFactor| match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => merges(table_with_joins),
        _ => false,
    };
    let by_itself = |operator: &JoinOperator| {
        matches!(constraint(operator), Some(JoinConstraint::Using(_) | JoinConstraint::Natural))
    };
    inside(&table.relation) || table.joins.iter().any(|join| by_itself(&join.join_operator) || inside(&join.relation))
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::AsOf { constraint, .. } => Some(constraint),
        _ => None,
    }
}

fn constraint_mut(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::AsOf { constraint, .. } => Some(constraint),
        _ => None,
    }
}

/// A part of what `*` stands for.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "a handful live, while one SELECT is read")]
enum Part {
    /// A column that joins have made one of two.
    Merged { name: String, meaning: Expr },
    /// A relation without the columns that were merged.
    Rest { relation: Called, columns: Option<Vec<String>>, taken: Vec<String> },
}

impl Part {
    /// How many columns of this name it has; `None` if that isn't known.
    fn count(&self, name: &str) -> Option<usize> {
        match self {
            Self::Merged { name: known, .. } => Some(usize::from(known == name)),
            Self::Rest { taken, .. } if taken.iter().any(|taken| taken == name) => Some(0),
            Self::Rest { columns, .. } => {
                columns.as_ref().map(|columns| columns.iter().filter(|column| *column == name).count())
            }
        }
    }

    /// Its columns, if they are known.
    fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::Merged { name, .. } => Some(vec![name.clone()]),
            Self::Rest { columns, taken, .. } => {
                let left = columns.as_ref()?.iter().filter(|column| !taken.contains(column));
                Some(left.cloned().collect())
            }
        }
    }

    /// It as an item of a SELECT list; `None` if nothing is left of it.
    fn wildcard(&self) -> Option<SelectItem> {
        let quoted = |name: &String| Ident::with_quote('"', name);
        match self {
            Self::Merged { name, meaning } => {
                Some(SelectItem::ExprWithAlias { expr: meaning.clone(), alias: quoted(name) })
            }
            Self::Rest { relation, taken, .. } => {
                if self.names().is_some_and(|names| names.is_empty()) {
                    return None;
                }
                let except = taken.split_first().map(|(first, others)| ExceptSelectItem {
                    first_element: quoted(first),
                    additional_elements: others.iter().map(quoted).collect(),
                });
                let options = WildcardAdditionalOptions { opt_except: except, ..WildcardAdditionalOptions::default() };
                let relation = SelectItemQualifiedWildcardKind::ObjectName(relation.whole.clone());
                Some(SelectItem::QualifiedWildcard(relation, options))
            }
        }
    }

    /// Takes the column out; what it means.
    fn take(&mut self, name: &str) -> Expr {
        match self {
            Self::Merged { meaning, .. } => meaning.clone(),
            Self::Rest { relation, taken, .. } => {
                taken.push(name.to_owned());
                relation.column(name)
            }
        }
    }
}

/// What a relation in FROM is called.
#[derive(Clone)]
struct Called {
    /// Before a wildcard.
    whole: ObjectName,
    /// Before a column.
    last: Ident,
}

impl Called {
    fn column(&self, column: &str) -> Expr {
        Expr::CompoundIdentifier(vec![self.last.clone(), Ident::with_quote('"', column)])
    }
}

/// The columns of an item of FROM, its joins with ON. `before`: the columns of the items before it, which a LATERAL one may name.
fn joined(table: &mut TableWithJoins, before: &[Part], names: &mut FromColumns<'_>) -> Result<Vec<Part>> {
    let mut columns = relation(&mut table.relation, before, names)?;
    for join in &mut table.joins {
        let span = Span::of_parser(join.relation.span());
        let mut seen = before.to_vec();
        seen.extend(columns.iter().cloned());
        let right = relation(&mut join.relation, &seen, names)?;
        let (keeps_left, keeps_right) = match &join.join_operator {
            JoinOperator::Semi(_) | JoinOperator::LeftSemi(_) | JoinOperator::Anti(_) | JoinOperator::LeftAnti(_) => {
                (true, false)
            }
            JoinOperator::RightSemi(_) | JoinOperator::RightAnti(_) => (false, true),
            _ => (true, true),
        };
        match constraint_mut(&mut join.join_operator) {
            Some(JoinConstraint::On(condition)) => {
                seen.extend(right.iter().cloned());
                replace(condition, &seen, names);
            }
            Some(JoinConstraint::Using(merged)) => {
                let merged = merged.iter().map(|name| name.0.last().and_then(|part| part.as_ident()).map(folded));
                let merged = merged.collect::<Option<Vec<_>>>();
                let merged = merged.ok_or_else(|| Error::internal("a column of USING is a name"))?;
                let done = merge(&mut join.join_operator, columns, right, &merged, names);
                columns = done.map_err(|error| error.at(span))?;
                continue;
            }
            Some(JoinConstraint::Natural) => {
                let common = common(&columns, &right).map_err(|error| error.at(span))?;
                let done = merge(&mut join.join_operator, columns, right, &common, names);
                columns = done.map_err(|error| error.at(span))?;
                continue;
            }
            Some(JoinConstraint::None) | None => {}
        }
        columns = [(keeps_left, columns), (keeps_right, right)]
            .into_iter()
            .filter(|(keeps, _)| *keeps)
            .flat_map(|(_, side)| side)
            .collect();
    }
    Ok(columns)
}

/// The columns of one thing in FROM, which gets a name if it has none.
fn relation(factor: &mut TableFactor, before: &[Part], names: &mut FromColumns<'_>) -> Result<Vec<Part>> {
    match &mut *factor {
        TableFactor::NestedJoin { table_with_joins, alias: None } => return joined(table_with_joins, before, names),
        TableFactor::NestedJoin { table_with_joins, alias } => {
            let mut subquery = select_all()?;
            if let SetExpr::Select(select) = &mut *subquery.body {
                select.from = vec![(**table_with_joins).clone()];
            }
            *factor = TableFactor::Derived { lateral: false, subquery, alias: alias.take(), sample: None };
        }
        TableFactor::Derived { lateral: false, .. } => {}
        // What a function is called with, and what a LATERAL subquery says, may name merged columns.
        other => {
            replace(other, before, names);
        }
    }
    let columns = names.of_factor(factor);
    let relation = called(factor, before.len());
    let relation = relation.ok_or_else(|| {
        let error = Error::unsupported("a join with USING or NATURAL of something without a name");
        error.with_hint("Give it an alias.").at(Span::of_parser(factor.span()))
    })?;
    Ok(vec![Part::Rest { relation, columns, taken: Vec::new() }])
}

fn called(factor: &mut TableFactor, number: usize) -> Option<Called> {
    if let TableFactor::Derived { alias: alias @ None, .. } = factor {
        *alias = Some(table_alias(format!("joined:{number}")));
    }
    let whole = match alias_of(factor) {
        Some(alias) => ObjectName::from(vec![alias.clone()]),
        None => match factor {
            TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => name.clone(),
            TableFactor::UNNEST { .. } => ObjectName::from(vec![Ident::new("unnest")]),
            _ => return None,
        },
    };
    let last = whole.0.last()?.as_ident()?.clone();
    Some(Called { whole, last })
}

fn alias_of(factor: &TableFactor) -> Option<&Ident> {
    match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. } => alias.as_ref().map(|alias| &alias.name),
        _ => None,
    }
}

/// What a relation in FROM is called.
pub(super) fn name_of(factor: &TableFactor) -> Option<&Ident> {
    alias_of(factor).or_else(|| match factor {
        TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => name.0.last()?.as_ident(),
        _ => None,
    })
}

/// The names that both sides have, in the left side's order.
fn common(left: &[Part], right: &[Part]) -> Result<Vec<String>> {
    let names = |side: &[Part]| -> Result<Vec<String>> {
        let names = side.iter().map(Part::names).collect::<Option<Vec<_>>>();
        let names = names.ok_or_else(|| {
            let error = Error::unsupported("a NATURAL join of something whose columns only its plan tells");
            error.with_hint("Name the columns with USING.")
        })?;
        Ok(names.into_iter().flatten().collect())
    };
    let (left, right) = (names(left)?, names(right)?);
    let mut common: Vec<String> = Vec::new();
    for name in left {
        if right.contains(&name) && !common.contains(&name) {
            common.push(name);
        }
    }
    Ok(common)
}

/// Makes the join one with ON; the columns that it has.
fn merge(
    operator: &mut JoinOperator,
    mut left: Vec<Part>,
    mut right: Vec<Part>,
    names: &[String],
    from: &mut FromColumns<'_>,
) -> Result<Vec<Part>> {
    let is_left = matches!(operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_));
    let is_right = matches!(operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_));
    let is_full = matches!(operator, JoinOperator::FullOuter(_));
    let (mut conditions, mut columns) = (Vec::new(), Vec::new());
    for (number, name) in names.iter().enumerate() {
        if names[..number].contains(name) {
            let message = format!("column name \"{name}\" appears more than once in USING clause");
            return Err(Error::new(ErrorKind::DuplicateColumn, message));
        }
        let of_left = take(&mut left, name, "left")?;
        let of_right = take(&mut right, name, "right")?;
        conditions.push(binary(of_left.clone(), BinaryOperator::Eq, of_right.clone()));
        let wider = from.merged(&of_left, &of_right);
        let of_type = |expr: Expr, is_of: bool| match wider {
            Some(wider) if !is_of => cast(expr, wider.to),
            _ => expr,
        };
        let (left_is, right_is) = wider.map_or((true, true), |wider| (wider.left_is, wider.right_is));
        let meaning = match (is_right, is_full) {
            (true, _) => of_type(of_right, right_is),
            (_, true) => call("coalesce", vec![of_left, of_right]),
            // Of an inner join's columns, which are equal, the one that needs no cast.
            _ if !is_left && !left_is && right_is => of_right,
            _ => of_type(of_left, left_is),
        };
        columns.push(Part::Merged { name: name.clone(), meaning });
    }
    if let JoinOperator::AsOf { match_condition, .. } = operator
        && as_of::lacks_order(match_condition)
        && let Some(Expr::BinaryOp { left, right, .. }) = conditions.pop()
    {
        as_of::set_order(match_condition, Expr::BinaryOp { left, op: BinaryOperator::GtEq, right });
    }
    let all = conditions.into_iter().reduce(|left, right| binary(left, BinaryOperator::And, right));
    if let Some(constraint) = constraint_mut(operator) {
        *constraint = JoinConstraint::On(all.unwrap_or_else(|| Expr::value(Value::Boolean(true))));
    }
    // What was merged before is merged anew.
    let is_taken = |part: &Part| matches!(part, Part::Merged { name, .. } if names.contains(name));
    columns.extend(left.into_iter().chain(right).filter(|part| !is_taken(part)));
    Ok(columns)
}

/// What a column of USING means on one side, which has it no longer.
fn take(side: &mut [Part], name: &str, which: &str) -> Result<Expr> {
    let having = |count: Option<usize>| side.iter().filter(|part| part.count(name) == count).count();
    let known: usize = side.iter().filter_map(|part| part.count(name)).sum();
    if known > 1 {
        let message = format!("common column name \"{name}\" appears more than once in {which} table");
        return Err(Error::new(ErrorKind::AmbiguousColumn, message));
    }
    let wanted = match (known, having(None)) {
        (1, _) => Some(1),
        (_, 1) => None,
        (_, 0) => {
            let message = format!("column \"{name}\" specified in USING clause does not exist in {which} table");
            return Err(Error::new(ErrorKind::UndefinedColumn, message));
        }
        _ => {
            let error = Error::unsupported("USING behind several relations whose columns only their plans tell");
            return Err(error.with_hint("Write the condition with ON."));
        }
    };
    let part = side.iter_mut().find(|part| part.count(name) == wanted);
    part.map(|part| part.take(name)).ok_or_else(|| Error::internal("the column was counted"))
}

/// Two columns that a join has made one, each by its relation's name and its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    left: (String, String),
    right: (String, String),
}

impl Merged {
    /// `None`: what is merged is no plain column.
    pub(super) fn of(left: &Expr, right: &Expr) -> Option<Self> {
        let column = |expr: &Expr| match expr {
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [relation, column] => Some((folded(relation), folded(column))),
                _ => None,
            },
            _ => None,
        };
        Some(Self { left: column(left)?, right: column(right)? })
    }
}

/// A merged column whose sides have different types.
#[derive(Clone, Debug)]
pub(crate) struct Wider {
    pub(super) merged: Merged,
    /// The type of both together.
    to: &'static str,
    /// Whether the left side's column has it.
    left_is: bool,
    /// Whether the right side's column has it.
    right_is: bool,
}

/// Those of the merged columns whose sides have different types in a plan. Joins in several places may be of relations and columns that are called alike: where
/// these have other types, nothing tells which of the joins is meant, and a column keeps the type of its side.
pub(super) fn wider(plan: &LogicalPlan, merged: &[Merged]) -> Result<Vec<Wider>> {
    let mut found: Vec<Option<(SqlType, SqlType)>> = vec![None; merged.len()];
    let mut is_certain = vec![true; merged.len()];
    if merged.is_empty() {
        return Ok(Vec::new());
    }
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::Join(join) = node else { return Ok(TreeNodeRecursion::Continue) };
        for (number, one) in merged.iter().enumerate() {
            let types = type_of(join.left.schema(), &one.left).zip(type_of(join.right.schema(), &one.right));
            is_certain[number] &= found[number].is_none() || types.is_none() || types == found[number];
            found[number] = types.or(found[number].take());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let certain = merged.iter().zip(found).zip(is_certain).filter(|(_, is_certain)| *is_certain);
    let wider = certain.filter_map(|((merged, types), _)| {
        let (left, right) = types?;
        let (to, left_is, right_is) = common_type(&left, &right)?;
        Some(Wider { merged: merged.clone(), to, left_is, right_is })
    });
    Ok(wider.collect())
}

fn type_of(schema: &DFSchema, (relation, column): &(String, String)) -> Option<SqlType> {
    let mut fields = schema.iter();
    let (_, field) = fields.find(|(qualifier, field)| {
        field.name() == column && qualifier.is_some_and(|qualifier| qualifier.table() == relation)
    })?;
    SqlType::of_field(field)
}

/// The type of both of two different ones, and which of them is it.
fn common_type(left: &SqlType, right: &SqlType) -> Option<(&'static str, bool, bool)> {
    /// From the narrowest to the widest. Texts are cast either way, so they keep their types.
    const ORDERS: [&[&str]; 2] =
        [&["int2", "int4", "int8", "numeric", "float4", "float8"], &["date", "timestamp", "timestamptz"]];
    let name = |sql_type: &SqlType| match sql_type {
        SqlType::SmallInt => "int2",
        SqlType::Integer => "int4",
        SqlType::BigInt => "int8",
        SqlType::Numeric(_) => "numeric",
        SqlType::Real => "float4",
        SqlType::Double => "float8",
        SqlType::Date => "date",
        SqlType::Timestamp => "timestamp",
        SqlType::Timestamptz => "timestamptz",
        _ => "",
    };
    let (left, right) = (name(left), name(right));
    ORDERS.iter().find_map(|order| {
        let place = |name| order.iter().position(|known| *known == name);
        let (of_left, of_right) = (place(left)?, place(right)?);
        (of_left != of_right).then(|| (order[of_left.max(of_right)], of_left > of_right, of_right > of_left))
    })
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// What `*` stands for, if that is known: the names of all columns of FROM.
pub(super) fn all_columns(from: &[TableWithJoins], names: &mut FromColumns<'_>) -> Option<Vec<String>> {
    let mut columns = Vec::new();
    for table in from {
        let joined = joined(&mut table.clone(), &columns, names).ok()?;
        columns.extend(joined);
    }
    Some(columns.iter().map(Part::names).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}

/// The columns of the relation in FROM that is called so, if they are known.
pub(super) fn columns_of_relation(
    from: &[TableWithJoins],
    wanted: &str,
    names: &mut FromColumns<'_>,
) -> Option<Vec<String>> {
    let relations =
        from.iter().flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|j| &j.relation)));
    for relation in relations {
        let found = match relation {
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                columns_of_relation(std::slice::from_ref(table_with_joins), wanted, names)
            }
            TableFactor::NestedJoin { alias: Some(alias), .. } if folded(&alias.name) == wanted => {
                names.of_factor(relation)
            }
            _ if called(&mut relation.clone(), 0).is_some_and(|called| folded(&called.last) == wanted) => {
                names.of_factor(relation)
            }
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Puts what they mean in the place of bare names; says whether there were any.
fn replace(node: &mut dyn Walk, columns: &[Part], names: &mut FromColumns<'_>) -> bool {
    if !columns.iter().any(|part| matches!(part, Part::Merged { .. })) {
        return false;
    }
    let mut replace = Replace { columns, names, around: Vec::new(), replaced: false };
    let _never_breaks = walk::change(node, &mut replace);
    replace.replaced
}

struct Replace<'a, 'n, 'c> {
    columns: &'a [Part],
    names: &'n mut FromColumns<'c>,
    /// What is around, from the outside in.
    around: Vec<Around>,
    replaced: bool,
}

/// A part of a subquery within which names may be those of columns outside.
enum Around {
    /// The clauses of a query behind its SELECT, which see the columns of its answer.
    Query,
    /// VALUES have no columns to see.
    Values,
    /// A SELECT with the columns that it sees, if they are known.
    Select(Option<HashSet<String>>),
}

impl Replace<'_, '_, '_> {
    /// What a bare name means, if it is that of one column, which was merged.
    fn meaning(&self, name: &str) -> Option<&Expr> {
        let reaches = self.around.iter().all(|around| match around {
            Around::Select(columns) => columns.as_ref().is_some_and(|columns| !columns.contains(name)),
            Around::Query | Around::Values => true,
        });
        let others: usize = self.columns.iter().filter_map(|part| part.count(name)).sum();
        if !reaches || matches!(self.around.last(), Some(Around::Query)) || others != 1 {
            return None;
        }
        self.columns.iter().find_map(|part| match part {
            Part::Merged { name: known, meaning } if known == name => Some(meaning),
            _ => None,
        })
    }
}

impl VisitorMut for Replace<'_, '_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.names.enter(query);
        self.around.push(if matches!(&*query.body, SetExpr::Values(_)) { Around::Values } else { Around::Query });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.names.leave();
        self.around.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let columns = all_columns(&select.from, self.names).map(|columns| columns.into_iter().collect());
        self.around.push(Around::Select(columns));
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<()> {
        self.around.pop();
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = &*expr
            && let Some(meaning) = self.meaning(&folded(name))
        {
            *expr = meaning.clone();
            self.replaced = true;
        }
        ControlFlow::Continue(())
    }
}
