//! Relations about relations: `pg_class` and what refers to it.

use catalog::{Catalog, ObjectKind};

use super::{Table, Value};
use crate::SqlType;
use crate::pg_catalog::objects::{
    self, BTREE_OID, HEAP_OID, OWNER_OID, Relation, attribute_number, default_oid, object_oid, schema_oid,
};
use crate::pg_catalog::{type_numbers, types};
use crate::session::SessionRelations;

/// OIDs of catalog tables that others name as `classid`.
const PG_CLASS: u32 = 1259;
const PG_REWRITE: u32 = 2618;
const PG_NAMESPACE: u32 = 2615;
/// Rules that make views what they are, by their view's number.
const FIRST_RULE: u32 = 0x5000_0000;
/// Servers behind sources, by their connector's place in [`CONNECTORS`].
const FIRST_SERVER: u32 = 14_100;
/// Wrappers behind those servers.
const FIRST_WRAPPER: u32 = 14_200;
/// The connectors that a source can have.
const CONNECTORS: [&str; 3] = ["file", "generator", "kafka"];

/// `pg_namespace`.
pub(super) fn namespaces(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for (oid, name) in objects::schemas(catalog) {
        table.row([("oid", oid.into()), ("nspname", name.into()), ("nspowner", OWNER_OID.into())]);
    }
}

/// `pg_class`.
pub(super) fn classes(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    let indexes = objects::indexes(catalog);
    for relation in objects::relations(catalog) {
        let indexed = indexes.iter().any(|index| index.table_oid() == relation.oid);
        let stored = matches!(relation.kind, "r" | "m");
        let columns = i16::try_from(relation.columns.len()).unwrap_or(i16::MAX);
        table.row([
            ("oid", relation.oid.into()),
            ("relname", relation.name.name.into()),
            ("relnamespace", schema_oid(&relation.name.schema).into()),
            ("relowner", OWNER_OID.into()),
            ("relam", if stored { HEAP_OID } else { 0 }.into()),
            ("relfilenode", if stored { relation.oid } else { 0 }.into()),
            // -1: never counted, as for a table that was never vacuumed.
            ("reltuples", (-1.0).into()),
            ("relhasindex", indexed.into()),
            ("relhasrules", (relation.kind == "v").into()),
            ("relpersistence", "p".into()),
            ("relkind", relation.kind.into()),
            ("relnatts", columns.into()),
            ("relispopulated", true.into()),
            ("relreplident", if stored { "d" } else { "n" }.into()),
        ]);
    }
    for index in indexes {
        let columns = i16::try_from(index.columns.len()).unwrap_or(i16::MAX);
        table.row([
            ("oid", index.oid.into()),
            ("relname", index.name.name.into()),
            ("relnamespace", schema_oid(&index.name.schema).into()),
            ("relowner", OWNER_OID.into()),
            ("relam", BTREE_OID.into()),
            ("relfilenode", index.oid.into()),
            ("relpersistence", "p".into()),
            ("relkind", "i".into()),
            ("relnatts", columns.into()),
            ("relispopulated", true.into()),
            ("relreplident", "n".into()),
        ]);
    }
}

/// `pg_attribute`: columns of relations, then of indexes.
pub(super) fn attributes(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for relation in objects::relations(catalog) {
        for (position, column) in relation.columns.iter().enumerate() {
            let has_default = column.default.is_some();
            attribute(table, relation.oid, position, &column.name, &column.sql_type, !column.nullable, has_default);
        }
    }
    for index in objects::indexes(catalog) {
        let columns = index.columns.iter().filter_map(|position| index.table.columns.get(*position));
        for (position, column) in columns.enumerate() {
            attribute(table, index.oid, position, &column.name, &column.sql_type, false, false);
        }
    }
}

