//! Words that a mistyped word may have been meant to be.

/// Words that begin a statement.
const FIRST: &[&str] = &[
    "ALTER",
    "BEGIN",
    "CLOSE",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DESCRIBE",
    "DISCARD",
    "DROP",
    "END",
    "EXECUTE",
    "EXPLAIN",
    "FETCH",
    "INSERT",
    "MOVE",
    "PREPARE",
    "RELEASE",
    "RESET",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "SUBSCRIBE",
    "TABLE",
    "TRUNCATE",
    "UPDATE",
    "VALUES",
    "WITH",
];

/// Words within a statement.
const INNER: &[&str] = &[
    "AND",
    "BETWEEN",
    "BY",
    "CASCADE",
    "CASE",
    "CHANGES",
    "COLUMNS",
    "CONFLICT",
    "CONSTRAINT",
    "CREATE",
    "CROSS",
    "DEFAULT",
    "DELETE",
    "DISTINCT",
    "EMIT",
    "ENCODE",
    "EXISTS",
    "FILTER",
    "FORMAT",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "INCLUDE",
    "INDEX",
    "INNER",
    "INSERT",
    "INTERVAL",
    "INTO",
    "JOIN",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MATERIALIZED",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PRIMARY",
    "REPLACE",
    "RESTRICT",
    "RETURNING",
    "RIGHT",
    "SCHEMA",
    "SELECT",
    "SINK",
    "SINKS",
    "SOURCE",
    "SOURCES",
    "STREAM",
    "STREAMS",
    "SUBSCRIBE",
    "TABLE",
    "TABLES",
    "UNION",
    "UPDATE",
    "USING",
    "VALUES",
    "VIEW",
    "VIEWS",
    "WATERMARK",
    "WHERE",
    "WINDOW",
    "WITH",
];

/// The keyword that `word` looks like; `first` if it begins a statement.
pub(crate) fn meant(word: &str, first: bool) -> Option<&'static str> {
    let word = word.to_uppercase();
    let bound = match word.chars().count() {
        0..3 => return None,
        3..6 => 1,
        _ => 2,
    };
    let words = if first { FIRST } else { INNER };
    let candidates = words.iter().map(|keyword| (strsim::osa_distance(&word, keyword), *keyword));
    let (distance, keyword) = candidates.min_by_key(|(distance, _)| *distance)?;
    (1..=bound).contains(&distance).then_some(keyword)
}

/// Whether `word` is one of the words above.
pub(crate) fn is_known(word: &str) -> bool {
    let word = word.to_uppercase();
    FIRST.contains(&word.as_str()) || INNER.contains(&word.as_str())
}
