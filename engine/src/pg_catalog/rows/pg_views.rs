//! PostgreSQL's own views over its catalog: the same things by name.

use catalog::ObjectKind;

use super::Table;
use crate::pg_catalog::objects::{self, Relation};
use crate::session::SessionRelations;

/// `pg_tables`.
pub(super) fn tables(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    let indexes = objects::indexes(catalog);
    for relation in objects::relations(catalog).into_iter().filter(|relation| relation.kind == "r") {
        let indexed = indexes.iter().any(|index| index.table_oid() == relation.oid);
        table.row([
            ("schemaname", relation.name.schema.into()),
            ("tablename", relation.name.name.into()),
            ("tableowner", session.user.clone().into()),
            ("hasindexes", indexed.into()),
            ("hasrules", false.into()),
            ("hastriggers", false.into()),
            ("rowsecurity", false.into()),
        ]);
    }
}

/// The query behind a view, if it is one of a user's.
pub(in crate::pg_catalog) fn definition(relation: &Relation) -> Option<String> {
    match &relation.object.as_ref()?.kind {
        ObjectKind::View(view) => Some(view.query.clone()),
        ObjectKind::MaterializedView(view) => Some(view.query.clone()),
        ObjectKind::Stream(stream) => Some(stream.query.clone()),
        _ => None,
    }
}

/// `pg_views`.
pub(super) fn views(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for relation in objects::relations(catalog).into_iter().filter(|relation| relation.kind == "v") {
        table.row([
            ("definition", definition(&relation).into()),
            ("schemaname", relation.name.schema.into()),
            ("viewname", relation.name.name.into()),
            ("viewowner", session.user.clone().into()),
        ]);
    }
}

/// `pg_matviews`.
pub(super) fn materialized_views(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    let indexes = objects::indexes(catalog);
    for relation in objects::user_relations(catalog).filter(|relation| relation.kind == "m") {
        let indexed = indexes.iter().any(|index| index.table_oid() == relation.oid);
        table.row([
            ("definition", definition(&relation).into()),
            ("schemaname", relation.name.schema.into()),
            ("matviewname", relation.name.name.into()),
            ("matviewowner", session.user.clone().into()),
            ("hasindexes", indexed.into()),
            ("ispopulated", true.into()),
        ]);
    }
}

/// `pg_indexes`.
pub(super) fn indexes(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for index in objects::indexes(catalog) {
        table.row([
            ("schemaname", index.name.schema.clone().into()),
            ("tablename", index.table.name.name.clone().into()),
            ("indexname", index.name.name.clone().into()),
            ("indexdef", index.definition().into()),
        ]);
    }
}

/// `pg_stat_user_tables`: the relations, without counts, which are in `mr_catalog`.
pub(super) fn table_statistics(table: &mut Table<'_>, session: &SessionRelations) {
    let catalog = &session.published.catalog;
    for relation in objects::user_relations(catalog).filter(|relation| matches!(relation.kind, "r" | "m")) {
        table.row([
            ("relid", relation.oid.into()),
            ("schemaname", relation.name.schema.into()),
            ("relname", relation.name.name.into()),
        ]);
    }
}
