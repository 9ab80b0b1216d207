//! What exists as PostgreSQL would number it. An OID follows from the object's number or the schema's name, so it is the same after a restart.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::{Catalog, Column, Object, ObjectKind, QualifiedName};

use super::layout;
use super::type_numbers::FIRST_OBJECT_OID;
use crate::system::Relations;

pub(super) use planner::functions::quote_ident as quote_identifier;

/// Indexes behind primary keys and behind the keys of materialized views, by their relation's number.
const FIRST_KEY_INDEX: u32 = 0x1000_0000;
/// Constraints, by their relation's number.
const FIRST_CONSTRAINT: u32 = 0x2000_0000;
/// Defaults, by their relation's number and column.
const FIRST_DEFAULT: u32 = 0x3000_0000;
/// Columns that a relation may have, as in PostgreSQL: how far defaults of neighbours lie apart.
const MAX_COLUMNS: u32 = 2048;
/// Schemas of users, by a hash of the name.
const FIRST_SCHEMA: u32 = 0x4000_0000;
/// Relations of `mr_catalog`, in the order of their names.
const FIRST_SYSTEM: u32 = 15_000;

/// The schema of PostgreSQL's own.
pub(super) const PG_CATALOG_OID: u32 = 11;
const PUBLIC_OID: u32 = 2200;
const INFORMATION_SCHEMA_OID: u32 = 13_207;
const MR_CATALOG_OID: u32 = 14_000;
/// The one role.
pub(super) const OWNER_OID: u32 = 10;
/// The one database.
pub(super) const DATABASE_OID: u32 = 5;
/// The access method of tables and materialized views.
pub(super) const HEAP_OID: u32 = 2;
/// The access method of indexes.
pub(super) const BTREE_OID: u32 = 403;

/// The OID of an object.
pub(super) fn object_oid(id: catalog::ObjectId) -> u32 {
    FIRST_OBJECT_OID + id.0
}

/// The OID of a schema.
pub(super) fn schema_oid(name: &str) -> u32 {
    match name {
        "pg_catalog" => PG_CATALOG_OID,
        "public" => PUBLIC_OID,
        "information_schema" => INFORMATION_SCHEMA_OID,
        "mr_catalog" => MR_CATALOG_OID,
        // FNV-1a: any fixed hash will do. Two names would have to share thirty bits to be mistaken for each other.
        name => {
            let hash =
                name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
            FIRST_SCHEMA + (hash & 0x3fff_ffff)
        }
    }
}

/// The schemas with their OIDs, the system's first.
pub(super) fn schemas(catalog: &Catalog) -> Vec<(u32, String)> {
    let system = ["pg_catalog", "information_schema", "mr_catalog"].into_iter();
    system.chain(catalog.schemas()).map(|name| (schema_oid(name), name.to_owned())).collect()
}

/// The schema of this OID.
pub(super) fn schema_of_oid(catalog: &Catalog, oid: u32) -> Option<String> {
    schemas(catalog).into_iter().find(|(known, _)| *known == oid).map(|(_, name)| name)
}

/// Something with a row in `pg_class`, indexes aside.
pub(super) struct Relation {
    pub(super) oid: u32,
    pub(super) name: QualifiedName,
    /// `relkind`.
    pub(super) kind: &'static str,
    pub(super) columns: Vec<Column>,
    /// `None`: the system's.
    pub(super) object: Option<Arc<Object>>,
}

impl Relation {
    /// The relation that an object is, if it is one.
    fn of_object(object: &Arc<Object>) -> Option<Self> {
        let kind = match &object.kind {
            ObjectKind::Source(_) => "f",
            ObjectKind::Table(_) => "r",
            ObjectKind::Stream(_) | ObjectKind::View(_) => "v",
            ObjectKind::MaterializedView(_) => "m",
            ObjectKind::Sink(_) | ObjectKind::Index(_) => return None,
        };
        Some(Self {
            oid: object_oid(object.id),
            name: object.name.clone(),
            kind,
            columns: object.columns.clone(),
            object: Some(object.clone()),
        })
    }

    /// The connector of a source.
    pub(super) fn connector(&self) -> Option<&catalog::Connector> {
        match &self.object.as_ref()?.kind {
            ObjectKind::Source(source) => Some(&source.connector),
            _ => None,
        }
    }
}

/// All relations, the system's included, by OID.
pub(super) fn relations(catalog: &Catalog) -> Vec<Relation> {
    let mut relations = system_relations();
    relations.extend(user_relations(catalog));
    relations
}

/// The relations that users have made.
pub(super) fn user_relations(catalog: &Catalog) -> impl Iterator<Item = Relation> {
    catalog.objects().filter_map(Relation::of_object)
}

