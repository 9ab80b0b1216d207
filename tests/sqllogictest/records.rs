//! A file's records, rearranged for a way.

use sqllogictest::runner::Normalizer;
use sqllogictest::{DefaultColumnType, QueryExpect, Record, StatementExpect};

use super::Way;

type Records = Vec<Record<DefaultColumnType>>;

/// The records in the order, and the form, in which `way` runs them.
pub fn arranged(records: Records, way: Way) -> Records {
    if !way.materializes() {
        return records;
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (number, record) in records.into_iter().enumerate() {
        match record {
            record if is_query(&record) => {
                let view = format!("slt_view_{number}");
                let [create, select, drop] = as_view(record, &view);
                if way.views_first() {
                    first.push(create);
                    second.push(select);
                } else {
                    second.extend([create, select, drop]);
                }
            }
            record if way.views_first() && makes_something(&record) => first.push(record),
            record if way.views_first() => second.extend(row_by_row(record)),
            record => second.push(record),
        }
    }
    first.extend(second);
    first
}

/// Compares rows as a multiset: a view has no order.
pub fn same_rows(normalizer: Normalizer, actual: &[Vec<String>], expected: &[String]) -> bool {
    let mut actual: Vec<_> =
        actual.iter().map(|row| row.iter().map(normalizer).collect::<Vec<_>>().join(" ")).collect();
    let mut expected: Vec<_> = expected.iter().map(normalizer).collect();
    actual.sort();
    expected.sort();
    actual == expected
}

fn starts_with(sql: &str, words: &[&str]) -> bool {
    let first = sql.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    words.iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// A query that returns rows and isn't SHOW, DML with RETURNING, or the like.
fn is_query(record: &Record<DefaultColumnType>) -> bool {
    matches!(record, Record::Query { sql, expected: QueryExpect::Results { .. }, .. }
        if starts_with(sql, &["select", "with", "values", "table"]) && !sql.contains("mr_catalog"))
}

/// CREATE that is to succeed, and the settings that it may need.
fn makes_something(record: &Record<DefaultColumnType>) -> bool {
    matches!(record, Record::Statement { sql, expected: StatementExpect::Ok, .. } if starts_with(sql, &["create", "set"]))
}

/// CREATE MATERIALIZED VIEW, the query on it, and DROP.
fn as_view(record: Record<DefaultColumnType>, view: &str) -> [Record<DefaultColumnType>; 3] {
    let Record::Query { loc, conditions, connection, sql, expected, retry } = record else {
        unreachable!("only queries become views")
    };
    let statement = |sql: String| Record::Statement {
        loc: loc.clone(),
        conditions: conditions.clone(),
        connection: connection.clone(),
        sql,
        expected: StatementExpect::Ok,
        retry: None,
    };
    // Columns of a query may have one name, those of a view may not.
    let QueryExpect::Results { types, .. } = &expected else { unreachable!("only queries with rows become views") };
    let columns: Vec<String> = (1..=types.len()).map(|number| format!("column_{number}")).collect();
    let create = statement(format!("CREATE MATERIALIZED VIEW {view} ({}) AS {sql}", columns.join(", ")));
    let drop = statement(format!("DROP MATERIALIZED VIEW {view}"));
    let select = Record::Query {
        loc: loc.clone(),
        conditions: conditions.clone(),
        connection: connection.clone(),
        sql: format!("SELECT * FROM {view}"),
        expected,
        retry,
    };
    [create, select, drop]
}

/// An INSERT of several rows as several of one row, so that each is an epoch of its own; anything else as it is.
fn row_by_row(record: Record<DefaultColumnType>) -> Records {
    if let Record::Statement { loc, conditions, connection, sql, expected, retry } = &record
        && !matches!(expected, StatementExpect::Error(_))
        && starts_with(sql, &["insert"])
        && let Some((head, rows)) = value_rows(sql)
        && rows.len() > 1
    {
        let one = |row: &str| Record::Statement {
            loc: loc.clone(),
            conditions: conditions.clone(),
            connection: connection.clone(),
            sql: format!("{head}{row}"),
            expected: StatementExpect::Count(1),
            retry: retry.clone(),
        };
        return rows.iter().map(|row| one(row)).collect();
    }
    vec![record]
}

/// `INSERT INTO t VALUES ` and each `(…)`; `None` if something follows the rows, such as ON CONFLICT.
fn value_rows(sql: &str) -> Option<(&str, Vec<&str>)> {
    let at = sql.find("VALUES")? + "VALUES".len();
    let (head, rest) = sql.split_at(at);
    let (mut rows, mut depth, mut quoted, mut start) = (Vec::new(), 0, false, 0);
    for (i, c) in rest.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' => {
                if depth == 0 {
                    start = i;
                }
                depth += 1;
            }
            ')' => {
                depth -= 1;
                if depth == 0 {
                    rows.push(&rest[start..=i]);
                }
            }
            c if depth == 0 && c != ',' && !c.is_whitespace() => return None,
            _ => {}
        }
    }
    Some((head, rows))
}
