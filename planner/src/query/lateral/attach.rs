//! An outer row's columns, taken along through a subquery.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema, JoinType, NullEquality, NullHandling, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, Sort, WindowFunction};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Cast, Distinct, DistinctOn, EmptyRelation, Expr, ExprFunctionExt, ExprSchemable, FetchType,
    Filter, Join, Limit, LogicalPlan, Operator, Projection, SkipType, Subquery, SubqueryAlias, Union, Unnest, Values,
    Window, lit, when,
};

use super::bound::Bound;
use super::{as_column, columns, inner, join_on, outer_references, project, referred, same};

/// What is taken along.
pub(super) struct Outer {
    /// The columns: as they are called to the left, and here.
    pub(super) columns: Vec<(Column, String)>,
    /// The rows, of these columns.
    pub(super) rows: LogicalPlan,
    /// The rows are distinct: what looks at several rows is done once for each of them.
    pub(super) once: bool,
    /// A row of which the subquery makes none is kept, with NULL in the subquery's columns.
    pub(super) keeps_empty: bool,
    /// Which lateral join it is.
    number: usize,
}

impl Outer {
    /// The rows of a plan, some columns of them.
    pub(super) fn new(plan: &LogicalPlan, columns: impl IntoIterator<Item = usize>, number: usize) -> Result<Self> {
        let named =
            |index: usize| (Column::from(plan.schema().qualified_field(index)), format!("outer{number}:{index}"));
        let columns: Vec<_> = columns.into_iter().map(named).collect();
        let renamed = columns.iter().map(|(column, name)| Expr::Column(column.clone()).alias(name));
        let rows = project(plan.clone(), renamed.collect())?;
        Ok(Self { columns, rows, once: false, keeps_empty: false, number })
    }

    /// This one with other names, to stand on the other side of a join.
    fn again(&self) -> Result<Self> {
        let columns: Vec<_> = self.columns.iter().map(|(column, name)| (column.clone(), format!("{name}'"))).collect();
        let renamed = self.own().zip(&columns).map(|(own, (_, name))| own.alias(name));
        let rows = project(self.rows.clone(), renamed.collect())?;
        Ok(Self { columns, rows, ..*self })
    }

    fn own(&self) -> impl Iterator<Item = Expr> {
        self.columns.iter().map(|(_, name)| inner(name))
    }

    /// That the columns are the same here and there.
    fn same(&self, again: &Self) -> Option<Expr> {
        conjunction(self.own().zip(again.own()).map(|(left, right)| same(left, right, true)))
    }

    fn with_own(&self, others: impl IntoIterator<Item = Expr>) -> Vec<Expr> {
        self.own().chain(others).collect()
    }

    fn is_referred(&self, plan: &LogicalPlan) -> Result<bool> {
        let found = outer_references(plan)?;
        Ok(self.columns.iter().any(|(column, _)| found.contains(column)))
    }