fn system_relations() -> Vec<Relation> {
    use planner::SystemRelations;
    let column = |field: &arrow::datatypes::FieldRef| Column {
        name: field.name().clone(),
        sql_type: crate::SqlType::of_field(field).unwrap_or(crate::SqlType::Text),
        nullable: true,
        default: None,
        generated: None,
    };
    let mut own: Vec<QualifiedName> =
        Relations.names().into_iter().filter(|name| layout::find(name).is_none()).collect();
    own.sort();
    let own = own.into_iter().zip(FIRST_SYSTEM..).map(|(name, oid)| (name, oid, "v"));
    let postgres = layout::all().map(|layout| {
        let kind = if layout.is_view { "v" } else { "r" };
        (layout.name.clone(), layout.oid, kind)
    });
    let mut relations: Vec<Relation> = postgres
        .chain(own)
        .map(|(name, oid, kind)| {
            let schema = Relations.relation(&name);
            let columns = schema.iter().flat_map(|schema| schema.fields().iter()).map(column).collect();
            Relation { oid, name, kind, columns, object: None }
        })
        .collect();
    relations.sort_by_key(|relation| relation.oid);
    relations
}

/// Everything in `pg_class`, indexes included, by name and by OID.
pub(super) struct Names {
    oids: HashMap<QualifiedName, u32>,
    names: HashMap<u32, QualifiedName>,
}

impl Names {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let relations = relations(catalog).into_iter().map(|relation| (relation.name, relation.oid));
        let oids: HashMap<_, _> =
            relations.chain(indexes(catalog).into_iter().map(|index| (index.name, index.oid))).collect();
        Self { names: oids.iter().map(|(name, oid)| (*oid, name.clone())).collect(), oids }
    }

    /// What has this OID.
    pub(super) fn name(&self, oid: u32) -> Option<&QualifiedName> {
        self.names.get(&oid)
    }

    /// The OID of a name: in its schema, else the first that a schema of the path has.
    pub(super) fn oid(&self, path: &[String], schema: Option<&str>, name: &str) -> Option<u32> {
        let in_schema =
            |schema: &str| self.oids.get(&QualifiedName { schema: schema.to_owned(), name: name.to_owned() }).copied();
        match schema {
            Some(schema) => in_schema(schema),
            None => std::iter::once("pg_catalog").chain(path.iter().map(String::as_str)).find_map(in_schema),
        }
    }
}

/// A row of `pg_index`: an index of a user, one behind a primary key, or one that says by what a materialized view's rows are known.
pub(super) struct Index {
    pub(super) oid: u32,
    pub(super) name: QualifiedName,
    pub(super) table: Arc<Object>,
    /// Positions in the table.
    pub(super) columns: Vec<usize>,
    pub(super) unique: bool,
    pub(super) primary: bool,
}

impl Index {
    pub(super) fn table_oid(&self) -> u32 {
        object_oid(self.table.id)
    }

    /// The constraint that a primary key is.
    pub(super) fn constraint_oid(&self) -> Option<u32> {
        self.primary.then(|| FIRST_CONSTRAINT + self.table.id.0)
    }

    /// Names of its columns, quoted where they must be.
    pub(super) fn column_list(&self) -> String {
        let names: Vec<String> = self.column_names().map(quote_identifier).collect();
        names.join(", ")
    }

    pub(super) fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter_map(|position| self.table.columns.get(*position)).map(|column| column.name.as_str())
    }

    /// The statement that would make it.
    pub(super) fn definition(&self) -> String {
        format!(
            "CREATE {}INDEX {} ON {}.{} USING btree ({})",
            if self.unique { "UNIQUE " } else { "" },
            quote_identifier(&self.name.name),
            quote_identifier(&self.table.name.schema),
            quote_identifier(&self.table.name.name),
            self.column_list()
        )
    }
}

/// All indexes.
pub(super) fn indexes(catalog: &Catalog) -> Vec<Index> {
    let key_index = |table: &Arc<Object>, columns: &[usize], suffix: &str, primary: bool| Index {
        oid: FIRST_KEY_INDEX + table.id.0,
        name: QualifiedName { schema: table.name.schema.clone(), name: format!("{}_{suffix}", table.name.name) },
        table: table.clone(),
        columns: columns.to_vec(),
        unique: true,
        primary,
    };
    let mut indexes = Vec::new();
    for object in catalog.objects() {
        match &object.kind {
            ObjectKind::Table(table) if !table.primary_key.is_empty() => {
                indexes.push(key_index(object, &table.primary_key, "pkey", true));
            }
            ObjectKind::MaterializedView(view) if !view.key.is_empty() => {
                indexes.push(key_index(object, &view.key, "key", false));
            }
            ObjectKind::Index(index) => {
                let Some(table) = catalog.get(index.on) else { continue };
                indexes.push(Index {
                    oid: object_oid(object.id),
                    name: object.name.clone(),
                    table: table.clone(),
                    columns: index.columns.clone(),
                    unique: false,
                    primary: false,
                });
            }
            _ => {}
        }
    }
    indexes
}

/// The OID of a column's default.
pub(super) fn default_oid(relation: u32, position: usize) -> u32 {
    let position = u32::try_from(position).unwrap_or(MAX_COLUMNS);
    FIRST_DEFAULT.wrapping_add(relation.wrapping_sub(FIRST_OBJECT_OID).wrapping_mul(MAX_COLUMNS)).wrapping_add(position)
}

/// A column's position as `attnum`, from 1.
pub(super) fn attribute_number(position: usize) -> i16 {
    i16::try_from(position + 1).unwrap_or(i16::MAX)
}
