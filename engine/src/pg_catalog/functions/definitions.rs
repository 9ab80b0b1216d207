//! Definitions of things as SQL, and comments.

use super::{Function, FunctionContext, Value, integer, names, oid, text};
use crate::pg_catalog::objects::{self, quote_identifier};
use crate::pg_catalog::rows::definition;
use crate::pg_catalog::type_numbers::FIRST_OBJECT_OID;
use crate::{Result, SqlType};

pub(super) fn functions() -> Vec<Function> {
    let mut functions = vec![
        // Expressions are kept as SQL: the node is the text.
        Function::strict("pg_get_expr", SqlType::Text, |_, arguments| Ok(arguments[0].clone())),
        Function::strict("pg_get_indexdef", SqlType::Text, index_definition),
        Function::strict("pg_get_constraintdef", SqlType::Text, constraint_definition),
        Function::strict("pg_get_viewdef", SqlType::Text, view_definition),
        Function::lenient("obj_description", SqlType::Text, |context, arguments| Ok(comment(context, arguments, None))),
        Function::lenient("col_description", SqlType::Text, |context, arguments| {
            let column = integer(arguments.get(1)).and_then(|number| usize::try_from(number - 1).ok());
            Ok(column.map_or(Value::Null, |column| comment(context, arguments, Some(column))))
        }),
        // The options of a foreign table as psql shows them; see planner's pg_rewrite.
        Function::lenient("pg_options_text", SqlType::Text, options_text),
    ];
    // There is nothing that these could describe.
    let nothing = [
        "shobj_description",
        "pg_get_ruledef",
        "pg_get_triggerdef",
        "pg_get_functiondef",
        "pg_get_function_arguments",
        "pg_get_function_identity_arguments",
        "pg_get_function_result",
        "pg_get_function_arg_default",
        "pg_get_function_sqlbody",
        "pg_get_serial_sequence",
        "pg_get_statisticsobjdef",
        "pg_get_statisticsobjdef_columns",
        "pg_get_statisticsobjdef_expressions",
        "pg_get_partkeydef",
        "pg_get_partition_constraintdef",
    ];
    functions.extend(nothing.map(|name| Function::lenient(name, SqlType::Text, |_, _| Ok(Value::Null))));
    functions
}

fn index_definition(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let own = oid(&arguments[0]);
    let indexes = objects::indexes(context.catalog());
    let Some(index) = indexes.iter().find(|index| Some(index.oid) == own) else { return Ok(Value::Null) };
    // With a column's number: that column alone.
    Ok(match integer(arguments.get(1)) {
        None | Some(0) => index.definition().into(),
        Some(column) => usize::try_from(column - 1)
            .ok()
            .and_then(|column| index.column_names().nth(column))
            .map(quote_identifier)
            .into(),
    })
}

fn constraint_definition(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let own = oid(&arguments[0]);
    let indexes = objects::indexes(context.catalog());
    let key = indexes.iter().find(|index| own.is_some() && index.constraint_oid() == own);
    Ok(key.map(|key| format!("PRIMARY KEY ({})", key.column_list())).into())
}

/// The view's query, by OID or name, ended as PostgreSQL ends it.
fn view_definition(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let own = match oid(&arguments[0]) {
        Some(own) => own,
        None => {
            let parts = names::identifier_parts(text(arguments.first())).unwrap_or_default();
            let (schema, name) = match parts.as_slice() {
                [name] => (None, name.as_str()),
                [.., schema, name] => (Some(schema.as_str()), name.as_str()),
                [] => return Ok(Value::Null),
            };
            let Some(own) = context.class_oid(schema, name) else { return Ok(Value::Null) };
            own
        }
    };
    let relation = objects::user_relations(context.catalog()).find(|relation| relation.oid == own);
    let query = relation.as_ref().and_then(definition);
    Ok(query.map(|query| format!("{};", query.trim_end().trim_end_matches(';'))).into())
}

fn comment(context: &FunctionContext, arguments: &[Value], column: Option<usize>) -> Value {
    let id = arguments.first().and_then(oid).and_then(|oid| oid.checked_sub(FIRST_OBJECT_OID));
    id.and_then(|id| context.catalog().comment(catalog::ObjectId(id), column)).into()
}

/// `{topic=orders,…}` as `topic 'orders', …`.
fn options_text(_: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let Some(Value::List(options)) = arguments.first() else { return Ok(Value::Text(String::new())) };
    let options: Vec<String> = options
        .iter()
        .filter_map(|option| text(Some(option)).split_once('='))
        .map(|(name, value)| format!("{} '{}'", quote_identifier(name), value.replace('\'', "''")))
        .collect();
    Ok(options.join(", ").into())
}
