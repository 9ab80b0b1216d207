//! JSON in both directions: `read` decodes objects straight into columns (`value` one value), [`mod@write`] makes objects of rows, `jsonb` has the
//! normal form of a document, `scan` is the grammar that they share.

pub(crate) mod jsonb;
pub(crate) mod read;
pub(crate) mod scan;
pub(crate) mod value;
pub mod write;
