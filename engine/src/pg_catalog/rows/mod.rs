//! The contents of catalog relations, one file per group of relations.
//!
//! A relation's rows are written as names and values; a column that isn't named has what PostgreSQL has there most of the time: NULL in a
//! view and in columns that may be NULL, else false, 0 or nothing.

mod class;
mod information_schema;
mod pg_views;
mod server;
mod table;

use arrow::record_batch::RecordBatch;
use catalog::QualifiedName;

use super::layout::Layout;
use crate::Result;
use crate::session::SessionRelations;

pub(super) use pg_views::definition;
pub(super) use table::{Table, Value, array};

/// Writes the rows of a relation.
type Writer = fn(&mut Table<'_>, &SessionRelations);

/// The rows of a relation.
pub(super) fn contents(layout: &Layout, session: &SessionRelations) -> Result<RecordBatch> {
    let mut table = Table::new(layout);
    if let Some(write) = writer(&layout.name) {
        write(&mut table, session);
    }
    table.finish()
}

/// What writes the rows of a relation; `None`: it never has any, as there are no such things.
pub(super) fn writer(name: &QualifiedName) -> Option<Writer> {
    if name.schema == "information_schema" {
        return information_schema::writer(&name.name);
    }
    Some(match name.name.as_str() {
        "pg_namespace" => class::namespaces,
        "pg_class" => class::classes,
        "pg_attribute" => class::attributes,
        "pg_index" => class::indexes,
        "pg_constraint" => class::constraints,
        "pg_attrdef" => class::defaults,
        "pg_description" => class::descriptions,
        "pg_depend" => class::dependencies,
        "pg_rewrite" => class::rules,
        "pg_foreign_table" => class::foreign_tables,
        "pg_foreign_server" => class::foreign_servers,
        "pg_foreign_data_wrapper" => class::foreign_data_wrappers,
        "pg_type" => server::types,
        "pg_am" => server::access_methods,
        "pg_opclass" => server::operator_classes,
        "pg_collation" => server::collations,
        "pg_language" => server::languages,
        "pg_proc" => server::functions,
        "pg_database" => server::databases,
        "pg_tablespace" => server::tablespaces,
        "pg_authid" | "pg_roles" => server::roles,
        "pg_user" | "pg_shadow" => server::users,
        "pg_settings" => server::settings,
        "pg_stat_activity" => server::activity,
        "pg_timezone_names" => server::time_zones,
        "pg_tables" => pg_views::tables,
        "pg_views" => pg_views::views,
        "pg_matviews" => pg_views::materialized_views,
        "pg_indexes" => pg_views::indexes,
        "pg_stat_user_tables" | "pg_stat_all_tables" => pg_views::table_statistics,
        _ => return None,
    })
}
