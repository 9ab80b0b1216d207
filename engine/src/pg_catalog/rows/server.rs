//! Relations about the server: types, roles, databases, settings, sessions.

use super::{Table, Value};
use crate::SqlType;
use crate::pg_catalog::objects::{BTREE_OID, DATABASE_OID, HEAP_OID, OWNER_OID, PG_CATALOG_OID};
use crate::pg_catalog::{type_numbers, types};
use crate::session::SessionRelations;
use crate::session::variables::{Effect, VARIABLES};

/// The encoding UTF8.
const UTF8: i32 = 6;
/// The tablespace `pg_default`.
const DEFAULT_TABLESPACE_OID: u32 = 1663;
/// Functions that SQL may call, in the order of their names.
const FIRST_FUNCTION: u32 = 0x6000_0000;
/// The language `internal`.
const INTERNAL_LANGUAGE_OID: u32 = 12;

/// `pg_type`: the built-in types.
pub(super) fn types(table: &mut Table<'_>, _session: &SessionRelations) {
    for builtin in types::all() {
        table.row([
            ("oid", builtin.oid.into()),
            ("typname", builtin.name.into()),
            ("typnamespace", PG_CATALOG_OID.into()),
            ("typowner", OWNER_OID.into()),
            ("typlen", builtin.length.into()),
            ("typbyval", builtin.by_value.into()),
            ("typtype", builtin.kind.into()),
            ("typcategory", builtin.category.into()),
            ("typispreferred", builtin.preferred.into()),
            ("typisdefined", true.into()),
            ("typdelim", builtin.delimiter.into()),
            ("typsubscript", builtin.subscript.into()),
            ("typelem", builtin.element.into()),
            ("typarray", builtin.array.into()),
            ("typinput", builtin.input.into()),
            ("typoutput", builtin.output.into()),
            ("typreceive", builtin.receive.into()),
            ("typsend", builtin.send.into()),
            ("typmodin", builtin.modifier_input.into()),
            ("typmodout", builtin.modifier_output.into()),
            ("typalign", builtin.align.into()),
            ("typstorage", builtin.storage.into()),
            ("typtypmod", (-1).into()),
            ("typcollation", builtin.collation.into()),
        ]);
    }
}

/// `pg_am`.
pub(super) fn access_methods(table: &mut Table<'_>, _session: &SessionRelations) {
    for (oid, name, handler, kind) in
        [(HEAP_OID, "heap", "heap_tableam_handler", "t"), (BTREE_OID, "btree", "bthandler", "i")]
    {
        table.row([
            ("oid", oid.into()),
            ("amname", name.into()),
            ("amhandler", handler.into()),
            ("amtype", kind.into()),
        ]);
    }
}

/// The default operator class of a B-tree: OID, name, family and the type it orders.
const OPERATOR_CLASSES: [(u32, &str, u32, u32); 17] = [
    (1978, "int4_ops", 1976, 23),
    (1979, "int2_ops", 1976, 21),
    (1981, "oid_ops", 1989, 26),
    (3122, "date_ops", 434, 1082),
    (3123, "float8_ops", 1970, 701),
    (3124, "int8_ops", 1976, 20),
    (3125, "numeric_ops", 1988, 1700),
    (3126, "text_ops", 1994, 25),
    (3127, "timestamptz_ops", 434, 1184),
    (3128, "timestamp_ops", 434, 1114),
    (10_000, "array_ops", 397, 2277),
    (10_003, "bool_ops", 424, 16),
    (10_004, "bpchar_ops", 426, 1042),
    (10_006, "bytea_ops", 428, 17),
    (10_012, "float4_ops", 1970, 700),
    (10_022, "interval_ops", 1982, 1186),
    (10_065, "uuid_ops", 2968, 2950),
];

/// `pg_opclass`.
pub(super) fn operator_classes(table: &mut Table<'_>, _session: &SessionRelations) {
    let others = [(10_038, "time_ops", 1996, 1083), (10_088, "jsonb_ops", 4033, 3802)];
    for (oid, name, family, input) in OPERATOR_CLASSES.into_iter().chain(others) {
        table.row([
            ("oid", oid.into()),
            ("opcmethod", BTREE_OID.into()),
            ("opcname", name.into()),
            ("opcnamespace", PG_CATALOG_OID.into()),
            ("opcowner", OWNER_OID.into()),
            ("opcfamily", family.into()),
            ("opcintype", input.into()),
            ("opcdefault", true.into()),
        ]);
    }
}

/// The operator class of an index column.
pub(super) fn operator_class(sql_type: &SqlType) -> u32 {
    let input = match sql_type {
        SqlType::Varchar(_) | SqlType::Name | SqlType::Json => 25,
        SqlType::Array(_) => 2277,
        SqlType::Time => return 10_038,
        SqlType::Jsonb => return 10_088,
        other => type_numbers::oid(other),
    };
    OPERATOR_CLASSES.iter().find(|(_, _, _, known)| *known == input).map_or(0, |(oid, ..)| *oid)
}

/// `pg_collation`: text is ordered by its bytes.
pub(super) fn collations(table: &mut Table<'_>, _session: &SessionRelations) {
    for (oid, name, provider, locale) in
        [(100_u32, "default", "d", None), (950, "C", "c", Some("C")), (951, "POSIX", "c", Some("POSIX"))]
    {
        table.row([
            ("oid", oid.into()),
            ("collname", name.into()),
            ("collnamespace", PG_CATALOG_OID.into()),
            ("collowner", OWNER_OID.into()),
            ("collprovider", provider.into()),
            ("collisdeterministic", true.into()),
            ("collencoding", (-1).into()),
            ("collcollate", locale.into()),
            ("collctype", locale.into()),
        ]);
    }
}

