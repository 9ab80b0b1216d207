//! What a catalog refuses.

use thiserror::Error;

use crate::{ObjectId, QualifiedName};

/// Results of the catalog.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a change of the catalog is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The name is taken.
    #[error("relation \"{0}\" already exists")]
    NameTaken(QualifiedName),
    /// The number is taken.
    #[error("object {} already exists", .0.0)]
    IdTaken(ObjectId),
    /// The schema's name is taken.
    #[error("schema \"{0}\" already exists")]
    SchemaTaken(String),
    /// There is no such schema.
    #[error("schema \"{0}\" does not exist")]
    NoSchema(String),
    /// There is no such object.
    #[error("object {} does not exist", .0.0)]
    NoObject(ObjectId),
    /// Others read it.
    #[error("cannot drop {name} because other objects depend on it")]
    HasDependents {
        /// What was to be dropped.
        name: QualifiedName,
        /// Who reads it.
        dependents: Vec<ObjectId>,
    },
    /// The schema is not empty.
    #[error("cannot drop schema {0} because other objects depend on it")]
    SchemaNotEmpty(String),
    /// A stored catalog that can't be read.
    #[error("the stored catalog is damaged: {0}")]
    Damaged(String),
}
