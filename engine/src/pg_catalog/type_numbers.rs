//! PostgreSQL's numbers for things that clients see on the wire: OIDs of objects and types, size and type modifier of each [`SqlType`], and back.

use catalog::CatalogType;

use crate::SqlType;

/// The numbers of catalog objects begin here as OIDs, as in PostgreSQL.
pub const FIRST_OBJECT_OID: u32 = 16_384;

/// The OID of a type.
pub fn oid(sql_type: &SqlType) -> u32 {
    match sql_type {
        SqlType::Boolean => 16,
        SqlType::Bytea => 17,
        SqlType::Name => 19,
        SqlType::BigInt => 20,
        SqlType::SmallInt => 21,
        SqlType::Integer => 23,
        SqlType::Text => 25,
        SqlType::Oid => 26,
        SqlType::Json => 114,
        SqlType::Real => 700,
        SqlType::Double => 701,
        SqlType::Char(_) => 1042,
        SqlType::Varchar(_) => 1043,
        SqlType::Date => 1082,
        SqlType::Time => 1083,
        SqlType::Timestamp => 1114,
        SqlType::Timestamptz => 1184,
        SqlType::Interval => 1186,
        SqlType::Numeric(_) => 1700,
        SqlType::Uuid => 2950,
        SqlType::Jsonb => 3802,
        SqlType::Array(element) => array_oid(element),
        SqlType::Catalog(catalog_type) => catalog_oid(*catalog_type),
    }
}

fn catalog_oid(catalog_type: CatalogType) -> u32 {
    match catalog_type {
        CatalogType::Char => 18,
        CatalogType::Int2Vector => 22,
        CatalogType::RegProc => 24,
        CatalogType::Xid => 28,
        CatalogType::OidVector => 30,
        CatalogType::NodeTree => 194,
        CatalogType::AclItem => 1033,
        CatalogType::RegClass => 2205,
        CatalogType::RegType => 2206,
        CatalogType::AnyArray => 2277,
        CatalogType::Void => 2278,
        CatalogType::Record => 2249,
        CatalogType::RegNamespace => 4089,
        CatalogType::RegRole => 4096,
    }
}

/// The OID of the array type over an element; an array of arrays is the same type as the array of its innermost element.
fn array_oid(element: &SqlType) -> u32 {
    match element {
        SqlType::Boolean => 1000,
        SqlType::Bytea => 1001,
        SqlType::Name => 1003,
        SqlType::BigInt => 1016,
        SqlType::SmallInt => 1005,
        SqlType::Integer => 1007,
        SqlType::Text => 1009,
        SqlType::Oid => 1028,
        SqlType::Json => 199,
        SqlType::Real => 1021,
        SqlType::Double => 1022,
        SqlType::Char(_) => 1014,
        SqlType::Varchar(_) => 1015,
        SqlType::Date => 1182,
        SqlType::Time => 1183,
        SqlType::Timestamp => 1115,
        SqlType::Timestamptz => 1185,
        SqlType::Interval => 1187,
        SqlType::Numeric(_) => 1231,
        SqlType::Uuid => 2951,
        SqlType::Jsonb => 3807,
        SqlType::Array(inner) => array_oid(inner),
        SqlType::Catalog(catalog_type) => catalog_array_oid(*catalog_type),
    }
}

fn catalog_array_oid(element: CatalogType) -> u32 {
    match element {
        CatalogType::Char => 1002,
        CatalogType::Int2Vector => 1006,
        CatalogType::RegProc => 1008,
        CatalogType::Xid => 1011,
        CatalogType::OidVector => 1013,
        CatalogType::AclItem => 1034,
        CatalogType::RegClass => 2210,
        CatalogType::RegType => 2211,
        CatalogType::RegNamespace => 4090,
        CatalogType::RegRole => 4097,
        // PostgreSQL has no arrays of these: they are read as text.
        CatalogType::Record => 2287,
        CatalogType::NodeTree | CatalogType::AnyArray | CatalogType::Void => 1009,
    }
}

/// OIDs of the scalar types with the type that each stands for when a client names it in Parse.
const SCALARS: [(u32, SqlType); 21] = [
    (16, SqlType::Boolean),
    (17, SqlType::Bytea),
    (19, SqlType::Name),
    (20, SqlType::BigInt),
    (21, SqlType::SmallInt),
    (23, SqlType::Integer),
    (25, SqlType::Text),
    (26, SqlType::Oid),
    (114, SqlType::Json),
    (700, SqlType::Real),
    (701, SqlType::Double),
    (1042, SqlType::Varchar(None)),
    (1043, SqlType::Varchar(None)),
    (1082, SqlType::Date),
    (1083, SqlType::Time),
    (1114, SqlType::Timestamp),
    (1184, SqlType::Timestamptz),
    (1186, SqlType::Interval),
    (1700, SqlType::Numeric(None)),
    (2950, SqlType::Uuid),
    (3802, SqlType::Jsonb),
];

