//! Which queries a get by key or index answers: a SELECT from one stored relation, with equalities on all columns of its primary key or on
//! leading columns of an index.

use catalog::{Catalog, Object};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, FetchType, LogicalPlan, Operator, SkipType, Volatility,
};

use super::source::{RelationRef, RelationSource};
use super::{LookupPath, PointLookup};

/// A plan seen as one relation's rows, filtered and projected; expressions are over the relation's columns, without qualifier.
struct Peeled {
    relation: catalog::ObjectId,
    expressions: Vec<Expr>,
    conditions: Vec<Expr>,
    limit: Option<usize>,
}

/// How a plan can be answered by a lookup, if it can.
pub(crate) fn detect(plan: &LogicalPlan, catalog: &Catalog) -> Option<PointLookup> {
    let peeled = peel(plan)?;
    let object = catalog.get(peeled.relation)?;
    if !object.is_stored() {
        return None;
    }
    let mut equalities: Vec<Option<(usize, Expr)>> = vec![None; object.columns.len()];
    for (position, condition) in peeled.conditions.iter().enumerate() {
        if let Some((column, value)) = equality(condition, object) {
            equalities[column].get_or_insert((position, value));
        }
    }
    let (path, columns) = best_path(object, catalog, &equalities)?;
    let chosen: Vec<(usize, Expr)> = columns.iter().filter_map(|column| equalities[*column].clone()).collect();
    let (used, key): (Vec<usize>, Vec<Expr>) = chosen.into_iter().unzip();
    let rest = peeled.conditions.into_iter().enumerate().filter(|(position, _)| !used.contains(position));
    let position = |expr: &Expr| match expr.clone().unalias() {
        Expr::Column(column) => object.column_index(&column.name),
        _ => None,
    };
    Some(PointLookup {
        relation: peeled.relation,
        path,
        key,
        residual: conjunction(rest.map(|(_, condition)| condition)),
        columns: peeled.expressions.iter().map(position).collect(),
        projection: peeled.expressions,
        limit: peeled.limit,
    })
}

/// The primary key if all its columns are given, else the index of which most leading columns are.
fn best_path(
    object: &Object,
    catalog: &Catalog,
    equalities: &[Option<(usize, Expr)>],
) -> Option<(LookupPath, Vec<usize>)> {
    if let Some(key) = object.key()
        && key.iter().all(|column| equalities[*column].is_some())
    {
        return Some((LookupPath::Primary, key.to_vec()));
    }
    let prefixes = catalog.indexes(object.id).map(|(index, definition)| {
        let given = definition.columns.iter().copied().take_while(|column| equalities[*column].is_some());
        (LookupPath::Index(index.id), given.collect::<Vec<_>>())
    });
    prefixes.filter(|(_, given)| !given.is_empty()).max_by_key(|(_, given)| given.len())
}

/// `column = value` in either order; the value has no columns and the column's type.
fn equality(condition: &Expr, object: &Object) -> Option<(usize, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let sides = [(left, right), (right, left)];
    sides.into_iter().find_map(|(column, value)| {
        let Expr::Column(Column { name, .. }) = &**column else { return None };
        let index = object.column_index(name)?;
        let constant = !value.any_column_refs() && is_simple(value);
        let wanted = object.columns[index].sql_type.data_type();
        let fits = value.get_type(&datafusion::common::DFSchema::empty()).is_ok_and(|data_type| data_type == wanted);
        (constant && fits).then(|| (index, (**value).clone()))
    })
}

/// Whether an expression is one that the lookup path evaluates: no subquery, no aggregate, nothing that changes from call to call.
fn is_simple(expr: &Expr) -> bool {
    let mut simple = true;
    let walked = expr.apply(|expr| {
        simple &= match expr {
            Expr::ScalarFunction(function) => function.func.signature().volatility == Volatility::Immutable,
            Expr::AggregateFunction(_)
            | Expr::WindowFunction(_)
            | Expr::ScalarSubquery(_)
            | Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::Unnest(_)
            | Expr::GroupingSet(_)
            | Expr::HigherOrderFunction(_) => false,
            _ => true,
        };
        Ok(if simple { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    simple && walked.is_ok()
}

/// A SELECT list over one relation's rows: the expressions, over its columns without qualifier, and the relation.
pub(crate) fn over_one_relation(plan: &LogicalPlan) -> Option<(Vec<Expr>, catalog::ObjectId)> {
    let peeled = peel(plan)?;
    let plain = peeled.conditions.is_empty() && peeled.limit.is_none();
    plain.then_some((peeled.expressions, peeled.relation))
}

fn peel(plan: &LogicalPlan) -> Option<Peeled> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let source = scan.source.downcast_ref::<RelationSource>()?;
            let RelationRef::Object(relation) = source.relation else { return None };
            if scan.projection.is_some() || !scan.filters.is_empty() || scan.fetch.is_some() {
                return None;
            }
            let columns =
                source.schema.fields().iter().map(|field| Expr::Column(Column::new_unqualified(field.name())));
            Some(Peeled { relation, expressions: columns.collect(), conditions: Vec::new(), limit: None })
        }
        LogicalPlan::SubqueryAlias(alias) => peel(&alias.input),
        LogicalPlan::Projection(projection) => {
            let mut peeled = peel(&projection.input)?;
            let over = projection.expr.iter().map(|expr| over_relation(expr, &projection.input, &peeled));
            peeled.expressions = over.collect::<Option<Vec<_>>>()?;
            Some(peeled)
        }
        LogicalPlan::Filter(filter) => {
            let mut peeled = peel(&filter.input)?;
            if peeled.limit.is_some() {
                return None;
            }
            let predicate = over_relation(&filter.predicate, &filter.input, &peeled)?;
            peeled.conditions.extend(split_conjunction_owned(predicate));
            Some(peeled)
        }
        LogicalPlan::Limit(limit) => {
            let mut peeled = peel(&limit.input)?;
            match (limit.get_skip_type().ok()?, limit.get_fetch_type().ok()?) {
                (SkipType::Literal(0), FetchType::Literal(fetch)) if peeled.limit.is_none() => peeled.limit = fetch,
                _ => return None,
            }
            Some(peeled)
        }
        _ => None,
    }
}

/// An expression over a node's columns as one over the relation's.
fn over_relation(expr: &Expr, input: &LogicalPlan, peeled: &Peeled) -> Option<Expr> {
    if !is_simple(expr) {
        return None;
    }
    let replaced = expr.clone().transform_up(|expr| match &expr {
        Expr::Column(column) => {
            let index = input.schema().index_of_column(column)?;
            Ok(Transformed::yes(peeled.expressions[index].clone().unalias()))
        }
        _ => Ok(Transformed::no(expr)),
    });
    let expr = replaced.ok()?.data;
    // A condition that is NULL keeps no row.
    if matches!(expr, Expr::Literal(ScalarValue::Null, _)) { None } else { Some(expr) }
}
