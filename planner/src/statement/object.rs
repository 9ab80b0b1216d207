//! What the statements that make objects have in common: names, columns, connectors, the text that is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use catalog::snapshot::SYSTEM_SCHEMAS;
use catalog::{
    Column, Connector, Generated, IncludeKind, LatePolicy, Object, ObjectId, ObjectKind, QualifiedName, SqlType,
    Watermark, nearest,
};
use sql::Span;
use sql::ast::{
    self, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, ObjectName, Query, SetExpr, Spanned, TableFactor,
    Visitor, VisitorMut,
};
use sql::statement::{Elements, IncludeClause, Options, WatermarkClause};
use sql::walk;

use super::plan::{CreatePlan, Plan};
use super::scopes::Scopes;
use crate::context::PlanSettings;
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::query::provider::{Relation, name_parts, name_span, resolve};
use crate::query::{interval, sql_type, stored_path};
use crate::{Error, PlanContext, Result};

/// Where a new object of this name goes.
pub(super) fn new_name(name: &ObjectName, context: &PlanContext<'_>) -> Result<QualifiedName> {
    let span = name_span(name);
    let mut parts = name_parts(name)?;
    if parts.len() == 3 && parts[0] == context.settings.database {
        parts.remove(0);
    }
    match <[String; 2]>::try_from(parts) {
        Ok([schema, name]) => {
            own_schema(&schema, context).map_err(|error| error.at(span))?;
            Ok(QualifiedName { schema, name })
        }
        Err(mut parts) if parts.len() == 1 => {
            let name = parts.remove(0);
            let exists =
                |schema: &&String| !SYSTEM_SCHEMAS.contains(&schema.as_str()) && context.catalog.has_schema(schema);
            let schema = context.settings.search_path.iter().find(exists);
            let schema = schema
                .ok_or_else(|| Error::new(ErrorKind::UndefinedSchema, "no schema has been selected to create in"))?;
            Ok(QualifiedName { schema: schema.clone(), name })
        }
        Err(parts) => {
            let message = format!("cross-database references are not implemented: \"{}\"", parts.join("."));
            Err(Error::new(ErrorKind::Unsupported, message).at(span))
        }
    }
}

/// Fails unless this is a schema in which a user may make objects.
pub(super) fn own_schema(schema: &str, context: &PlanContext<'_>) -> Result<()> {
    if SYSTEM_SCHEMAS.contains(&schema) {
        return Err(Error::new(ErrorKind::NotAllowed, format!("permission denied for schema {schema}")));
    }
    if context.catalog.has_schema(schema) {
        return Ok(());
    }
    let hint =
        nearest(schema, context.catalog.schemas(), |schema| schema).map(|near| format!("Did you mean \"{near}\"?"));
    Err(Error::new(ErrorKind::UndefinedSchema, format!("schema \"{schema}\" does not exist")).with_hint_if(hint))
}

/// A free name, or what there is to do as it is taken.
pub(super) enum Name {
    Free(QualifiedName),
    Taken(Plan),
}

/// The name of a new object; with IF NOT EXISTS a taken name is no mistake.
pub(super) fn free_name(
    name: &ObjectName,
    if_not_exists: bool,
    tag: &'static str,
    context: &PlanContext<'_>,
) -> Result<Name> {
    let qualified = new_name(name, context)?;
    if context.catalog.find(&qualified).is_none() {
        return Ok(Name::Free(qualified));
    }
    if if_not_exists {
        let notice = format!("relation \"{}\" already exists, skipping", qualified.name);
        return Ok(Name::Taken(Plan::Nothing { tag, notice: Some(notice) }));
    }
    Err(taken(&qualified).at(name_span(name)))
}

pub(super) fn taken(name: &QualifiedName) -> Error {
    Error::new(ErrorKind::DuplicateTable, format!("relation \"{}\" already exists", name.name))
}

/// The plan of a new object.
pub(super) fn create(
    name: QualifiedName,
    sql: &str,
    columns: Vec<Column>,
    kind: ObjectKind,
    tag: &'static str,
) -> CreatePlan {
    let object = Object { id: ObjectId(0), name, sql: sql.to_owned(), columns, depends_on: Vec::new(), kind };
    CreatePlan { object, view: None, notices: Vec::new(), tag }
}

