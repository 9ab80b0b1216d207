//! USING behind a RIGHT or FULL join: its columns are the right side's, or whichever side's isn't NULL. DataFusion would take the left side's.
//! And behind an ASOF or temporal join, whose condition is marked.
//!
//! The join becomes one with ON, and the bare names of its columns become what they mean. Other joins with USING are left to DataFusion.

use std::ops::ControlFlow;

use sql::Span;
use sql::ast::{
    BinaryOperator, ExceptSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, OrderByKind, Query,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned, TableFactor, TableWithJoins, VisitorMut,
    WildcardAdditionalOptions,
};
use sql::walk;

use super::name::{column_name, folded};
use super::rewrite::call;
use crate::{Error, Result};

/// Rewrites the SELECT of a query, and its ORDER BY.
pub(super) fn rewrite(query: &mut Query) -> Result<()> {
    let SetExpr::Select(select) = &mut *query.body else { return Ok(()) };
    let mut merged = Merged::default();
    for table in &mut select.from {
        if table.joins.iter().any(|join| takes_the_right_side(&join.join_operator)) {
            merged.chain(table)?;
        }
    }
    if merged.columns.is_empty() {
        return Ok(());
    }
    let projection = std::mem::take(&mut select.projection);
    for item in projection {
        match item {
            SelectItem::Wildcard(_) => select.projection.extend(merged.all()),
            SelectItem::UnnamedExpr(mut expr) => {
                let name = column_name(&expr);
                merged.replace(&mut expr);
                select.projection.push(SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) });
            }
            SelectItem::ExprWithAlias { mut expr, alias } => {
                merged.replace(&mut expr);
                select.projection.push(SelectItem::ExprWithAlias { expr, alias });
            }
            other => select.projection.push(other),
        }
    }
    for condition in select.selection.iter_mut().chain(&mut select.having).chain(&mut select.qualify) {
        merged.replace(condition);
    }
    let _never_breaks = walk::change(&mut select.group_by, &mut Replace { merged: &merged, depth: 0 });
    let outputs: Vec<String> = select.projection.iter().filter_map(output_name).collect();
    if let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order| &mut order.kind) {
        for key in keys {
            // A bare name means a column of the answer first.
            if !matches!(&key.expr, Expr::Identifier(name) if outputs.contains(&folded(name))) {
                merged.replace(&mut key.expr);
            }
        }
    }
    Ok(())
}

fn output_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    }
}

