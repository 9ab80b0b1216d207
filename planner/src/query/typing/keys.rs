//! Values that are equal though they are written differently: jsonb `1` and `1.0`, the intervals `1 day` and `24 hours`. What groups them, or looks for them, does so
//! by a key that equal ones share; the value that is shown for several is the least as text, of intervals the one with fewest months, then days.

use std::sync::Arc;

use catalog::SqlType;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::functions_aggregate::expr_fn::min;
use datafusion::logical_expr::expr::{Cast, InList, InSubquery, Sort};
use datafusion::logical_expr::{Aggregate, Distinct, DistinctOn, Expr, GroupingSet, LogicalPlan, Projection};
use indexmap::IndexSet;

use crate::functions::OwnFunctions;
use crate::query::operator::{OWN_CAST, is_unknown, resolve, sql_type_of};

/// What equal values share, where that isn't the value itself.
pub(in crate::query) fn key(expr: &Expr, schema: &DFSchema, own: &OwnFunctions) -> Result<Option<Expr>> {
    // Values are ordered by what equal ones share.
    order(expr, schema, own)
}

/// GROUP BY and DISTINCT by keys.
pub(super) fn grouped(plan: LogicalPlan, own: &OwnFunctions) -> Result<LogicalPlan> {
    match &plan {
        LogicalPlan::Aggregate(aggregate) => {
            if matches!(
                aggregate.group_expr.as_slice(),
                [Expr::GroupingSet(GroupingSet::GroupingSets(_) | GroupingSet::Cube(_) | GroupingSet::Rollup(_))]
            ) {
                return Ok(plan);
            }
            let grouped =
                by_keys(&aggregate.input, &aggregate.group_expr, &aggregate.aggr_expr, &aggregate.schema, own)?;
            Ok(grouped.unwrap_or(plan))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
            match by_keys(input, &columns, &[], input.schema(), own)? {
                // INTERSECT and EXCEPT are known by it.
                Some(grouped) => Ok(LogicalPlan::Distinct(Distinct::All(Arc::new(grouped)))),
                None => Ok(plan),
            }
        }
        LogicalPlan::Distinct(Distinct::On(on)) => Ok(LogicalPlan::Distinct(Distinct::On(first_of_keys(on, own)?))),
        _ => Ok(plan),
    }
}

/// `DISTINCT ON` by keys, which are what its rows are sorted by too; DataFusion can't take one twice.
fn first_of_keys(on: &DistinctOn, own: &OwnFunctions) -> Result<DistinctOn> {
    let by = |expr: &Expr| Ok(key(expr, on.input.schema(), own)?.unwrap_or_else(|| expr.clone()));
    let sorted = |sort: &Sort| Ok(Sort { expr: by(&sort.expr)?, ..sort.clone() });
    let on_expr: IndexSet<Expr> = on.on_expr.iter().map(by).collect::<Result<_>>()?;
    let sort_expr = on.sort_expr.as_ref().map(|sorts| sorts.iter().map(sorted).collect::<Result<_>>());
    Ok(DistinctOn { on_expr: on_expr.into_iter().collect(), sort_expr: sort_expr.transpose()?, ..on.clone() })
}

fn by_keys(
    input: &Arc<LogicalPlan>,
    groups: &[Expr],
    calls: &[Expr],
    schema: &DFSchema,
    own: &OwnFunctions,
) -> Result<Option<LogicalPlan>> {
    let keys = groups.iter().map(|group| key(group, input.schema(), own)).collect::<Result<Vec<_>>>()?;
    if keys.iter().all(Option::is_none) {
        return Ok(None);
    }
    let columns = schema.columns();
    let (mut by, mut aggregates, mut shown) = (Vec::new(), calls.to_vec(), Vec::new());
    for ((at, group), key) in groups.iter().enumerate().zip(keys) {
        let (relation, name) = (columns[at].relation.clone(), columns[at].name.clone());
        match key {
            Some(key) => {
                let value = format!("value:{at}");
                by.push(key.alias(format!("key:{at}")));
                aggregates.push(min(group.clone().unalias()).alias(&value));
                let value = Expr::Column(Column::new_unqualified(value));
                let value = match sql_type_of(group, input.schema())? {
                    // An extreme forgets that a text is JSON.
                    SqlType::Jsonb => {
                        let field = SqlType::Jsonb.field(OWN_CAST, true).into();
                        Expr::Cast(Cast::new_from_field(Box::new(value), field))
                    }
                    _ => value,
                };
                shown.push(value.alias_qualified(relation, name));
            }
            None => {
                by.push(group.clone());
                shown.push(Expr::Column(columns[at].clone()));
            }
        }
    }
    shown.extend(columns[groups.len()..].iter().cloned().map(Expr::Column));
    let aggregate = LogicalPlan::Aggregate(Aggregate::try_new(input.clone(), by, aggregates)?);
    Ok(Some(LogicalPlan::Projection(Projection::try_new(shown, Arc::new(aggregate))?)))
}

/// `x IN (a, b)`.
pub(super) fn in_list(list: InList, schema: &DFSchema, own: &OwnFunctions) -> Result<Expr> {
    let InList { expr, list, negated } = list;
    let Some(value) = key(&expr, schema, own)? else { return Ok(Expr::InList(InList { expr, list, negated })) };
    let sql_type = sql_type_of(&expr, schema)?;
    let element = |element: Expr| {
        let element = resolve(element, &sql_type)?;
        Ok(key(&element, schema, own)?.unwrap_or(element))
    };
    let list = list.into_iter().map(element).collect::<Result<_>>()?;
    Ok(Expr::InList(InList { expr: Box::new(value), list, negated }))
}

/// `x IN (SELECT y …)`.
pub(super) fn in_subquery(membership: InSubquery, schema: &DFSchema, own: &OwnFunctions) -> Result<Expr> {
    let plan = &membership.subquery.subquery;
    let element = plan.schema().columns().into_iter().next().map(Expr::Column);
    let element = element.map(|element| key(&element, plan.schema(), own)).transpose()?.flatten();
    let (Some(element), Some(value)) = (element, key(&membership.expr, schema, own)?) else {
        return Ok(Expr::InSubquery(membership));
    };
    let keys = LogicalPlan::Projection(Projection::try_new(vec![element.alias("key")], plan.clone())?);
    let subquery = membership.subquery.with_plan(Arc::new(keys));
    Ok(Expr::InSubquery(InSubquery { expr: Box::new(value), subquery, negated: membership.negated }))
}

/// What the values of a type are sorted by, where it is not the values as Arrow compares them.
pub(super) fn order(expr: &Expr, schema: &DFSchema, own: &OwnFunctions) -> Result<Option<Expr>> {
    if is_unknown(expr) {
        return Ok(None);
    }
    let function = match sql_type_of(expr, schema)? {
        SqlType::Jsonb => "jsonb_sort_key",
        SqlType::Interval => "interval_length",
        _ => return Ok(None),
    };
    own.call(function, vec![expr.clone()]).map(Some)
}