    /// The outer columns, then the plan's; `None` if the plan can't take them along.
    pub(super) fn attach(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        if let LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, .. }) = plan {
            return Ok(Some(self.rows.clone()));
        }
        if !self.is_referred(plan)? {
            return match self.keeps_empty {
                true => Ok(None),
                false => join_on(self.rows.clone(), plan.clone(), None, JoinType::Inner).map(Some),
            };
        }
        match plan {
            LogicalPlan::Subquery(Subquery { subquery, .. }) => self.attach(subquery),
            LogicalPlan::SubqueryAlias(alias) => self.alias(alias),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            // What is taken away or paired would have to come back with NULL.
            _ if self.keeps_empty => Ok(None),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.union(&union.inputs, plan),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.attach(&sort.input),
            _ if !self.once => Ok(None),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let input = self.attach(input)?;
                Ok(input.map(|input| LogicalPlan::Distinct(Distinct::All(Arc::new(input)))))
            }
            LogicalPlan::Distinct(Distinct::On(distinct)) => self.distinct_on(distinct),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Window(window) => self.window(window),
            _ => Ok(None),
        }
    }

    fn alias(&self, alias: &SubqueryAlias) -> Result<Option<LogicalPlan>> {
        let Some(input) = self.attach(&alias.input)? else { return Ok(None) };
        let named = columns(alias.input.schema()).zip(alias.schema.columns());
        let named = named.map(|(expr, column)| as_column(expr, &column));
        project(input, self.with_own(named)).map(Some)
    }

    fn projection(&self, projection: &Projection) -> Result<Option<LogicalPlan>> {
        let plain = |expr: &Expr| matches!(expr.clone().unalias(), Expr::Column(_));
        if self.keeps_empty && has_unnest(&projection.input) && !projection.expr.iter().all(plain) {
            return Ok(None);
        }
        let Some(input) = self.attach(&projection.input)? else { return Ok(None) };
        let named = self.inward_as(&projection.expr, projection.schema.columns())?;
        project(input, self.with_own(named)).map(Some)
    }

    fn unnest(&self, unnest: &Unnest) -> Result<Option<LogicalPlan>> {
        // Where several follow each other, a row that one of them keeps would be one too many.
        if self.keeps_empty && has_unnest(&unnest.input) {
            return Ok(None);
        }
        let Some(input) = self.attach(&unnest.input)? else { return Ok(None) };
        let mut options = unnest.options.clone();
        if self.keeps_empty {
            options.null_handling = NullHandling::PreserveAndExpandEmpty;
        }
        Ok(Some(LogicalPlan::Unnest(Unnest::try_new(Arc::new(input), unnest.exec_columns.clone(), options)?)))
    }

    fn filter(&self, filter: &Filter) -> Result<Option<LogicalPlan>> {
        if self.once
            && !self.is_referred(&filter.input)?
            && let Some(found) = self.equalities(filter)?
        {
            return self.bound(filter, found).map(Some);
        }
        let Some(input) = self.attach(&filter.input)? else { return Ok(None) };
        let predicate = self.inward(filter.predicate.clone())?;
        Ok(Some(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?)))
    }

    /// The columns of the filter's input that are the outer columns, in the place of the outer rows.
    fn bound(&self, filter: &Filter, found: Equalities) -> Result<LogicalPlan> {
        let not_null = found.columns.iter().map(|column| Expr::Column(column.clone()).is_not_null());
        let present = conjunction(not_null);
        let mut plan = filter.input.as_ref().clone();
        if let Some(present) = present {
            plan = LogicalPlan::Filter(Filter::try_new(present, Arc::new(plan))?);
        }
        let own = found.columns.iter().zip(&self.columns);
        let own = own.map(|(column, (_, name))| Expr::Column(column.clone()).alias(name));
        plan = project(plan, own.chain(columns(filter.input.schema())).collect())?;
        let others = found.others.into_iter().map(|condition| self.inward(condition)).collect::<Result<Vec<_>>>()?;
        match conjunction(others) {
            Some(others) => Ok(LogicalPlan::Filter(Filter::try_new(others, Arc::new(plan))?)),
            None => Ok(plan),
        }
    }

    fn equalities(&self, filter: &Filter) -> Result<Option<Equalities>> {
        let types = self.rows.schema().fields().iter().map(|field| Some(field.data_type().clone()));
        let wanted: Vec<_> = self.columns.iter().map(|(column, _)| column.clone()).zip(types).collect();
        Ok(find_equalities(filter, &wanted))
    }

    /// INTERSECT or EXCEPT of each combination's rows: the outer columns are among those by which rows are equal.
    fn set_operation(&self, join: &Join) -> Result<Option<LogicalPlan>> {
        if !self.once {
            return Ok(None);
        }
        let again = self.again()?;
        let (Some(left), Some(right)) = (self.attach(&join.left)?, again.attach(&join.right)?) else { return Ok(None) };
        let on = self.own().zip(again.own()).chain(join.on.iter().cloned()).collect();
        Ok(Some(LogicalPlan::Join(Join::try_new(
            Arc::new(left),
            Arc::new(right),
            on,
            None,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?)))
    }

    fn join(&self, join: &Join) -> Result<Option<LogicalPlan>> {
        if is_set_operation(join) {
            return self.set_operation(join);
        }
        let filter = join.filter.clone().map(|filter| self.inward(filter)).transpose()?;
        if !self.is_referred(&join.right)? {
            let Some(left) = self.attach(&join.left)? else { return Ok(None) };
            let attached = Join::try_new(
                Arc::new(left),
                join.right.clone(),
                join.on.clone(),
                filter,
                join.join_type,
                join.join_constraint,
                join.null_equality,
                join.null_aware,
            )?;
            let keeps_left = !matches!(
                join.join_type,
                JoinType::Right | JoinType::Full | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
            );
            return Ok(keeps_left.then(|| LogicalPlan::Join(attached)));
        }
        let equalities = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
        let both = || columns(join.left.schema()).chain(columns(join.right.schema()));
        if join.join_type == JoinType::Inner && !self.is_referred(&join.left)? {
            let Some(right) = self.attach(&join.right)? else { return Ok(None) };
            let condition = conjunction(equalities.chain(filter));
            let joined = join_on(join.left.as_ref().clone(), right, condition, JoinType::Inner)?;
            return project(joined, self.with_own(both())).map(Some);
        }
        if !self.once || !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return Ok(None);
        }
        let again = self.again()?;
        let (Some(left), Some(right)) = (self.attach(&join.left)?, again.attach(&join.right)?) else { return Ok(None) };
        let condition = conjunction(self.same(&again).into_iter().chain(equalities).chain(filter));
        let joined = join_on(left, right, condition, join.join_type)?;
        project(joined, self.with_own(both())).map(Some)
    }

    fn union(&self, plans: &[Arc<LogicalPlan>], plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        let mut inputs = Vec::new();
        for input in plans {
            let Some(attached) = self.attach(input)? else { return Ok(None) };
            inputs.push(Arc::new(attached));
        }
        self.united(inputs, plan).map(Some)
    }

    /// Each row of VALUES is a row made of the outer one.
    fn values(&self, values: &Values) -> Result<Option<LogicalPlan>> {
        let rows = values.values.iter().map(|row| {
            let named = self.inward_as(row, values.schema.columns())?;
            Ok(Arc::new(project(self.rows.clone(), self.with_own(named))?))
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        match <[_; 1]>::try_from(rows) {
            Ok([row]) => Ok(Some(Arc::unwrap_or_clone(row))),
            Err(rows) => self.united(rows, &LogicalPlan::Values(values.clone())).map(Some),
        }
    }

    /// The rows of all inputs, under the names of a plan.
    fn united(&self, inputs: Vec<Arc<LogicalPlan>>, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let union = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
        let names = self.columns.iter().map(|(_, name)| Column::new_unqualified(name)).chain(plan.schema().columns());
        let named = columns(union.schema()).zip(names).map(|(expr, column)| as_column(expr, &column));
        let named = named.collect();
        project(union, named)
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
        if aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return Ok(None);
        }
        let groups = |outer: &Self| -> Result<Option<LogicalPlan>> {
            let Some(input) = outer.attach(&aggregate.input)? else { return Ok(None) };
            let names = aggregate.schema.columns();
            let (keys, calls) = names.split_at(aggregate.group_expr.len());
            let keys = outer.inward_as(&aggregate.group_expr, keys.to_vec())?;
            let calls = outer.inward_as(&aggregate.aggr_expr, calls.to_vec())?;
            Ok(Some(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), outer.with_own(keys), calls)?)))
        };
        if !aggregate.group_expr.is_empty() {
            return groups(self);
        }
        // Without groups there is a row even of nothing.
        let again = self.again()?;
        let Some(right) = groups(&again)? else { return Ok(None) };
        let joined = join_on(self.rows.clone(), right, self.same(&again), JoinType::Left)?;
        let results = aggregate.aggr_expr.iter().zip(aggregate.schema.iter()).map(|(call, (qualifier, field))| {
            let column = Column::new(qualifier.cloned(), field.name());
            let result = Expr::Column(column.clone());
            let Expr::AggregateFunction(function) = call.clone().unalias() else { return Ok(result) };
            let of_nothing = function.func.default_value(field.data_type())?;
            if of_nothing.is_null() {
                return Ok(result);
            }
            Ok(as_column(when(result.clone().is_null(), lit(of_nothing)).otherwise(result)?, &column))
        });
        let results = results.collect::<Result<Vec<_>>>()?;
        project(joined, self.with_own(results)).map(Some)
    }

    fn distinct_on(&self, distinct: &DistinctOn) -> Result<Option<LogicalPlan>> {
        let Some(input) = self.attach(&distinct.input)? else { return Ok(None) };
        let on = distinct.on_expr.iter().map(|expr| self.inward(expr.clone())).collect::<Result<Vec<_>>>()?;
        let select = self.inward_as(&distinct.select_expr, distinct.schema.columns())?;
        let own_order = self.own().map(|own| own.sort(true, true));
        let order = match &distinct.sort_expr {
            Some(order) => Some(own_order.chain(self.inward_order(order)?).collect()),
            None => None,
        };
        let distinct = DistinctOn::try_new(self.with_own(on), self.with_own(select), order, Arc::new(input))?;
        Ok(Some(LogicalPlan::Distinct(Distinct::On(distinct))))
    }

    /// The first rows for each of the outer rows, by their number.
    fn limit(&self, limit: &Limit) -> Result<Option<LogicalPlan>> {
        let constant = match (limit.get_skip_type()?, limit.get_fetch_type()?) {
            (SkipType::Literal(skip), FetchType::Literal(fetch)) => Some((skip, fetch)),
            _ => None,
        };
        let output = limit.input.schema().columns();
        // An order may be over columns that the projection above it leaves out.
        let (below, expressions) = match &*limit.input {
            LogicalPlan::Projection(above) if matches!(&*above.input, LogicalPlan::Sort(_)) => {
                (&above.input, above.expr.clone())
            }
            _ => (&limit.input, columns(limit.input.schema()).collect()),
        };
        let (below, order) = match &**below {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => (&sort.input, self.inward_order(&sort.expr)?),
            _ => (below, Vec::new()),
        };
        let Some(input) = self.attach(below)? else { return Ok(None) };
        let named = self.with_own(self.inward_as(&expressions, output)?);
        if constant == Some((0, None)) {
            return project(input, named).map(Some);
        }
        let place = format!("place{}", self.number);
        let mut number = row_number().partition_by(self.own().collect());
        if !order.is_empty() {
            number = number.order_by(order);
        }
        let number = number.build()?.alias(&place);
        let numbered = LogicalPlan::Window(Window::try_new(vec![number], Arc::new(input))?);
        let within = match constant {
            Some((skip, fetch)) => {
                let bound = |rows: usize| lit(i64::try_from(rows).unwrap_or(i64::MAX));
                let last = fetch.map(|fetch| inner(&place).lt_eq(bound(skip.saturating_add(fetch))));
                let first = (skip > 0).then(|| inner(&place).gt(bound(skip)));
                conjunction(last.into_iter().chain(first))
            }
            None => self.within(limit, inner(&place), numbered.schema())?,
        };
        let Some(within) = within else { return Ok(None) };
        project(LogicalPlan::Filter(Filter::try_new(within, Arc::new(numbered))?), named).map(Some)
    }

    /// That a place is one of those that the bounds let through, which the outer row says. One that is NULL is none.
    fn within(&self, limit: &Limit, place: Expr, schema: &DFSchema) -> Result<Option<Expr>> {
        let bound = |given: &Option<Box<Expr>>, bound: Bound| -> Result<Option<Option<Expr>>> {
            let Some(given) = given else { return Ok(Some(None)) };
            let value = self.inward(given.as_ref().clone())?;
            let is_number = value.get_type(schema)?.is_integer();
            Ok(is_number.then(|| Some(bound.of(value))))
        };
        let (Some(skip), Some(fetch)) = (bound(&limit.skip, Bound::Offset)?, bound(&limit.fetch, Bound::Limit)?) else {
            return Ok(None);
        };
        let place = Expr::Cast(Cast::new(Box::new(place), DataType::Int64));
        let skipped = match skip {
            Some(skip) => when(skip.clone().is_null(), lit(0_i64)).otherwise(skip)?,
            None => lit(0_i64),
        };
        let after = place - skipped;
        let last = fetch.map(|fetch| fetch.clone().is_null().or(after.clone().lt_eq(fetch)));
        Ok(conjunction(last.into_iter().chain([after.gt(lit(0_i64))])))
    }

    fn window(&self, window: &Window) -> Result<Option<LogicalPlan>> {
        let Some(input) = self.attach(&window.input)? else { return Ok(None) };
        let width = window.input.schema().fields().len();
        let names = window.schema.columns().split_off(width);
        let calls = self.inward_as(&window.window_expr, names.clone())?.into_iter().zip(&names).map(|(call, name)| {
            let Expr::WindowFunction(function) = call.unalias() else { return None };
            let WindowFunction { fun, mut params } = *function;
            params.partition_by.splice(0..0, self.own());
            let call = Expr::WindowFunction(Box::new(WindowFunction { fun, params }));
            Some(as_column(call, name))
        });
        let Some(calls) = calls.collect::<Option<Vec<_>>>() else { return Ok(None) };
        Ok(Some(LogicalPlan::Window(Window::try_new(calls, Arc::new(input))?)))
    }

    fn inward_order(&self, order: &[Sort]) -> Result<Vec<Sort>> {
        order.iter().map(|key| Ok(key.with_expr(self.inward(key.expr.clone())?))).collect()
    }

    /// Expressions with the outer columns at hand, under the names that they had.
    fn inward_as(&self, expressions: &[Expr], names: Vec<Column>) -> Result<Vec<Expr>> {
        let named = |(expr, name): (&Expr, Column)| Ok(as_column(self.inward(expr.clone())?, &name));
        expressions.iter().zip(names).map(named).collect()
    }

    fn inner_name(&self, column: &Column) -> Option<&String> {
        self.columns.iter().find(|(known, _)| known == column).map(|(_, name)| name)
    }

    /// References to the outer row as columns, which are at hand now; a subquery within still refers to them from outside.
    fn inward(&self, expr: Expr) -> Result<Expr> {
        let inward = expr.transform_up(|expr| {
            Ok(match expr {
                Expr::OuterReferenceColumn(field, column) => match self.inner_name(&column) {
                    Some(name) => Transformed::yes(inner(name)),
                    None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
                },
                Expr::Exists(Exists { subquery, negated }) => {
                    Transformed::yes(Expr::Exists(Exists { subquery: self.subquery(subquery)?, negated }))
                }
                Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                    let subquery = self.subquery(subquery)?;
                    Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated }))
                }
                Expr::ScalarSubquery(subquery) => Transformed::yes(Expr::ScalarSubquery(self.subquery(subquery)?)),
                Expr::SetComparison(comparison) => {
                    let subquery = self.subquery(comparison.subquery)?;
                    Transformed::yes(Expr::SetComparison(SetComparison { subquery, ..comparison }))
                }
                other => Transformed::no(other),
            })
        })?;
        Ok(inward.data)
    }

    fn subquery(&self, subquery: Subquery) -> Result<Subquery> {
        let plan = Arc::unwrap_or_clone(subquery.subquery).transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| {
                expr.transform_up(|expr| match expr {
                    Expr::OuterReferenceColumn(field, column) => Ok(match self.inner_name(&column) {
                        Some(name) => {
                            Transformed::yes(Expr::OuterReferenceColumn(field, Column::new_unqualified(name)))
                        }
                        None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
                    }),
                    other => Ok(Transformed::no(other)),
                })
            })
        })?;
        let plan = Arc::new(plan.data);
        let outer_ref_columns = plan.all_out_ref_exprs();
        Ok(Subquery { subquery: plan, outer_ref_columns, spans: subquery.spans })
    }
}

