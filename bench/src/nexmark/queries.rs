//! The queries of the auction benchmark, and what each of them reads.

use crate::{Error, Result};

/// The sources' definitions, with a placeholder where the options of the source under test go.
pub(super) const TABLES: &str = include_str!("../../queries/tables.sql");

/// A query as a view.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
    /// The tables that it reads.
    pub(super) tables: &'static [&'static str],
    /// What must be there besides the tables.
    pub(super) setup: Option<&'static str>,
}

const fn query(name: &'static str, sql: &'static str, tables: &'static [&'static str]) -> Query {
    Query { name, sql, tables, setup: None }
}

const SIDE_INPUT: &str = include_str!("../../queries/side_input.sql");

const QUERIES: [Query; 23] = [
    query("q0", include_str!("../../queries/q0.sql"), &["bid"]),
    query("q1", include_str!("../../queries/q1.sql"), &["bid"]),
    query("q2", include_str!("../../queries/q2.sql"), &["bid"]),
    query("q3", include_str!("../../queries/q3.sql"), &["auction", "person"]),
    query("q4", include_str!("../../queries/q4.sql"), &["auction", "bid"]),
    query("q5", include_str!("../../queries/q5.sql"), &["bid"]),
    query("q6", include_str!("../../queries/q6.sql"), &["auction", "bid"]),
    query("q7", include_str!("../../queries/q7.sql"), &["bid"]),
    query("q8", include_str!("../../queries/q8.sql"), &["auction", "person"]),
    query("q9", include_str!("../../queries/q9.sql"), &["auction", "bid"]),
    query("q10", include_str!("../../queries/q10.sql"), &["bid"]),
    query("q11", include_str!("../../queries/q11.sql"), &["bid"]),
    query("q12", include_str!("../../queries/q12.sql"), &["bid"]),
    Query { setup: Some(SIDE_INPUT), ..query("q13", include_str!("../../queries/q13.sql"), &["bid"]) },
    query("q14", include_str!("../../queries/q14.sql"), &["bid"]),
    query("q15", include_str!("../../queries/q15.sql"), &["bid"]),
    query("q16", include_str!("../../queries/q16.sql"), &["bid"]),
    query("q17", include_str!("../../queries/q17.sql"), &["bid"]),
    query("q18", include_str!("../../queries/q18.sql"), &["bid"]),
    query("q19", include_str!("../../queries/q19.sql"), &["bid"]),
    query("q20", include_str!("../../queries/q20.sql"), &["auction", "bid"]),
    query("q21", include_str!("../../queries/q21.sql"), &["bid"]),
    query("q22", include_str!("../../queries/q22.sql"), &["bid"]),
];

/// The queries of these names; all of them if there are none.
pub(super) fn named(names: &[String]) -> Result<Vec<Query>> {
    if names.is_empty() {
        return Ok(QUERIES.to_vec());
    }
    let find = |name: &String| {
        let found = QUERIES.iter().find(|query| query.name == name).copied();
        let known = || QUERIES.map(|query| query.name).join(", ");
        found.ok_or_else(|| Error::UnknownQuery { name: name.clone(), known: known() })
    };
    names.iter().map(find).collect()
}
