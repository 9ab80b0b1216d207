//! From a query's syntax to DataFusion's logical plan, with PostgreSQL's names and types.
//!
//! [`plan_query`] rewrites the syntax tree ([`rewrite`]), lets DataFusion's planner bind it against the catalog ([`provider`]), gives the plan
//! PostgreSQL's types ([`typing`], [`operator`], [`cast`]), lets DataFusion's analyzer put in what conversions are left, makes arithmetic
//! on integers fail where it would wrap around ([`arithmetic`]), and brings the result to types that SQL has ([`output`]).

mod ambiguous;
pub(crate) mod arithmetic;
mod arrow_error;
pub mod as_of;
pub(crate) mod cast;
mod column_aliases;
mod common_tables;
mod cycle;
pub(crate) mod datafusion_error;
pub(crate) mod datetime;
mod exclusion;
mod exists;
mod from_columns;
mod grouping;
mod hypothetical;
pub(crate) mod interval;
mod json_records;
mod key_columns;
pub(crate) mod lateral;
pub(crate) mod literal;
mod literals;
pub(crate) mod lookup;
pub(crate) mod name;
mod number;
mod one_group;
pub(crate) mod operator;
mod ordered_input;
pub(crate) mod output;
mod over_groups;
mod own_aggregate;
mod pg_rewrite;
pub(crate) mod place_of_error;
mod placement;
pub(crate) mod provider;
mod quantified;
mod recursion;
mod result_scale;
pub(crate) mod rewrite;
mod row_in;
mod row_value;
pub(crate) mod scalar_subquery;
mod scope;
mod second_names;
mod set_comparison;
pub mod set_operation;
pub(crate) mod set_returning;
mod shadowed;
pub mod source;
mod subscript;
pub(crate) mod table_function;
mod ties;
pub mod types;
pub(crate) mod typing;
mod union;
mod units;
mod using;
mod values;
mod variadic;
mod whole_row;
pub mod window;
mod windows;
mod written_cast;
mod zoned;

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::{FieldRef, SchemaRef};
use catalog::{Object, ObjectId, ObjectKind, QualifiedName, SqlType};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, SubqueryAlias};
use datafusion::optimizer::Analyzer;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use sql::ast;

use crate::context::PlanSettings;
use crate::error::ErrorKind;
use crate::{Error, PlanContext, Result};

pub use source::{RelationRef, RelationSource};
pub use types::sql_type;
pub use window::{WindowTvf, Windows};

/// A planned query.
#[derive(Clone, Debug)]
pub struct QueryPlan {
    /// Analyzed (names and types are resolved, casts are in), not optimized. Its columns are those of `schema` by position; their names differ
    /// where the visible ones repeat.
    pub logical: LogicalPlan,
    /// Visible names and types, fields as [`SqlType::field`] makes them.
    pub schema: SchemaRef,
    /// Types of `$1`, `$2`, ….
    pub parameters: Vec<SqlType>,
    /// The relations that are read, views expanded.
    pub reads: Vec<ObjectId>,
    /// The system relations that are read.
    pub system_reads: Vec<QualifiedName>,
    /// Set when a get by key or index answers it.
    pub point_lookup: Option<PointLookup>,
}

/// A query that a get by primary key, or a range of an index, answers.
#[derive(Clone, Debug)]
pub struct PointLookup {
    /// The stored relation: a table or a materialized view.
    pub relation: ObjectId,
    /// Which order is used.
    pub path: LookupPath,
    /// One expression per column of the key or of the index's leading columns, without columns: literals and parameters, cast to the column's type.
    /// A NULL among them finds nothing.
    pub key: Vec<Expr>,
    /// A further condition, over the relation's columns (named as in the catalog, without qualifier).
    pub residual: Option<Expr>,
    /// The answer's columns, over the relation's columns.
    pub projection: Vec<Expr>,
    /// For each answer column that is a plain column: its position in the relation. `Some` only if all are: no expression need be evaluated.
    pub columns: Option<Vec<usize>>,
    /// LIMIT, if it is a constant.
    pub limit: Option<usize>,
}

/// How a point lookup finds its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupPath {
    /// By the whole primary key: at most one row.
    Primary,
    /// By leading columns of an index.
    Index(ObjectId),
}

/// Plans a query.
///
/// # Errors
/// Whatever PostgreSQL would say about it, with the place in the text that the syntax tree was read from.
pub fn plan_query(query: &ast::Query, context: &PlanContext<'_>) -> Result<QueryPlan> {
    let mut plan = plan_part(query, context)?;
    plan.parameters = parameters(&plan.logical, context)?;
    Ok(plan)
}

