//! What DataFusion's SQL planner asks about names, answered from the catalog snapshot.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use catalog::{Object, ObjectKind, QualifiedName, nearest};
use datafusion::common::{Result as DataFusionResult, TableReference};
use datafusion::config::ConfigOptions;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use sql::ast::ObjectName;

use super::name::folded;
use super::source::{RelationRef, RelationSource, ViewSource};
use crate::error::ErrorKind;
use crate::{Error, PlanContext, Result};

/// The provider of one statement.
pub(crate) struct Provider<'a> {
    context: &'a PlanContext<'a>,
}

/// A relation that a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Relation {
    /// An object of the catalog.
    Object(Arc<Object>),
    /// A relation of the engine's own.
    System(QualifiedName, SchemaRef),
}

impl<'a> Provider<'a> {
    pub(crate) fn new(context: &'a PlanContext<'a>) -> Self {
        Self { context }
    }

    fn source(&self, name: &TableReference) -> Result<Arc<dyn TableSource>> {
        let parts: Vec<&str> = match name {
            TableReference::Bare { table } => vec![table],
            TableReference::Partial { schema, table } => vec![schema, table],
            TableReference::Full { catalog, schema, table } => vec![catalog, schema, table],
        };
        match resolve(self.context, &parts)? {
            Relation::System(name, schema) => {
                Ok(Arc::new(RelationSource { relation: RelationRef::System(name), schema }))
            }
            Relation::Object(object) => self.object_source(&object),
        }
    }

    fn object_source(&self, object: &Arc<Object>) -> Result<Arc<dyn TableSource>> {
        match &object.kind {
            ObjectKind::Source(_) | ObjectKind::Table(_) | ObjectKind::MaterializedView(_) => {
                let relation = RelationRef::Object(object.id);
                Ok(Arc::new(RelationSource { relation, schema: object.schema() }))
            }
            ObjectKind::View(view) => self.view_source(object, &view.query),
            ObjectKind::Stream(stream) => self.view_source(object, &stream.query),
            ObjectKind::Sink(_) | ObjectKind::Index(_) => Err(Error::new(
                ErrorKind::WrongObjectType,
                format!("\"{}\" is an {}", object.name, object.noun()).replace("an sink", "a sink"),
            )),
        }
    }

    fn view_source(&self, object: &Object, query: &str) -> Result<Arc<dyn TableSource>> {
        let plan = super::plan_stored(query, object, self.context)?;
        Ok(Arc::new(ViewSource { plan: plan.logical, schema: object.schema() }))
    }
}

/// The relation that a name stands for; nothing else has such a name.
pub(crate) fn resolve(context: &PlanContext<'_>, parts: &[&str]) -> Result<Relation> {
    match *parts {
        [name] => resolve_bare(context, name),
        [schema, name] => resolve_in(context, schema, name),
        [database, schema, name] if database == context.settings.database => resolve_in(context, schema, name),
        [database, schema, name] => Err(Error::new(
            ErrorKind::Unsupported,
            format!("cross-database references are not implemented: \"{database}.{schema}.{name}\""),
        )),
        _ => Err(Error::new(
            ErrorKind::Syntax,
            format!("improper qualified name (too many dotted names): {}", parts.join(".")),
        )),
    }
}

fn resolve_bare(context: &PlanContext<'_>, name: &str) -> Result<Relation> {
    if let Some(found) = system(context, "pg_catalog", name) {
        return Ok(found);
    }
    for schema in &context.settings.search_path {
        if let Some(found) = system(context, schema, name) {
            return Ok(found);
        }
        let qualified = QualifiedName { schema: schema.clone(), name: name.to_owned() };
        if let Some(object) = context.catalog.find(&qualified) {
            return Ok(Relation::Object(object.clone()));
        }
    }
    let mut near = context.catalog.near_miss(&context.settings.search_path, name).map(|near| near.to_string());
    if near.is_none() {
        let names = context.system.names();
        near = names
            .iter()
            .find(|system| system.schema == "mr_catalog" && system.name == name)
            .map(|system| format!("mr_catalog.{}", system.name));
    }
    let hint = near.map(|near| format!("Did you mean \"{near}\"?"));
    Err(Error::new(ErrorKind::UndefinedTable, format!("relation \"{name}\" does not exist")).with_hint_if(hint))
}

