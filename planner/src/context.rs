//! What planning may look at: a catalog snapshot, the session's settings, the system relations, the functions.

use arrow::datatypes::SchemaRef;
use catalog::{Catalog, QualifiedName, SqlType};

pub use crate::functions::FunctionRegistry;

/// Everything that a plan is a function of, besides the statement.
#[derive(Clone, Copy)]
pub struct PlanContext<'a> {
    /// What exists.
    pub catalog: &'a Catalog,
    /// What the session has set.
    pub settings: &'a PlanSettings,
    /// The schemas of `mr_catalog`, `pg_catalog` and `information_schema`.
    pub system: &'a dyn SystemRelations,
    /// Functions that SQL may call.
    pub functions: &'a FunctionRegistry,
    /// Types of `$1`, `$2`, … as far as the client said them.
    pub parameter_types: &'a [Option<SqlType>],
}

/// The part of a session's settings that planning depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSettings {
    /// Schemas in which a bare name is looked for, in order; new objects go to the first that exists. `pg_catalog` is searched first
    /// without being named.
    pub search_path: Vec<String>,
    /// The session's time zone, an IANA name or an offset.
    pub time_zone: String,
    /// The database's name: what `current_database()` says and what a three-part name must begin with.
    pub database: String,
    /// Who is connected: what `current_user` says.
    pub user: String,
}

impl Default for PlanSettings {
    fn default() -> Self {
        Self {
            search_path: vec!["public".to_owned()],
            time_zone: "UTC".to_owned(),
            database: "millrace".to_owned(),
            user: "millrace".to_owned(),
        }
    }
}

/// The relations that the engine itself provides.
pub trait SystemRelations: Sync {
    /// The schema of a system relation (fields as [`SqlType::field`] makes them), if there is one of this name.
    fn relation(&self, name: &QualifiedName) -> Option<SchemaRef>;

    /// The names of all of them.
    fn names(&self) -> Vec<QualifiedName>;

    /// Whether a relation never has rows, as there are no such things: subqueries over it need not be run.
    fn is_always_empty(&self, _name: &QualifiedName) -> bool {
        false
    }
}

/// No system relations: for tests, and for checking files offline.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSystemRelations;

impl SystemRelations for NoSystemRelations {
    fn relation(&self, _name: &QualifiedName) -> Option<SchemaRef> {
        None
    }

    fn names(&self) -> Vec<QualifiedName> {
        Vec::new()
    }
}
