//! Names of things by OID, OIDs by name, and what of them is visible without its schema's name.

use catalog::{CatalogType, QualifiedName};

use super::{Function, FunctionContext, Value, oid, text};
use crate::pg_catalog::objects::{self, OWNER_OID, quote_identifier};
use crate::pg_catalog::types;
use crate::{Error, ErrorKind, Result, SqlType};

pub(super) fn functions() -> Vec<Function> {
    let mut functions = vec![
        Function::lenient("format_type", SqlType::Text, format_type),
        Function::strict("pg_get_userbyid", SqlType::Name, |context, _| Ok(context.0.user.as_str().into())),
        Function::strict("pg_encoding_to_char", SqlType::Name, |_, arguments| {
            Ok(if super::integer(arguments.first()) == Some(6) { "UTF8" } else { "" }.into())
        }),
        Function::strict("pg_char_to_encoding", SqlType::Integer, |_, arguments| {
            let name: String = text(arguments.first()).chars().filter(char::is_ascii_alphanumeric).collect();
            Ok(Value::Int(if name.eq_ignore_ascii_case("utf8") { 6 } else { -1 }))
        }),
        Function::strict("pg_table_is_visible", SqlType::Boolean, table_is_visible),
        Function::strict("pg_type_is_visible", SqlType::Boolean, |_, arguments| {
            Ok(oid(&arguments[0]).is_some_and(|oid| types::find(oid).is_some()).into())
        }),
        // What casts to and from reg* types are made of: see planner's pg_rewrite.
        Function::strict("regclass_in", SqlType::Oid, regclass_in),
        Function::strict("regclass_out", SqlType::Catalog(CatalogType::RegClass), regclass_out),
        Function::strict("regtype_in", SqlType::Oid, regtype_in),
        Function::strict("regtype_out", SqlType::Catalog(CatalogType::RegType), regtype_out),
        Function::strict("regnamespace_in", SqlType::Oid, regnamespace_in),
        Function::strict("regnamespace_out", SqlType::Catalog(CatalogType::RegNamespace), regnamespace_out),
        Function::strict("regrole_in", SqlType::Oid, |_, arguments| Ok(oid(&arguments[0]).unwrap_or(OWNER_OID).into())),
        Function::strict("regrole_out", SqlType::Catalog(CatalogType::RegRole), |context, _| {
            Ok(quote_identifier(&context.0.user).into())
        }),
        // Functions have no OIDs of their own: regproc is their name, as in pg_type's columns.
        Function::strict("regproc_in", SqlType::Text, |_, arguments| Ok(bare_name(text(arguments.first())).into())),
        Function::strict("regproc_out", SqlType::Catalog(CatalogType::RegProc), |_, arguments| {
            Ok(bare_name(text(arguments.first())).into())
        }),
        Function::strict("to_regclass", SqlType::Oid, |context, arguments| {
            Ok(class_of(context, text(arguments.first())).into())
        }),
        Function::strict("to_regtype", SqlType::Oid, |_, arguments| {
            Ok(types::find_by_name(text(arguments.first())).map(|builtin| builtin.oid).into())
        }),
        Function::strict("to_regnamespace", SqlType::Oid, |context, arguments| {
            let name = unquoted(text(arguments.first()));
            Ok(context.catalog().has_schema(&name).then(|| objects::schema_oid(&name)).into())
        }),
    ];
    // Everything else of the system is in pg_catalog, which is always searched.
    let always = [
        "pg_function_is_visible",
        "pg_operator_is_visible",
        "pg_opclass_is_visible",
        "pg_opfamily_is_visible",
        "pg_collation_is_visible",
        "pg_conversion_is_visible",
        "pg_statistics_obj_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_ts_parser_is_visible",
        "pg_ts_template_is_visible",
    ];
    functions.extend(always.map(|name| Function::strict(name, SqlType::Boolean, |_, _| Ok(true.into()))));
    functions
}

fn format_type(_: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let Some(type_oid) = arguments.first().and_then(oid) else { return Ok(Value::Null) };
    let modifier = super::integer(arguments.get(1)).and_then(|modifier| i32::try_from(modifier).ok());
    Ok(types::format(type_oid, modifier).into())
}

/// Whether a bare name would find it: no relation of that name stands before it in the path.
fn is_visible(context: &FunctionContext, name: &QualifiedName, own: u32) -> bool {
    context.class_oid(None, &name.name) == Some(own)
}

fn table_is_visible(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let Some(own) = oid(&arguments[0]) else { return Ok(Value::Null) };
    let name = context.names().name(own);
    Ok(name.map(|name| is_visible(context, name, own)).into())
}