/// The type of a column that is kept: not one that only the catalog has.
pub(super) fn stored_type(data_type: &sql::ast::DataType) -> Result<SqlType> {
    let sql_type = sql_type(data_type)?;
    let mut element = &sql_type;
    while let SqlType::Array(inner) = element {
        element = inner;
    }
    if let SqlType::Catalog(catalog_type) = element {
        return Err(Error::unsupported(format!("a column of the type {catalog_type}")));
    }
    Ok(sql_type)
}

/// Declared columns, then those of metadata.
pub(super) fn columns(
    elements: &Elements,
    includes: &[IncludeClause],
    context: &PlanContext<'_>,
) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |column: Column, span: Option<Span>| {
        if columns.iter().any(|other| other.name == column.name) {
            let message = format!("column \"{}\" specified more than once", column.name);
            return Err(Error::new(ErrorKind::DuplicateColumn, message).at(span));
        }
        columns.push(column);
        Ok(())
    };
    for definition in &elements.columns {
        let sql_type = stored_type(&definition.data_type).map_err(|error| error.at(definition.type_span))?;
        if let Some((default, _)) = &definition.default {
            super::table::check_default(default, &sql_type, context)?;
        }
        let column = Column {
            name: folded(&definition.name),
            sql_type,
            nullable: !definition.not_null && !definition.primary_key,
            default: definition.default.as_ref().map(|(_, text)| text.clone()),
            generated: None,
        };
        add(column, Span::of_parser(definition.name.span))?;
    }
    for include in includes {
        let kind = match include.part {
            "KEY" => IncludeKind::Key,
            "PARTITION" => IncludeKind::Partition,
            "OFFSET" => IncludeKind::Offset,
            "TIMESTAMP" => IncludeKind::Timestamp,
            _ => IncludeKind::Headers,
        };
        let column = Column {
            name: include.name.as_ref().map_or_else(|| include.part.to_lowercase(), folded),
            sql_type: kind.sql_type(),
            nullable: matches!(kind, IncludeKind::Key | IncludeKind::Headers),
            default: None,
            generated: Some(Generated::Include(kind)),
        };
        add(column, Some(include.span))?;
    }
    Ok(columns)
}

/// Refuses constraints that aren't done.
pub(super) fn refuse_constraints(elements: &Elements) -> Result<()> {
    match elements.unsupported.first() {
        Some(constraint) => Err(Error::unsupported(format!("{} constraint", constraint.name)).at(constraint.span)),
        None => Ok(()),
    }
}

/// The primary key's positions, given at a column or at the end.
pub(super) fn primary_key(elements: &Elements, columns: &mut [Column]) -> Result<Vec<usize>> {
    let at_columns: Vec<_> = elements.columns.iter().filter(|column| column.primary_key).collect();
    let names: Vec<_> = match (&elements.primary_key, at_columns.as_slice()) {
        (None, []) => Vec::new(),
        (None, [column]) => vec![&column.name],
        (Some((names, _)), []) => names.iter().collect(),
        (_, [.., last]) => {
            let span = Span::of_parser(last.name.span);
            return Err(Error::new(ErrorKind::InvalidTableDefinition, "multiple primary keys are not allowed").at(span));
        }
    };
    let mut key = Vec::new();
    for ident in names {
        let (name, span) = (folded(ident), Span::of_parser(ident.span));
        let position = columns.iter().position(|column| column.name == name && column.generated.is_none());
        let Some(position) = position else {
            let hint = nearest(&name, columns.iter(), |column| &column.name)
                .map(|near| format!("Did you mean \"{}\"?", near.name));
            let message = format!("column \"{name}\" named in key does not exist");
            return Err(Error::new(ErrorKind::UndefinedColumn, message).with_hint_if(hint).at(span));
        };
        if key.contains(&position) {
            let message = format!("column \"{name}\" appears twice in primary key constraint");
            return Err(Error::new(ErrorKind::DuplicateColumn, message).at(span));
        }
        columns[position].nullable = false;
        key.push(position);
    }
    Ok(key)
}

