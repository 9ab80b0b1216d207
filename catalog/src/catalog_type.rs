//! Types that only PostgreSQL's catalog has. No table can have a column of them; clients see them when they read the catalog.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SqlType;

/// A type of catalog columns. Inside, each is one of the plain types: see [`CatalogType::carrier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CatalogType {
    /// `"char"`: one letter that stands for a kind.
    Char,
    /// `regclass`: a relation, by its name.
    RegClass,
    /// `regnamespace`: a schema, by its name.
    RegNamespace,
    /// `regproc`: a function, by its name.
    RegProc,
    /// `regrole`: a role, by its name.
    RegRole,
    /// `regtype`: a type, by its name.
    RegType,
    /// `pg_node_tree`: an expression; its SQL here.
    NodeTree,
    /// `aclitem`: privileges.
    AclItem,
    /// `anyarray`: statistics about a column of any type.
    AnyArray,
    /// `xid`: a transaction's number.
    Xid,
    /// `int2vector`: numbers of columns.
    Int2Vector,
    /// `oidvector`: OIDs.
    OidVector,
    /// `void`: what a function gives that is called for its effect.
    Void,
    /// `record`: a row as a value, by its text.
    Record,
}

impl CatalogType {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Char,
        Self::RegClass,
        Self::RegNamespace,
        Self::RegProc,
        Self::RegRole,
        Self::RegType,
        Self::NodeTree,
        Self::AclItem,
        Self::AnyArray,
        Self::Xid,
        Self::Int2Vector,
        Self::OidVector,
        Self::Void,
        Self::Record,
    ];

    /// The plain type whose values it has.
    pub fn carrier(self) -> SqlType {
        match self {
            Self::Xid => SqlType::Oid,
            Self::Int2Vector => SqlType::Array(Box::new(SqlType::SmallInt)),
            Self::OidVector => SqlType::Array(Box::new(SqlType::Oid)),
            _ => SqlType::Text,
        }
    }

    /// PostgreSQL's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Char => "\"char\"",
            Self::RegClass => "regclass",
            Self::RegNamespace => "regnamespace",
            Self::RegProc => "regproc",
            Self::RegRole => "regrole",
            Self::RegType => "regtype",
            Self::NodeTree => "pg_node_tree",
            Self::AclItem => "aclitem",
            Self::AnyArray => "anyarray",
            Self::Xid => "xid",
            Self::Int2Vector => "int2vector",
            Self::OidVector => "oidvector",
            Self::Void => "void",
            Self::Record => "record",
        }
    }

    /// The type that PostgreSQL calls so.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

impl fmt::Display for CatalogType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