fn constraint(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
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

/// Whether this is a join whose columns of USING aren't the left side's.
fn takes_the_right_side(operator: &JoinOperator) -> bool {
    matches!(
        operator,
        JoinOperator::Right(JoinConstraint::Using(_) | JoinConstraint::Natural)
            | JoinOperator::RightOuter(JoinConstraint::Using(_) | JoinConstraint::Natural)
            | JoinOperator::FullOuter(JoinConstraint::Using(_) | JoinConstraint::Natural)
    ) || super::as_of::written::has_using(operator)
}

/// The columns that joins have made one of two.
#[derive(Default)]
struct Merged {
    columns: Vec<(String, Expr)>,
    /// What the relations are called, in their order, with the columns of theirs that were merged.
    relations: Vec<(Called, Vec<Ident>)>,
}

impl Merged {
    fn chain(&mut self, table: &mut TableWithJoins) -> Result<()> {
        let first = self.relations.len();
        let name = called(&table.relation)?;
        self.relations.push((name, Vec::new()));
        for join in &mut table.joins {
            let right = called(&join.relation)?;
            let span = Span::of_parser(join.relation.span());
            let operator = &mut join.join_operator;
            let (is_right, is_full) = (
                matches!(operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_)),
                matches!(operator, JoinOperator::FullOuter(_)),
            );
            let mut taken = Vec::new();
            match constraint(operator) {
                Some(JoinConstraint::Natural) => {
                    let error = Error::unsupported("a NATURAL join beside a RIGHT or FULL join with USING");
                    return Err(error.with_hint("Name the columns with USING.").at(span));
                }
                Some(constraint @ JoinConstraint::Using(_)) => {
                    let JoinConstraint::Using(columns) = std::mem::replace(constraint, JoinConstraint::None) else {
                        return Err(Error::internal("it was USING"));
                    };
                    let mut conditions = Vec::new();
                    for column in columns {
                        let column = column_ident(&column)?;
                        let left = self.left_side(&column, first, span)?;
                        let of_right = right.column(&column);
                        conditions.push(equality(left.clone(), of_right.clone()));
                        let meaning = match (is_right, is_full) {
                            (true, _) => of_right,
                            (_, true) => call("coalesce", vec![left, of_right]),
                            _ => left,
                        };
                        self.merge(&column, meaning);
                        taken.push(column);
                    }
                    let all = conditions.into_iter().reduce(|left, right| Expr::BinaryOp {
                        left: Box::new(left),
                        op: BinaryOperator::And,
                        right: Box::new(right),
                    });
                    *constraint = all.map_or(JoinConstraint::None, JoinConstraint::On);
                }
                _ => {}
            }
            self.relations.push((right, taken));
        }
        Ok(())
    }

    /// What a column of USING means left of the join.
    fn left_side(&mut self, column: &Ident, first: usize, span: Option<Span>) -> Result<Expr> {
        let name = folded(column);
        if let Some((_, meaning)) = self.columns.iter().find(|(known, _)| *known == name) {
            return Ok(meaning.clone());
        }
        let [(relation, taken)] = &mut self.relations[first..] else {
            let what = "USING behind several relations, with a RIGHT or FULL join among them,";
            return Err(Error::unsupported(what).with_hint("Write the condition with ON.").at(span));
        };
        taken.push(column.clone());
        Ok(relation.column(column))
    }

    fn merge(&mut self, column: &Ident, meaning: Expr) {
        let name = folded(column);
        match self.columns.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = meaning,
            None => self.columns.push((name, meaning)),
        }
    }

    /// `*`: the merged columns, then the others of each relation.
    fn all(&self) -> Vec<SelectItem> {
        let merged = self.columns.iter().map(|(name, meaning)| SelectItem::ExprWithAlias {
            expr: meaning.clone(),
            alias: Ident::with_quote('"', name),
        });
        let others = self.relations.iter().map(|(relation, taken)| {
            let except = taken.split_first().map(|(first, others)| ExceptSelectItem {
                first_element: first.clone(),
                additional_elements: others.to_vec(),
            });
            let options = WildcardAdditionalOptions { opt_except: except, ..WildcardAdditionalOptions::default() };
            let relation = SelectItemQualifiedWildcardKind::ObjectName(relation.whole.clone());
            SelectItem::QualifiedWildcard(relation, options)
        });
        merged.chain(others).collect()
    }

    fn replace(&self, expr: &mut Expr) {
        let _never_breaks = walk::change(expr, &mut Replace { merged: self, depth: 0 });
    }
}

/// What a relation in FROM is called.
struct Called {
    /// Before a wildcard.
    whole: ObjectName,
    /// Before a column.
    last: Ident,
}

impl Called {
    fn column(&self, column: &Ident) -> Expr {
        Expr::CompoundIdentifier(vec![self.last.clone(), column.clone()])
    }
}

fn called(factor: &TableFactor) -> Result<Called> {
    let whole = match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(ObjectName::from(vec![alias.name.clone()]))
        }
        TableFactor::Table { name, .. } => Some(name.clone()),
        _ => None,
    };
    let last = whole.as_ref().and_then(|name| name.0.last()?.as_ident().cloned());
    whole.zip(last).map(|(whole, last)| Called { whole, last }).ok_or_else(|| {
        let error = Error::unsupported("a RIGHT or FULL join with USING of something without a name");
        error.with_hint("Give it an alias.").at(Span::of_parser(factor.span()))
    })
}

fn column_ident(name: &ObjectName) -> Result<Ident> {
    let ident = name.0.last().and_then(|part| part.as_ident()).cloned();
    ident.ok_or_else(|| Error::internal("a column of USING is a name"))
}

fn equality(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::Eq, right: Box::new(right) }
}

/// Puts what they mean in the place of bare names; a subquery's names are its own.
struct Replace<'a> {
    merged: &'a Merged,
    depth: usize,
}

impl VisitorMut for Replace<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Identifier(name) = &*expr
            && let Some((_, meaning)) = self.merged.columns.iter().find(|(known, _)| *known == folded(name))
        {
            *expr = meaning.clone();
        }
        ControlFlow::Continue(())
    }
}