/// `WATERMARK FOR column AS column [- INTERVAL '…']`.
pub(super) fn watermark(clause: Option<&WatermarkClause>, columns: &[Column]) -> Result<Option<Watermark>> {
    let Some(clause) = clause else { return Ok(None) };
    let (name, span) = (folded(&clause.column), Span::of_parser(clause.column.span));
    let Some(column) = columns.iter().position(|column| column.name == name) else {
        let hint = nearest(&name, columns.iter(), |column| &column.name)
            .map(|near| format!("Did you mean \"{}\"?", near.name));
        return Err(Error::new(ErrorKind::UndefinedColumn, format!("column \"{name}\" does not exist"))
            .with_hint_if(hint)
            .at(span));
    };
    if !matches!(columns[column].sql_type, catalog::SqlType::Timestamp | catalog::SqlType::Timestamptz) {
        let message = format!("the watermark column \"{name}\" must be a timestamp, not {}", columns[column].sql_type);
        return Err(Error::new(ErrorKind::DatatypeMismatch, message).at(span));
    }
    let place = Span::of_parser(clause.expression.span());
    let shape = || {
        let hint = format!("Write WATERMARK FOR {name} AS {name} - INTERVAL '5 seconds'.");
        Error::unsupported("this watermark expression").with_hint(hint).at(place)
    };
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(ident) if folded(ident) == name);
    let delay_us = match &clause.expression {
        expr if is_column(expr) => 0,
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(left) => match &**right {
            Expr::Interval(literal) => interval_us(literal).ok_or_else(shape)?,
            _ => return Err(shape()),
        },
        _ => return Err(shape()),
    };
    if delay_us < 0 {
        return Err(
            Error::new(ErrorKind::InvalidParameterValue, "the delay of a watermark must not be negative").at(place)
        );
    }
    Ok(Some(Watermark { column, delay_us }))
}

/// The microseconds of an interval literal of days and smaller parts.
fn interval_us(literal: &ast::Interval) -> Option<i64> {
    let Expr::Value(value) = &*literal.value else { return None };
    let text = match &value.value {
        ast::Value::SingleQuotedString(text) => text.clone(),
        ast::Value::Number(digits, _) => digits.clone(),
        _ => return None,
    };
    let text = match &literal.leading_field {
        Some(field) if text.trim().parse::<f64>().is_ok() => format!("{text} {field}"),
        _ => text,
    };
    let interval = interval::parse(&text)?;
    (interval.months == 0).then_some(i64::from(interval.days) * 86_400_000_000 + interval.nanoseconds / 1000)
}

/// The connector of a WITH list; `None` if it names none.
pub(super) fn connector(options: &Options) -> Result<Option<Connector>> {
    let mut options = options.clone();
    let Some(name) = options.take("connector") else {
        return match options.0.first() {
            None => Ok(None),
            Some(option) => {
                let message = format!("option \"{}\" needs a connector", option.key);
                let hint = "Add connector = 'kafka', 'file' or 'generator' to the WITH list.";
                Err(Error::new(ErrorKind::InvalidOption, message).with_hint(hint).at(option.span))
            }
        };
    };
    let options = options.0.into_iter().map(|option| (option.key, option.value)).collect();
    Ok(Some(Connector { name: name.value.to_lowercase(), options, start: BTreeMap::new() }))
}

/// The connector that an object can't do without.
pub(super) fn required_connector(options: &Options, noun: &str, span: Option<Span>) -> Result<Connector> {
    connector(options)?.ok_or_else(|| {
        let hint = "Add WITH (connector = 'kafka', topic = '…', format = 'json').";
        Error::new(ErrorKind::InvalidOption, format!("a {noun} needs a connector")).with_hint(hint).at(span)
    })
}

/// `late = 'drop' | 'dead_letter'`, which is the source's own and no option of its connector.
pub(super) fn late_policy(options: &mut Options) -> Result<LatePolicy> {
    let Some(option) = options.take("late") else { return Ok(LatePolicy::default()) };
    match option.value.to_lowercase().as_str() {
        "drop" => Ok(LatePolicy::Drop),
        "dead_letter" => Ok(LatePolicy::DeadLetter),
        other => {
            let error = Error::new(ErrorKind::InvalidOption, format!("invalid value for option \"late\": \"{other}\""));
            Err(error.with_hint("It is 'drop' or 'dead_letter'.").at(option.value_span))
        }
    }
}

/// The query of a view as it is kept: its text, if every name in it means the same under the search path of the view's own schema; else
/// printed with full names.
pub(super) fn stored_query(
    query: &sql::statement::Query,
    view: &QualifiedName,
    context: &PlanContext<'_>,
) -> Result<String> {
    let settings = PlanSettings { search_path: stored_path(view), ..context.settings.clone() };
    let from_view = PlanContext { settings: &settings, ..*context };
    if named_objects(&query.query, context) == named_objects(&query.query, &from_view) {
        return Ok(query.text.clone());
    }
    let mut qualified = (*query.query).clone();
    let walked = walk::change(&mut qualified, &mut Qualify { context, scopes: Scopes::default() });
    debug_assert!(walked.is_continue(), "nothing breaks the walk");
    Ok(sql::print(&qualified))
}