/// The value of a type that a text stands for.
///
/// # Errors
/// If it stands for none.
pub fn value_of_text(text: &str, sql_type: &catalog::SqlType) -> Result<datafusion::common::ScalarValue> {
    literal::parse(text, sql_type)
}

/// A unit of time in the singular and in small letters.
pub(crate) fn unit_of(text: &str) -> String {
    units::singular(&text.to_lowercase()).to_owned()
}

/// The unit to which `date_trunc` cuts values of a type.
pub(crate) fn unit_to_trunc(unit: &str, sql_type: &catalog::SqlType) -> Result<String> {
    units::of_trunc(unit, sql_type)
}

/// Plans a query that is a part of a statement: its parameters are among the statement's, which knows them all.
pub(crate) fn plan_part(query: &ast::Query, context: &PlanContext<'_>) -> Result<QueryPlan> {
    let planned = |query: &ast::Query| {
        let (logical, visible) = bind_either(query, context)?;
        finish(logical, &visible, context)
    };
    planned(query).map_err(|error| place_of_error::placed(error, query, |other| planned(other).err()))
}

/// Plans the query of a view in the catalog: names are looked for in the view's schema, then in `public`, and mistakes have no place in the
/// user's text.
pub(crate) fn plan_stored(query: &str, object: &Object, context: &PlanContext<'_>) -> Result<QueryPlan> {
    let damaged = |error: Error| {
        let detail = format!("It is used in the view \"{}\".", object.name);
        error.nowhere().with_detail(detail)
    };
    let statement = sql::parse_one(query).map_err(|error| damaged(error.into()))?;
    let sql::StatementKind::Query(parsed) = statement.kind else {
        return Err(Error::internal(format!("the view {} is not defined by a query", object.name)));
    };
    let settings = stored_settings(object, context);
    let inner = PlanContext { settings: &settings, parameter_types: &[], ..*context };
    let mut plan = plan_query(&parsed.query, &inner).map_err(damaged)?;
    let names: Vec<&str> = object.columns.iter().map(|column| column.name.as_str()).collect();
    if let Some(places) = moved_columns(&plan, &names, object) {
        let columns = plan.logical.schema().columns();
        let expressions = places.iter().map(|place| Expr::Column(columns[*place].clone()));
        plan.logical = LogicalPlanBuilder::from(plan.logical).project(expressions)?.build()?;
        plan.schema = plan.schema.project(&places).map_err(|error| Error::internal(error.to_string()))?.into();
        plan.point_lookup = None;
    }
    plan.logical = renamed(plan.logical, &names)?;
    Ok(plan)
}

/// Where the columns of a stored view are in its plan, if they once came in another order: what `*` stands for over USING and NATURAL has
/// changed, and a view's columns stay where they are. Nothing but the query has named them.
fn moved_columns(plan: &QueryPlan, names: &[&str], object: &Object) -> Option<Vec<usize>> {
    let planned: Vec<&str> = plan.schema.fields().iter().map(|field| field.name().as_str()).collect();
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    if planned == names || planned.len() != names.len() || unique.len() != names.len() {
        return None;
    }
    let named = match sql::parse_one(&object.sql).ok()?.kind {
        sql::StatementKind::CreateView(create) => !create.columns.is_empty(),
        sql::StatementKind::CreateMaterializedView(create) => !create.columns.is_empty(),
        _ => false,
    };
    if named {
        return None;
    }
    names.iter().map(|name| planned.iter().position(|planned| planned == name)).collect()
}

/// The settings under which the definition of an object in the catalog is read, whoever asks.
pub(crate) fn stored_settings(object: &Object, context: &PlanContext<'_>) -> PlanSettings {
    let zone = |stored: &Option<String>| stored.clone().unwrap_or_else(|| UTC.to_owned());
    let time_zone = match &object.kind {
        ObjectKind::MaterializedView(view) => zone(&view.time_zone),
        ObjectKind::Stream(stream) => zone(&stream.time_zone),
        // It is part of the query that reads it.
        _ => context.settings.time_zone.clone(),
    };
    PlanSettings { search_path: stored_path(&object.name), time_zone, ..context.settings.clone() }
}

/// Where the names in the query of a view or stream are looked for.
pub(crate) fn stored_path(view: &QualifiedName) -> Vec<String> {
    let mut path = vec![view.schema.clone()];
    if view.schema != catalog::snapshot::PUBLIC {
        path.push(catalog::snapshot::PUBLIC.to_owned());
    }
    path
}