fn attribute(
    table: &mut Table<'_>,
    relation: u32,
    position: usize,
    name: &str,
    sql_type: &SqlType,
    not_null: bool,
    has_default: bool,
) {
    let type_oid = type_numbers::oid(sql_type);
    let builtin = types::find(type_oid);
    let mut dimensions = 0_i32;
    let mut element = sql_type;
    while let SqlType::Array(inner) = element {
        dimensions += 1;
        element = inner;
    }
    table.row([
        ("attrelid", relation.into()),
        ("attname", name.into()),
        ("atttypid", type_oid.into()),
        ("attstattarget", (-1).into()),
        ("attlen", builtin.map_or(-1, |builtin| builtin.length).into()),
        ("attnum", attribute_number(position).into()),
        ("attndims", dimensions.into()),
        ("attcacheoff", (-1).into()),
        ("atttypmod", type_numbers::typmod(sql_type).into()),
        ("attbyval", builtin.is_some_and(|builtin| builtin.by_value).into()),
        ("attalign", builtin.map_or("i", |builtin| builtin.align).into()),
        ("attstorage", builtin.map_or("p", |builtin| builtin.storage).into()),
        ("attnotnull", not_null.into()),
        ("atthasdef", has_default.into()),
        ("attislocal", true.into()),
        ("attcollation", builtin.map_or(0, |builtin| builtin.collation).into()),
    ]);
}

/// `pg_index`.
pub(super) fn indexes(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for index in objects::indexes(catalog) {
        let count = i16::try_from(index.columns.len()).unwrap_or(i16::MAX);
        let keys: Vec<i16> = index.columns.iter().map(|position| attribute_number(*position)).collect();
        let of_columns = |number: fn(&SqlType) -> u32| -> Vec<u32> {
            let columns = index.columns.iter().filter_map(|position| index.table.columns.get(*position));
            columns.map(|column| number(&column.sql_type)).collect()
        };
        table.row([
            ("indexrelid", index.oid.into()),
            ("indrelid", index.table_oid().into()),
            ("indnatts", count.into()),
            ("indnkeyatts", count.into()),
            ("indisunique", index.unique.into()),
            ("indisprimary", index.primary.into()),
            ("indimmediate", true.into()),
            ("indisvalid", true.into()),
            ("indisready", true.into()),
            ("indislive", true.into()),
            ("indkey", keys.into()),
            (
                "indcollation",
                of_columns(|sql_type| types::find(type_numbers::oid(sql_type)).map_or(0, |t| t.collation)).into(),
            ),
            ("indclass", of_columns(super::server::operator_class).into()),
            ("indoption", vec![0_i16; index.columns.len()].into()),
        ]);
    }
}