/// What a client's type OID in Parse says: `Ok(None)` leaves the type to be inferred (0 and `unknown`), `Err` is a type
/// that no parameter can have.
pub fn parameter_type(type_oid: u32) -> Result<Option<SqlType>, u32> {
    /// PostgreSQL's `unknown`: an untyped literal.
    const UNKNOWN: u32 = 705;
    if matches!(type_oid, 0 | UNKNOWN) {
        return Ok(None);
    }
    let in_catalog = CatalogType::ALL.into_iter().find(|known| catalog_oid(*known) == type_oid);
    if let Some(catalog_type) = in_catalog.filter(|known| !matches!(known, CatalogType::Void | CatalogType::Record)) {
        return Ok(Some(SqlType::Catalog(catalog_type)));
    }
    for (scalar, sql_type) in &SCALARS {
        if *scalar == type_oid {
            return Ok(Some(sql_type.clone()));
        }
        if array_oid(sql_type) == type_oid {
            return Ok(Some(SqlType::Array(Box::new(sql_type.clone()))));
        }
    }
    // bpchar[] shares its element with varchar[] above.
    if type_oid == 1014 {
        return Ok(Some(SqlType::Array(Box::new(SqlType::Varchar(None)))));
    }
    Err(type_oid)
}

/// Bytes of a value in PostgreSQL's memory, as RowDescription gives it; -1: varies.
pub fn size(sql_type: &SqlType) -> i16 {
    match sql_type {
        SqlType::Boolean => 1,
        SqlType::SmallInt => 2,
        SqlType::Integer | SqlType::Real | SqlType::Date | SqlType::Oid => 4,
        SqlType::BigInt | SqlType::Double | SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz => 8,
        SqlType::Interval | SqlType::Uuid => 16,
        SqlType::Name => 64,
        SqlType::Numeric(_)
        | SqlType::Text
        | SqlType::Varchar(_)
        | SqlType::Char(_)
        | SqlType::Bytea
        | SqlType::Json
        | SqlType::Jsonb
        | SqlType::Array(_) => -1,
        SqlType::Catalog(catalog_type) => match catalog_type {
            CatalogType::Char => 1,
            CatalogType::RegClass
            | CatalogType::RegNamespace
            | CatalogType::RegProc
            | CatalogType::RegRole
            | CatalogType::RegType
            | CatalogType::Xid
            | CatalogType::Void => 4,
            CatalogType::AclItem => 12,
            CatalogType::NodeTree
            | CatalogType::AnyArray
            | CatalogType::Int2Vector
            | CatalogType::OidVector
            | CatalogType::Record => -1,
        },
    }
}

/// The type modifier: a length or a precision and scale; -1: none.
pub fn typmod(sql_type: &SqlType) -> i32 {
    /// PostgreSQL counts a header of four bytes into lengths.
    const HEADER: i32 = 4;
    match sql_type {
        SqlType::Varchar(Some(length)) | SqlType::Char(length) => {
            i32::try_from(*length).map_or(-1, |n| n.saturating_add(HEADER))
        }
        SqlType::Numeric(Some((precision, scale))) => {
            ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + HEADER
        }
        SqlType::Array(element) => typmod(element),
        _ => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_modifiers_are_postgresqls() {
        assert_eq!(typmod(&SqlType::Numeric(Some((12, 2)))), 786_438);
        assert_eq!(typmod(&SqlType::Numeric(None)), -1);
        assert_eq!(typmod(&SqlType::Varchar(Some(20))), 24);
        assert_eq!(typmod(&SqlType::Char(1)), 5);
    }

    #[test]
    fn every_scalar_and_its_array_is_recognised() {
        for (scalar, sql_type) in SCALARS {
            assert_eq!(parameter_type(scalar), Ok(Some(sql_type.clone())));
            let array = SqlType::Array(Box::new(sql_type));
            assert_eq!(parameter_type(oid(&array)), Ok(Some(array)));
        }
        assert_eq!(parameter_type(0), Ok(None));
        assert_eq!(parameter_type(705), Ok(None));
        assert_eq!(parameter_type(2278), Err(2278));
    }
}