/// The time zone that is kept with a view or stream: the session's, `None` for UTC.
pub(crate) fn stored_time_zone(context: &PlanContext<'_>) -> Option<String> {
    let zone = &context.settings.time_zone;
    (!zone.eq_ignore_ascii_case(UTC)).then(|| zone.clone())
}

const UTC: &str = "UTC";

/// A plan with other column names, without qualifiers.
pub(crate) fn renamed(plan: LogicalPlan, names: &[&str]) -> Result<LogicalPlan> {
    if plan.schema().fields().len() != names.len() {
        return Err(Error::internal("a view has more or fewer columns than its query"));
    }
    let columns = plan.schema().columns();
    let same = columns.iter().zip(names).all(|(column, name)| column.relation.is_none() && column.name == *name);
    if same {
        return Ok(plan);
    }
    let expressions = columns.into_iter().zip(names).map(|(column, name)| Expr::Column(column).alias(*name));
    Ok(LogicalPlanBuilder::from(plan).project(expressions)?.build()?)
}

/// Puts the plans of views in the place of their scans.
fn expand_views(plan: LogicalPlan) -> Result<LogicalPlan> {
    let expanded = plan.transform_up_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = &node {
            if let Some(view) = scan.source.downcast_ref::<source::ViewSource>() {
                let alias = SubqueryAlias::try_new(view.plan.clone().into(), scan.table_name.clone())?;
                return Ok(Transformed::yes(LogicalPlan::SubqueryAlias(alias)));
            }
            return Ok(Transformed::no(node));
        }
        Ok(Transformed::yes(node.recompute_schema()?))
    })?;
    Ok(expanded.data)
}

/// Names and types resolved by DataFusion's planner, then typed as PostgreSQL does.
fn bind_query(query: &ast::Query, context: &PlanContext<'_>, all_unique: bool) -> Result<(LogicalPlan, Visible)> {
    if let Some(mut named) = whole_row::named(query)
        && whole_row::expanded(&mut named, context)
    {
        return bind_as_written(&named, context, all_unique);
    }
    match bind_as_written(query, context, all_unique) {
        Err(error) if matches!(error.kind, ErrorKind::UndefinedColumn | ErrorKind::UndefinedFunction) => {
            let mut query = query.clone();
            match whole_row::expanded(&mut query, context) {
                true => bind_as_written(&query, context, all_unique).map_err(|_| error),
                false => Err(error),
            }
        }
        bound => bound,
    }
}

/// Once more, if joins have made one column of two of different types: that is known only of a plan.
fn bind_as_written(query: &ast::Query, context: &PlanContext<'_>, all_unique: bool) -> Result<(LogicalPlan, Visible)> {
    let (plan, visible, merged) = bind_merged(query.clone(), context, all_unique, Vec::new())?;
    let wider = using::wider(&plan, &merged)?;
    if wider.is_empty() {
        return Ok((expand_views(plan)?, visible));
    }
    let (plan, visible, _) = bind_merged(query.clone(), context, all_unique, wider)?;
    Ok((expand_views(plan)?, visible))
}

/// Views are not expanded.
fn bind_merged(
    mut query: ast::Query,
    context: &PlanContext<'_>,
    all_unique: bool,
    wider: Vec<using::Wider>,
) -> Result<(LogicalPlan, Visible, Vec<using::Merged>)> {
    let rewritten = rewrite::query(&mut query, context, all_unique, wider)?;
    let provider = provider::Provider::new(context);
    let planner = SqlToRel::new(&provider);
    let mut planner_context = PlannerContext::new().with_prepare_param_data_types(parameter_fields(context));
    let statement = ast::Statement::Query(Box::new(query));
    let plan = planner.sql_statement_to_plan_with_context(statement, &mut planner_context);
    let plan = plan.map_err(|error| key_columns::located(error.into(), &rewritten.ungrouped))?;
    let mut joined = 0;
    let plan = lateral::attached(ordered_input::aggregates(plan)?, &mut joined)?;
    let has_comparisons = set_comparison::is_in(&plan)?;
    let mut plan = as_of::placed(typing::plan(plan, context)?)?;
    if has_comparisons {
        // They are aggregates now, of whose subqueries some refer two levels out.
        plan = lateral::attached(plan, &mut joined)?;
    }
    let mut visible = rewritten.visible;
    for (name, original) in ambiguous::renamed(&plan)? {
        visible.entry(name).or_insert(original);
    }
    Ok((plan, visible, rewritten.merged))
}

type Visible = std::collections::HashMap<String, String>;

