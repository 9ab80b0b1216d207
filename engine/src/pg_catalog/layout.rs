//! The columns of every relation of `pg_catalog` and `information_schema`, read once from `relations.txt`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Schema, SchemaRef};
use catalog::{CatalogType, QualifiedName};

use crate::SqlType;

/// A relation of PostgreSQL's catalog.
pub(super) struct Layout {
    pub(super) name: QualifiedName,
    pub(super) oid: u32,
    /// A view in PostgreSQL: what isn't known is NULL. In a table most columns are never NULL.
    pub(super) is_view: bool,
    pub(super) columns: Vec<LayoutColumn>,
    pub(super) schema: SchemaRef,
}

/// A column of a [`Layout`].
pub(super) struct LayoutColumn {
    pub(super) name: &'static str,
    /// As `relations.txt` has it.
    pub(super) pg_type: &'static str,
    pub(super) sql_type: SqlType,
}

static RELATIONS: LazyLock<BTreeMap<QualifiedName, Layout>> = LazyLock::new(|| {
    let lines = include_str!("relations.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(parse).map(|layout| (layout.name.clone(), layout)).collect()
});

/// The relation of this name.
pub(super) fn find(name: &QualifiedName) -> Option<&'static Layout> {
    RELATIONS.get(name)
}

/// All of them, by name.
pub(super) fn all() -> impl Iterator<Item = &'static Layout> {
    RELATIONS.values()
}

fn parse(line: &'static str) -> Layout {
    const WELL_FORMED: &str = "relations.txt is well formed, as its test shows";
    let mut words = line.split(' ');
    let (schema, name) = words.next().and_then(|name| name.split_once('.')).expect(WELL_FORMED);
    let oid = words.next().and_then(|oid| oid.parse().ok()).expect(WELL_FORMED);
    let is_view = words.next().expect(WELL_FORMED) == "v";
    let columns: Vec<LayoutColumn> = words
        .map(|word| {
            let (name, pg_type) = word.split_once(':').expect(WELL_FORMED);
            LayoutColumn { name, pg_type, sql_type: sql_type(pg_type) }
        })
        .collect();
    let fields: Vec<_> = columns.iter().map(|column| column.sql_type.field(column.name, true)).collect();
    Layout {
        name: QualifiedName { schema: schema.to_owned(), name: name.to_owned() },
        oid,
        is_view,
        columns,
        schema: Arc::new(Schema::new(fields)),
    }
}

/// The type of a catalog column; what has no counterpart here is read as text.
fn sql_type(pg_type: &str) -> SqlType {
    if let Some(element) = pg_type.strip_suffix("[]") {
        return SqlType::Array(Box::new(sql_type(element)));
    }
    match pg_type {
        "bool" => SqlType::Boolean,
        "int2" => SqlType::SmallInt,
        "int4" => SqlType::Integer,
        "int8" => SqlType::BigInt,
        "float4" => SqlType::Real,
        "float8" => SqlType::Double,
        "numeric" => SqlType::Numeric(None),
        "name" => SqlType::Name,
        "oid" => SqlType::Oid,
        "char" => SqlType::Catalog(CatalogType::Char),
        "varchar" => SqlType::Varchar(None),
        "yes_or_no" => SqlType::Varchar(Some(3)),
        "timestamptz" => SqlType::Timestamptz,
        "interval" => SqlType::Interval,
        "bytea" => SqlType::Bytea,
        other => CatalogType::of_name(other).map_or(SqlType::Text, SqlType::Catalog),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_relation_is_read() {
        assert_eq!(all().count(), 208);
        let class = find(&QualifiedName { schema: "pg_catalog".into(), name: "pg_class".into() }).expect("it exists");
        assert_eq!((class.oid, class.is_view, class.columns.len()), (1259, false, 33));
        assert_eq!(class.columns[16].name, "relkind");
        let columns =
            find(&QualifiedName { schema: "information_schema".into(), name: "columns".into() }).expect("it exists");
        assert_eq!((columns.is_view, columns.columns.len()), (true, 44));
        assert_eq!(columns.columns[4].sql_type, SqlType::Integer);
    }
}