/// The OID in `pg_class` that a name means: `name`, `schema.name`, with quotes where they must be.
fn class_of(context: &FunctionContext, text: &str) -> Option<u32> {
    let parts = identifier_parts(text)?;
    match parts.as_slice() {
        [name] => context.class_oid(None, name),
        [schema, name] => context.class_oid(Some(schema), name),
        [database, schema, name] if *database == context.0.database => context.class_oid(Some(schema), name),
        _ => None,
    }
}

fn regclass_in(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    if let Some(oid) = oid(&arguments[0]) {
        return Ok(oid.into());
    }
    let name = text(arguments.first());
    match class_of(context, name) {
        Some(oid) => Ok(oid.into()),
        None if name == "-" => Ok(0.into()),
        None => Err(Error::new(ErrorKind::UndefinedTable, format!("relation \"{name}\" does not exist"))),
    }
}

fn regclass_out(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let Some(own) = oid(&arguments[0]) else { return regclass_out_of_name(context, text(arguments.first())) };
    Ok(class_name(context, own).into())
}

fn regclass_out_of_name(context: &FunctionContext, name: &str) -> Result<Value> {
    let Value::Int(oid) = regclass_in(context, &[name.into()])? else { return Ok(Value::Null) };
    Ok(u32::try_from(oid).map(|oid| class_name(context, oid)).ok().into())
}

/// A relation's name as regclass shows it: with its schema if a bare name would not find it, the number if there is none.
pub(super) fn class_name(context: &FunctionContext, own: u32) -> String {
    match context.names().name(own) {
        Some(name) if is_visible(context, name, own) => quote_identifier(&name.name),
        Some(name) => format!("{}.{}", quote_identifier(&name.schema), quote_identifier(&name.name)),
        None if own == 0 => "-".to_owned(),
        None => own.to_string(),
    }
}

fn regtype_in(_: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    if let Some(oid) = oid(&arguments[0]) {
        return Ok(oid.into());
    }
    let name = text(arguments.first());
    match types::find_by_name(name) {
        Some(builtin) => Ok(builtin.oid.into()),
        None => Err(Error::new(ErrorKind::UndefinedObject, format!("type \"{name}\" does not exist"))),
    }
}

fn regtype_out(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let Value::Int(type_oid) = regtype_in(context, arguments)? else { return Ok(Value::Null) };
    let known = u32::try_from(type_oid).ok().filter(|oid| *oid == 0 || types::find(*oid).is_some());
    Ok(known.map_or_else(|| type_oid.to_string(), |oid| types::format(oid, None)).into())
}

fn regnamespace_in(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    if let Some(oid) = oid(&arguments[0]) {
        return Ok(oid.into());
    }
    let name = unquoted(text(arguments.first()));
    if context.catalog().has_schema(&name) {
        return Ok(objects::schema_oid(&name).into());
    }
    Err(Error::new(ErrorKind::UndefinedSchema, format!("schema \"{name}\" does not exist")))
}

fn regnamespace_out(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let Value::Int(own) = regnamespace_in(context, arguments)? else { return Ok(Value::Null) };
    let name = u32::try_from(own).ok().and_then(|own| objects::schema_of_oid(context.catalog(), own));
    Ok(name.map_or_else(|| own.to_string(), |name| quote_identifier(&name)).into())
}

fn bare_name(name: &str) -> String {
    name.strip_prefix("pg_catalog.").unwrap_or(name).to_owned()
}

fn unquoted(text: &str) -> String {
    identifier_parts(text).and_then(|mut parts| parts.pop()).unwrap_or_default()
}

/// `a."B".c` taken apart and folded; `None` if it is no name.
pub(super) fn identifier_parts(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut after = quoted;
            loop {
                let (before, tail) = after.split_once('"')?;
                name.push_str(before);
                match tail.strip_prefix('"') {
                    Some(more) => {
                        name.push('"');
                        after = more;
                    }
                    None => {
                        after = tail;
                        break;
                    }
                }
            }
            (part, rest) = (name, after);
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            part = rest[..end].trim().to_lowercase();
            rest = &rest[end..];
        }
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None => return rest.is_empty().then_some(parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let parts = |text| identifier_parts(text).map(|parts| parts.join("|"));
        assert_eq!(parts("Orders").as_deref(), Some("orders"));
        assert_eq!(parts("public.\"My \"\"T\"\"\"").as_deref(), Some("public|My \"T\""));
        assert_eq!(parts("a..b"), None);
        assert_eq!(parts("\"open"), None);
        assert_eq!(parts("a b.c").as_deref(), Some("a b|c"));
    }
}
