//! The session, the server, and what things take.

use super::{Function, FunctionContext, Value, integer, oid};
use crate::pg_catalog::objects;
use crate::session::variables::Wish;
use crate::{Error, ErrorKind, Result, SqlType};

pub(super) fn functions() -> Vec<Function> {
    let mut functions = vec![
        Function::lenient("pg_backend_pid", SqlType::Integer, |context, _| Ok(context.0.session.into())),
        Function::lenient("pg_postmaster_start_time", SqlType::Timestamptz, |context, _| {
            Ok(Value::Timestamp(context.0.started_us))
        }),
        Function::lenient("pg_conf_load_time", SqlType::Timestamptz, |context, _| {
            Ok(Value::Timestamp(context.0.started_us))
        }),
        Function::lenient("pg_is_in_recovery", SqlType::Boolean, |_, _| Ok(false.into())),
        Function::lenient("pg_is_wal_replay_paused", SqlType::Boolean, |_, _| Ok(false.into())),
        Function::lenient("pg_client_encoding", SqlType::Name, |_, _| Ok("UTF8".into())),
        Function::lenient("pg_my_temp_schema", SqlType::Oid, |_, _| Ok(0.into())),
        Function::strict("pg_is_other_temp_schema", SqlType::Boolean, |_, _| Ok(false.into())),
        Function::strict("getdatabaseencoding", SqlType::Name, |_, _| Ok("UTF8".into())),
        Function::strict("current_setting", SqlType::Text, current_setting),
        Function::lenient("set_config", SqlType::Text, set_config).volatile(),
        // Epochs are what transactions are here.
        Function::lenient("txid_current", SqlType::BigInt, epoch),
        Function::lenient("txid_current_if_assigned", SqlType::BigInt, epoch),
        Function::strict("pg_size_pretty", SqlType::Text, |_, arguments| {
            Ok(integer(arguments.first()).map(size_pretty).into())
        }),
        Function::strict("pg_relation_is_publishable", SqlType::Boolean, |_, _| Ok(false.into())),
        Function::strict("pg_relation_is_updatable", SqlType::Integer, |_, _| Ok(0.into())),
        Function::strict("pg_relation_filenode", SqlType::Oid, |_, arguments| Ok(oid(&arguments[0]).into())),
        // Nothing is partitioned: nothing has ancestors.
        Function::lenient("pg_partition_ancestors", SqlType::Oid, |_, _| Ok(Value::Null)),
        Function::lenient("pg_partition_root", SqlType::Oid, |_, _| Ok(Value::Null)),
        Function::strict("pg_tablespace_location", SqlType::Text, |_, _| Ok("".into())),
    ];
    // What a subquery over nothing gives: see planner's pg_rewrite.
    functions.push(Function::lenient("pg_empty_array", SqlType::Array(Box::new(SqlType::Text)), |_, _| {
        Ok(Value::List(Vec::new()))
    }));
    // Relations share one store, which doesn't know what each takes of it; mr_catalog.views says what is known.
    let sizes = [
        "pg_total_relation_size",
        "pg_table_size",
        "pg_relation_size",
        "pg_indexes_size",
        "pg_database_size",
        "pg_tablespace_size",
    ];
    functions.extend(sizes.map(|name| Function::strict(name, SqlType::BigInt, |_, _| Ok(Value::Null))));
    functions.push(Function::lenient("current_schemas", SqlType::Array(Box::new(SqlType::Name)), schemas));
    functions
}

/// What SHOW says; with a second argument that is true, NULL for a setting that doesn't exist.
fn current_setting(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let name = super::text(arguments.first());
    match context.0.variables.get(name) {
        Some(value) => Ok(value.into()),
        None if arguments.get(1) == Some(&Value::Bool(true)) => Ok(Value::Null),
        None => {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Err(Error::new(ErrorKind::UndefinedObject, message))
        }
    }
}

/// SET as a function; the setting's value once the query has ended.
fn set_config(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let [name, value, local] = arguments else {
        return Err(Error::new(
            ErrorKind::UndefinedFunction,
            "set_config takes a name, a value and whether it is local",
        ));
    };
    let Value::Text(name) = name else {
        return Err(Error::new(ErrorKind::InvalidParameterValue, "SET requires parameter name"));
    };
    let value = (*value != Value::Null).then(|| super::text(Some(value)).to_owned());
    let local = *local == Value::Bool(true);
    let mut variables = context.0.variables.clone();
    variables.set(name, value.as_deref(), local)?;
    let set = variables.get(name);
    context.0.wishes.add(Wish { name: name.clone(), value, local });
    Ok(set.map_or(Value::Null, Value::from))
}

fn epoch(context: &FunctionContext, _: &[Value]) -> Result<Value> {
    Ok(i64::try_from(context.0.published.epoch.0).ok().into())
}

fn schemas(context: &FunctionContext, arguments: &[Value]) -> Result<Value> {
    let mut path = context.search_path();
    path.retain(|schema| objects::schemas(context.catalog()).iter().any(|(_, known)| known == schema));
    if arguments.first() == Some(&Value::Bool(true)) && !path.iter().any(|schema| schema == "pg_catalog") {
        path.insert(0, "pg_catalog".to_owned());
    }
    Ok(path.into())
}

/// As PostgreSQL rounds sizes: to the unit in which the number stays below 10 240.
fn size_pretty(bytes: i64) -> String {
    const LIMIT: i64 = 10 * 1024;
    if bytes.abs() < LIMIT {
        return format!("{bytes} bytes");
    }
    let mut size = bytes;
    for unit in ["kB", "MB", "GB", "TB"] {
        // Half a unit rounds up, away from zero.
        let rounded = (size.abs() + 512) / 1024 * size.signum();
        if rounded.abs() < LIMIT {
            return format!("{rounded} {unit}");
        }
        size /= 1024;
    }
    format!("{} PB", (size.abs() + 512) / 1024 * size.signum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_postgresql_does() {
        assert_eq!(size_pretty(0), "0 bytes");
        assert_eq!(size_pretty(10_239), "10239 bytes");
        assert_eq!(size_pretty(10_240), "10 kB");
        assert_eq!(size_pretty(1_572_864), "1536 kB");
        assert_eq!(size_pretty(10 * 1024 * 1024), "10 MB");
        assert_eq!(size_pretty(-10_240), "-10 kB");
        assert_eq!(size_pretty(3_000_000_000_000), "2794 GB");
    }
}
