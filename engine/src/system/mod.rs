//! Relations that the engine itself provides: `mr_catalog` (what runs), `pg_catalog` and `information_schema` (what exists, as
//! PostgreSQL's clients ask for it), and the functions that go with them.

mod mr_catalog;

pub(crate) use mr_catalog::lag;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use catalog::QualifiedName;
use planner::SystemRelations;
use planner::context::FunctionRegistry;

use crate::session::SessionRelations;
use crate::{Error, ErrorKind, Result, pg_catalog};

const MR_CATALOG: &str = "mr_catalog";

/// All system relations, for the planner.
pub(crate) struct Relations;

impl SystemRelations for Relations {
    fn relation(&self, name: &QualifiedName) -> Option<SchemaRef> {
        if name.schema == MR_CATALOG {
            return mr_catalog::RELATIONS
                .iter()
                .find(|relation| relation.name == name.name)
                .map(|relation| relation.schema());
        }
        pg_catalog::relation(name)
    }

    fn names(&self) -> Vec<QualifiedName> {
        let own = mr_catalog::RELATIONS
            .iter()
            .map(|relation| QualifiedName { schema: MR_CATALOG.to_owned(), name: relation.name.to_owned() });
        own.chain(pg_catalog::names()).collect()
    }

    fn is_always_empty(&self, name: &QualifiedName) -> bool {
        pg_catalog::is_always_empty(name)
    }
}

/// The rows of a system relation as a session sees them.
pub(crate) fn rows(name: &QualifiedName, session: &SessionRelations) -> Result<RecordBatch> {
    if name.schema == MR_CATALOG {
        let relation = mr_catalog::RELATIONS.iter().find(|relation| relation.name == name.name);
        let relation = relation.ok_or_else(|| undefined(name))?;
        return (relation.rows)(session);
    }
    pg_catalog::rows(name, session)
}

/// The functions that SQL may call.
pub(crate) fn functions() -> Result<FunctionRegistry> {
    let mut registry = FunctionRegistry::new();
    for function in pg_catalog::functions() {
        registry.register_scalar(function);
    }
    Ok(registry)
}

fn undefined(name: &QualifiedName) -> Error {
    Error::new(ErrorKind::UndefinedTable, format!("relation \"{name}\" does not exist"))
}