/// The types of parameters that the client has given, as DataFusion's planner takes them.
pub(crate) fn parameter_fields(context: &PlanContext<'_>) -> Vec<Option<FieldRef>> {
    let field = |(position, sql_type): (usize, &Option<SqlType>)| {
        sql_type.as_ref().map(|sql_type| sql_type.field(&format!("${}", position + 1), true).into())
    };
    context.parameter_types.iter().enumerate().map(field).collect()
}

/// Analyzes a bound plan and reads off what it is, but for its parameters.
fn finish(logical: LogicalPlan, visible: &Visible, context: &PlanContext<'_>) -> Result<QueryPlan> {
    let logical = output::conform(analyze(logical, context)?)?;
    let schema = output::schema(&logical, visible)?;
    let (reads, system_reads) = relations(&logical)?;
    Ok(QueryPlan {
        parameters: Vec::new(),
        point_lookup: lookup::detect(&logical, context.catalog),
        schema,
        reads,
        system_reads,
        logical,
    })
}

/// Settles parameters, brings scalar subqueries into a form that can be planned, lets DataFusion's analyzer put in conversions, and makes arithmetic on integers check its results.
pub(crate) fn analyze(logical: LogicalPlan, context: &PlanContext<'_>) -> Result<LogicalPlan> {
    let logical = scalar_subquery::aggregated(typing::default_parameters(logical)?)?;
    let logical = grouping::arguments(logical)?;
    let logical = Analyzer::new().execute_and_check(logical, &context.functions.options, |_, _| {})?;
    Ok(arithmetic::checked(logical)?)
}

/// The relations that a plan scans, in subqueries too.
pub(crate) fn relations(plan: &LogicalPlan) -> Result<(Vec<ObjectId>, Vec<QualifiedName>)> {
    let (mut objects, mut system) = (BTreeSet::new(), BTreeSet::new());
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            match scan.source.downcast_ref::<RelationSource>().map(|source| &source.relation) {
                Some(RelationRef::Object(id)) => {
                    objects.insert(*id);
                }
                Some(RelationRef::System(name)) => {
                    system.insert(name.clone());
                }
                None => {}
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok((objects.into_iter().collect(), system.into_iter().collect()))
}

/// A query whose columns go on into another plan: bound and typed, not analyzed.
pub(crate) fn bind_source(query: &ast::Query, context: &PlanContext<'_>) -> Result<LogicalPlan> {
    let bound = |query: &ast::Query| Ok(bind_either(query, context)?.0);
    bound(query).map_err(|error| place_of_error::placed(error, query, |other| bound(other).err()))
}

/// With names as they are, if they are unique, else with unique ones: columns of a wildcard may be called as others that stand beside it.
fn bind_either(query: &ast::Query, context: &PlanContext<'_>) -> Result<(LogicalPlan, Visible)> {
    match bind_query(query, context, false) {
        Err(error) if error.kind == ErrorKind::DuplicateColumn => bind_query(query, context, true).map_err(|_| error),
        bound => bound,
    }
}

/// Adds the parameters of a plan.
pub(crate) fn collect_plan_parameters(plan: &LogicalPlan, found: &mut BTreeMap<usize, SqlType>) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            collect_parameters(expr, found)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

/// The types of `$1` to the highest parameter that a plan has, or that the client has given a type.
pub(crate) fn parameters(plan: &LogicalPlan, context: &PlanContext<'_>) -> Result<Vec<SqlType>> {
    let mut found = BTreeMap::new();
    collect_plan_parameters(plan, &mut found)?;
    parameter_list(found, context)
}

/// Adds the parameters of an expression.
pub(crate) fn collect_parameters(expr: &Expr, found: &mut BTreeMap<usize, SqlType>) -> datafusion::common::Result<()> {
    expr.apply(|expr| {
        if let Expr::Placeholder(placeholder) = expr
            && let Ok(number) = placeholder.id[1..].parse::<usize>()
        {
            let sql_type =
                placeholder.field.as_ref().and_then(|field| SqlType::of_field(field)).unwrap_or(SqlType::Text);
            found.entry(number).or_insert(sql_type);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// `$1`, `$2`, … without a gap.
pub(crate) fn parameter_list(mut found: BTreeMap<usize, SqlType>, context: &PlanContext<'_>) -> Result<Vec<SqlType>> {
    let given = context.parameter_types;
    let count = found.last_key_value().map_or(0, |(number, _)| *number).max(given.len());
    (1..=count)
        .map(|number| {
            let declared = given.get(number - 1).cloned().flatten();
            declared.or_else(|| found.remove(&number)).ok_or_else(|| {
                Error::new(
                    ErrorKind::IndeterminateType,
                    format!("could not determine data type of parameter ${number}"),
                )
            })
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