fn resolve_in(context: &PlanContext<'_>, schema: &str, name: &str) -> Result<Relation> {
    if let Some(found) = system(context, schema, name) {
        return Ok(found);
    }
    let qualified = QualifiedName { schema: schema.to_owned(), name: name.to_owned() };
    if let Some(object) = context.catalog.find(&qualified) {
        return Ok(Relation::Object(object.clone()));
    }
    let error = Error::new(ErrorKind::UndefinedTable, format!("relation \"{schema}.{name}\" does not exist"));
    if !context.catalog.has_schema(schema) {
        let near = nearest(schema, context.catalog.schemas().chain(catalog::snapshot::SYSTEM_SCHEMAS), |schema| schema);
        return Err(
            error.with_hint_if(near.map(|near| format!("There is no schema \"{schema}\"; did you mean \"{near}\"?")))
        );
    }
    let system = context.system.names();
    let own =
        context.catalog.objects_in(schema).filter(|object| !object.is_index()).map(|object| object.name.name.as_str());
    let names = own.chain(system.iter().filter(|system| system.schema == schema).map(|system| system.name.as_str()));
    let hint = nearest(name, names, |name| name).map(|near| format!("Did you mean \"{schema}.{near}\"?"));
    Err(error.with_hint_if(hint))
}

fn system(context: &PlanContext<'_>, schema: &str, name: &str) -> Option<Relation> {
    if !catalog::snapshot::SYSTEM_SCHEMAS.contains(&schema) {
        return None;
    }
    let name = QualifiedName { schema: schema.to_owned(), name: name.to_owned() };
    let schema = context.system.relation(&name)?;
    Some(Relation::System(name, schema))
}

/// The relation that a name in a statement stands for, with the place of the name in the error.
pub(crate) fn resolve_name(context: &PlanContext<'_>, name: &ObjectName) -> Result<Relation> {
    let parts = name_parts(name)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    resolve(context, &parts).map_err(|error| error.at(name_span(name)))
}

/// The object that a name in a statement stands for; system relations are not meant.
pub(crate) fn resolve_object(context: &PlanContext<'_>, name: &ObjectName) -> Result<Arc<Object>> {
    match resolve_name(context, name)? {
        Relation::Object(object) => Ok(object),
        Relation::System(name, _) => {
            let message = format!("permission denied: \"{}\" is a system relation", name.name);
            Err(Error::new(ErrorKind::NotAllowed, message))
        }
    }
}

/// The folded parts of a name.
pub(crate) fn name_parts(name: &ObjectName) -> Result<Vec<String>> {
    name.0
        .iter()
        .map(|part| {
            part.as_ident().map(folded).ok_or_else(|| Error::new(ErrorKind::Syntax, format!("improper name {name}")))
        })
        .collect()
}

/// Where a name stands.
pub(crate) fn name_span(name: &ObjectName) -> Option<sql::Span> {
    use sql::ast::Spanned;
    sql::Span::of_parser(name.span())
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> DataFusionResult<Arc<dyn TableSource>> {
        Ok(self.source(&name)?)
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> DataFusionResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.context.functions.expr_planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.context.functions.relation_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(self.context.functions.type_planner.clone())
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if name == super::written_cast::NAME {
            return Some(super::written_cast::function());
        }
        super::as_of::function(name).or_else(|| self.context.functions.find_scalar(name).cloned())
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.context.functions.find_higher_order(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.context.functions.find_aggregate(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.context.functions.find_window(name).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.context.functions.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.context.functions.scalar().map(|function| function.name().to_owned()).collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.context.functions.aggregate().map(|function| function.name().to_owned()).collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.context.functions.window().map(|function| function.name().to_owned()).collect()
    }
}
