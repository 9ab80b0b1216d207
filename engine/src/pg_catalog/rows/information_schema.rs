//! `information_schema`: the standard's words for the same things. Materialized views are not in it, as in PostgreSQL.

use catalog::Column;

use super::pg_views::definition;
use super::{Table, Value, Writer};
use crate::SqlType;
use crate::pg_catalog::objects::{self, Relation};
use crate::pg_catalog::{type_numbers, types};
use crate::session::SessionRelations;

/// What writes the rows of a relation, if there is anything to say in it.
pub(super) fn writer(name: &str) -> Option<Writer> {
    Some(match name {
        "tables" => tables,
        "columns" => columns,
        "views" => views,
        "schemata" => schemata,
        "table_constraints" | "constraint_table_usage" => table_constraints,
        "key_column_usage" | "constraint_column_usage" => key_columns,
        "table_privileges" | "role_table_grants" => table_privileges,
        "information_schema_catalog_name" => catalog_name,
        "applicable_roles" | "enabled_roles" => roles,
        "character_sets" => character_sets,
        "foreign_tables" => foreign_tables,
        _ => return None,
    })
}

fn catalog_name(table: &mut Table<'_>, session: &SessionRelations) {
    table.row([("catalog_name", session.database.clone().into())]);
}

fn roles(table: &mut Table<'_>, session: &SessionRelations) {
    table.row([("role_name", session.user.clone().into())]);
}

fn character_sets(table: &mut Table<'_>, session: &SessionRelations) {
    table.row([
        ("character_set_name", "UTF8".into()),
        ("character_repertoire", "UCS".into()),
        ("form_of_use", "UTF8".into()),
        ("default_collate_catalog", session.database.clone().into()),
        ("default_collate_schema", "pg_catalog".into()),
        ("default_collate_name", "C".into()),
    ]);
}

fn yes_or_no(value: bool) -> Value {
    if value { "YES" } else { "NO" }.into()
}

/// Relations that the standard knows.
fn relations(session: &SessionRelations) -> impl Iterator<Item = Relation> {
    objects::relations(&session.published.catalog).into_iter().filter(|relation| relation.kind != "m")
}

/// Whether INSERT takes rows for it.
fn takes_rows(relation: &Relation) -> bool {
    relation.object.as_ref().is_some_and(|object| match &object.kind {
        catalog::ObjectKind::Table(table) => table.connector.is_none(),
        _ => false,
    })
}

fn tables(table: &mut Table<'_>, session: &SessionRelations) {
    for relation in relations(session) {
        let insertable = takes_rows(&relation);
        let kind = match relation.kind {
            "v" => "VIEW",
            "f" => "FOREIGN",
            _ => "BASE TABLE",
        };
        table.row([
            ("table_catalog", session.database.clone().into()),
            ("table_schema", relation.name.schema.into()),
            ("table_name", relation.name.name.into()),
            ("table_type", kind.into()),
            ("is_insertable_into", yes_or_no(insertable)),
            ("is_typed", yes_or_no(false)),
        ]);
    }
}

fn columns(table: &mut Table<'_>, session: &SessionRelations) {
    for relation in relations(session) {
        let updatable = takes_rows(&relation);
        for (position, column) in relation.columns.iter().enumerate() {
            column_row(table, session, &relation, position, column, updatable);
        }
    }
}

fn column_row(
    table: &mut Table<'_>,
    session: &SessionRelations,
    relation: &Relation,
    position: usize,
    column: &Column,
    updatable: bool,
) {
    let sql_type = &column.sql_type;
    let type_oid = type_numbers::oid(sql_type);
    let data_type = match sql_type {
        SqlType::Array(_) => "ARRAY".to_owned(),
        _ => types::format(type_oid, None),
    };
    let length = match sql_type {
        SqlType::Varchar(Some(length)) | SqlType::Char(length) => i32::try_from(*length).ok(),
        _ => None,
    };
    // A character takes four bytes at most; text has PostgreSQL's limit.
    let octets = match sql_type {
        SqlType::Text | SqlType::Varchar(None) => Some(1_073_741_824),
        _ => length.and_then(|length| length.checked_mul(4)),
    };
    let (precision, radix, scale) = match sql_type {
        SqlType::SmallInt => (Some(16), Some(2), Some(0)),
        SqlType::Integer => (Some(32), Some(2), Some(0)),
        SqlType::BigInt => (Some(64), Some(2), Some(0)),
        SqlType::Real => (Some(24), Some(2), None),
        SqlType::Double => (Some(53), Some(2), None),
        SqlType::Numeric(Some((precision, scale))) => (Some(i32::from(*precision)), Some(10), Some(i32::from(*scale))),
        SqlType::Numeric(None) => (None, Some(10), None),
        _ => (None, None, None),
    };
    let fraction_digits = match sql_type {
        SqlType::Date => Some(0),
        SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz | SqlType::Interval => Some(6),
        _ => None,
    };
    table.row([
        ("table_catalog", session.database.clone().into()),
        ("table_schema", relation.name.schema.clone().into()),
        ("table_name", relation.name.name.clone().into()),
        ("column_name", column.name.clone().into()),
        ("ordinal_position", i32::from(objects::attribute_number(position)).into()),
        ("column_default", column.default.clone().into()),
        ("is_nullable", yes_or_no(column.nullable)),
        ("data_type", data_type.into()),
        ("character_maximum_length", length.into()),
        ("character_octet_length", octets.into()),
        ("numeric_precision", precision.into()),
        ("numeric_precision_radix", radix.into()),
        ("numeric_scale", scale.into()),
        ("datetime_precision", fraction_digits.into()),
        ("udt_catalog", session.database.clone().into()),
        ("udt_schema", "pg_catalog".into()),
        ("udt_name", types::find(type_oid).map(|builtin| builtin.name).into()),
        ("dtd_identifier", (position + 1).to_string().into()),
        ("is_self_referencing", yes_or_no(false)),
        ("is_identity", yes_or_no(false)),
        ("identity_cycle", yes_or_no(false)),
        ("is_generated", "NEVER".into()),
        ("is_updatable", yes_or_no(updatable)),
    ]);
}