/// `pg_constraint`: primary keys.
pub(super) fn constraints(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for index in objects::indexes(catalog) {
        let Some(oid) = index.constraint_oid() else { continue };
        let keys: Vec<i16> = index.columns.iter().map(|position| attribute_number(*position)).collect();
        table.row([
            ("oid", oid.into()),
            ("conname", index.name.name.clone().into()),
            ("connamespace", schema_oid(&index.name.schema).into()),
            ("contype", "p".into()),
            ("convalidated", true.into()),
            ("conrelid", index.table_oid().into()),
            ("conindid", index.oid.into()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", true.into()),
            ("connoinherit", true.into()),
            ("conkey", keys.into()),
        ]);
    }
}

/// `pg_attrdef`: defaults; `adbin` holds the expression's SQL, which `pg_get_expr` gives back.
pub(super) fn defaults(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for relation in objects::user_relations(catalog) {
        for (position, column) in relation.columns.iter().enumerate() {
            let Some(default) = &column.default else { continue };
            table.row([
                ("oid", default_oid(relation.oid, position).into()),
                ("adrelid", relation.oid.into()),
                ("adnum", attribute_number(position).into()),
                ("adbin", default.clone().into()),
            ]);
        }
    }
}

/// `pg_description`: what COMMENT ON has said.
pub(super) fn descriptions(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for comment in &catalog.counters().comments {
        table.row([
            ("objoid", object_oid(comment.object).into()),
            ("classoid", PG_CLASS.into()),
            ("objsubid", comment.column.map_or(0, |column| i32::from(attribute_number(column))).into()),
            ("description", comment.text.clone().into()),
        ]);
    }
}

/// `pg_depend`: what a view reads (by way of its rule, as in PostgreSQL), and what stands in a schema.
pub(super) fn dependencies(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    let mut depends = |class: u32, object: u32, on_class: u32, on: u32, kind: &str| {
        table.row([
            ("classid", class.into()),
            ("objid", object.into()),
            ("refclassid", on_class.into()),
            ("refobjid", on.into()),
            ("deptype", kind.into()),
        ]);
    };
    for relation in objects::user_relations(catalog) {
        depends(PG_CLASS, relation.oid, PG_NAMESPACE, schema_oid(&relation.name.schema), "n");
        let Some(rule) = rule_oid(&relation) else { continue };
        depends(PG_REWRITE, rule, PG_CLASS, relation.oid, "i");
        let reads = relation.object.iter().flat_map(|object| object.depends_on.iter());
        for id in reads {
            depends(PG_REWRITE, rule, PG_CLASS, object_oid(*id), "n");
        }
    }
    for index in objects::indexes(catalog) {
        depends(PG_CLASS, index.oid, PG_CLASS, index.table_oid(), "a");
    }
}

/// `pg_rewrite`: the rule that makes a view a view; tools follow it from a view to what it reads.
pub(super) fn rules(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for relation in objects::user_relations(catalog) {
        let Some(oid) = rule_oid(&relation) else { continue };
        table.row([
            ("oid", oid.into()),
            ("rulename", "_RETURN".into()),
            ("ev_class", relation.oid.into()),
            ("ev_type", "1".into()),
            ("ev_enabled", "O".into()),
            ("is_instead", true.into()),
        ]);
    }
}

fn rule_oid(relation: &Relation) -> Option<u32> {
    matches!(relation.kind, "v" | "m").then_some(())?;
    relation.object.as_ref().map(|object| FIRST_RULE + object.id.0)
}

/// `pg_foreign_table`: sources, with their options; secrets are not shown.
pub(super) fn foreign_tables(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for relation in objects::user_relations(catalog) {
        let Some(connector) = relation.connector() else { continue };
        let options: Vec<String> =
            connector.options.iter().map(|(name, value)| format!("{name}={}", shown(name, value))).collect();
        table.row([
            ("ftrelid", relation.oid.into()),
            ("ftserver", server_oid(&connector.name).into()),
            ("ftoptions", if options.is_empty() { Value::Null } else { options.into() }),
        ]);
    }
}

/// `pg_foreign_server`: connectors that sources use.
pub(super) fn foreign_servers(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for name in used_connectors(catalog) {
        table.row([
            ("oid", server_oid(name).into()),
            ("srvname", name.into()),
            ("srvowner", OWNER_OID.into()),
            ("srvfdw", (server_oid(name) - FIRST_SERVER + FIRST_WRAPPER).into()),
        ]);
    }
}

/// `pg_foreign_data_wrapper`: the same connectors again.
pub(super) fn foreign_data_wrappers(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for name in used_connectors(catalog) {
        table.row([
            ("oid", (server_oid(name) - FIRST_SERVER + FIRST_WRAPPER).into()),
            ("fdwname", name.into()),
            ("fdwowner", OWNER_OID.into()),
        ]);
    }
}

fn used_connectors(catalog: &Catalog) -> Vec<&str> {
    let mut names: Vec<&str> = catalog
        .objects()
        .filter_map(|object| match &object.kind {
            ObjectKind::Source(source) => Some(source.connector.name.as_str()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn server_oid(connector: &str) -> u32 {
    let place = CONNECTORS.iter().position(|known| *known == connector).unwrap_or(CONNECTORS.len());
    FIRST_SERVER + u32::try_from(place).unwrap_or_default()
}

/// An option's value, unless its name says that it is a secret.
fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    let secret = ["password", "secret", "token", "credential", "jaas", "key.pem", "ssl.key", "oauth"];
    if secret.iter().any(|part| name.contains(part)) { "********" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(shown("kafka.sasl.password", "hunter2"), "********");
        assert_eq!(shown("topic", "orders"), "orders");
    }
}