/// Whether arrays are taken apart in a plan, its subqueries in expressions aside.
pub(super) fn has_unnest(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Unnest(_)) || plan.inputs().into_iter().any(has_unnest)
}

/// Whether it is INTERSECT or EXCEPT: nothing else in a bound plan takes NULLs as equal.
pub(super) fn is_set_operation(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
}

/// What the equalities of a filter say.
pub(super) struct Equalities {
    /// For each outer column the column of the filter's input that it is equal to.
    pub(super) columns: Vec<Column>,
    /// The other conditions.
    pub(super) others: Vec<Expr>,
}

/// The equalities of a filter for some columns of a schema, of whatever types, if there is one for each.
pub(super) fn equalities(filter: &Filter, outer: &DFSchema, wanted: BTreeSet<usize>) -> Result<Option<Equalities>> {
    if !referred(&filter.input, outer)?.is_empty() {
        return Ok(None);
    }
    let wanted = wanted.into_iter().map(|index| {
        let (qualifier, field) = outer.qualified_field(index);
        (Column::new(qualifier.cloned(), field.name()), None)
    });
    Ok(find_equalities(filter, &wanted.collect::<Vec<_>>()))
}

fn find_equalities(filter: &Filter, wanted: &[(Column, Option<DataType>)]) -> Option<Equalities> {
    let mut others: Vec<Expr> = split_conjunction(&filter.predicate).into_iter().cloned().collect();
    let mut found = Vec::new();
    for (column, data_type) in wanted {
        let of = |condition: &Expr| {
            let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
            let ((Expr::OuterReferenceColumn(_, outer), Expr::Column(inner))
            | (Expr::Column(inner), Expr::OuterReferenceColumn(_, outer))) = (&**left, &**right)
            else {
                return None;
            };
            // Columns of other types would be equal only after a conversion.
            let field = filter.input.schema().field_from_column(inner).ok()?;
            (outer == column && data_type.as_ref().is_none_or(|wanted| field.data_type() == wanted))
                .then(|| inner.clone())
        };
        let (position, inner) = others.iter().enumerate().find_map(|(at, condition)| Some((at, of(condition)?)))?;
        others.remove(position);
        found.push(inner);
    }
    Some(Equalities { columns: found, others })
}