/// `pg_language`.
pub(super) fn languages(table: &mut Table<'_>, _session: &SessionRelations) {
    table.row([("oid", INTERNAL_LANGUAGE_OID.into()), ("lanname", "internal".into()), ("lanowner", OWNER_OID.into())]);
}

/// `pg_proc`: the functions that SQL may call. Their arguments are looser than PostgreSQL's, so none are listed.
pub(super) fn functions(table: &mut Table<'_>, session: &SessionRelations) {
    let registry = &session.shared.queries.functions;
    let scalar = registry.scalar().map(|function| (function.name().to_owned(), "f"));
    let aggregate = registry.aggregate().map(|function| (function.name().to_owned(), "a"));
    let window = registry.window().map(|function| (function.name().to_owned(), "w"));
    let mut functions: Vec<_> = scalar.chain(aggregate).chain(window).collect();
    functions.sort();
    functions.dedup_by(|a, b| a.0 == b.0);
    for ((name, kind), oid) in functions.into_iter().zip(FIRST_FUNCTION..) {
        table.row([
            ("oid", oid.into()),
            ("proname", name.clone().into()),
            ("pronamespace", PG_CATALOG_OID.into()),
            ("proowner", OWNER_OID.into()),
            ("prolang", INTERNAL_LANGUAGE_OID.into()),
            ("prokind", kind.into()),
            ("provolatile", "s".into()),
            ("proparallel", "s".into()),
            ("prosrc", name.into()),
        ]);
    }
}

/// `pg_database`: the one that the session is connected to, under the name that it gave.
pub(super) fn databases(table: &mut Table<'_>, session: &SessionRelations) {
    table.row([
        ("oid", DATABASE_OID.into()),
        ("datname", session.database.clone().into()),
        ("datdba", OWNER_OID.into()),
        ("encoding", UTF8.into()),
        ("datlocprovider", "c".into()),
        ("datallowconn", true.into()),
        ("datconnlimit", (-1).into()),
        ("dattablespace", DEFAULT_TABLESPACE_OID.into()),
        ("datcollate", "C".into()),
        ("datctype", "C.UTF-8".into()),
    ]);
}

/// `pg_tablespace`.
pub(super) fn tablespaces(table: &mut Table<'_>, _session: &SessionRelations) {
    table.row([
        ("oid", DEFAULT_TABLESPACE_OID.into()),
        ("spcname", "pg_default".into()),
        ("spcowner", OWNER_OID.into()),
    ]);
}

/// `pg_roles` and `pg_authid`: there are no roles but whoever is connected.
pub(super) fn roles(table: &mut Table<'_>, session: &SessionRelations) {
    table.row([
        ("oid", OWNER_OID.into()),
        ("rolname", session.user.clone().into()),
        ("rolsuper", true.into()),
        ("rolinherit", true.into()),
        ("rolcreaterole", true.into()),
        ("rolcreatedb", true.into()),
        ("rolcanlogin", true.into()),
        ("rolreplication", true.into()),
        ("rolbypassrls", true.into()),
        ("rolconnlimit", (-1).into()),
    ]);
}

/// `pg_user` and `pg_shadow`.
pub(super) fn users(table: &mut Table<'_>, session: &SessionRelations) {
    table.row([
        ("usename", session.user.clone().into()),
        ("usesysid", OWNER_OID.into()),
        ("usecreatedb", true.into()),
        ("usesuper", true.into()),
        ("userepl", true.into()),
        ("usebypassrls", true.into()),
    ]);
}

/// `pg_settings`.
pub(super) fn settings(table: &mut Table<'_>, session: &SessionRelations) {
    for variable in &VARIABLES {
        let value = session.variables.get(variable.name).unwrap_or_default();
        table.row([
            ("name", variable.name.into()),
            ("setting", value.clone().into()),
            ("category", "Session".into()),
            ("short_desc", variable.description.into()),
            ("context", if variable.effect == Effect::ReadOnly { "internal" } else { "user" }.into()),
            ("vartype", "string".into()),
            ("source", if value == variable.default { "default" } else { "session" }.into()),
            ("boot_val", variable.default.into()),
            ("reset_val", variable.default.into()),
            ("pending_restart", false.into()),
        ]);
    }
}

/// `pg_stat_activity`.
pub(super) fn activity(table: &mut Table<'_>, session: &SessionRelations) {
    let sessions = session.shared.sessions.lock();
    let mut sessions: Vec<_> = sessions.iter().collect();
    sessions.sort_by_key(|(id, _)| **id);
    for (id, view) in sessions {
        table.row([
            ("datid", DATABASE_OID.into()),
            ("datname", session.database.clone().into()),
            ("pid", (*id).into()),
            ("usesysid", OWNER_OID.into()),
            ("usename", view.user.clone().into()),
            ("application_name", view.application_name.clone().into()),
            ("backend_start", Value::Timestamp(view.started_us)),
            ("backend_type", "client backend".into()),
        ]);
    }
}

/// `pg_timezone_names`; offsets are not computed.
pub(super) fn time_zones(table: &mut Table<'_>, _session: &SessionRelations) {
    for zone in chrono_tz::TZ_VARIANTS {
        table.row([("name", zone.name().into())]);
    }
}