/// Writes relations' names with their schemas.
struct Qualify<'a, 'b> {
    context: &'a PlanContext<'b>,
    scopes: Scopes,
}

impl VisitorMut for Qualify<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.scopes.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.scopes.leave();
        ControlFlow::Continue(())
    }

    fn post_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        if let Ok(parts) = name_parts(name)
            && let [bare] = parts.as_slice()
            && !self.scopes.hides(bare)
            && let Ok(Relation::Object(object)) = resolve(self.context, &[bare.as_str()])
        {
            let parts = [&object.name.schema, &object.name.name].map(|part| ast::Ident::with_quote('"', part));
            *name = ObjectName::from(parts.to_vec());
        }
        ControlFlow::Continue(())
    }
}

/// The names of all common table expressions in a query.
pub(super) fn common_tables(query: &Query) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.0.extend(query.with.iter().flat_map(|with| &with.cte_tables).map(|table| folded(&table.alias.name)));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(BTreeSet::new());
    let walked = walk::read(query, &mut names);
    debug_assert!(walked.is_continue(), "nothing breaks the walk");
    names.0
}

/// The objects that a query names, views not expanded.
pub(super) fn named_objects(query: &Query, context: &PlanContext<'_>) -> Vec<ObjectId> {
    struct Names<'a, 'b> {
        context: &'a PlanContext<'b>,
        scopes: Scopes,
        found: BTreeSet<ObjectId>,
    }
    impl Names<'_, '_> {
        fn add(&mut self, parts: &[String]) {
            if let [bare] = parts
                && self.scopes.hides(bare)
            {
                return;
            }
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            if let Ok(Relation::Object(object)) = resolve(self.context, &parts) {
                self.found.insert(object.id);
            }
        }
    }
    impl Visitor for Names<'_, '_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.scopes.enter(query);
            if let SetExpr::Table(table) = &*query.body {
                let parts = [&table.schema_name, &table.table_name].into_iter().flatten();
                self.add(&parts.cloned().collect::<Vec<_>>());
            }
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            self.scopes.leave();
            ControlFlow::Continue(())
        }
        fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
            if let Ok(parts) = name_parts(name) {
                self.add(&parts);
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            // TUMBLE(relation, …): the relation is written as an expression.
            if let TableFactor::Table { args: Some(args), .. } = factor {
                match args.args.first() {
                    Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(ident)))) => {
                        self.add(&[folded(ident)])
                    }
                    Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundIdentifier(parts)))) => {
                        self.add(&parts.iter().map(folded).collect::<Vec<_>>());
                    }
                    _ => {}
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names { context, scopes: Scopes::default(), found: BTreeSet::new() };
    let walked = walk::read(query, &mut names);
    debug_assert!(walked.is_continue(), "nothing breaks the walk");
    names.found.into_iter().collect()
}

/// Columns of a view: the query's, under the names that the statement gives.
pub(super) fn view_columns(schema: &arrow::datatypes::Schema, names: &[ast::Ident]) -> Result<Vec<Column>> {
    let mut columns = crate::query::output::columns(schema)?;
    if names.len() > columns.len() {
        let span = names.get(columns.len()).and_then(|name| Span::of_parser(name.span));
        return Err(Error::new(ErrorKind::Syntax, "CREATE VIEW specifies more column names than columns").at(span));
    }
    for (column, name) in columns.iter_mut().zip(names) {
        column.name = folded(name);
    }
    for (position, column) in columns.iter().enumerate() {
        if columns[..position].iter().any(|other| other.name == column.name) {
            let message = format!("column \"{}\" specified more than once", column.name);
            return Err(Error::new(ErrorKind::DuplicateColumn, message).with_hint("Give the columns names with AS."));
        }
    }
    Ok(columns)
}

/// A view has no parameters.
pub(super) fn refuse_parameters(plan: &crate::query::QueryPlan) -> Result<()> {
    match plan.parameters.len() {
        0 => Ok(()),
        _ => Err(Error::new(ErrorKind::UndefinedParameter, "there is no parameter $1")),
    }
}
