//! PostgreSQL's built-in types, read once from `types.txt`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A row of `pg_type`, as far as types differ.
pub(super) struct BuiltinType {
    pub(super) oid: u32,
    pub(super) name: &'static str,
    pub(super) length: i16,
    pub(super) by_value: bool,
    pub(super) kind: &'static str,
    pub(super) category: &'static str,
    pub(super) preferred: bool,
    pub(super) delimiter: &'static str,
    pub(super) element: u32,
    pub(super) array: u32,
    pub(super) input: &'static str,
    pub(super) output: &'static str,
    pub(super) receive: &'static str,
    pub(super) send: &'static str,
    pub(super) modifier_input: &'static str,
    pub(super) modifier_output: &'static str,
    pub(super) subscript: &'static str,
    pub(super) align: &'static str,
    pub(super) storage: &'static str,
    pub(super) collation: u32,
}

static TYPES: LazyLock<BTreeMap<u32, BuiltinType>> = LazyLock::new(|| {
    let lines = include_str!("types.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(parse).map(|builtin| (builtin.oid, builtin)).collect()
});

fn parse(line: &'static str) -> BuiltinType {
    const WELL_FORMED: &str = "types.txt is well formed, as its test shows";
    let mut words = line.split(' ');
    let mut word = || words.next().expect(WELL_FORMED);
    BuiltinType {
        oid: word().parse().expect(WELL_FORMED),
        name: word(),
        length: word().parse().expect(WELL_FORMED),
        by_value: word() == "t",
        kind: word(),
        category: word(),
        preferred: word() == "t",
        delimiter: word(),
        element: word().parse().expect(WELL_FORMED),
        array: word().parse().expect(WELL_FORMED),
        input: word(),
        output: word(),
        receive: word(),
        send: word(),
        modifier_input: word(),
        modifier_output: word(),
        subscript: word(),
        align: word(),
        storage: word(),
        collation: word().parse().expect(WELL_FORMED),
    }
}

/// All of them, by OID.
pub(super) fn all() -> impl Iterator<Item = &'static BuiltinType> {
    TYPES.values()
}

/// The type of this OID.
pub(super) fn find(oid: u32) -> Option<&'static BuiltinType> {
    TYPES.get(&oid)
}

/// The type that someone means by a name: its own (`int4`), SQL's words for it (`integer`), each with `[]` for the array.
pub(super) fn find_by_name(name: &str) -> Option<&'static BuiltinType> {
    let name = name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    if let Some(element) = name.strip_suffix("[]") {
        return find(find_by_name(element)?.array);
    }
    // A length or precision doesn't make another type.
    let (base, tail) = match name.split_once('(') {
        Some((base, rest)) => (base.trim_end(), rest.split_once(')')?.1),
        None => (name, ""),
    };
    let plain = format!("{base}{tail}");
    let own = match plain.as_str() {
        "boolean" => "bool",
        "smallint" => "int2",
        "integer" | "int" => "int4",
        "bigint" => "int8",
        "real" => "float4",
        "double precision" | "float" => "float8",
        "decimal" => "numeric",
        "character varying" => "varchar",
        "character" => "bpchar",
        "\"char\"" => "char",
        "time without time zone" => "time",
        "time with time zone" => "timetz",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        "bit varying" => "varbit",
        other => other.trim_matches('"'),
    };
    all().find(|builtin| builtin.name == own)
}

/// A type as `format_type` writes it; `modifier` `None` or below 0: without length or precision.
pub(super) fn format(oid: u32, modifier: Option<i32>) -> String {
    let Some(builtin) = find(oid) else {
        return if oid == 0 { "-".to_owned() } else { "???".to_owned() };
    };
    // int2vector and oidvector are arrays with names of their own; like PostgreSQL we know them by being stored in line.
    if builtin.category == "A" && builtin.subscript == "array_subscript_handler" && builtin.storage != "p" {
        return format!("{}[]", format(builtin.element, modifier));
    }
    /// PostgreSQL counts a header of four bytes into lengths.
    const HEADER: i32 = 4;
    let given = modifier.filter(|modifier| *modifier >= HEADER);
    let with_length = |name: &str| match given {
        Some(modifier) => format!("{name}({})", modifier - HEADER),
        None => name.to_owned(),
    };
    match builtin.name {
        "bool" => "boolean".into(),
        "int2" => "smallint".into(),
        "int4" => "integer".into(),
        "int8" => "bigint".into(),
        "float4" => "real".into(),
        "float8" => "double precision".into(),
        "char" => "\"char\"".into(),
        "time" => "time without time zone".into(),
        "timetz" => "time with time zone".into(),
        "timestamp" => "timestamp without time zone".into(),
        "timestamptz" => "timestamp with time zone".into(),
        "varchar" => with_length("character varying"),
        // Without a modifier char(n) is bpchar; a column that says character has one.
        "bpchar" if modifier.is_none() => "character".into(),
        "bpchar" if given.is_none() => "bpchar".into(),
        "bpchar" => with_length("character"),
        "numeric" => match given {
            Some(modifier) => {
                let modifier = modifier - HEADER;
                // The scale has eleven bits with a sign.
                let scale = ((modifier & 0x7ff) ^ 1024) - 1024;
                format!("numeric({},{scale})", modifier >> 16)
            }
            None => "numeric".into(),
        },
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names() {
        assert_eq!(all().count(), 185);
        assert_eq!(format(23, None), "integer");
        assert_eq!(format(1700, Some(786_438)), "numeric(12,2)");
        assert_eq!(format(1043, Some(24)), "character varying(20)");
        assert_eq!(format(1042, Some(-1)), "bpchar");
        assert_eq!(format(1009, Some(-1)), "text[]");
        assert_eq!(format(22, Some(-1)), "int2vector");
        assert_eq!(format(0, None), "-");
        assert_eq!(format(999_999, None), "???");
    }

    #[test]
    fn names_find_types() {
        let oid = |name| find_by_name(name).map(|builtin| builtin.oid);
        assert_eq!(oid("integer"), Some(23));
        assert_eq!(oid("pg_catalog.int4"), Some(23));
        assert_eq!(oid("numeric(12,2)"), Some(1700));
        assert_eq!(oid("timestamp(3) with time zone"), Some(1184));
        assert_eq!(oid("text[]"), Some(1009));
        assert_eq!(oid("\"char\""), Some(18));
        assert_eq!(oid("no_such_type"), None);
    }
}