fn views(table: &mut Table<'_>, session: &SessionRelations) {
    for relation in relations(session).filter(|relation| relation.kind == "v") {
        table.row([
            ("table_catalog", session.database.clone().into()),
            ("view_definition", definition(&relation).into()),
            ("table_schema", relation.name.schema.into()),
            ("table_name", relation.name.name.into()),
            ("check_option", "NONE".into()),
            ("is_updatable", yes_or_no(false)),
            ("is_insertable_into", yes_or_no(false)),
            ("is_trigger_updatable", yes_or_no(false)),
            ("is_trigger_deletable", yes_or_no(false)),
            ("is_trigger_insertable_into", yes_or_no(false)),
        ]);
    }
}

fn schemata(table: &mut Table<'_>, session: &SessionRelations) {
    for (_, name) in objects::schemas(&session.published.catalog) {
        table.row([
            ("catalog_name", session.database.clone().into()),
            ("schema_name", name.into()),
            ("schema_owner", session.user.clone().into()),
        ]);
    }
}

fn primary_keys(session: &SessionRelations) -> impl Iterator<Item = objects::Index> {
    objects::indexes(&session.published.catalog).into_iter().filter(|index| index.primary)
}

fn table_constraints(table: &mut Table<'_>, session: &SessionRelations) {
    for key in primary_keys(session) {
        table.row([
            ("constraint_catalog", session.database.clone().into()),
            ("constraint_schema", key.name.schema.clone().into()),
            ("constraint_name", key.name.name.clone().into()),
            ("table_catalog", session.database.clone().into()),
            ("table_schema", key.table.name.schema.clone().into()),
            ("table_name", key.table.name.name.clone().into()),
            ("constraint_type", "PRIMARY KEY".into()),
            ("is_deferrable", yes_or_no(false)),
            ("initially_deferred", yes_or_no(false)),
            ("enforced", yes_or_no(true)),
        ]);
    }
}

fn key_columns(table: &mut Table<'_>, session: &SessionRelations) {
    for key in primary_keys(session) {
        for (column, position) in key.column_names().zip(1_i32..) {
            table.row([
                ("constraint_catalog", session.database.clone().into()),
                ("constraint_schema", key.name.schema.clone().into()),
                ("constraint_name", key.name.name.clone().into()),
                ("table_catalog", session.database.clone().into()),
                ("table_schema", key.table.name.schema.clone().into()),
                ("table_name", key.table.name.name.clone().into()),
                ("column_name", column.into()),
                ("ordinal_position", position.into()),
            ]);
        }
    }
}

fn table_privileges(table: &mut Table<'_>, session: &SessionRelations) {
    for relation in relations(session) {
        let privileges: &[&str] =
            if takes_rows(&relation) { &["INSERT", "SELECT", "UPDATE", "DELETE", "TRUNCATE"] } else { &["SELECT"] };
        for privilege in privileges {
            table.row([
                ("grantor", session.user.clone().into()),
                ("grantee", session.user.clone().into()),
                ("table_catalog", session.database.clone().into()),
                ("table_schema", relation.name.schema.clone().into()),
                ("table_name", relation.name.name.clone().into()),
                ("privilege_type", (*privilege).into()),
                ("is_grantable", yes_or_no(true)),
                ("with_hierarchy", yes_or_no(*privilege == "SELECT")),
            ]);
        }
    }
}

fn foreign_tables(table: &mut Table<'_>, session: &SessionRelations) {
    for relation in relations(session) {
        let Some(connector) = relation.connector() else { continue };
        table.row([
            ("foreign_table_catalog", session.database.clone().into()),
            ("foreign_table_schema", relation.name.schema.clone().into()),
            ("foreign_table_name", relation.name.name.clone().into()),
            ("foreign_server_catalog", session.database.clone().into()),
            ("foreign_server_name", connector.name.clone().into()),
        ]);
    }
}
